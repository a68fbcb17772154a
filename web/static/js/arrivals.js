// How files reach a page: chosen, a whole folder of them, dropped anywhere, pasted. Who sends them is not its business.

const LEFT_BEHIND = /^(\.|~\$|Thumbs\.db$|desktop\.ini$)/i; // what systems put into folders by themselves
const UNNAMED = /^image\.[a-z]+$/; // what browsers call a picture from the clipboard

const inOrder = (files, path) => files.filter((file) => !LEFT_BEHIND.test(file.name)).sort((one, other) => path(one).localeCompare(path(other), undefined, { numeric: true }));

// Everything that was dropped, folders opened all the way down.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  async function walk(entry) {
    if (entry.isFile) { files.push(await new Promise((done, failed) => entry.file(done, failed))); return; }
    const reader = entry.createReader();
    for (;;) {
      const group = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!group.length) return;
      for (const inner of group) await walk(inner);
    }
  }
  for (const entry of entries) await walk(entry);
  return inOrder(files, (file) => file.name);
}

// The pictures of a clipboard; nothing where it holds words too and somebody is typing: they want the words.
function pasted(event, name) {
  const isTyping = event.target.closest?.("input:not([type=hidden]), textarea, select") && event.clipboardData.types.includes("text/plain");
  if (isTyping) return [];
  const now = new Date();
  const stamp = new Date(now - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace("T", " ").replaceAll(":", "-");
  return [...event.clipboardData.files].map((file) => (UNNAMED.test(file.name) ? new File([file], `${name} ${stamp}.${file.name.split(".").pop()}`, { type: file.type }) : file));
}

// Files chosen with `chooser` or in a folder with `folder`, dropped anywhere on the page (`zone` shows where) or pasted go to
// `take`; `name` is what a picture without a name is called.
export function arrivals({ chooser, folder = null, zone, name, take }) {
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  chooser.addEventListener("change", () => { take([...chooser.files]); chooser.value = ""; });
  folder?.addEventListener("change", () => { take(inOrder([...folder.files], (file) => file.webkitRelativePath)); folder.value = ""; });
  for (const over of ["dragenter", "dragover"]) {
    document.addEventListener(over, (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      zone.dataset.over = "";
    });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) delete zone.dataset.over; });
  document.addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    delete zone.dataset.over;
    take(await dropped(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    const files = pasted(event, name);
    if (files.length) { event.preventDefault(); take(files); }
  });
}
