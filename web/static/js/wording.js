// Sizes, dates and sentences as people say them, in the page's language.

export const language = document.documentElement.lang || "fr";
const french = language.startsWith("fr");
const units = french ? ["octets", "Ko", "Mo", "Go", "To"] : ["bytes", "KB", "MB", "GB", "TB"];

export function size(count) {
  let amount = count;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) { amount /= 1000; unit += 1; }
  const digits = unit < 2 || amount >= 100 ? Math.round(amount).toString() : amount.toFixed(1);
  return `${french ? digits.replace(".", ",") : digits}\u00a0${units[unit]}`;
}

export const fill = (text, ...values) => values.reduce((sentence, value) => sentence.replace("{}", value), text);

export function birthDate(iso) {
  const [year, month, day] = iso.split("-");
  if (month === "00") return year;
  if (day === "00") return `${month}/${year}`;
  return french ? `${day}/${month}/${year}` : new Date(Date.UTC(+year, month - 1, +day)).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
}

export function made(tag, { className = "", text = "", ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
