// Several files sent together, told as one: how many are in, how many want somebody's eyes.

import { fill } from "./wording.js";

// `part` is shown from the second file on; `list` then no longer speaks of every file to screen readers.
export function batch({ part, list, says }) {
  const note = part.querySelector("[data-batch-note]");
  const bar = part.querySelector("progress");
  let run = { all: 0, over: 0, wrong: 0 };

  return {
    // `isNew` where nothing else was under way.
    begun(isNew) {
      if (isNew) run = { all: 0, over: 0, wrong: 0 };
      run.all += 1;
      show();
    },
    ended(isGood) {
      run.over += 1;
      run.wrong += !isGood;
      show();
    },
  };

  function show() {
    part.hidden = run.all < 2;
    list.setAttribute("aria-live", run.all < 2 ? "polite" : "off");
    bar.value = (100 * run.over) / run.all;
    const wrong = run.wrong ? ` · ${fill(says.saysWrong, run.wrong)}` : "";
    note.textContent = fill(says.saysBatch, run.over - run.wrong, run.all) + wrong;
  }
}
