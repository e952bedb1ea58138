// Numbers, times and codes as people read them.

const BYTES_UNITS = ["B", "KiB", "MiB", "GiB"];

export function bytes(count: number): string {
  let [value, unit] = [count, 0];
  while (value >= 1_024 && unit < BYTES_UNITS.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${digits(value)} ${BYTES_UNITS[unit]}`;
}

export function duration(ms: number): string {
  if (ms < 1_000) {
    return `${digits(ms)} ms`;
  }
  const seconds = ms / 1_000;
  if (seconds < 60) {
    return `${digits(seconds)} s`;
  }
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3_600), Math.floor(seconds / 86_400)];
  if (hours < 1) {
    return both(minutes, "min", Math.floor(seconds % 60), "s");
  }
  return days < 1 ? both(hours, "h", minutes % 60, "min") : both(days, "d", hours % 24, "h");
}

function both(large: number, unit: string, small: number, smaller: string): string {
  return small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smaller}`;
}

export function count(number: number): string {
  return number.toLocaleString("en-US");
}

/** Three digits, and no zeros behind the point. */
function digits(value: number): string {
  const places = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return String(Number(value.toFixed(places)));
}

/** A SHA-256 that is written in base64, in hexadecimal digits. */
export function hexOf(base64: string): string {
  return [...atob(base64)].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

/** The moment of a text such as `2026-11-30T05:00:00.000+0000`. */
export function moment(text: string): Date {
  return new Date(text.replace(/\+0000$/, "Z"));
}

/** Characters that indents take, about: each of these signs begins a line, where it stands in no text. */
function indents(text: string): number {
  let [depth, chars, inText] = [0, 0, false];
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (inText) {
      // What is escaped ends no text.
      at += sign === "\\" ? 1 : 0;
      inText = sign !== '"';
    } else if (sign === '"') {
      inText = true;
    } else if (sign === "[" || sign === "{") {
      depth += 1;
      chars += 2 * depth;
    } else if (sign === "]" || sign === "}") {
      depth -= 1;
      chars += 2 * depth;
    } else if (sign === ",") {
      chars += 2 * depth;
    }
  }
  return chars;
}

/** Characters of JSON that is written with line breaks, and of what may come of it: what is nested deeply grows by its indents. */
const PRETTY_CHARS_MAX = 1 << 20;
const INDENTED_CHARS_MAX = 4 << 20;

/** JSON with line breaks, as far as it is JSON; numbers are left as they are written where reading would change them. */
export function pretty(text: string): string {
  if (text.length > PRETTY_CHARS_MAX || indents(text) > INDENTED_CHARS_MAX) {
    return text;
  }
  try {
    const told = JSON.stringify(JSON.parse(text), null, 2);
    return told.replaceAll(/\s/g, "") === text.replaceAll(/\s/g, "") ? told : text;
  } catch {
    return text;
  }
}
