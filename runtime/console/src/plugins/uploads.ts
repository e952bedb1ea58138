// The uploads of this tab: what each is at, its file kept so that it can be tried again. Hides in which order the server is asked, so
// that what runs stays as it is when something is refused.

import { useSyncExternalStore } from "react";

import * as functions from "../api/functions";
import { Problem } from "../api/request";
import { current, subscribe as followSession } from "../api/session";
import { hexOf } from "../ui/format";
import { isName, labelOf, NAME_RULE, nameOf, read, type Source } from "./package";

export type Stage =
  | { readonly at: "waiting" }
  | { readonly at: "reading" }
  | { readonly at: "sending"; readonly sent: number; readonly all: number }
  /** All of it has gone; with what the server says that it waits for. */
  | { readonly at: "compiling"; readonly waitsFor: string | null }
  | { readonly at: "served"; readonly version: string; readonly sha256: string; readonly notes: readonly string[] }
  /** With what goes on serving under the name, where that is known. */
  | { readonly at: "refused"; readonly problem: Problem; readonly serving: string | null };

/** What is to be done with what was uploaded. */
export interface Wishes {
  readonly publish: boolean;
  /** Of the version that is published. */
  readonly description: string;
  /** An alias that is to stand for it; "" is none. */
  readonly alias: string;
}

export interface Upload {
  readonly id: number;
  readonly source: Source;
  readonly label: string;
  readonly name: string;
  readonly wishes: Wishes;
  readonly stage: Stage;
}

/** What is known of the code of an upload that did not end well. */
type Fate = "refused" | "unknown" | "taken";

/** Uploads that are under way at a time; the others wait. */
const AT_ONCE = 2;
/** Uploads that are kept in the list; their files are not in memory until they are read. */
const KEPT_MAX = 100;
/** How often the server is asked what an upload waits for. */
const STAGE_ASKED_EVERY_MS = 1_000;

let uploads: readonly Upload[] = [];
let nextId = 1;
const stops = new Map<number, AbortController>();
const listeners = new Set<() => void>();
const servedListeners = new Set<(name: string) => void>();

/** Whose uploads these are: those of one key are nothing that another one, perhaps of another account, goes on with. */
let keyId = current().key?.id;
followSession(() => {
  const now = current().key?.id;
  if (now !== keyId) {
    keyId = now;
    forget();
  }
});

export function useUploads(): readonly Upload[] {
  return useSyncExternalStore(subscribe, () => uploads);
}

/** Whether one is under way, so that the tab is not closed unasked. */
export function areUnderWay(): boolean {
  return uploads.some(({ stage }) => isUnderWay(stage));
}

export function isUnderWay(stage: Stage): boolean {
  return stage.at !== "served" && stage.at !== "refused";
}

/** Calls back when a plugin has new code. */
export function onServed(listener: (name: string) => void): () => void {
  servedListeners.add(listener);
  return () => servedListeners.delete(listener);
}

/** Begins to upload; under `name`, or under each source's own. Throws a Problem when no more may wait. */
export async function add(sources: readonly Source[], wishes: Wishes, name?: string): Promise<void> {
  for (const source of sources) {
    const named = name ?? (await nameOf(source));
    const made: Upload = { id: nextId, source, label: labelOf(source), name: named, wishes, stage: { at: "waiting" } };
    nextId += 1;
    const kept = uploads.length < KEPT_MAX ? uploads : withoutOldest(uploads);
    if (kept.length >= KEPT_MAX) {
      pump();
      throw new Problem(`${KEPT_MAX} uploads wait or are under way: ${made.label} and what came after it was not taken`, {
        hint: "add the others when these are done",
      });
    }
    tell([made, ...kept]);
    begin(made);
  }
  pump();
}

/** Tries one again that was refused, under another name if one is given. */
export function retry(id: number, name?: string): void {
  const upload = find(id);
  if (upload?.stage.at !== "refused") {
    return;
  }
  const again: Upload = { ...upload, name: name ?? upload.name, stage: { at: "waiting" } };
  replace(again);
  begin(again);
  pump();
}

/** Stops one that is under way, or takes one out of the list that is not. */
export function dismiss(id: number): void {
  const upload = find(id);
  if (upload !== undefined && stops.has(id) && isUnderWay(upload.stage)) {
    stops.get(id)?.abort();
    return;
  }
  tell(uploads.filter((other) => other.id !== id));
}

/** What is no name is refused before anything is sent. */
function begin(upload: Upload): void {
  if (!isName(upload.name)) {
    const problem = new Problem(`“${upload.name}” is no plugin's name: ${NAME_RULE}`, {
      hint: "give it another name here, or rename the file",
    });
    enter(upload.id, { at: "refused", problem, serving: null });
  }
}

/** Begins those that wait, as many as may be under way. Two under one name go one after the other. */
function pump(): void {
  for (const upload of [...uploads].reverse()) {
    const busy = uploads.filter(({ id }) => stops.has(id));
    const same = busy.some(({ name }) => name === upload.name);
    if (upload.stage.at === "waiting" && busy.length < AT_ONCE && !same) {
      const stop = new AbortController();
      stops.set(upload.id, stop);
      void run(upload, stop.signal).finally(() => {
        stops.delete(upload.id);
        pump();
      });
    }
  }
}

