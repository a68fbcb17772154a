// The inbox by keyboard: the queue, the page and the form change in place, so that transfers go on underneath.

import { camera } from "./camera.js";
import { Problem, ask } from "./http.js";
import { arrivals, transfers } from "./transfers.js";
import { birthDate, made } from "./wording.js";

// A page of this site as a document: parsed by the browser's own loader, scripts inert.
function fetched(url, { method = "GET", body, signal } = {}) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    request.addEventListener("load", () => done({ page: request.responseXML, url: request.responseURL, ok: request.status < 400 }));
    request.addEventListener("error", () => failed(new TypeError("network")));
    request.addEventListener("abort", () => failed(new DOMException("aborted", "AbortError")));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

const typing = (element) => element.closest("input:not([type=hidden]), textarea, select");

export default function inbox(tray) {
  const drop = tray.querySelector("[data-drop]");
  const list = tray.querySelector("[data-list]");
  const chooser = drop.querySelector("input[type=file]");
  const part = (name) => tray.querySelector(`[data-${name}]`);
  let going = null;
  drop.dataset.live = "";
  part("plain").hidden = true;
  chooser.required = false;

  // --- going on without leaving the page ---

  async function go(url, options = {}) {
    going?.abort();
    going = new AbortController();
    tray.setAttribute("aria-busy", "true");
    try {
      const response = await fetched(url, { signal: going.signal, ...options });
      const found = response.page?.querySelector(".tray");
      if (!found) { location.assign(response.url); return; }
      take(found, response.page, !options.method);
      const address = new URL(response.url);
      for (const name of ["filed", "to", "doubt", "refused", "done"]) address.searchParams.delete(name);
      if (!options.method) history.pushState(null, "", address);
      else history.replaceState(null, "", response.ok ? address : location.href);
    } catch (problem) {
      if (problem.name !== "AbortError") location.reload();
    } finally {
      tray.removeAttribute("aria-busy");
    }
  }

  // What was filed last stays in sight, and can be undone, while others are looked at.
  function take(found, page, keeps) {
    const last = keeps ? tray.querySelector(".tray-last") : null;
    for (const name of ["queue", "desk"]) part(name).replaceWith(found.querySelector(`[data-${name}]`));
    for (const [here, there] of [[".tabs", ".tabs"]]) document.querySelector(here)?.replaceWith(page.querySelector(there) ?? "");
    if (last && !tray.querySelector(".tray-last")) tray.querySelector(".tray-form")?.prepend(last);
    document.dispatchEvent(new CustomEvent("coffre:mount", { detail: part("desk") }));
    ready();
  }

  function ready() {
    part("opens")?.removeAttribute("hidden");
    const isDesk = matchMedia("(min-width: 861px)").matches; // a telephone would scroll away and open its keyboard
    if (isDesk) part("queue").querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" });
    const form = part("file");
    const wanted = !form ? null : !form.elements.patient.value ? tray.querySelector("#who") : !form.elements.type.value ? form.elements.type : form.elements.act_date.value ? form.querySelector("[type=submit]") : form.elements.act_date;
    if (isDesk) wanted?.focus({ preventScroll: true });
    if (form) search(part("search"));
  }

  tray.addEventListener("click", (event) => {
    const link = event.target.closest(".tray-item, [data-skip], [data-found] a, .tray-pages a.button");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) { event.preventDefault(); go(link.href); }
    if (event.target.closest("[data-opens]")) tray.querySelector("#discard").showModal();
    if (event.target.closest("[data-closes]")) tray.querySelector("#discard").close();
  });

  tray.addEventListener("submit", (event) => {
    const form = event.target;
    if (form === drop) { event.preventDefault(); return; }
    if (!form.matches("[data-file], [data-undo], [data-discard]")) return;
    event.preventDefault();
    if (form.matches("[data-file]") && !form.elements.patient.value) { tray.querySelector("#who").focus(); return; }
    if (form.matches("[data-file]") && tray.hasAttribute("aria-busy")) return;
    go(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  });

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey) {
      const field = typing(event.target);
      if (field && field.value && field.tagName !== "SELECT") return;
      const form = part("undo");
      if (form) { event.preventDefault(); form.requestSubmit(); }
    } else if (event.key === "ArrowRight" && !typing(event.target) && !event.altKey && !event.ctrlKey && !event.metaKey) {
      const skip = part("skip");
      if (skip) { event.preventDefault(); go(skip.href); }
    } else if (event.key === "Enter" && event.target === part("file")?.elements.type) {
      event.preventDefault();
      part("file").requestSubmit();
    }
  });
  window.addEventListener("popstate", () => location.reload());

  // --- the patient ---

  function search(form) {
    const input = form.querySelector("input[type=search]");
    const found = form.querySelector("[data-found]");
    const says = form.dataset;
    let running = null;
    let timer = 0;
    let chosen = 0;
    let shownFor = null;
    let wantsFirst = false;
    const options = () => [...found.querySelectorAll("a")];

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
      const note = made("span", { className: "row-note", text: ` ${birthDate(patient.birth_date)} · ${patient.sex}${patient.used_name ? ` (${patient.used_name})` : ""}` });
      return made("a", { className: "row-link", id: `tray-found-${index}`, role: "option", "aria-selected": "false", tabindex: "-1", href: says.pick.replace("__id__", patient.id) }, made("span", { className: "row-main" }, name, note));
    }

    async function find() {
      const text = input.value.trim();
      running?.abort();
      if (text.length < 2) { found.replaceChildren(); return; }
      running = new AbortController();
      try {
        const answer = await ask(says.url, { method: "POST", body: { q: text, limit: 8 }, signal: running.signal });
        shownFor = text;
        const parts = answer.patients.map(row);
        if (!parts.length) parts.push(made("p", { className: "search-note", text: says.nothing }));
        if (answer.more) parts.push(made("p", { className: "search-note", text: says.more }));
        found.replaceChildren(...parts);
        choose(0);
        if (wantsFirst && options().length) go(options()[0].href);
        wantsFirst = false;
      } catch (problem) {
        if (problem.name !== "AbortError") found.replaceChildren(made("p", { className: "search-note", text: problem instanceof Problem ? problem.message : says.failed }));
      }
    }

    found.setAttribute("role", "listbox");
    found.setAttribute("aria-label", says.results);
    found.id = "tray-found";
    Object.entries({ role: "combobox", "aria-expanded": "true", "aria-controls": "tray-found", "aria-autocomplete": "list" }).forEach(([name, value]) => input.setAttribute(name, value));
    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 90); });
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(chosen + (event.key === "ArrowDown" ? 1 : -1)); }
      if (event.key === "Escape") { input.value = ""; found.replaceChildren(); }
      if (event.key !== "Enter") return;
      event.preventDefault();
      const text = input.value.trim();
      if (!text && part("file").elements.patient.value) part("file").requestSubmit();
      else if (options()[chosen] && shownFor === text) go(options()[chosen].href);
      else if (text.length > 1) { wantsFirst = true; clearTimeout(timer); find(); }
    });
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  // --- files coming in ---

  const queue = transfers({
    says: tray.dataset,
    list,
    shape: tray.querySelector("template[data-row]"),
    address: () => tray.dataset.deposit,
    ended: (job, answer, left) => {
      if (answer) setTimeout(() => job.row.remove(), 1200);
      const empty = !part("queue").children.length;
      if (answer && (empty || left % 5 === 0)) refresh(empty ? tray.dataset.show.replace("__id__", answer.id) : null);
    },
  });

  // The queue alone, where somebody is in the middle of a form; the whole desk where nothing was on it.
  async function refresh(url) {
    if (url) { await go(url); return; }
    const response = await fetched(location.href);
    const found = response.page?.querySelector("[data-queue]");
    if (response.ok && found) part("queue").replaceWith(found);
  }

  const take_in = (files) => files.forEach(queue.add);
  arrivals({ chooser, zone: drop.querySelector(".drop"), take: take_in });
  const dialog = document.getElementById("camera");
  camera({ dialog, opener: tray.querySelector("[data-webcam]"), lenses: document.querySelectorAll("[data-lens] input"), take: queue.add });
  ready();
}
