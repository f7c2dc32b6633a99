// A person on /docs: pastes a key, opens the route, sends the example, reads the answer.
// Arguments: the browser, the proxy's address, a key, where to put pictures.
import puppeteer from "puppeteer-core";

const [executablePath, url, key, pictures] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath,
  headless: "shell",
  args: ["--no-sandbox", "--disable-gpu", "--no-zygote"],
});
const page = await browser.newPage();
await page.setViewport({ width: 1200, height: 1400 });
const complaints = [];
const requests = [];
page.on("console", (m) => ["error", "warn"].includes(m.type()) && complaints.push(m.text()));
page.on("pageerror", (e) => complaints.push(String(e)));
page.on("request", (r) => requests.push(r.url()));

await page.goto(`${url}/docs`);
await page.waitForSelector(".opblock", { timeout: 30000 });
const title = await page.title();
const routes = await page.$$eval(".opblock-summary-path", (all) => all.map((e) => e.dataset.path));
await page.screenshot({ path: `${pictures}/docs.png` });

const embed = '[data-path="/v1/embeddings"]';
const block = () => page.evaluateHandle((s) => document.querySelector(s).closest(".opblock"), embed);
await page.click(`${embed} a, ${embed}`);
const run = async () => {
  await page.waitForSelector(".opblock.is-open .btn.execute");
  await page.click(".opblock.is-open .btn.execute");
  await page.waitForSelector(".live-responses-table .response-col_status", { timeout: 30000 });
  await page.waitForFunction(() => !document.querySelector(".loading-container"));
  const text = (selector) => page.$eval(selector, (e) => e.textContent);
  return {
    status: (await text(".live-responses-table .response .response-col_status")).trim(),
    body: await text(".live-responses-table .response .highlight-code"),
  };
};
const refused = await run();

await page.click(".auth-wrapper .authorize");
await page.waitForSelector(".auth-container input");
await page.type(".auth-container input", key);
await page.click(".auth-btn-wrapper .authorize");
await page.click(".auth-btn-wrapper .btn-done");
await (await block()).evaluate((e) => e.querySelector(".btn-clear")?.click());
const served = await run();
await page.evaluate(() => document.querySelector(".live-responses-table").scrollIntoView());
await page.screenshot({ path: `${pictures}/answer.png` });

const kept = await page.evaluate(() => JSON.stringify([localStorage, document.cookie]));
await browser.close();
console.log(JSON.stringify({ title, routes, refused, served, complaints, requests, kept }));
