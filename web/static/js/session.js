// Warns a minute before an idle session locks, offers to stay, and shows the lock page when it has locked.
// The server decides: this only asks it, without prolonging anything, and keeps what was typed until then.

import { ask } from "./http.js";

const WARNING_S = 60;

export default function session(dialog) {
  let ends = Date.now() + Number(dialog.dataset.expires) * 1000;
  const shown = dialog.querySelector("[data-remaining]");
  const left = () => Math.max(0, Math.round((ends - Date.now()) / 1000));

  async function look() {
    try { ends = Date.now() + (await ask(dialog.dataset.look)).remaining_s * 1000; }
    catch (problem) { if (problem.status === 401) ends = 0; }
  }

  async function stay() {
    try { ends = Date.now() + (await ask(dialog.dataset.keep, { method: "POST" })).remaining_s * 1000; dialog.close(); }
    catch { lock(); }
  }

  function lock() {
    const next = location.pathname + location.search;
    location.replace(`${dialog.dataset.locked}?next=${encodeURIComponent(next)}`);
  }

  let asking = false;
  setInterval(async () => {
    if (asking || left() > WARNING_S) { if (dialog.open && left() > WARNING_S) dialog.close(); return; }
    if (!dialog.open) {
      asking = true;
      await look();
      asking = false;
      if (left() > WARNING_S) return;
      if (left() > 0) dialog.showModal();
    }
    shown.textContent = String(left());
    if (left() <= 0) lock();
  }, 1000);

  dialog.addEventListener("cancel", (event) => { event.preventDefault(); stay(); });
  dialog.querySelector("[data-stay]").addEventListener("click", stay);
  document.addEventListener("coffre:activity", () => { look(); });
  // Back after signing out must not show a file from the browser's memory.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}
