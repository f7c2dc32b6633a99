// What every page of the console does, and what the modules of pages import.

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

// GET JSON of a path below /console. Throws an Error with the server's message.
export const getJson = (path) => ask(path, {});

// POST JSON to a path below /console, with the session's CSRF token.
export const postJson = (path, body) =>
  ask(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": meta("csrf") },
    body: JSON.stringify(body),
  });

async function ask(path, options) {
  const headers = { accept: "application/json", ...options.headers };
  const answer = await fetch(meta("root") + path, { ...options, headers, redirect: "error" });
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) location.reload(); // the session has ended: show the way to log in
  if (!answer.ok) throw new Error(body.error?.message ?? `The server answered ${answer.status}.`);
  return body;
}

// Calls a function now and whenever the colours change, until the page is left.
export function onTheme(redraw) {
  document.addEventListener("themechange", redraw);
  darkSystem.addEventListener("change", redraw);
}

// Shows times in the reader's zone; the server writes UTC.
export function showLocalTimes(parent = document) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const time of parent.querySelectorAll("time[datetime]")) {
    time.title = time.dateTime;
    time.textContent = format.format(new Date(time.dateTime));
  }
}

const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (darkSystem.matches ? "dark" : "light")) === "dark";

function prepareThemeButton(button) {
  const describe = () => button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  describe();
  button.hidden = false;
  darkSystem.addEventListener("change", describe);
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // Storage is off: the choice holds for this page.
    }
    describe();
    document.dispatchEvent(new Event("themechange"));
  });
}

// What is wider than its place can be scrolled with the keyboard, too.
function letScroll() {
  for (const place of document.querySelectorAll(".scroll, pre")) {
    if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
  }
}

// A form or button with data-confirm="…" asks before it sends.
function askBeforeSending(event) {
  const text = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (text && !confirm(text)) event.preventDefault();
}

prepareThemeButton(document.getElementById("theme"));
document.addEventListener("submit", askBeforeSending);
addEventListener("resize", letScroll);
showLocalTimes();
letScroll();
