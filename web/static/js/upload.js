// Files for one patient, dropped, pasted or chosen: each is filed with the type and the date that stand beside the drop zone.

import { arrivals } from "./arrivals.js";
import { transfers } from "./transfers.js";

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
  const chooser = form.querySelector("input[type=file]");
  form.dataset.live = "";
  chooser.required = false;

  const queue = transfers({
    says,
    list,
    shape: form.querySelector("template[data-row]"),
    prepare: (job) => { job.type = form.elements.type.value; job.date = isoDay(form.elements.act_date.value.trim()); job.urgent = form.elements.urgent.checked; },
    address: (job) => `${says.url}?${new URLSearchParams({ patient: says.patient, type: job.type, ...(job.date ? { act_date: job.date } : {}), ...(job.urgent ? { urgent: "true" } : {}) })}`,
    ended: (job, answer, left) => {
      if (answer) filed(job, answer);
      else if (job.problem?.field) marked(job.problem.field);
      const rows = [...list.querySelectorAll(".upload")];
      if (left || !rows.every((row) => row.dataset.state === "done" && !("check" in row.dataset))) return;
      location.assign(rows.length === 1 ? `${says.document.replace("__id__", answer.id)}?done=document-filed` : `${location.pathname}?done=document-filed`);
    },
  });

  function filed(job, record) {
    const link = document.createElement("a");
    link.href = says.document.replace("__id__", record.id);
    link.textContent = job.file.name;
    job.row.querySelector(".upload-name").replaceChildren(link);
    if (record.is_elsewhere) job.row.dataset.check = "";
  }

  // The field that was refused says so until somebody changes it; the row of the file says why.
  function marked(name) {
    const field = form.elements.namedItem(name);
    if (!field || field.type === "hidden") return;
    field.setAttribute("aria-invalid", "true");
    field.addEventListener("input", () => field.removeAttribute("aria-invalid"), { once: true });
    field.focus();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  const take = (files) => files.forEach(queue.add);
  const chosen = [...chooser.files]; // before this script was there
  arrivals({ chooser, zone: form.querySelector("[data-drop]"), name: says.saysPasted, take });
  if (chosen.length) { chooser.value = ""; take(chosen); }
}
