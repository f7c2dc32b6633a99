// One request whose provider misbehaves, by the OpenAI SDK for JavaScript: its error, as JSON.
// Arguments: the proxy's address, the model, the timeout, how often to retry. Key: KEY.
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_PATH + "/");
const { default: OpenAI } = require("openai");

const [url, model, timeout, maxRetries] = process.argv.slice(2);
const client = new OpenAI({
  baseURL: url + "/v1", apiKey: process.env.KEY, maxRetries: Number(maxRetries),
});
try {
  await client.embeddings.create({ model, input: "x", timeout: Number(timeout) });
  console.log("null");
} catch (error) {
  const { status, code } = error;
  console.log(JSON.stringify({ name: error.constructor.name, status, code }));
}
