// The patient search of the bar: results while typing, arrows and Enter. The text travels in a body, never in an address.

import { Problem, ask } from "./http.js";
import { birthDate, fill, made } from "./wording.js";

export default function search(frame) {
  const input = frame.querySelector("input[type=search]");
  const { url, open, nothing, more, failed, merged, results: title } = frame.dataset;
  const list = made("div", { className: "search-results", role: "listbox", id: "search-results", "aria-label": title });
  list.hidden = true;
  frame.append(list);
  Object.entries({ role: "combobox", "aria-expanded": "false", "aria-controls": "search-results", "aria-autocomplete": "list" }).forEach(([name, value]) => input.setAttribute(name, value));
  let chosen = -1;
  let running = null;
  let timer = 0;
  let shownFor = "";
  let wantsFirst = false;

  const options = () => [...list.querySelectorAll("[role=option]")];
  const toggle = (isOpen) => { list.hidden = !isOpen; input.setAttribute("aria-expanded", String(isOpen)); };

  function choose(at) {
    const all = options();
    if (!all.length) return;
    chosen = (at + all.length) % all.length;
    all.forEach((option, index) => option.setAttribute("aria-selected", String(index === chosen)));
    input.setAttribute("aria-activedescendant", all[chosen].id);
    all[chosen].scrollIntoView({ block: "nearest" });
  }

  function row(patient, index) {
    const name = made("span", { className: "row-title", text: `${patient.birth_name.toLocaleUpperCase()} ${patient.given_names.join(" ")}` });
    const note = made("span", { className: "row-note", text: ` ${patient.used_name ? `(${patient.used_name}) ` : ""}${birthDate(patient.birth_date)} · ${patient.sex}` });
    const others = patient.merged.length ? [made("span", { className: "row-note row-merged", text: fill(merged, patient.merged.join(", ")) })] : [];
    return made("a", { className: "row-link", role: "option", id: `found-${index}`, "aria-selected": "false", tabindex: "-1", href: open.replace("__id__", patient.id) }, made("span", { className: "row-main" }, name, note, ...others));
  }

  function show(found) {
    const parts = found.patients.map(row);
    if (!parts.length) parts.push(made("p", { className: "search-note", text: nothing }));
    if (found.more) parts.push(made("p", { className: "search-note", text: more }));
    list.replaceChildren(...parts);
    chosen = -1;
    toggle(true);
    choose(0);
    if (wantsFirst && options().length) location.assign(options()[0].href);
    wantsFirst = false;
  }

  async function find() {
    const text = input.value.trim();
    running?.abort();
    if (text.length < 2) { toggle(false); return; }
    running = new AbortController();
    try {
      const found = await ask(url, { method: "POST", body: { q: text, limit: 8 }, signal: running.signal });
      shownFor = text;
      show(found);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      list.replaceChildren(made("p", { className: "search-note", text: problem instanceof Problem ? problem.message : failed }));
      toggle(true);
    }
  }

  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 90); });
  input.addEventListener("focus", () => { if (list.childElementCount && input.value.trim().length > 1) toggle(true); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(chosen + (event.key === "ArrowDown" ? 1 : -1)); }
    if (event.key === "Escape") { toggle(false); input.blur(); }
    if (event.key === "Enter" && input.value.trim().length > 1) {
      const link = options()[chosen];
      event.preventDefault();
      if (link && shownFor === input.value.trim()) location.assign(link.href);
      else { wantsFirst = true; clearTimeout(timer); find(); }
    }
  });
  document.addEventListener("click", (event) => { if (!frame.contains(event.target)) toggle(false); });
}
