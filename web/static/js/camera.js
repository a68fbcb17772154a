// Papers photographed with the webcam or the telephone: page after page, then one document. Nothing is kept in the browser.

import { sheaf } from "./sheaf.js";
import { fill, made } from "./wording.js";

const LONGEST_SIDE = 2600; // A4 at 220 dots per inch: small print stays legible
const QUALITY = 0.86;
const WANTED = { audio: false, video: { facingMode: "environment", width: { ideal: 2560 }, height: { ideal: 1920 } } };

// `dialog` holds the parts; `lenses` are file inputs with a camera behind; `take(file)` gets the document.
export function camera({ dialog, opener, lenses, take }) {
  const says = dialog.dataset;
  const part = (name) => dialog.querySelector(`[data-${name}]`);
  const video = part("video");
  const strip = part("strip");
  let pages = [];
  let stream = null;

  function show() {
    strip.hidden = !pages.length;
    part("finish").disabled = !pages.length;
    part("finish").querySelector("span").textContent = pages.length > 1 ? fill(says.saysMany, pages.length) : says.saysOne;
  }

  function tell(text, tone = "") { part("note").textContent = text; part("note").dataset.tone = tone; }

  function dark() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    video.hidden = true;
    part("take").hidden = true;
  }

  async function light() {
    tell(says.saysStarting);
    try {
      stream = await navigator.mediaDevices.getUserMedia(WANTED);
      if (!dialog.open) { dark(); return; }
      video.srcObject = stream;
      video.hidden = false;
      await video.play();
      part("take").hidden = false;
      part("take").focus();
      tell(says.saysReady);
    } catch (problem) {
      dark();
      tell(problem.name === "NotAllowedError" ? says.saysRefused : problem.name === "NotFoundError" ? says.saysNone : says.saysBusy, "bad");
    }
  }

  async function add(source, width, height) {
    const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(source, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    const page = { blob, width: canvas.width, height: canvas.height };
    pages.push(page);
    const shown = made("img", { src: URL.createObjectURL(blob), width: 66, height: Math.round((66 * page.height) / page.width), alt: fill(says.saysPage, pages.length) });
    shown.addEventListener("load", () => URL.revokeObjectURL(shown.src), { once: true });
    const drop = made("button", { type: "button", text: "×", title: says.saysRemove, "aria-label": says.saysRemove });
    const item = made("li", {}, shown, drop);
    drop.addEventListener("click", () => { pages = pages.filter((other) => other !== page); item.remove(); show(); });
    strip.append(item);
    show();
  }

  async function photographed(files) {
    if (!dialog.open) open(false);
    for (const file of files) {
      try {
        const picture = await createImageBitmap(file);
        await add(picture, picture.width, picture.height);
        picture.close();
      } catch { tell(says.saysUnreadable, "bad"); }
    }
    if (pages.length) { tell(says.saysAdd); part("finish").focus(); }
  }

  function open(withVideo) {
    pages = [];
    strip.replaceChildren();
    tell("");
    show();
    dialog.showModal();
    if (withVideo) light();
    else dark();
  }

  function finish() {
    if (!pages.length) return;
    const now = new Date();
    const stamp = new Date(now - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace("T", " ").replaceAll(":", "-");
    take(new File([sheaf(pages)], `${says.saysName} ${stamp}.pdf`, { type: "application/pdf" }));
    dialog.close();
  }

  for (const lens of lenses) lens.addEventListener("change", async () => { const files = [...lens.files]; lens.value = ""; await photographed(files); });
  part("take").addEventListener("click", async () => { if (video.videoWidth) { await add(video, video.videoWidth, video.videoHeight); tell(says.saysAdd); } });
  part("finish").addEventListener("click", finish);
  part("leave").addEventListener("click", () => dialog.close());
  dialog.addEventListener("cancel", (event) => { if (pages.length) event.preventDefault(); }); // Escape alone loses no page
  dialog.addEventListener("close", () => { dark(); pages = []; strip.replaceChildren(); });
  if (navigator.mediaDevices?.getUserMedia) opener.addEventListener("click", () => open(true));
  else opener.hidden = true; // only over HTTPS, or on this very machine
}
