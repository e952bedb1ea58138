// Drives the console in Chromium against a running server: one line a check, exit code 1 when one failed.
//
//     node run.mjs ENDPOINT GUESTS_DIR [--signed KEY SECRET]

import process from "node:process";
import { parseArgs } from "node:util";

import { Browser } from "./browser.mjs";
import { executions } from "./executions.mjs";
import { hostile } from "./hostile.mjs";
import { plugins } from "./plugins.mjs";
import { Server } from "./server.mjs";
import { signingIn, signingOut } from "./sign-in.mjs";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { signed: { type: "boolean", default: false } } });
const [address, guests, id, secret] = positionals;
if (guests === undefined || (values.signed && secret === undefined)) {
  console.error("usage: node run.mjs ENDPOINT GUESTS_DIR [--signed KEY SECRET]");
  process.exit(2);
}
const endpoint = new URL(address).origin;
const key = values.signed ? { id, secret } : null;
const world = {
  server: new Server(endpoint, key),
  browser: await Browser.open(endpoint),
  guests,
  key,
  /** In all names, so that a server may be used again. */
  mark: Date.now().toString(36),
};
const verdicts = [];

async function check(name, run) {
  const began = performance.now();
  let verdict = "ok";
  let why = "";
  try {
    await run(world);
  } catch (error) {
    verdict = "FAIL";
    why = String(error.stack ?? error).replaceAll(/\s+/g, " ").slice(0, 900);
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  console.log(`${verdict.padEnd(4)} ${name.padEnd(54)} ${seconds.padStart(6)} s  ${why}`.trimEnd());
  verdicts.push(verdict);
}

const all = [...(key === null ? [] : signingIn), ...plugins, ...executions, ...hostile, ...(key === null ? [] : signingOut)];
for (const [name, run] of all) {
  await check(name, run);
}
// Of all that came before.
await check("no page asked another origin", ({ browser }) => nothing(browser.strayed));
await check("no page complained", ({ browser }) => nothing(browser.complaints));
await world.browser.close();
process.exitCode = verdicts.includes("FAIL") ? 1 : 0;

function nothing(found) {
  if (found.length > 0) {
    throw new Error(found.join("; "));
  }
}
