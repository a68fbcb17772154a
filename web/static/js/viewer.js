// Reading: page by page with arrows, zoom, and the next page fetched before it is asked for.

import { fill } from "./wording.js";

const ZOOMS = ["fit", "normal", "width", "150", "200"];
const SCROLL_MS = 800; // a smooth scroll takes less; pages that pass by meanwhile are not where the reader is

export default function viewer(article) {
  const sheets = article.querySelector("[data-sheets]");
  if (!sheets) return;
  const pages = [...sheets.querySelectorAll(".sheet")];
  const tools = article.querySelector("[data-tools]");
  const position = tools.querySelector("[data-position]");
  const arrows = article.dataset.arrows !== "off";
  const part = (name) => tools.querySelector(`[data-${name}]`);
  let current = 0;
  let turns = 0;
  let settledAt = 0;

  function show() {
    position.textContent = fill(sheets.dataset.saysPage, current + 1, pages.length);
    part("previous").disabled = current === 0;
    part("next").disabled = current === pages.length - 1;
    const following = pages[current + 1]?.querySelector("img");
    if (following) following.loading = "eager";
  }

  function go(step) {
    current = Math.min(pages.length - 1, Math.max(0, current + step));
    settledAt = performance.now() + SCROLL_MS;
    pages[current].scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    show();
  }

  function zoom(step) {
    const at = Math.min(ZOOMS.length - 1, Math.max(0, ZOOMS.indexOf(sheets.dataset.zoom) + step));
    sheets.dataset.zoom = ZOOMS[at];
    const sharp = at >= 3 ? "2000" : at >= 2 ? "1400" : null;
    if (sharp) for (const image of sheets.querySelectorAll("img")) image.src = image.src.replace(/width=\d+/, `width=${sharp}`);
    part("out").disabled = at === 0;
    part("in").disabled = at === ZOOMS.length - 1;
  }

  function turn() {
    turns = (turns + 1) % 4;
    for (const image of sheets.querySelectorAll("img")) {
      const address = new URL(image.src);
      address.searchParams.set("turns", turns);
      [image.width, image.height] = [image.height, image.width];
      image.src = address;
    }
  }

  for (const kind of ["scrollend", "wheel", "touchmove"]) document.addEventListener(kind, () => { settledAt = 0; }, { capture: true, passive: true });
  const shares = pages.map(() => 0); // how much of each page is in sight: an entry tells of one that changed only
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) shares[pages.indexOf(entry.target)] = entry.intersectionRatio;
    if (performance.now() < settledAt) return;
    const most = Math.max(...shares);
    if (most > 0) { current = shares.indexOf(most); show(); }
  }, { threshold: [0.1, 0.2, 0.3, 0.45, 0.6] });

  for (const page of pages) {
    seen.observe(page);
    const image = page.querySelector("img");
    const failed = () => { page.dataset.state = "failed"; page.textContent = image.alt; };
    if (image.complete && image.naturalWidth === 0) failed();
    image.addEventListener("error", failed);
  }
  part("previous").addEventListener("click", () => go(-1));
  part("next").addEventListener("click", () => go(1));
  part("out").addEventListener("click", () => zoom(-1));
  part("in").addEventListener("click", () => zoom(1));
  part("turn")?.addEventListener("click", turn);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select, dialog[open], .file-list") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!article.isConnected || (!arrows && event.key.startsWith("Arrow"))) return;
    const act = { r: () => part("turn")?.click(), PageDown: () => go(1), PageUp: () => go(-1), ArrowRight: () => go(1), ArrowLeft: () => go(-1), "+": () => zoom(1), "-": () => zoom(-1) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  show();
}
