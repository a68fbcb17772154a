// "/" goes to the search from anywhere; Escape leaves a field of the bar.

const typing = (element) => element.closest("input, textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  const field = document.getElementById("q") || document.getElementById("bar-q");
  const isThere = event.target === field && field.value === "";
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || (typing(event.target) && !isThere)) return;
  if (!field || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  field.focus();
  field.select();
});
