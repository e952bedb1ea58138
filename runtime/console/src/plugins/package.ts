// What a person drops or chooses, as a package that can be sent: a `.wasm`, a zip archive, or a plugin's folder. Hides where a
// package's name and settings come from, and what is told without asking the server.

import { unzipSync, type UnzipFileInfo } from "fflate";

import type { Settings } from "../api/functions";
import { Problem } from "../api/request";
import { sha256 } from "../api/sign";
import { readManifest, type Manifest } from "./manifest";

/** A file, or a folder with the files that lie in it itself. */
export type Source =
  | { readonly kind: "file"; readonly file: File }
  | { readonly kind: "folder"; readonly name: string; readonly files: readonly File[] };

export interface Package {
  readonly code: Uint8Array<ArrayBuffer>;
  /** What the manifest says, if there is one. */
  readonly settings: Settings | null;
  /** What it says beside that, of which the upload has nothing. */
  readonly leftOut: readonly string[];
}

/** Bytes of code that the server takes as they are sent. */
const CODE_BYTES_MAX = 50 << 20;
/** Bytes of a plugin.toml, and of one that is taken out of an archive. */
const MANIFEST_BYTES_MAX = 1 << 20;
/** Bytes of a packed one, which become a thousand times as many whatever its archive says. */
const PACKED_BYTES_MAX = 64 << 10;
/** Files of an archive that are looked at; the server's. */
const ENTRIES_MAX = 1_000;
const MANIFEST = "plugin.toml";
/** Where it may lie in an archive: in the archive itself, or in a folder of it. */
const IN_ARCHIVE = /^([^/]+\/)?plugin\.toml$/;
/** What a plugin may be called, and how that is told. */
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
export const NAME_RULE = "a plugin's name is 1 to 64 of the characters A-Z a-z 0-9 - _";
/** Bytes that are shown of what is neither a module nor an archive. */
const SHOWN_BYTES = 16;
/** Characters that are shown of a name in an archive. */
const SHOWN_CHARS = 100;

export function isName(name: string): boolean {
  return NAME.test(name);
}

/** What a source is called where it stands. */
export function labelOf(source: Source): string {
  return source.kind === "file" ? source.file.name : `${source.name}/`;
}

/** The name that a source gives to its plugin, valid or not: what its manifest says, else the file's or folder's. */
export async function nameOf(source: Source): Promise<string> {
  const own = source.kind === "file" ? source.file.name.replace(/\.(wasm|zip)$/i, "") : source.name;
  const manifest = await manifestOf(source).catch(() => null);
  return manifest?.name ?? own;
}

/** Reads all of it; throws a Problem for what no server would take. */
export async function read(source: Source): Promise<Package> {
  const manifest = await manifestOf(source);
  const file = source.kind === "file" ? source.file : moduleOf(source.name, source.files, manifest);
  if (file.size > CODE_BYTES_MAX) {
    throw new Problem(`${file.name} has ${file.size} bytes, and an upload at most ${CODE_BYTES_MAX}`, {
      hint: "build it for size (opt-level = \"s\", strip = true), pack it as a zip archive, or put it into the server's plugin directory",
    });
  }
  const code = await bytesOf(file);
  check(file.name, code);
  const pinned = source.kind === "folder" ? manifest?.sha256 : null;
  const found = pinned == null ? null : await sha256(code);
  if (found !== null && found !== pinned) {
    throw new Problem(`${file.name} is not the file that plugin.toml pins: its SHA-256 is ${found}, and sha256 = "${pinned}"`, {
      hint: "build it anew, or change sha256 in plugin.toml",
    });
  }
  return { code, settings: manifest?.settings ?? null, leftOut: manifest?.leftOut ?? [] };
}

async function manifestOf(source: Source): Promise<Manifest | null> {
  if (source.kind === "folder") {
    const file = source.files.find(({ name }) => name === MANIFEST);
    // A folder without one is as if it were empty, as for `stepwell plugin push`.
    return readManifest(file === undefined ? "" : await textOf(file));
  }
  if (!/\.zip$/i.test(source.file.name) || source.file.size > CODE_BYTES_MAX) {
    return null;
  }
  const text = packed(source.file.name, await bytesOf(source.file));
  return text === null ? null : readManifest(text);
}

