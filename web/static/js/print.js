// Opens the browser's print dialog, by itself once every picture is there where the page asks for it.

export default async function print(button) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
  if (!("now" in button.dataset)) return;
  const pictures = [...document.querySelectorAll(".sheet img")];
  await Promise.all(pictures.map((picture) => (picture.complete ? null : new Promise((done) => { picture.onload = done; picture.onerror = done; }))));
  window.print();
}
