// Files on their way to the vault: a few at a time, each with its own progress, speed, cancel and retry. How one of them gets
// there over a poor line is sending.js's.

import { batch } from "./batch.js";
import { sending } from "./sending.js";
import { fill, size } from "./wording.js";

const AT_ONCE = 2;

// `address(job)` says where a file goes when its turn comes, `prepare(job)` keeps what the form said when it was added or
// retried, `ended(job, answer, left)` hears of each end: `answer` is the record that was made, else `problem` stands in the job.
export function transfers({ says, list, shape, address, prepare = () => {}, ended }) {
  const waiting = [];
  const together = batch({ part: list.parentElement.querySelector("[data-batch]"), list, says });
  let active = 0;

  const hold = (event) => event.preventDefault();
  const state = (job, name, note) => { job.row.dataset.state = name; job.note.textContent = note; };
  const time = (seconds) => (seconds < 90 ? fill(says.saysSeconds, Math.max(1, Math.round(seconds))) : fill(says.saysMinutes, Math.round(seconds / 60)));

  function add(file) {
    const row = shape.content.firstElementChild.cloneNode(true);
    row.querySelector(".upload-name").textContent = file.name;
    list.append(row);
    const job = { file, row, note: row.querySelector(".upload-note"), bar: row.querySelector("progress"), cancel: row.querySelector("[data-cancel]"), retry: row.querySelector("[data-retry]") };
    job.cancel.addEventListener("click", () => stop(job));
    job.retry.addEventListener("click", () => { together.again(); queue(job); });
    together.begun(!active && !waiting.length);
    if (file.size > Number(says.limit)) end(job, "failed", fill(says.saysLarge, size(Number(says.limit))));
    else queue(job);
  }

  function queue(job) {
    prepare(job);
    job.problem = null;
    state(job, "waiting", says.saysWaiting);
    job.bar.value = 0;
    job.retry.hidden = true;
    job.cancel.hidden = false;
    waiting.push(job);
    next();
  }

  function next() {
    while (active < AT_ONCE && waiting.length) send(waiting.shift());
    if (active || waiting.length) window.addEventListener("beforeunload", hold);
    else window.removeEventListener("beforeunload", hold);
  }

  function end(job, name, note) {
    state(job, name, note);
    together.ended(name === "done");
    job.cancel.hidden = true;
    job.retry.hidden = name !== "failed";
    job.bar.classList.toggle("progress-good", name === "done");
    job.bar.classList.toggle("progress-bad", name === "failed" || name === "apart");
  }

  function stop(job) {
    const at = waiting.indexOf(job);
    if (at < 0) { job.stop?.abort(); return; }
    waiting.splice(at, 1);
    end(job, "failed", says.saysCancelled);
    next();
  }

  async function send(job) {
    active += 1;
    job.stop = new AbortController();
    const plain = new URL(address(job), location.href);
    if (job.sending?.plain !== plain.href) job.sending = { plain: plain.href, ...sending(job.file, { plain: plain.href, begin: `${says.uploads}${plain.search}`, sent: (bytes) => sent(job, bytes), cut: (reply, bytes) => cut(job, reply, bytes) }) };
    job.from = null;
    finished(job, await job.sending.go(job.stop.signal));
  }

  function sent(job, bytes) {
    job.from ??= { bytes, at: performance.now() };
    const speed = (bytes - job.from.bytes) / Math.max(0.001, (performance.now() - job.from.at) / 1000);
    const total = job.file.size;
    job.bar.value = (100 * bytes) / total;
    if (bytes >= total) state(job, "sealing", says.saysSealing);
    else state(job, "sending", fill(says.saysSent, size(bytes), size(total), size(speed), speed ? time((total - bytes) / speed) : "…"));
  }

  function cut(job, reply, bytes) {
    job.from = null;
    state(job, "waiting", reply.status && reply.answer.title ? fill(says.saysBusy, reply.answer.title) : fill(says.saysCut, size(bytes), size(job.file.size)));
  }

  function finished(job, { status, answer }) {
    if (job.stop.signal.aborted) { over(job, "failed", says.saysCancelled); return; }
    if (status === 201) { over(job, "done", answer.is_elsewhere ? says.saysElsewhere : says.saysDone, answer); return; }
    job.problem = answer;
    if (answer.code === "quarantined") over(job, "apart", `${answer.title}. ${answer.detail}`); // kept, and the same bytes would go there again
    else if (status === 409) over(job, "present", says.saysPresent); // trying again would change nothing
    else over(job, "failed", answer.title ? `${answer.title}. ${answer.detail}` : says.saysOffline);
  }

  function over(job, name, note, answer) {
    active -= 1;
    end(job, name, note);
    document.dispatchEvent(new Event("coffre:activity"));
    next();
    ended(job, answer, active + waiting.length);
  }

  return { add };
}