/** The one module of a folder. */
function moduleOf(folder: string, files: readonly File[], manifest: Manifest | null): File {
  const modules = files.filter(({ name }) => name.endsWith(".wasm"));
  const wanted = manifest?.module ?? (modules.length > 1 ? `${folder}.wasm` : null);
  const found = wanted === null ? modules[0] : modules.find(({ name }) => name === wanted);
  if (found !== undefined) {
    return found;
  }
  if (manifest?.module != null) {
    throw new Problem(`${folder}/ has no ${manifest.module}, which its plugin.toml names as module`, {
      hint: "build the plugin first, or mend module in plugin.toml",
    });
  }
  if (modules.length > 1) {
    throw new Problem(`${folder}/ has several .wasm files: ${modules.map(({ name }) => name).join(", ")}`, {
      hint: "upload the one that is meant, or name it as module in plugin.toml",
    });
  }
  throw new Problem(`${folder}/ has no .wasm file`, {
    hint: "upload the folder that holds plugin.toml and the .wasm; `stepwell plugin build` builds a plugin of Rust",
  });
}

/** Refuses what a server would refuse once all of it was sent. */
function check(name: string, code: Uint8Array): void {
  const begins = (...bytes: number[]) => bytes.every((byte, at) => code[at] === byte);
  if (begins(0x00, 0x61, 0x73, 0x6d) || begins(0x50, 0x4b)) {
    return;
  }
  const shown = [...code.slice(0, SHOWN_BYTES)].map((byte) =>
    byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`,
  );
  const begin = code.length === 0 ? "it is empty" : `it begins with ${shown.join("")}`;
  throw new Problem(`${name} is neither a zip archive nor WebAssembly: ${begin}`, {
    hint: "choose the .wasm that a compiler wrote, or a plugin's folder; `stepwell plugin build` builds one of Rust",
  });
}

/**
 * The text of the plugin.toml of an archive, if there is one that is not deeper than one folder. One alone is unpacked, and only
 * if it is small by both of its sizes: what an archive says of the one that is unpacked need not be true.
 */
function packed(name: string, archive: Uint8Array): string | null {
  const named: UnzipFileInfo[] = [];
  let found: Record<string, Uint8Array>;
  try {
    let seen = 0;
    unzipSync(archive, {
      filter: (entry) => {
        seen += 1;
        if (seen > ENTRIES_MAX) {
          throw new Problem(`${name} holds more than ${ENTRIES_MAX} files`, { hint: "pack one plugin alone into it" });
        }
        if (IN_ARCHIVE.test(entry.name)) {
          named.push(entry);
        }
        return false;
      },
    });
    const wanted = theOne(name, named);
    if (wanted === null) {
      return null;
    }
    found = unzipSync(archive, { filter: (entry) => entry.name === wanted.name });
  } catch (thrown) {
    if (thrown instanceof Problem) {
      throw thrown;
    }
    throw new Problem(`${name} cannot be read as a zip archive: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
      hint: "pack it anew, or upload the .wasm that is in it",
    });
  }
  const [manifest] = Object.values(found);
  return manifest === undefined ? null : new TextDecoder().decode(manifest);
}

/** That of the archive itself goes before one of a folder. */
function theOne(archive: string, named: readonly UnzipFileInfo[]): UnzipFileInfo | null {
  const own = named.filter(({ name }) => name === MANIFEST);
  const [one, other] = own.length > 0 ? own : named;
  if (one === undefined) {
    return null;
  }
  if (other !== undefined) {
    throw new Problem(`${archive} holds several plugin.toml: ${shortened(one.name)} and ${shortened(other.name)}`, {
      hint: "pack one plugin alone into it",
    });
  }
  if (one.originalSize > MANIFEST_BYTES_MAX || one.size > PACKED_BYTES_MAX) {
    throw new Problem(`the plugin.toml of ${archive} is larger than ${MANIFEST_BYTES_MAX} bytes, or than ${PACKED_BYTES_MAX} as it is packed`);
  }
  return one;
}

/** A name of an archive may have 65,535 characters. */
function shortened(name: string): string {
  return name.length <= SHOWN_CHARS ? name : `${name.slice(0, SHOWN_CHARS)}…`;
}

async function bytesOf(file: File): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (thrown) {
    throw unreadable(file, thrown);
  }
}

async function textOf(file: File): Promise<string> {
  if (file.size > MANIFEST_BYTES_MAX) {
    throw new Problem(`${file.name} has ${file.size} bytes, and a manifest at most ${MANIFEST_BYTES_MAX}`);
  }
  return file.text().catch((thrown: unknown) => {
    throw unreadable(file, thrown);
  });
}

function unreadable(file: File, thrown: unknown): Problem {
  return new Problem(`${file.name} cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
    hint: "it was moved or written meanwhile; choose it again",
  });
}
