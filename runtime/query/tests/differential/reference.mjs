// Answers pairs of expression and data as the reference engine does: a file of JSON lines in, JSON lines out.
// Started by the differential test of runtime/query in a folder in which the package `jsonata` is installed.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const jsonata = createRequire(pathToFileURL(`${process.cwd()}/`))("jsonata");

const TIME_MS = 2000;
const DEPTH = 500;

// A function anywhere in a result has no JSON; infinities are the texts that the service makes of them.
function plain(value) {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (typeof value === "function") throw { code: "FUNCTION" };
  if (value === null || typeof value !== "object") return value;
  if (value._jsonata_lambda || value._jsonata_function || value instanceof RegExp) throw { code: "FUNCTION" };
  if (Array.isArray(value)) return value.map(plain).filter((item) => item !== undefined);
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
}

async function answer({ expression, data }) {
  try {
    const value = plain(await jsonata(expression, { timeout: TIME_MS, stack: DEPTH }).evaluate(data));
    return value === undefined ? { undefined: true } : { value };
  } catch (error) {
    return error?.code ? { code: error.code } : { crash: String(error?.message ?? error) };
  }
}

for (const line of readFileSync(process.argv[2], "utf8").split("\n")) {
  if (line) process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
