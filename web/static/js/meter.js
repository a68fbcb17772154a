// Says how strong the password being typed is: the server judges it as it will on submit, and keeps nothing.

import { ask } from "./http.js";

const PAUSE_MS = 400;

export default function meter(place) {
  const field = document.getElementById(place.dataset.field);
  const bar = place.querySelector("meter");
  const words = place.querySelector("[data-said]");
  if (!field) return;
  let timer = 0;
  let asked = null;
  const say = (mark, text) => { bar.value = mark; bar.textContent = text; words.textContent = text; };
  const judge = async () => {
    asked = new AbortController();
    const username = field.form?.elements.namedItem("username")?.value;
    try {
      const answer = await ask(place.dataset.url, { method: "POST", body: { password: field.value, username }, signal: asked.signal });
      say(answer.mark, answer.words);
    } catch (error) {
      if (error.name !== "AbortError") place.hidden = true; // busy or away: the form itself still says why it refuses
    }
  };
  const typed = () => {
    clearTimeout(timer);
    asked?.abort();
    place.hidden = field.value === "";
    if (field.value === "") return say(0, "");
    timer = setTimeout(judge, PAUSE_MS);
  };
  field.addEventListener("input", typed);
  if (field.value !== "") typed(); // before this script came
}
