// The entry of every page: finds what asks for a module and gives it one. Pages work without any of it.

const modules = {
  band: () => import("./band.js"),
  busy: () => import("./busy.js"),
  code: () => import("./code.js"),
  copy: () => import("./copy.js"),
  inbox: () => import("./inbox.js"),
  invitation: () => import("./invitation.js"),
  meter: () => import("./meter.js"),
  link: () => import("./link.js"),
  passkey: () => import("./passkey.js"),
  phrase: () => import("./phrase.js"),
  offline: () => import("./offline.js"),
  popover: () => import("./popover.js"),
  print: () => import("./print.js"),
  textfile: () => import("./textfile.js"),
  reveal: () => import("./reveal.js"),
  rows: () => import("./rows.js"),
  search: () => import("./search.js"),
  session: () => import("./session.js"),
  toast: () => import("./toast.js"),
  upload: () => import("./upload.js"),
  viewer: () => import("./viewer.js"),
};

function mount(root) {
  const coming = [];
  for (const element of root.querySelectorAll("[data-module]")) {
    for (const name of element.dataset.module.split(" ")) {
      coming.push(modules[name]?.().then((module) => module.default(element)));
    }
  }
  return coming;
}

// A module that brings in new parts of a page asks for theirs with this event: it need not know the others.
document.addEventListener("coffre:mount", (event) => mount(event.detail));
// Keys pressed before are the browser's own; whoever drives a page by a program waits for this.
Promise.all([import("./shortcuts.js"), ...mount(document)]).then(() => { document.documentElement.dataset.ready = ""; });
