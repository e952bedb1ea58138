// Runs the cases of tests/clients/cases with the AWS SDK for JavaScript: one line a case, exit code 1 when one failed.
// Where the server is, the region and the key come from the environment, as in a user's program.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";

import * as sdk from "@aws-sdk/client-sfn";
import { NodeHttp2Handler } from "@smithy/node-http-handler";

import { Case } from "./steps.js";

const { values: options } = parseArgs({
  options: {
    cases: { type: "string" },
    account: { type: "string", default: "000000000000" },
    only: { type: "string", default: "" },
    http2: { type: "boolean", default: false },
  },
});

const files = readdirSync(options.cases).filter((name) => name.endsWith(".json"));
const chosen = files.sort().filter((name) => name.includes(options.only));
// StartSyncExecution and TestState go to the host `sync-…` otherwise, which an address cannot have.
const client = new sdk.SFNClient({
  disableHostPrefix: true,
  ...(options.http2 ? { requestHandler: new NodeHttp2Handler() } : {}),
});
const called = new Set();

async function attempt(file) {
  const name = path.basename(file, ".json");
  const began = performance.now();
  let verdict = "ok";
  let why = "";
  try {
    const text = readFileSync(path.join(options.cases, file), "utf8");
    await new Case(client, called, options.account).run(JSON.parse(text));
  } catch (error) {
    verdict = "FAIL";
    why = String(error.stack ?? error).replaceAll(/\s+/g, " ").slice(0, 900);
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  console.log(`${verdict.padEnd(4)} ${name.padEnd(32)} ${seconds.padStart(6)} s  ${why}`.trimEnd());
  return verdict;
}

const verdicts = await Promise.all(chosen.map(attempt));
if (!options.only) {
  // Whatever the SDK can call, a case has called.
  const operations = Object.keys(sdk).filter((name) => /^[A-Z]\w+Command$/.test(name));
  const missed = operations.map((name) => name.slice(0, -"Command".length)).filter((name) => !called.has(name));
  verdicts.push(missed.length ? "FAIL" : "ok");
  console.log(missed.length ? `FAIL operations: no case calls ${missed.join(", ")}` : `ok   all ${operations.length} operations`);
}
client.destroy();
process.exitCode = verdicts.includes("FAIL") || verdicts.length === 0 ? 1 : 0;
