// Patients found while one types: results in a list, arrows and Enter. What is typed travels in a body, never in an address.

import { Problem, ask } from "./http.js";
import { birthDate, fill, made } from "./wording.js";

const PAUSE_MS = 90;
const FOUND = 8;

// `says` holds the address and the sentences; `href` the address of a patient with __id__ in it. `open` goes there, `shown`
// hears whether there is anything to see, `left` of Escape, and `nothing` of Enter in an empty field.
export function finder({ input, list, says, href, open, shown, left, nothing = () => {} }) {
  let chosen = 0;
  let running = null;
  let timer = 0;
  let shownFor = null;
  let wantsFirst = false;
  const options = () => [...list.querySelectorAll("[role=option]")];

  function show(...parts) {
    list.replaceChildren(...parts);
    input.setAttribute("aria-expanded", String(parts.length > 0));
    shown(parts.length > 0);
  }

  function choose(at) {
    const all = options();
    if (!all.length) { input.removeAttribute("aria-activedescendant"); return; }
    chosen = (at + all.length) % all.length;
    all.forEach((option, index) => option.setAttribute("aria-selected", String(index === chosen)));
    input.setAttribute("aria-activedescendant", all[chosen].id);
    all[chosen].scrollIntoView({ block: "nearest" });
  }

  const note = (text, className = "search-note") => made("p", { className, text });

  function row(patient, index) {
    const name = made("span", { className: "row-title", text: `${patient.birth_name.toLocaleUpperCase()} ${patient.given_names.join(" ")}` });
    const traits = made("span", { className: "row-note", text: ` ${patient.used_name ? `(${patient.used_name}) ` : ""}${birthDate(patient.birth_date)} · ${patient.sex}` });
    const others = patient.merged.length ? [made("span", { className: "row-note row-merged", text: fill(says.merged, patient.merged.join(", ")) })] : [];
    const about = { className: "row-link", role: "option", id: `${list.id}-${index}`, "aria-selected": "false", tabindex: "-1", href: href.replace("__id__", patient.id) };
    return made("a", about, made("span", { className: "row-main" }, name, traits, ...others));
  }

  async function find() {
    const text = input.value.trim();
    running?.abort();
    if (text.length < 2) { show(); return; }
    running = new AbortController();
    try {
      const found = await ask(says.url, { method: "POST", body: { q: text, limit: FOUND }, signal: running.signal });
      shownFor = text;
      show(...(found.patients.length ? found.patients.map(row) : [note(says.nothing)]), ...(found.more ? [note(says.more)] : []));
      choose(0);
      if (wantsFirst && options().length) open(options()[0].href);
      wantsFirst = false;
    } catch (problem) {
      if (problem.name !== "AbortError") show(note(problem instanceof Problem ? problem.message : says.failed));
    }
  }

  function enter() {
    const text = input.value.trim();
    const link = options()[chosen];
    if (!text) nothing();
    else if (link && shownFor === text) open(link.href);
    else if (text.length > 1) { wantsFirst = true; clearTimeout(timer); find(); }
  }

  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", says.results);
  const box = { role: "combobox", "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list" };
  Object.entries(box).forEach(([name, value]) => input.setAttribute(name, value));
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, PAUSE_MS); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(chosen + (event.key === "ArrowDown" ? 1 : -1)); }
    if (event.key === "Escape") left(show);
    if (event.key === "Enter") { event.preventDefault(); enter(); }
  });
}
