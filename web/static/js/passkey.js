// Makes and shows passkeys (W3C WebAuthn). Without them, or on an address that can't hold any, the button goes.

import { csrf } from "./http.js";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");

async function send(url, body = {}) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf() };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
  if (response.redirected) { location.assign(response.url); return new Promise(() => {}); } // a fresh factor is wanted first
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}

const known = (options) => (options || []).map((each) => ({ ...each, id: bytes(each.id) }));

async function make(options) {
  const publicKey = { ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) }, excludeCredentials: known(options.excludeCredentials) };
  const made = await navigator.credentials.create({ publicKey });
  return {
    id: made.id, rawId: text(made.rawId), type: made.type,
    response: { clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject) },
  };
}

async function show(options) {
  const shown = await navigator.credentials.get({ publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: known(options.allowCredentials) } });
  const answer = shown.response;
  return {
    id: shown.id, rawId: text(shown.rawId), type: shown.type,
    response: {
      clientDataJSON: text(answer.clientDataJSON), authenticatorData: text(answer.authenticatorData), signature: text(answer.signature),
      userHandle: answer.userHandle ? text(answer.userHandle) : null,
    },
  };
}

export default function passkey(frame) {
  const { ask, answer, next, failed, make: making } = frame.dataset;
  frame.hidden = !window.PublicKeyCredential || /^[\d.]+$|^\[/.test(location.hostname);
  const wayOut = frame.nextElementSibling; // what to do instead, on the page that offers to add one
  if (making !== undefined && wayOut) wayOut.hidden = !frame.hidden;
  if (frame.hidden) return;
  const button = frame.querySelector("[data-passkey]");
  const note = frame.querySelector("[data-note]");
  button.addEventListener("click", async () => {
    button.disabled = true;
    note.textContent = "";
    try {
      const options = await send(ask);
      const credential = await (making === undefined ? show(options) : make(options));
      const name = frame.querySelector("input")?.value;
      const done = await send(answer, name === undefined ? { credential } : { credential, name });
      location.assign(done.location || next);
    } catch {
      note.textContent = failed;
      button.disabled = false;
    }
  });
}
