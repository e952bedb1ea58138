// What a plugin.toml says that counts for an upload: name, memory and time. The rest is a server's plugin directory's to give,
// and is told as left out.

import { parse, type TomlTable } from "smol-toml";

import { MEMORY_MIB, TIMEOUT_S, type Range, type Settings } from "../api/functions";
import { Problem } from "../api/request";

export interface Manifest {
  readonly name: string | null;
  /** The file beside it that is meant. */
  readonly module: string | null;
  readonly sha256: string | null;
  readonly settings: Settings;
  /** What it says that an upload does not have. */
  readonly leftOut: readonly string[];
}

/** What an attempt has where a manifest says nothing. */
const USUAL_MEMORY = "64MiB";
const USUAL_WALL = "30s";
/** As in `runtime/sandbox/src/manifest.rs`. */
const SIZES: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  kB: 1e3,
  KiB: 1 << 10,
  MB: 1e6,
  MiB: 1 << 20,
  GB: 1e9,
  GiB: 1 << 30,
};
const TIMES_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Throws a Problem with what is wrong and where. */
export function readManifest(text: string): Manifest {
  const table = parsed(text);
  const limits = member(table, "limits");
  const named = limits["wall"] ?? limits["timeout"];
  const memory = measure("limits.memory", limits["memory"] ?? USUAL_MEMORY, SIZES, "size; write it like “64MiB”, in B, kB, KiB, MB, MiB, GB or GiB");
  const wall = measure("limits.wall", named ?? USUAL_WALL, TIMES_MS, "time; write it like “30s”, in ms, s, m or h");
  return {
    name: string(table, "name"),
    module: string(table, "module"),
    sha256: string(table, "sha256")?.toLowerCase() ?? null,
    settings: {
      MemorySize: within(Math.ceil(memory / (1 << 20)), MEMORY_MIB),
      Timeout: within(Math.ceil(wall / 1_000), TIMEOUT_S),
    },
    leftOut: leftOut(table, limits),
  };
}

function leftOut(table: TomlTable, limits: TomlTable): string[] {
  const taken = new Set(["memory", "wall", "timeout"]);
  const others = Object.keys(limits).filter((key) => !taken.has(key));
  const told: string[] = [];
  if ("grants" in table) {
    told.push("the [grants] of plugin.toml are not uploaded: only plugins of the server's plugin directory are granted anything");
  }
  if (others.length > 0) {
    told.push(`of [limits] an upload has memory and time alone, and not ${others.join(", ")}`);
  }
  if ("instance" in table || "on_crash" in table) {
    told.push("[instance] and on_crash are not uploaded: an upload has a fresh instance for each attempt");
  }
  return told;
}

function parsed(text: string): TomlTable {
  try {
    return parse(text);
  } catch (thrown) {
    throw new Problem(`plugin.toml: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
      hint: "`stepwell plugin check` tells every slip in it with its place",
    });
  }
}

function member(table: TomlTable, key: string): TomlTable {
  const value = table[key] ?? {};
  if (typeof value !== "object" || Array.isArray(value) || value instanceof Date) {
    throw new Problem(`plugin.toml: ${key} is no table`, { hint: `write [${key}] above its keys` });
  }
  return value as TomlTable;
}

function string(table: TomlTable, key: string): string | null {
  const value = table[key];
  if (value !== undefined && typeof value !== "string") {
    throw new Problem(`plugin.toml: ${key} is no text`, { hint: `write ${key} = "…"` });
  }
  return value ?? null;
}

function measure(key: string, value: unknown, units: Readonly<Record<string, number>>, what: string): number {
  const [, digits, unit] = /^\s*(\d+)\s*([A-Za-z]*)\s*$/.exec(String(value)) ?? [];
  const factor = Object.hasOwn(units, unit ?? "?") ? units[unit ?? "?"] : undefined;
  if (digits === undefined || factor === undefined) {
    throw new Problem(`plugin.toml: ${key}: ${JSON.stringify(value)} is no ${what}`);
  }
  return Number(digits) * factor;
}

function within(value: number, { min, max }: Range): number {
  return Math.min(Math.max(value, min), max);
}
