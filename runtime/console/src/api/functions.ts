// The function service: plugins that were uploaded, their versions and aliases, and calls of them. Hides its paths and pages.

import { ask, askJson, action, listOf, Problem, upload, type Call } from "./request";

/** What a plugin, or a version of it, is called with; members as in the API. */
export interface Configuration {
  readonly FunctionName: string;
  readonly FunctionArn: string;
  readonly Version: string;
  readonly CodeSize: number;
  /** Base64. */
  readonly CodeSha256: string;
  readonly Description: string;
  readonly Timeout: number;
  readonly MemorySize: number;
  readonly LastModified: string;
  readonly Environment?: { readonly Variables: Readonly<Record<string, string>> };
}

export interface Alias {
  readonly Name: string;
  readonly FunctionVersion: string;
  readonly Description: string;
  readonly RoutingConfig?: { readonly AdditionalVersionWeights: Readonly<Record<string, number>> };
  readonly RevisionId: string;
}

/** Which version an alias stands for, and which others have a part of its calls. */
export interface Target {
  readonly version: string;
  readonly weights: Readonly<Record<string, number>>;
}

/** What an attempt has at most, whatever its settings say. */
export interface Bounds {
  readonly memoryBytes: number | null;
  readonly timeMs: number | null;
}

export interface Plugin {
  readonly configuration: Configuration;
  readonly tags: Readonly<Record<string, string>>;
  readonly reserved: number | null;
  readonly bounds: Bounds;
}

export interface Settings {
  readonly MemorySize?: number;
  readonly Timeout?: number;
  readonly Description?: string;
  /** All of them: those that are not in it go. */
  readonly Environment?: { readonly Variables: Readonly<Record<string, string>> };
}

export interface Invoked {
  readonly payload: string;
  /** Whether the payload reports an error. */
  readonly failed: boolean;
  readonly version: string;
  readonly log: string;
}

/** Bounds of settings that the service has. */
export interface Range {
  readonly min: number;
  readonly max: number;
}
export const MEMORY_MIB: Range = { min: 128, max: 10_240 };
export const TIMEOUT_S: Range = { min: 1, max: 900 };

/** The qualifier of what was uploaded last. */
export const LATEST = "$LATEST";
/** Items of lists that are loaded, in all. */
export const LISTED_MAX = 1_000;
/** Items of one page, which is the most that the API gives. */
const PAGE_ITEMS = "50";

const FUNCTIONS = "/2015-03-31/functions";
/** The service's code of what is not there. */
const ABSENT = "ResourceNotFoundException";

export function plugins(): Promise<Configuration[]> {
  return pages<Configuration>(FUNCTIONS, "Functions");
}

export function versions(name: string): Promise<Configuration[]> {
  return pages<Configuration>(`${path(name)}/versions`, "Versions");
}

export function aliases(name: string): Promise<Alias[]> {
  return pages<Alias>(`${path(name)}/aliases`, "Aliases");
}

export async function plugin(name: string): Promise<Plugin> {
  const [told, configuration] = await Promise.all([
    askJson<{ Tags?: Record<string, string>; Concurrency?: { ReservedConcurrentExecutions: number } }>(get(path(name))),
    ask(get(`${path(name)}/configuration`)),
  ]);
  return {
    configuration: JSON.parse(configuration.text) as Configuration,
    tags: told.Tags ?? {},
    reserved: told.Concurrency?.ReservedConcurrentExecutions ?? null,
    bounds: bounds(configuration.header("x-stepwell-function-bounds")),
  };
}

/** What is served under a name; null where nothing is. */
export async function served(name: string, signal?: AbortSignal): Promise<Configuration | null> {
  const call = get(`${path(name)}/configuration`);
  try {
    return await askJson<Configuration>(signal === undefined ? call : { ...call, signal });
  } catch (thrown) {
    if (thrown instanceof Problem && thrown.code === ABSENT) {
      return null;
    }
    throw thrown;
  }
}

export type Sent = (bytes: number, all: number) => void;

export async function create(name: string, code: string, settings: Settings, sent: Sent, signal: AbortSignal): Promise<void> {
  const members = {
    ...settings,
    FunctionName: name,
    // Nobody takes a role on here; the API wants one.
    Role: "arn:aws:iam::000000000000:role/stepwell",
    Code: { ZipFile: code },
  };
  await upload({ ...change("POST", FUNCTIONS, members), signal }, sent);
}

export async function replaceCode(name: string, code: string, sent: Sent, signal: AbortSignal): Promise<void> {
  await upload({ ...change("PUT", `${path(name)}/code`, { ZipFile: code }), signal }, sent);
}

/** What an upload that is under way waits for, in the server's words; null when it tells nothing. */
export async function uploadWaitsFor(name: string): Promise<string | null> {
  const told = await askJson<{ waitsFor?: string }>(action("states", "Stepwell.DescribeUpload", { functionName: name }));
  return told.waitsFor ?? null;
}

export function configure(name: string, settings: Settings): Promise<Configuration> {
  return askJson(change("PUT", `${path(name)}/configuration`, settings));
}

export function publish(name: string, description: string): Promise<Configuration> {
  return askJson(change("POST", `${path(name)}/versions`, { Description: description }));
}

