// Files dropped, pasted or chosen: each is sent as a raw body with its own progress, speed, cancel and retry.

import { csrf } from "./http.js";
import { fill, size } from "./wording.js";

const AT_ONCE = 2;
const TYPED = /^(\d{1,2})[ /.-]?(\d{1,2})[ /.-]?(\d{4}|\d{2})$/;

// A day as people type it (12/03/2026, 120326) in ISO 8601; anything else as it is, for the server to refuse by name.
function isoDay(text) {
  const match = TYPED.exec(text);
  if (!match) return text;
  const [, day, month, year] = match;
  const century = Number(year) + 2000 > new Date().getFullYear() ? "19" : "20";
  return `${year.length === 2 ? century + year : year}-${month.padStart(2, "0")}-${day.padStart(2, "0")}`;
}

export default function upload(form) {
  const says = form.dataset;
  const list = form.querySelector("[data-list]");
  const drop = form.querySelector("[data-drop]");
  const chooser = form.querySelector("input[type=file]");
  const shape = form.querySelector("template[data-row]");
  const waiting = [];
  let active = 0;
  form.dataset.live = "";
  chooser.required = false;

  function time(seconds) {
    return seconds < 90 ? fill(says.saysSeconds, Math.max(1, Math.round(seconds))) : fill(says.saysMinutes, Math.round(seconds / 60));
  }

  function add(file) {
    const row = shape.content.firstElementChild.cloneNode(true);
    row.querySelector(".upload-name").textContent = file.name;
    list.append(row);
    const job = {
      file, row,
      note: row.querySelector(".upload-note"),
      bar: row.querySelector("progress"),
      cancel: row.querySelector("[data-cancel]"),
      retry: row.querySelector("[data-retry]"),
    };
    job.cancel.addEventListener("click", () => stop(job));
    job.retry.addEventListener("click", () => queue(job));
    if (file.size > Number(says.limit)) { end(job, "failed", fill(says.saysLarge, size(Number(says.limit)))); return; }
    queue(job);
  }

  function queue(job) {
    job.type = form.elements.type.value;
    job.date = isoDay(form.elements.act_date.value.trim());
    state(job, "waiting", says.saysWaiting);
    job.bar.value = 0;
    job.retry.hidden = true;
    job.cancel.hidden = false;
    waiting.push(job);
    next();
  }

  function next() {
    while (active < AT_ONCE && waiting.length) send(waiting.shift());
    if (!active && !waiting.length) window.removeEventListener("beforeunload", hold);
    else window.addEventListener("beforeunload", hold);
  }

  function hold(event) { event.preventDefault(); }

  function state(job, name, note) { job.row.dataset.state = name; job.note.textContent = note; }

  function end(job, name, note) {
    state(job, name, note);
    job.cancel.hidden = true;
    job.retry.hidden = name !== "failed";
    job.bar.classList.toggle("progress-good", name === "done");
    job.bar.classList.toggle("progress-bad", name === "failed");
  }

  function stop(job) {
    const at = waiting.indexOf(job);
    if (at >= 0) { waiting.splice(at, 1); end(job, "failed", says.saysCancelled); next(); }
    else job.request?.abort();
  }

  function send(job) {
    active += 1;
    const request = new XMLHttpRequest();
    job.request = request;
    const began = performance.now();
    const query = new URLSearchParams({ patient: says.patient, type: job.type });
    if (job.date) query.set("act_date", job.date);
    request.open("POST", `${says.url}?${query}`);
    request.setRequestHeader("X-CSRF-Token", csrf());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Content-Disposition", `attachment; filename*=UTF-8''${encodeURIComponent(job.file.name)}`);
    request.upload.addEventListener("progress", (event) => {
      const speed = event.loaded / Math.max(0.001, (performance.now() - began) / 1000);
      job.bar.value = (100 * event.loaded) / event.total;
      if (event.loaded === event.total) state(job, "sealing", says.saysSealing);
      else state(job, "sending", fill(says.saysSent, size(event.loaded), size(event.total), size(speed), time((event.total - event.loaded) / speed)));
    });
    request.addEventListener("load", () => finished(job, request));
    request.addEventListener("error", () => over(job, "failed", says.saysOffline));
    request.addEventListener("abort", () => over(job, "failed", says.saysCancelled));
    request.send(job.file);
  }

  function finished(job, request) {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* a proxy's page: the status says enough */ }
    if (request.status === 201) over(job, "done", answer.is_elsewhere ? says.saysElsewhere : says.saysDone, answer.id, answer.is_elsewhere);
    else if (request.status === 409) over(job, "failed", says.saysPresent);
    else over(job, "failed", answer.title ? `${answer.title}. ${answer.detail}` : says.saysOffline);
  }

  function over(job, name, note, id, toCheck = false) {
    active -= 1;
    end(job, name, note);
    if (id) filed(job, id);
    if (toCheck) job.row.dataset.check = "";
    document.dispatchEvent(new Event("coffre:activity"));
    next();
    const jobs = [...list.querySelectorAll(".upload")];
    if (!active && !waiting.length && jobs.every((row) => row.dataset.state === "done" && !("check" in row.dataset))) {
      location.assign(jobs.length === 1 && id ? `${says.document.replace("__id__", id)}?done=document-filed` : `${location.pathname}?done=document-filed`);
    }
  }

  function filed(job, id) {
    const link = document.createElement("a");
    link.href = says.document.replace("__id__", id);
    link.textContent = job.file.name;
    job.row.querySelector(".upload-name").replaceChildren(link);
  }

  const take = () => { [...chooser.files].forEach(add); chooser.value = ""; };
  chooser.addEventListener("change", take);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      drop.dataset.over = "";
    });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) delete drop.dataset.over; });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    delete drop.dataset.over;
    [...event.dataTransfer.files].forEach(add);
  });
  document.addEventListener("paste", (event) => {
    if (event.target.closest("input, textarea")) return;
    [...event.clipboardData.files].forEach(add);
  });
  take(); // chosen before this script was there
}
