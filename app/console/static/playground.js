// The playground: which text a mark stands for, on hover and by the keyboard; the rest works without.

const form = document.getElementById("playground");
const texts = document.getElementById("texts");
const file = document.getElementById("file");
const button = document.getElementById("embed");
const row = (number) => document.querySelector(`table.texts tr[data-number="${number}"]`);
const textOf = (number) => row(number)?.querySelector("th").textContent ?? "";
const clip = (text) => (text.length > 90 ? `${text.slice(0, 89)}…` : text);

function prepareForm() {
  const count = document.getElementById("count");
  const most = count.textContent;
  const show = () => {
    const lines = texts.value.split("\n").filter((line) => line.trim()).length;
    count.textContent = file.files.length ? "The file is embedded, not these." : `${lines} texts. ${most}`;
  };
  const check = () => {
    const size = file.files[0]?.size ?? new Blob([texts.value]).size;
    const isTooLarge = size > Number(form.dataset.maxBytes);
    (file.files.length ? file : texts).setCustomValidity(isTooLarge ? "At most 1 MB." : "");
    if (!isTooLarge) [file, texts].forEach((field) => field.setCustomValidity(""));
    show();
  };
  texts.addEventListener("input", check);
  file.addEventListener("change", check);
  check();
  form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = "Embedding …";
  });
  addEventListener("pageshow", () => { // also when the reader comes back to the page
    button.disabled = false;
    button.textContent = "Embed";
  });
}

// Marks a text wherever it is shown: its points, and its row.
function light(numbers) {
  for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
  for (const number of numbers) {
    for (const place of document.querySelectorAll(`.point[data-number="${number}"]`)) place.classList.add("lit");
    row(number)?.classList.add("lit");
  }
}

function prepareMap(map) {
  const readout = map.parentElement.querySelector(".readout");
  const usual = readout.textContent;
  const circles = [...map.querySelectorAll("circle")];
  const show = (circle) => {
    const number = circle?.parentElement.dataset.number;
    light(number ? [number] : []);
    readout.textContent = number ? `${number}: ${textOf(number)}` : usual;
  };
  map.addEventListener("pointerover", (event) => show(event.target.closest(".point")?.querySelector("circle")));
  map.addEventListener("pointerleave", () => show(null));
  map.addEventListener("focusin", (event) => show(event.target));
  map.addEventListener("focusout", () => show(null));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = circles.indexOf(event.target);
    const next = circles[(at + step + circles.length) % circles.length];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function prepareHeat(heat) {
  const readout = heat.parentElement.querySelector(".readout");
  const usual = readout.textContent;
  const cursor = heat.querySelector(".cursor");
  const { count, margin, cell } = Object.fromEntries(["count", "margin", "cell"].map((name) => [name, Number(heat.dataset[name])]));
  const values = heat.dataset.values.split(" ").map(Number);
  const cosine = (i, j) => (i === j ? 1 : values[(Math.max(i, j) * (Math.max(i, j) - 1)) / 2 + Math.min(i, j)] / 1000);
  let at = null;
  const show = (place) => {
    at = place;
    cursor.setAttribute("visibility", place ? "visible" : "hidden");
    if (!place) {
      light([]);
      readout.textContent = usual;
      return;
    }
    const [i, j] = place;
    cursor.setAttribute("x", margin + j * cell);
    cursor.setAttribute("y", margin + i * cell);
    light([i + 1, j + 1]);
    readout.textContent = `${cosine(i, j).toFixed(3)}: ${i + 1} ${clip(textOf(i + 1))} · ${j + 1} ${clip(textOf(j + 1))}`;
  };
  const inside = (i) => i >= 0 && i < count;
  heat.addEventListener("pointermove", (event) => {
    const box = heat.getBoundingClientRect();
    const place = [event.clientY - box.top, event.clientX - box.left].map((d) => Math.floor(((d / box.width) * 440 - margin) / cell));
    show(place.every(inside) ? place : null);
  });
  heat.addEventListener("pointerleave", () => show(null));
  heat.tabIndex = 0;
  heat.addEventListener("focus", () => at ?? show([0, Math.min(1, count - 1)]));
  heat.addEventListener("blur", () => show(null));
  heat.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowUp: [-1, 0] }[event.key];
    if (!step || !at) return;
    event.preventDefault();
    const next = [at[0] + step[0], at[1] + step[1]];
    if (next.every(inside)) show(next);
  });
}

// Behind a prefix the API is below it, too: the server does not know it.
function correctAddress(pre) {
  const root = document.querySelector('meta[name="root"]').content;
  const actual = new URL(`${root}../v1`, location.href).href;
  pre.textContent = pre.textContent.replace(`${location.origin}/v1`, actual);
}

function addCopyButton(pre) {
  if (!navigator.clipboard) return;
  const copy = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.textContent);
    copy.textContent = "Copied";
  });
  pre.after(copy);
}

prepareForm();
document.querySelectorAll("svg.map").forEach(prepareMap);
document.querySelectorAll("svg.heat").forEach(prepareHeat);
for (const pre of document.querySelectorAll(".code pre")) {
  correctAddress(pre);
  addCopyButton(pre);
}
for (const place of document.querySelectorAll("table.texts tbody tr")) {
  place.addEventListener("pointerenter", () => light([place.dataset.number]));
  place.addEventListener("pointerleave", () => light([]));
}
document.getElementById("results")?.scrollIntoView();