export async function remove(name: string, version?: string): Promise<void> {
  const query = version === undefined ? {} : { Qualifier: version };
  await ask({ service: "lambda", method: "DELETE", path: path(name), query });
}

/** Lets an alias stand for a version, and makes it when it is not there: one call that changes something, and one entry of the audit log. */
export async function point(name: string, alias: string, target: Target): Promise<void> {
  const members = wire(target);
  const isThere = await hasAlias(name, alias);
  await ask(isThere ? change("PUT", aliasPath(name, alias), members) : change("POST", `${path(name)}/aliases`, { ...members, Name: alias }));
}

/** How the service begins to say that an alias is not there, of a function that is. */
const NO_ALIAS = "Cannot find alias";

/** Throws where there is no such plugin. */
async function hasAlias(name: string, alias: string): Promise<boolean> {
  try {
    await ask(get(aliasPath(name, alias)));
    return true;
  } catch (thrown) {
    if (thrown instanceof Problem && thrown.code === ABSENT && thrown.message.startsWith(NO_ALIAS)) {
      return false;
    }
    throw thrown;
  }
}

/**
 * Lets an alias stand again for what it stood for before its last change, and tells what that is. Whoever changes it
 * meanwhile goes first.
 */
export async function rollBack(name: string, alias: string): Promise<Target> {
  const answer = await ask(get(aliasPath(name, alias)));
  const told = JSON.parse(answer.text) as Alias;
  const previous = readTarget(answer.header("x-stepwell-previous-version"));
  if (previous === null) {
    throw new Problem(`${alias} stands for ${shown(targetOf(told))}, and has stood for nothing else`, {
      hint: "let it stand for another version by “Change”",
    });
  }
  await ask(change("PUT", aliasPath(name, alias), { ...wire(previous), RevisionId: told.RevisionId }));
  return previous;
}

export async function removeAlias(name: string, alias: string): Promise<void> {
  await ask({ service: "lambda", method: "DELETE", path: aliasPath(name, alias) });
}

export async function invoke(name: string, qualifier: string, input: string, signal: AbortSignal): Promise<Invoked> {
  const answer = await ask({
    service: "lambda",
    method: "POST",
    path: `${path(name)}/invocations`,
    query: { Qualifier: qualifier },
    headers: { "content-type": "application/json", "x-amz-log-type": "Tail" },
    body: input,
    signal,
    patient: true,
  });
  return {
    payload: answer.text,
    failed: answer.header("x-amz-function-error") !== null,
    version: answer.header("x-amz-executed-version") ?? qualifier,
    log: textOf(answer.header("x-amz-log-result") ?? ""),
  };
}

export function targetOf(alias: Alias): Target {
  return { version: alias.FunctionVersion, weights: alias.RoutingConfig?.AdditionalVersionWeights ?? {} };
}

/** `2`, or `2, 3 for 10 % of calls`. */
export function shown({ version, weights }: Target): string {
  const parts = Object.entries(weights).map(([other, weight]) => `${other} for ${percent(weight)} of calls`);
  return [version, ...parts].join(", ");
}

export function percent(weight: number): string {
  return `${Number((weight * 100).toFixed(2))} %`;
}

function wire({ version, weights }: Target): object {
  return { FunctionVersion: version, RoutingConfig: { AdditionalVersionWeights: weights } };
}

/** Of the header's form, `2` or `2;3=0.1`. */
function readTarget(text: string | null): Target | null {
  const [version, ...parts] = (text ?? "").split(";");
  if (version === undefined || version === "") {
    return null;
  }
  const weights = parts.map((part): [string, number] => {
    const [other = "", weight = ""] = part.split("=");
    return [other, Number(weight)];
  });
  return { version, weights: Object.fromEntries(weights) };
}

/** Of the header's form, `memory=268435456;time=3000`. */
function bounds(text: string | null): Bounds {
  const parts = new Map((text ?? "").split(";").map((part) => part.split("=") as [string, string]));
  const number = (name: string): number | null => {
    const value = Number(parts.get(name) ?? Number.NaN);
    return Number.isFinite(value) ? value : null;
  };
  return { memoryBytes: number("memory"), timeMs: number("time") };
}

async function pages<T>(list: string, member: string): Promise<T[]> {
  const items: T[] = [];
  let marker: string | undefined;
  do {
    const query: Record<string, string> = marker === undefined ? { MaxItems: PAGE_ITEMS } : { MaxItems: PAGE_ITEMS, Marker: marker };
    const page = await askJson<Record<string, unknown>>({ ...get(list), query });
    items.push(...listOf(page[member] as T[] | undefined, member));
    marker = page["NextMarker"] as string | undefined;
  } while (marker !== undefined && items.length < LISTED_MAX);
  return items;
}

function path(name: string): string {
  return `${FUNCTIONS}/${encodeURIComponent(name)}`;
}

function aliasPath(name: string, alias: string): string {
  return `${path(name)}/aliases/${encodeURIComponent(alias)}`;
}

function get(path: string): Call {
  return { service: "lambda", method: "GET", path };
}

function change(method: "POST" | "PUT", path: string, members: object): Call {
  return { service: "lambda", method, path, headers: { "content-type": "application/json" }, body: JSON.stringify(members) };
}

function textOf(base64: string): string {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}
