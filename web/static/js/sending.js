// One file on its way, whatever the line does: a small one is sent again, a large one goes on where it was cut.

import { csrf } from "./http.js";

const LARGE = 4 * 1024 * 1024;
const PATIENCE_MS = 15 * 60 * 1000; // the vault forgets a cut transfer after the same time
const TRIES = 6; // of a vault that answers, and is busy or without its key module
const WAITS_S = [1, 2, 4, 8, 15];
const LATER = new Set([429, 502, 503, 504]);

// One request: { status, answer, wait }, the status 0 where the line was cut or the sending given up.
function exchange(method, url, { headers = {}, body = null, signal, sent }) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries({ Accept: "application/json", "X-CSRF-Token": csrf(), ...headers })) request.setRequestHeader(name, value);
    if (sent) request.upload.addEventListener("progress", (event) => sent(event.loaded));
    const stop = () => request.abort();
    signal.addEventListener("abort", stop);
    request.addEventListener("loadend", () => {
      signal.removeEventListener("abort", stop);
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* a proxy's page, or nothing: the status says enough */ }
      done({ status: request.status, answer, wait: Number(request.getResponseHeader("Retry-After")) || 0 });
    });
    request.send(body);
  });
}

// Until the time has passed, the network is back or the sending is given up.
function pause(seconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(over, seconds * 1000);
    function over() {
      clearTimeout(timer);
      signal.removeEventListener("abort", over);
      window.removeEventListener("online", over);
      done();
    }
    signal.addEventListener("abort", over);
    window.addEventListener("online", over);
  });
}

// `plain` is where a small file goes in one request, `begin` where a large one's transfer begins; both bear the filing in their
// query. `sent(bytes)` hears how far it is, `cut(reply, bytes)` that it is tried again by itself. `go(signal)` may be called
// again after it gave up: { status, answer }, 201 where the file is filed and durable, 0 where the line stayed cut.
export function sending(file, { plain, begin, sent, cut }) {
  const headers = { "Content-Type": "application/octet-stream", "Content-Disposition": `attachment; filename*=UTF-8''${encodeURIComponent(file.name)}` };
  let upload = null;
  let offset = 0;
  let isAsked = false; // whether an answer was lost: the file may be filed already
  let reached = 0;

  function moved(bytes) { reached = performance.now(); sent(bytes); }

  const whole = (signal) => exchange("POST", plain, { headers, body: file, signal, sent: moved });

  async function piecewise(signal) {
    if (!upload) {
      const begun = await exchange("POST", begin, { headers: { ...headers, "Upload-Length": String(file.size) }, signal });
      if (begun.status !== 201) return begun;
      upload = `${begin.split("?")[0]}/${begun.answer.id}`;
      offset = 0;
    } else {
      const stands = await exchange("GET", upload, { signal });
      if (stands.status !== 200) return stands;
      offset = stands.answer.offset;
    }
    const body = file.slice(offset);
    return exchange("PATCH", upload, { headers: { "Content-Type": "application/partial-upload", "Upload-Offset": String(offset) }, body, signal, sent: (bytes) => moved(offset + bytes) });
  }

  async function go(signal) {
    let tries = 0;
    let cuts = 0;
    while (!signal.aborted) {
      const before = reached;
      const reply = await (file.size > LARGE ? piecewise(signal) : whole(signal));
      if (signal.aborted) break;
      if (reached > before) cuts = 0;
      if (reply.status === 409 && reply.answer.code === "already_present" && isAsked) return { status: 201, answer: { ...reply.answer, id: reply.answer.document } };
      if (upload && reply.status === 404) { upload = null; isAsked = true; tries += 1; if (tries > TRIES) return reply; continue; } // another process, or a restart
      if (upload && reply.status === 409 && "offset" in reply.answer) continue;
      if (upload && reply.status === 200) continue;
      if (reply.status !== 0 && !LATER.has(reply.status)) { upload = null; return reply; }
      isAsked ||= reply.status !== 429 && reply.status !== 503;
      tries += reply.status !== 0;
      if (tries > TRIES || performance.now() - reached > PATIENCE_MS) return reply;
      cut(reply, offset);
      await pause(Math.max(reply.wait, WAITS_S[Math.min(cuts, WAITS_S.length - 1)]), signal);
      cuts += 1;
    }
    if (upload) exchange("DELETE", upload, { signal: new AbortController().signal });
    upload = null;
    return { status: 0, answer: {} };
  }

  return { go };
}
