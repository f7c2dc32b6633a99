// Checks the settings file when the page is open; without this, the button does.
import { postJson } from "./console.js";

const place = document.getElementById("result");
const button = document.getElementById("check");
const make = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text });

function show(mistakes) {
  if (!mistakes.length) {
    place.replaceChildren(make("p", "message", "No mistakes: a reload would use it."));
    return;
  }
  const count = `${mistakes.length} mistake${mistakes.length > 1 ? "s" : ""}`;
  const list = make("ul", "mistakes", "");
  for (const line of mistakes) {
    const entry = make("li", "", "");
    entry.append(make("code", "", line));
    list.append(entry);
  }
  place.replaceChildren(make("p", "message failed", `A reload would be refused: ${count}.`), list);
}

async function check() {
  button.disabled = true;
  place.replaceChildren(make("p", "dim", "Checking …"));
  try {
    show((await postJson("api/settings/check", {})).data);
  } catch (error) {
    place.replaceChildren(make("p", "message failed", error.message));
  }
  button.disabled = false;
}

button.form.addEventListener("submit", (event) => {
  event.preventDefault();
  check();
});
if (!place.childElementCount) check();
