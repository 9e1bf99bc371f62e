// Numbers, times and sizes for people.

const LOCALE = "en";
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (Math.abs(value) < 100_000 ? whole.format(value) : compact.format(value));

// A rate: one digit after the point below ten.
export const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : count(value));

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit > 0 && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export const percent = (share) => `${(share * 100).toFixed(share < 0.1 && share > 0 ? 1 : 0)} %`;

const UNITS = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
];

// The two largest units: `3d 4h`, `12m 5s`, `8s`.
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  let left = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of UNITS) {
    const part = Math.floor(left / size);
    left -= part * size;
    if (part > 0 || (unit === "s" && parts.length === 0)) parts.push(`${part}${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

export const millis = (value) =>
  value === null || value === undefined ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

// A time of RFC 3339, in the reader's zone; the date only if it is not today.
export function time(text) {
  const at = new Date(text);
  if (!text || Number.isNaN(at.getTime())) return "–";
  const today = at.toDateString() === new Date().toDateString();
  const clock = at.toLocaleTimeString(LOCALE, { hour12: false });
  return today ? clock : `${at.toLocaleDateString("sv")} ${clock}`;
}

export const secondsSince = (text) => (Date.now() - new Date(text).getTime()) / 1000;

export const words = (text) => String(text ?? "").replaceAll("_", " ");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
