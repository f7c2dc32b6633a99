// Shows at once what a bar is made of. Without this module the browser shows it, a second later.
for (const plane of document.querySelectorAll(".bars .plane")) {
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true, ariaHidden: "true" });
  plane.append(tip);
  for (const place of plane.querySelectorAll(".places rect")) {
    const title = place.querySelector("title");
    const text = title.textContent;
    title.remove();
    place.addEventListener("pointerenter", () => show(text, place));
  }
  plane.addEventListener("pointerleave", () => { tip.hidden = true; });

  function show(text, place) {
    const [first, ...others] = text.split("\n");
    tip.replaceChildren(Object.assign(document.createElement("strong"), { textContent: first }), `\n${others.join("\n")}`);
    tip.hidden = false;
    const bar = place.getBoundingClientRect();
    const frame = plane.getBoundingClientRect();
    const left = bar.left + bar.width / 2 - frame.left - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(left, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${-tip.offsetHeight - 2}px`;
  }
}
