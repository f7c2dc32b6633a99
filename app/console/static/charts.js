// Charts over time in the page's colours: lines or bars, with a legend, and a table for who cannot
// see them. uPlot draws; it is loaded when the first chart is made.
import { onTheme } from "./console.js";

const here = (name) => new URL(name, import.meta.url).href;
let loading;

function load() {
  loading ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: here("vendor/uPlot.min.css") });
    const script = Object.assign(document.createElement("script"), { src: here("vendor/uPlot.iife.min.js") });
    script.onload = () => resolve(window.uPlot);
    script.onerror = () => reject(new Error("uPlot cannot be loaded"));
    document.head.prepend(style); // before console.css, which changes some of it
    document.head.append(script);
  });
  return loading;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const make = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

// Rows of labels of marks; a label without place in any is left out.
const MARK_ROWS = 2;

// Seconds between two labels of the time axis.
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 2 * 86400, 7 * 86400, 30 * 86400];

// The label of a time: as exact as the distance of the labels needs.
function tick(options, ticks) {
  const step = ticks[1] - ticks[0];
  const parts = options.days || step >= 86400
    ? { month: "short", day: "numeric" }
    : { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(step < 60 && { second: "2-digit" }) };
  const formatter = new Intl.DateTimeFormat(undefined, parts);
  return (time) => formatter.format(new Date(time * 1000));
}

// Draws a time series into a <figure class="chart">.
//
//   const chart = await timeSeries(figure, {
//     label: "Requests", unit: "/s",             // the caption, and the unit of all values
//     series: [{ label: "answered" }, …],        // at most 6, in the colours --chart-1 …
//     bars: false, stacked: false, height: 160,  // bars instead of lines; on top of each other
//     format: (value) => …, days: false,         // of values; whether times are days
//   });
//   chart.show(times, [values, …], marks)        // seconds since 1970; null: no value;
//                                                // marks: [{time, label}] become vertical lines
export async function timeSeries(figure, options) {
  const uPlot = await load();
  const height = options.height ?? 160;
  const format = options.format ?? ((value) => short.format(value));
  const moment = (time) => (options.days ? day : clock).format(new Date(time * 1000));
  const parts = frame(figure, options);
  parts.plot.style.height = `${height}px`; // by a script: the policy forbids only those in the page
  let shown = { times: [], values: options.series.map(() => []), marks: [] };

  const axis = {
    stroke: () => colour("--dim"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { show: false },
  };
  const plot = new uPlot(
    {
      width: parts.plot.clientWidth || 300,
      height,
      legend: { show: false },
      padding: [6, 26, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 72, incrs: STEPS, values: (_, ticks) => ticks.map(tick(options, ticks)) },
        { ...axis, size: 48, values: (_, ticks) => ticks.map(format), space: 36 },
      ],
      series: [{}, ...options.series.map((one, i) => look(uPlot, options, i))],
      hooks: {
        setCursor: [(u) => describe(u.cursor.idx)],
        draw: [(u) => drawMarks(u, shown.marks)],
      },
    },
    [[], ...options.series.map(() => [])],
    parts.plot,
  );
  new ResizeObserver(() => plot.setSize({ width: parts.plot.clientWidth, height })).observe(parts.plot);
  onTheme(() => plot.redraw(false));
  parts.details.addEventListener("toggle", () => fillTable(parts, options, shown, moment, format));

  function describe(index) {
    const last = index ?? shown.times.length - 1;
    parts.values.forEach((place, i) => {
      const value = shown.values[i][last];
      place.textContent = value == null ? "" : ` ${format(value)}${options.unit ?? ""}`;
    });
    parts.time.textContent = index == null ? "" : moment(shown.times[index]);
  }

  return {
    show(times, values, marks = []) {
      shown = { times, values, marks };
      plot.setData([times, ...(options.stacked ? stack(values) : values)]);
      describe(null);
      parts.plot.setAttribute("aria-label", summary(options, shown, format));
      fillTable(parts, options, shown, moment, format);
    },
  };
}

