// Runs before the page is drawn, so that it is never drawn in the wrong colours.
try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {
  // Storage is off: the colours are those of the system.
}
