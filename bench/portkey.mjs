// Preloaded into Portkey 1.15: it adds headers to the answer that fetch gave it, which Node's
// fetch forbids ("TypeError: immutable"), so every embedding would be a 500. Copying the headers
// lets it run; the body is passed on untouched.
const native = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const { body, status, statusText, headers } = await native(...request);
  return new Response(body, { status, statusText, headers: new Headers(headers) });
};