async function run(upload: Upload, signal: AbortSignal): Promise<void> {
  const { id, name } = upload;
  let fate: Fate = "refused";
  try {
    enter(id, { at: "reading" });
    const { code, settings, leftOut } = await read(upload.source);
    const before = await functions.served(name, signal);
    const packed = await base64(code);
    signal.throwIfAborted();
    fate = "unknown";
    await send(upload, packed, before === null, settings ?? {}, signal);
    fate = "taken";
    const configuration = await settle(upload, before !== null, settings, signal);
    enter(id, { at: "served", version: configuration.Version, sha256: hexOf(configuration.CodeSha256), notes: leftOut });
  } catch (thrown) {
    const isStopped = signal.aborted && !(thrown instanceof Problem);
    const problem = isStopped ? new Problem(fate === "taken" ? "the upload was stopped after its code was taken" : "the upload was stopped before it was sent") : Problem.of(thrown);
    if (fate === "unknown" && isRefusal(problem)) {
      fate = "refused";
    }
    const refused: Stage = { at: "refused", problem, serving: null };
    enter(id, refused);
    // A server that does not answer holds up nobody who wants to try again.
    const told = find(id) === undefined ? null : await serving(name, fate);
    if (find(id)?.stage === refused) {
      enter(id, { ...refused, serving: told });
    }
  }
  for (const listener of servedListeners) {
    listener(name);
  }
}

async function send(upload: Upload, code: string, isNew: boolean, settings: functions.Settings, signal: AbortSignal): Promise<void> {
  const { id, name } = upload;
  let asking = 0;
  const sent = (bytes: number, all: number) => {
    if (asking !== 0) {
      return;
    }
    if (bytes < all) {
      enter(id, { at: "sending", sent: bytes, all });
      return;
    }
    enter(id, { at: "compiling", waitsFor: null });
    let asked: Promise<void> | null = null;
    asking = window.setInterval(() => {
      // One question at a time, however slow the server is.
      asked ??= askStage(id, name).finally(() => {
        asked = null;
      });
    }, STAGE_ASKED_EVERY_MS);
  };
  enter(id, { at: "sending", sent: 0, all: code.length });
  try {
    if (isNew) {
      await functions.create(name, code, settings, sent, signal);
    } else {
      await functions.replaceCode(name, code, sent, signal);
    }
  } finally {
    window.clearInterval(asking);
  }
}

/** Whether the server said no itself; where nobody answered, or somebody in its place, it may have taken the code. */
function isRefusal({ status }: Problem): boolean {
  return status >= 400 && status < 500;
}

/** What is done once the code is taken. */
async function settle(upload: Upload, wasThere: boolean, settings: functions.Settings | null, signal: AbortSignal): Promise<functions.Configuration> {
  const { name, wishes } = upload;
  signal.throwIfAborted();
  let told = wasThere && settings !== null ? await functions.configure(name, settings) : await functions.served(name);
  if (wishes.publish) {
    signal.throwIfAborted();
    told = await functions.publish(name, wishes.description);
  }
  if (told === null) {
    throw new Problem(`${name} was taken, and is not there any more: somebody removed it meanwhile`);
  }
  if (wishes.alias !== "") {
    signal.throwIfAborted();
    await functions.point(name, wishes.alias, { version: told.Version, weights: {} });
  }
  return told;
}

async function askStage(id: number, name: string): Promise<void> {
  // A server that does not tell is not asked for more.
  const waitsFor = await functions.uploadWaitsFor(name).catch(() => null);
  if (find(id)?.stage.at === "compiling") {
    enter(id, { at: "compiling", waitsFor });
  }
}

/** What goes on serving under a name, for people; null where nothing does, or the server does not say. */
async function serving(name: string, fate: Fate): Promise<string | null> {
  if (!isName(name)) {
    return null;
  }
  try {
    const served = await functions.served(name);
    if (served === null) {
      return null;
    }
    const [versions, aliases] = await Promise.all([functions.versions(name), functions.aliases(name)]);
    const numbered = versions.filter(({ Version, CodeSha256 }) => Version !== functions.LATEST && CodeSha256 === served.CodeSha256);
    const last = numbered.at(-1)?.Version;
    const same = last === undefined ? "" : `, the code of version ${last}`;
    const standing = aliases.map((alias) => `${alias.Name} stands for ${functions.shown(functions.targetOf(alias))}`);
    const all = [`sha256 ${hexOf(served.CodeSha256).slice(0, 12)}${same}`, ...standing].join("; ");
    switch (fate) {
      case "refused":
        return `${name} goes on serving as it was: ${all}`;
      case "unknown":
        return `Whether the code was taken is not known; ${name} serves now: ${all}`;
      case "taken":
        return `The code was taken, and ${name} serves it: ${all}`;
    }
  } catch {
    return null;
  }
}

/** By the browser, beside the page: what the page computes itself it stands still for. */
function base64(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => {
      const url = String(reader.result);
      resolve(url.slice(url.indexOf(",") + 1));
    };
    reader.onerror = () => reject(new Problem(`the file cannot be packed: ${reader.error?.message ?? "no reason is told"}`));
    reader.readAsDataURL(new Blob([bytes]));
  });
}

/** Room for one more: the oldest that is over goes. */
function withoutOldest(all: readonly Upload[]): readonly Upload[] {
  const oldest = all.findLast(({ stage }) => !isUnderWay(stage));
  return all.filter((upload) => upload !== oldest);
}

/** Stops what is under way, and lists nothing. */
function forget(): void {
  for (const stop of stops.values()) {
    stop.abort();
  }
  tell([]);
}

function find(id: number): Upload | undefined {
  return uploads.find((upload) => upload.id === id);
}

function enter(id: number, stage: Stage): void {
  const upload = find(id);
  if (upload !== undefined) {
    replace({ ...upload, stage });
  }
}

function replace(upload: Upload): void {
  tell(uploads.map((other) => (other.id === upload.id ? upload : other)));
}

function tell(next: readonly Upload[]): void {
  uploads = next;
  for (const listener of listeners) {
    listener();
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
