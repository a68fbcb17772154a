// A message that goes away by itself after eight seconds, or at once; its slug leaves the address.

export default function toast(element) {
  const close = element.querySelector("[data-dismiss]");
  close.hidden = false;
  close.addEventListener("click", () => element.remove());
  let timer = setTimeout(() => element.remove(), 8000);
  element.addEventListener("pointerenter", () => clearTimeout(timer));
  element.addEventListener("pointerleave", () => { timer = setTimeout(() => element.remove(), 3000); });
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done");
    history.replaceState(history.state, "", address);
  }
}
