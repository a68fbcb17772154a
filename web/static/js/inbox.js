// The inbox by keyboard: the queue, the page and the form change in place, so that transfers go on underneath.

import { arrivals } from "./arrivals.js";
import { camera } from "./camera.js";
import { finder } from "./finder.js";
import { transfers } from "./transfers.js";

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
    const list = form.querySelector("[data-found]");
    list.id = "tray-found";
    finder({
      input,
      list,
      says: form.dataset,
      href: form.dataset.pick,
      open: go,
      shown: () => {},
      left: (show) => { input.value = ""; show(); },
      nothing: () => { if (part("file").elements.patient.value) part("file").requestSubmit(); },
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
  arrivals({ chooser, folder: drop.querySelector("[data-folder] input"), zone: drop.querySelector(".drop"), name: tray.dataset.saysPasted, take: take_in });
  const dialog = document.getElementById("camera");
  camera({ dialog, opener: tray.querySelector("[data-webcam]"), lenses: document.querySelectorAll("[data-lens] input"), take: queue.add });
  ready();
}
