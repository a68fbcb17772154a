// Six digits in one field: only digits stay, a pasted "123 456" works, and a full field submits itself once.

export default function code(frame) {
  const input = frame.querySelector("input");
  let last = "";
  const draw = () => { frame.dataset.length = input.value.length; };
  const taken = () => {
    input.value = input.value.replace(/[^0-9]/g, "").slice(0, 6);
    draw();
    if (input.value.length === 6 && input.value !== last) {
      last = input.value;
      input.form?.requestSubmit();
    }
  };
  input.addEventListener("input", taken);
  input.addEventListener("paste", (event) => {
    event.preventDefault();
    input.value = (event.clipboardData.getData("text").match(/[0-9]/g) || []).join("").slice(0, 6);
    input.dispatchEvent(new Event("input"));
  });
  // Digits typed before this script came count as well; those that a browser puts back after a reload are old.
  if (performance.getEntriesByType("navigation")[0]?.type === "navigate") taken(); else draw();
}
