// The page of a new key: a button that copies it.
const button = document.getElementById("copy");
if (navigator.clipboard) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById("plaintext").textContent);
    button.textContent = "Copied";
  });
}
