// Requests to this vault only, with this visit's anti-forgery token; a refusal arrives as its problem document (RFC 9457).

export const csrf = () => document.querySelector('meta[name="csrf-token"]').content;

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || String(status));
    this.status = status;
    this.code = document.code || "internal";
    this.title = document.title || "";
    this.document = document;
  }
}

export async function ask(url, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(url, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer);
  return answer;
}
