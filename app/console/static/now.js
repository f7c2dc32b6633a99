// Keeps the page Now current: asks for new figures every two seconds, and draws the last hour.
import { getJson, showLocalTimes } from "./console.js";
import { timeSeries } from "./charts.js";
import { digits, duration, KINDS, money, short, STATE_CLASSES } from "./live_values.js";

const INTERVAL_MS = 2000;
// A server that takes long, as it has many deployments, is asked less often; one slow answer alone
// must not leave the page as it is for minutes.
const PAUSE_OF_ANSWER_TIME = 20;
const MAX_PAUSE_MS = 10_000;
const find = (id) => document.getElementById(id);
const make = (tag, className, ...content) => {
  const made = Object.assign(document.createElement(tag), { className });
  made.append(...content);
  return made;
};

const at = (answer, path) => path.split(".").reduce((found, name) => found?.[name], answer);

function fill(answer) {
  for (const place of document.querySelectorAll("[data-live]")) {
    const value = at(answer, place.dataset.live);
    const text = KINDS[place.dataset.as](value);
    if (place.textContent !== text) place.textContent = text;
    if (place.dataset.as === "state") place.className = `tag ${STATE_CLASSES[value] ?? ""}`;
  }
  find("silent").hidden = !answer.workers.silent.length;
}

const emptyRow = (columns) => {
  const cell = Object.assign(make("td", "empty", "None."), { colSpan: columns });
  return make("tr", "", cell);
};

function fillErrors(errors) {
  const rows = errors.map((error) => {
    const code = Object.assign(make("th", "", make("code", "", error.code)), { scope: "row" });
    return make("tr", "", code, make("td", "", error.side), make("td", "number", digits(error.number, 0)));
  });
  find("error-rows").replaceChildren(...(rows.length ? rows : [emptyRow(3)]));
}

function fillMarks(marks) {
  const rows = marks.slice(-10).reverse().map((mark) => {
    const time = Object.assign(make("time", ""), { dateTime: new Date(mark.at * 1000).toISOString() });
    const what = mark.kind === "ejected"
      ? [`${mark.provider} / ${mark.deployment} was ejected `, make("span", "dim", `of ${mark.model}`)]
      : ["The settings were reloaded."];
    return make("tr", "", make("td", "", time), make("td", "", ...what));
  });
  find("mark-rows").replaceChildren(...(rows.length ? rows : [emptyRow(2)]));
  showLocalTimes(find("mark-rows"));
}

// The last hour, bucket by bucket; `add` takes the series of an answer, which may overlap.
const hour = { times: [], rows: [], marks: [], size: 0 };

function add(answer) {
  const { first, step, size } = answer.series;
  hour.size = Math.max(hour.size, size);
  const kept = hour.times.findIndex((time) => time >= first);
  if (kept >= 0) { hour.times.length = kept; hour.rows.length = kept; }
  for (let i = 0; i < size; i++) {
    hour.times.push(first + i * step);
    hour.rows.push(row(answer.series, i));
  }
  const over = Math.max(0, hour.times.length - hour.size);
  hour.times.splice(0, over);
  hour.rows.splice(0, over);
  const old = hour.marks.filter((mark) => mark.at < answer.marks_since && mark.at >= hour.times[0]);
  hour.marks = [...old, ...answer.marks];
}

function row(series, i) {
  const of = (values) => values?.[i] ?? 0;
  const rate = (value) => value / series.step;
  const { caller, policy, provider, dependency, proxy } = series.errors;
  const [theirs, providers, ours] = [of(caller) + of(policy), of(provider), of(dependency) + of(proxy)];
  return {
    requests: [of(series.requests) - theirs - providers - ours].map(rate),
    errors: [theirs, providers, ours].map(rate),
    latency: [series.p50_ms[i], series.p95_ms[i], series.p99_ms[i]],
    tokens: [1, of(series.cached_share)].map((share) => rate(of(series.tokens)) * share),
    queue: ["priority", "default", "flex"].map((tier) => of(series.waiting[tier])),
    cost: [rate(of(series.cost_dollars)) * 3600],
  };
}

const CHARTS = {
  requests: { label: "Requests", unit: "/s", format: short, series: ["answered"] },
  errors: { label: "Errors", unit: "/s", format: short, series: ["callers", "providers", "proxy"] },
  latency: { label: "Latency", format: duration, series: ["p50", "p95", "p99"] },
  tokens: { label: "Tokens", unit: "/s", format: short, series: ["all", "from the cache"] },
  queue: { label: "Waiting in queues", format: short, series: ["priority", "default", "flex"] },
  cost: { label: "Cost", unit: "/h", format: money, series: ["all"] },
};

let charts;

async function makeCharts() {
  find("charts").hidden = false;
  const entries = Object.entries(CHARTS).map(async ([name, { series, ...options }]) => {
    const given = { ...options, height: 132, series: series.map((label) => ({ label })) };
    return [name, await timeSeries(find(`chart-${name}`), given)];
  });
  charts = await Promise.all(entries);
}

function draw() {
  const marks = hour.marks.map((mark) => ({ time: mark.at, label: mark.kind === "ejected" ? `${mark.provider} ejected` : "reloaded" }));
  for (const [name, chart] of charts) {
    const values = CHARTS[name].series.map((_, i) => hour.rows.map((one) => one[name][i]));
    chart.show(hour.times, values, marks);
  }
}

// What the server has made rows of: other models or deployments need a page of their own.
const shape = (answer) => JSON.stringify(answer.models.map((model) => [
  model.model, model.space, model.deployments.map((one) => [one.provider, one.deployment, one.tier, !one.quota]),
]));

let since = 0, seen = "", shown = "", isPaused = false, isAsking = false, took = 0, timer;

async function poll() {
  clearTimeout(timer);
  if (isPaused || isAsking || document.hidden) return;
  isAsking = true;
  const begun = performance.now();
  try {
    const answer = await getJson(`api/now?since=${since}`);
    took = performance.now() - begun;
    if (seen && seen !== shape(answer)) return location.reload();
    seen = shape(answer);
    since = answer.until;
    fill(answer);
    fillErrors(answer.errors);
    add(answer);
    const version = JSON.stringify([hour.times.at(-1), hour.marks]);
    if (version !== shown) {
      shown = version;
      fillMarks(hour.marks);
      draw();
    }
    const workers = answer.workers.answered.length;
    say(`${workers} worker${workers === 1 ? "" : "s"} · figures of the last half minute, new every 2 seconds`);
  } catch (error) {
    say(`No new figures: ${error.message} Trying again.`);
  }
  isAsking = false;
  timer = setTimeout(poll, Math.max(INTERVAL_MS, Math.min(MAX_PAUSE_MS, PAUSE_OF_ANSWER_TIME * took)));
}

function say(text) {
  if (find("status").textContent !== text) find("status").textContent = text;
}

find("pause").hidden = false;
find("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  find("pause").textContent = isPaused ? "Continue" : "Pause";
  if (isPaused) say("Paused.");
  poll();
});
document.addEventListener("visibilitychange", poll);
await makeCharts();
poll();
