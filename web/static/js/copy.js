// Copies the lines of a list, or the text of an element, to the clipboard.

export default function copy(button) {
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.source);
    const lines = source.children.length ? [...source.children].map((line) => line.textContent.trim()) : [source.textContent.trim()];
    await navigator.clipboard.writeText(lines.join("\n"));
    button.querySelector("span").textContent = button.dataset.done;
  });
}