function frame(figure, options) {
  figure.replaceChildren();
  const caption = make("figcaption", "");
  const legend = make("span", "legend");
  const time = make("span", "");
  const values = options.series.map((one, i) => {
    const entry = make("span", `c${i + 1}`);
    const value = make("b", "");
    entry.append(make("i", ""), one.label, value);
    legend.append(entry);
    return value;
  });
  legend.prepend(time);
  caption.append(make("strong", "", options.label), legend);
  const plot = make("div", "plot");
  plot.setAttribute("role", "img");
  const details = make("details", "");
  const table = make("div", "scroll");
  table.tabIndex = 0;
  table.setAttribute("role", "region");
  table.setAttribute("aria-label", `${options.label} as a table`);
  details.append(make("summary", "", "As a table"), table);
  figure.append(caption, plot, details);
  return { plot, details, table, values, time };
}

function look(uPlot, options, i) {
  const stroke = () => colour(`--chart-${i + 1}`);
  if (!options.bars) return { stroke, width: 1.5, points: { show: true, size: 3, fill: stroke, filter: isolated }, spanGaps: false };
  return { stroke, fill: stroke, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.75, 40] }) };
}

// The values without one before or after: no line shows them, so a point does.
function isolated(u, series) {
  const values = u.data[series];
  return [...values.keys()].filter((i) => values[i] != null && values[i - 1] == null && values[i + 1] == null);
}

// Each series on top of those after it: uPlot draws the later ones over the earlier ones.
function stack(values) {
  const sums = values.map((one) => [...one]);
  for (let i = sums.length - 2; i >= 0; i--) sums[i] = sums[i].map((value, at) => (value ?? 0) + (sums[i + 1][at] ?? 0));
  return sums;
}

function drawMarks(u, marks) {
  const { ctx, bbox } = u;
  const labels = []; // drawn last
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("--warn");
  ctx.font = `${11 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  const free = Array(MARK_ROWS).fill(-Infinity); // by row: from where on there is place for a label
  for (const { time, label } of marks) {
    const x = u.valToPos(time, "x", true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const width = ctx.measureText(label).width + 8 * devicePixelRatio;
    const from = Math.min(x, bbox.left + bbox.width - width);
    const row = free.findIndex((place) => place <= from);
    if (row < 0) continue;
    free[row] = from + width;
    labels.push([label, from + 4 * devicePixelRatio, bbox.top + (10 + 14 * row) * devicePixelRatio]);
  }
  ctx.textAlign = "left";
  ctx.lineWidth = 3 * devicePixelRatio; // a rim, to be read over lines
  ctx.lineJoin = "round";
  ctx.strokeStyle = colour("--panel");
  ctx.setLineDash([]);
  for (const label of labels) ctx.strokeText(...label);
  for (const label of labels) ctx.fillText(...label);
  ctx.restore();
}

function summary(options, shown, format) {
  const parts = options.series.map((one, i) => {
    const values = shown.values[i].filter((value) => value != null);
    if (!values.length) return `${one.label}: no values`;
    const unit = options.unit ?? "";
    const [least, most] = [Math.min(...values), Math.max(...values)].map(format);
    return `${one.label}: last ${format(values.at(-1))}${unit}, least ${least}${unit}, most ${most}${unit}`;
  });
  return `${options.label}. ${parts.join("; ")}.`;
}

function fillTable(parts, options, shown, moment, format) {
  if (!parts.details.open) return;
  const table = make("table", "");
  const head = table.createTHead().insertRow();
  for (const text of ["Time", ...options.series.map((one) => one.label)]) {
    head.append(Object.assign(make("th", text === "Time" ? "" : "number", text), { scope: "col" }));
  }
  const body = table.createTBody();
  for (let i = shown.times.length - 1; i >= 0; i--) {
    const row = body.insertRow();
    row.append(make("td", "", moment(shown.times[i])));
    for (const values of shown.values) row.append(make("td", "number", values[i] == null ? "" : format(values[i])));
  }
  parts.table.replaceChildren(table);
}
