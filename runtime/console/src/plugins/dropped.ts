// Files and folders that were dropped on the page or chosen in a dialog, as sources of packages. Hides the browser's ways of telling
// a folder.

import { Problem } from "../api/request";
import type { Source } from "./package";

/** Files of one folder, which are looked at by name. */
const FOLDER_FILES_MAX = 1_000;

/** Whether what is dragged are files, and not text or a link. */
export function hasFiles(transfer: DataTransfer): boolean {
  return [...transfer.types].includes("Files");
}

/** What was dropped, a source an item. To be called while the event is handled: what it holds is gone then. */
export function dropped(transfer: DataTransfer): Promise<Source[]> {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const sources = items.map((item) => {
    const entry = item.webkitGetAsEntry();
    const file = item.getAsFile();
    if (entry?.isDirectory === true) {
      return folder(entry as FileSystemDirectoryEntry);
    }
    return file === null ? null : Promise.resolve<Source>({ kind: "file", file });
  });
  return Promise.all(sources.filter((source) => source !== null));
}

/** What was chosen as files. */
export function chosen(files: FileList): Source[] {
  return [...files].map((file) => ({ kind: "file", file }));
}

/** The folder that was chosen, of which a browser gives all files at any depth. */
export function chosenFolder(files: FileList): Source[] {
  const all = [...files].map((file) => ({ file, parts: file.webkitRelativePath.split("/") }));
  const name = all[0]?.parts[0];
  if (name === undefined) {
    return [];
  }
  const own = all.filter(({ parts }) => parts.length === 2).map(({ file }) => file);
  return [{ kind: "folder", name, files: own }];
}

async function folder(entry: FileSystemDirectoryEntry): Promise<Source> {
  const reader = entry.createReader();
  const files: File[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) {
      return { kind: "folder", name: entry.name, files };
    }
    const own = entries.filter(({ isFile }) => isFile) as FileSystemFileEntry[];
    const read = own.map((file) => new Promise<File>((resolve, reject) => file.file(resolve, reject)));
    files.push(...(await Promise.all(read)));
    if (files.length > FOLDER_FILES_MAX) {
      throw new Problem(`${entry.name}/ has more than ${FOLDER_FILES_MAX} files`, {
        hint: "upload the folder that holds plugin.toml and the .wasm, or the .wasm alone",
      });
    }
  }
}
