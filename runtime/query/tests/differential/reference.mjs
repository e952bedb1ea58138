// Answers pairs of expression and data as the reference engine does: a file of JSON lines in, JSON lines out.
// Started by the differential test of runtime/query in a folder in which the package `jsonata` is installed.
// A thread does the work, so that a pair which never ends or takes all memory is a crash of that pair alone.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

const TIME_MS = 2000;
const SILENCE_MS = 8000;
const DEPTH = 500;
const MEMORY_MB = 512;

// A function anywhere in a result has no JSON; infinities are the texts that the service makes of them.
function plain(value) {
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (typeof value === "function") throw { code: "FUNCTION" };
  if (value === null || typeof value !== "object") return value;
  if (value._jsonata_lambda || value._jsonata_function || value instanceof RegExp) throw { code: "FUNCTION" };
  if (Array.isArray(value)) return value.map(plain).filter((item) => item !== undefined);
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
}

async function answer(jsonata, { expression, data }) {
  try {
    const value = plain(await jsonata(expression, { timeout: TIME_MS, stack: DEPTH }).evaluate(data));
    return value === undefined ? { undefined: true } : { value };
  } catch (error) {
    return error?.code ? { code: error.code } : { crash: String(error?.message ?? error) };
  }
}

async function work({ lines, from }) {
  const jsonata = createRequire(pathToFileURL(`${process.cwd()}/`))("jsonata");
  for (const line of lines.slice(from)) {
    parentPort.postMessage(JSON.stringify(await answer(jsonata, JSON.parse(line))));
  }
}

// Answers the lines from that one on; resolves with how many were answered when the thread has ended.
function answered(lines, from) {
  return new Promise((resolve) => {
    const limits = { maxOldGenerationSizeMb: MEMORY_MB };
    const worker = new Worker(new URL(import.meta.url), { workerData: { lines, from }, resourceLimits: limits });
    let count = 0;
    let timer;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => worker.terminate(), SILENCE_MS);
    };
    wait();
    worker.on("message", (text) => {
      process.stdout.write(`${text}\n`);
      count += 1;
      wait();
    });
    worker.on("error", () => {});
    worker.on("exit", () => {
      clearTimeout(timer);
      resolve(count);
    });
  });
}

if (isMainThread) {
  const lines = readFileSync(process.argv[2], "utf8").split("\n").filter((line) => line);
  let next = 0;
  while (next < lines.length) {
    next += await answered(lines, next);
    if (next < lines.length) {
      process.stdout.write(`${JSON.stringify({ crash: "no answer" })}\n`);
      next += 1;
    }
  }
} else {
  await work(workerData);
}
