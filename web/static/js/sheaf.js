// One PDF of several pictures, a page each, their bytes as they are (ISO 32000-1 §7.5, DCTDecode): what a scanner would have sent.

const A4 = [595.28, 841.89];

// A page of A4's size, upright or lying, into which a picture of these proportions fits.
function paper(width, height) {
  const [wide, high] = width > height ? [A4[1], A4[0]] : A4;
  const scale = Math.min(wide / width, high / height);
  return [width * scale, height * scale].map((side) => side.toFixed(2));
}

// `pictures`: [{ blob (JPEG, RGB), width, height }]. Gives a Blob.
export function sheaf(pictures) {
  const parts = [];
  const at = [];
  let length = 0;
  const encoder = new TextEncoder();
  const write = (part) => { const bytes = typeof part === "string" ? encoder.encode(part) : part; parts.push(bytes); length += bytes.size ?? bytes.length; };
  const object = (number, ...inside) => { at[number] = length; write(`${number} 0 obj\n`); inside.forEach(write); write("\nendobj\n"); };
  write("%PDF-1.4\n%\u00e2\u00e3\n"); // letters beyond ASCII: whoever transports it must not take it for text
  object(1, "<< /Type /Catalog /Pages 2 0 R >>");
  object(2, `<< /Type /Pages /Count ${pictures.length} /Kids [${pictures.map((_, index) => `${3 + index * 3} 0 R`).join(" ")}] >>`);
  pictures.forEach(({ blob, width, height }, index) => {
    const number = 3 + index * 3;
    const [wide, high] = paper(width, height);
    const drawn = `q ${wide} 0 0 ${high} 0 0 cm /P Do Q`;
    object(number, `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${wide} ${high}] /Contents ${number + 1} 0 R /Resources << /XObject << /P ${number + 2} 0 R >> >> >>`);
    object(number + 1, `<< /Length ${drawn.length} >>\nstream\n${drawn}\nendstream`);
    object(number + 2, `<< /Type /XObject /Subtype /Image /Width ${width} /Height ${height} /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode /Length ${blob.size} >>\nstream\n`, blob, "\nendstream");
  });
  const start = length;
  write(`xref\n0 ${at.length}\n0000000000 65535 f \n${at.slice(1).map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("")}`);
  write(`trailer\n<< /Size ${at.length} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`);
  return new Blob(parts, { type: "application/pdf" });
}
