// Compiles the benchmark's task in C and makes a component of it: node build.mjs OUT.wasm WIT

import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import process from "node:process";

import { componentEmbed, componentNew } from "@bytecodealliance/jco-transpile/wasm-tools";
import { _addPreopen } from "@bytecodealliance/preview2-shim/filesystem";
import { commands } from "@yowasp/clang";

const [out, wit] = process.argv.slice(2);
if (wit === undefined) {
  console.error("usage: node build.mjs OUT.wasm WIT");
  process.exit(2);
}
const source = await readFile(new URL("noop.c", import.meta.url), "utf8");
const flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-mbulk-memory", "-nostdlib", "-Wl,--no-entry"];
const built = await commands.clang(["--target=wasm32", ...flags, "-o", "noop.wasm", "noop.c"], { "noop.c": source });
// The tools are WebAssembly too, and see what they are given.
_addPreopen("/wit", resolve(wit));
const binary = await componentEmbed({ binary: built["noop.wasm"], witPath: "/wit", world: "task" });
await writeFile(out, await componentNew(binary));
