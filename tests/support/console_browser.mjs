// A browser that a Python test drives: a line of JSON with a command in, a line with the answer out.
// Arguments: the browser, the path of axe-core. See tests/support/console_browser.py.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const [executablePath, axePath] = process.argv.slice(2);
const axe = readFileSync(axePath, "utf8");
const browser = await puppeteer.launch({
  executablePath,
  headless: "shell",
  args: ["--no-sandbox", "--disable-gpu", "--no-zygote", "--lang=en-US"],
  env: { ...process.env, LANG: "en_US.UTF-8", LC_ALL: "en_US.UTF-8" }, // uPlot refuses en-US@posix
});
const pages = new Map(); // by number: {page, context, complaints, requests}
const timeout = 50000;

const commands = {
  async open({ width, height, scheme }) {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    const seen = { page, context, complaints: [], requests: [] };
    page.on("console", (m) => ["error", "warn"].includes(m.type()) && seen.complaints.push(m.text()));
    page.on("pageerror", (e) => seen.complaints.push(String(e)));
    page.on("request", (r) => seen.requests.push(r.url()));
    page.on("dialog", (d) => d.accept());
    pages.set(pages.size + 1, seen);
    return pages.size;
  },
  async goto({ page }, { url }) {
    const answer = await page.goto(url, { waitUntil: "load", timeout });
    return answer?.status() ?? null;
  },
  async click({ page }, { selector, leaves }) {
    const left = leaves ? page.waitForNavigation({ waitUntil: "load", timeout }) : null;
    await page.click(selector);
    const answer = await left;
    return answer?.status() ?? null;
  },
  async type({ page }, { selector, text }) {
    await page.$eval(selector, (e) => { e.value = ""; });
    await page.type(selector, text);
  },
  async press({ page }, { key, leaves }) {
    const left = leaves ? page.waitForNavigation({ waitUntil: "load", timeout }) : null;
    await page.keyboard.press(key);
    await left;
  },
  evaluate: ({ page }, { code }) => page.evaluate(code),
  wait: async ({ page }, { code }) => { await page.waitForFunction(code, { timeout }); },
  upload: async ({ page }, { selector, path }) => { await (await page.$(selector)).uploadFile(path); },
  async screenshot({ page }, { path, whole }) {
    await page.screenshot({ path, fullPage: whole });
  },
  async axe({ page }) {
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run());
    return found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(" | ")}`);
  },
  async cookies({ context }) {
    return (await context.cookies()).map(({ name, value, httpOnly, sameSite, path }) => ({ name, value, httpOnly, sameSite, path }));
  },
  seen: ({ complaints, requests }) => ({ complaints, requests }),
  async close({ context }) {
    await context.close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, page, ...given } = JSON.parse(line);
  let answer;
  try {
    const seen = pages.get(page);
    answer = { value: (await (seen ? commands[command](seen, given) : commands[command](given))) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
