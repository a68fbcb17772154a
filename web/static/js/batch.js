// Several files sent together, told as one: how many are in, how many want somebody's eyes.

import { fill } from "./wording.js";

// `part` is shown from the second file on; `list` then no longer speaks of every file to screen readers.
export function batch({ part, list, says }) {
  const note = part.querySelector("[data-batch-note]");
  const bar = part.querySelector("progress");
  let run = { all: 0, over: 0, wrong: 0 };
  let isGathering = false; // files of one drop come one after the other, and one that is too large ends at once

  return {
    // `isIdle` where nothing else is under way.
    begun(isIdle) {
      if (isIdle && !isGathering) run = { all: 0, over: 0, wrong: 0 };
      isGathering = true;
      setTimeout(() => { isGathering = false; });
      run.all += 1;
      show();
    },
    // One that had ended badly is tried once more.
    again() {
      if (!run.wrong) { this.begun(true); return; }
      run.over -= 1;
      run.wrong -= 1;
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
