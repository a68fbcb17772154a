// The patient search of the bar.

import { finder } from "./finder.js";
import { made } from "./wording.js";

export default function search(frame) {
  const input = frame.querySelector("input[type=search]");
  const list = made("div", { className: "search-results", id: "found" });
  list.hidden = true;
  frame.append(list);
  const toggle = (isOpen) => { list.hidden = !isOpen; input.setAttribute("aria-expanded", String(isOpen)); };
  finder({
    input,
    list,
    says: frame.dataset,
    href: frame.dataset.open,
    open: (href) => location.assign(href),
    shown: toggle,
    left: () => { toggle(false); input.blur(); },
  });
  input.addEventListener("focus", () => { if (list.childElementCount && input.value.trim().length > 1) toggle(true); });
  document.addEventListener("click", (event) => { if (!frame.contains(event.target)) toggle(false); });
}
