// How the page Now shows values: app/console/live/values.py writes the same.
const NOTHING = "–";

export const digits = (value, most) => value.toLocaleString("en-US", { minimumFractionDigits: most, maximumFractionDigits: most });
const three = (value) => String(Number(value.toPrecision(3)));
const known = (show) => (value) => (value == null ? NOTHING : show(value));
export const short = known((value) => {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (Math.abs(value) >= size * 0.9995) return `${three(value / size)} ${unit}`;
  }
  return three(value);
});
export const duration = known((ms) => (ms < 999.5 ? `${three(ms)} ms` : ms < 999500 ? `${three(ms / 1000)} s` : `${digits(ms / 1000, 0)} s`));
const percent = known((share) => `${three(100 * share)} %`);
export const money = known((value) => {
  if (value > 0 && value < 0.00005) return "<$0.0001";
  return `$${digits(value, Math.abs(value) >= 1 || !value ? 2 : 4)}`;
});
export const KINDS = {
  short,
  duration,
  percent,
  money,
  count: known((value) => digits(value, 0)),
  cosine: known((value) => digits(value, 5)),
  wait: (seconds) => (seconds ? `for ${digits(seconds, 0)} s` : ""),
  slow: (share) => (share < 1 ? `slow start, ${percent(share)}` : ""),
  from: (source) => (source === "ledger" ? "of the ledger" : "since the server started"),
  error: (text) => (text ? `Last error: ${text}` : ""),
  state: (state) => state,
  workers: (byState) => {
    const states = Object.entries(byState);
    return states.length === 1 ? "" : states.map(([state, number]) => `${state} in ${number}`).join(", ");
  },
};
export const STATE_CLASSES = { ok: "good", resting: "warn", ejected: "bad", drifted: "bad" };
