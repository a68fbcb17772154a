// Makes up a pass-phrase of seven words in the page: the words come once, the choice never leaves the browser.

const WORDS = 7;

function below(bound) {
  const limit = 0x10000 - (0x10000 % bound); // what falls over the last whole multiple is drawn again: no bias
  const draw = new Uint16Array(1);
  do crypto.getRandomValues(draw); while (draw[0] >= limit);
  return draw[0] % bound;
}

export default function phrase(line) {
  const field = document.getElementById(line.dataset.field);
  const shown = line.querySelector("[data-phrase]");
  if (!field || !window.crypto) return;
  line.hidden = false;
  let words = null;
  line.querySelector("[data-make]").addEventListener("click", async () => {
    words ??= (await (await fetch(line.dataset.words)).text()).split(/\s+/).filter(Boolean);
    const left = [...words];
    const chosen = Array.from({ length: WORDS }, () => left.splice(below(left.length), 1)[0]);
    field.value = chosen.join("-");
    shown.hidden = false;
    shown.textContent = field.value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
