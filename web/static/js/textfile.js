// Puts what a small text file says into a field of its form: the file itself is not sent.

const MOST_BYTES = 65536;

export default function textfile(input) {
  input.closest(".field").hidden = false;
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (file && file.size <= MOST_BYTES) document.getElementById(input.dataset.into).value = await file.text();
    input.value = "";
  });
}
