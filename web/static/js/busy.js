// A form that was sent says so and is not sent twice.

export default function busy(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    const button = form.querySelector(".button-primary");
    if (button) { button.dataset.busy = ""; button.setAttribute("aria-busy", "true"); }
  });
  window.addEventListener("pageshow", () => {
    delete form.dataset.sent;
    const button = form.querySelector("[data-busy]");
    if (button) { delete button.dataset.busy; button.removeAttribute("aria-busy"); }
  });
}
