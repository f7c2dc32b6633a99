// What a user of the OpenAI SDK for JavaScript does, and what came of it, as one line of JSON.
// Arguments: the proxy's address, the model, a width to cut to. In the environment:
// KEY and NARROW_KEY; TEXTS, a batch as JSON.
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_PATH + "/");
const { default: OpenAI, AzureOpenAI } = require("openai");

const [url, model, narrow] = process.argv.slice(2);
const options = { baseURL: url + "/v1", apiKey: process.env.KEY, maxRetries: 0 };
const client = new OpenAI(options);
const texts = JSON.parse(process.env.TEXTS);

const embed = async (input, more = {}, by = client) =>
  (await by.embeddings.create({ model, input, ...more })).data.map((item) => item.embedding);

// An error as the SDK presents it.
const failure = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    const { status, code, param } = error;
    return { name: error.constructor.name, status, code, param };
  }
};

const headers = async (more) => {
  const asked = client.embeddings.create({ model, input: "kept by javascript", ...more });
  const { response } = await asked.withResponse();
  return Object.fromEntries(response.headers);
};

const full = await client.embeddings.create({ model, input: "hello there" });
const raw = await client.embeddings.create({ model, input: "hello", encoding_format: "base64" });
const azure = new AzureOpenAI({
  endpoint: url, apiKey: process.env.KEY, apiVersion: "2024-10-21", deployment: model, maxRetries: 0,
});
const stranger = new OpenAI({ ...options, apiKey: "sk-wrong" });
const guest = new OpenAI({ ...options, apiKey: process.env.NARROW_KEY });
// The space of an index, stored with its first vectors.
const space = (await headers({}))["x-proxy-space"];
const insist = (wanted) =>
  client.embeddings.create(
    { model, input: "x" }, { headers: { "x-proxy-space": wanted }, maxRetries: 5 });
const models = [];
for await (const found of client.models.list()) models.push(found.id);

console.log(JSON.stringify({
  full,
  base64: raw.data[0].embedding,
  one: await embed("hello"),
  floats: await embed("hello", { encoding_format: "float" }),
  batch: await embed(texts),
  batchInFloats: await embed(texts, { encoding_format: "float" }),
  tokens: await embed([791, 2579, 3290]),
  tokenLists: await embed([[791, 2579, 3290], [22691, 1917]]),
  narrow: await embed("hello", { dimensions: Number(narrow) }),
  azure: await embed("hello", {}, azure),
  miss: await headers({ caching: true, timeout: 30 }),
  hit: await headers({ caching: true, timeout: 30 }),
  space,
  ofSpace: (await insist(space)).data.length,
  otherSpace: await failure(() => insist("old")),
  models,
  retrieved: await client.models.retrieve(model),
  wrongKey: await failure(() => embed("x", {}, stranger)),
  notAllowed: await failure(() => embed("x", {}, guest)),
  emptyInput: await failure(() => embed("")),
  unknownField: await failure(() => embed("x", { cachin: true })),
  unknownModel: await failure(() => embed("x", { model: "nobody" })),
}));
