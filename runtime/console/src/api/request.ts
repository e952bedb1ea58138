// One request to the server that the page came from, and what became of it. Hides signing, and in which of its forms the server
// writes an error.

import { current, demandKey, USUAL_REGION, type Key } from "./session";
import { scope, signed, type Service, type Unsigned } from "./sign";

export interface Call {
  readonly service: Service;
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Its answer comes when it comes: what is called may run for long. */
  readonly patient?: boolean;
}

/** How long an answer may take. */
const ANSWER_MS_MAX = 60_000;

export interface Answer {
  readonly text: string;
  header(name: string): string | null;
}

/** Why there is no answer, or not the one that was wanted. */
export class Problem extends Error {
  /** The server's code of the error; "" where it did not answer, or the page itself refused. */
  readonly code: string;
  /** HTTP's status; 0 where there was no answer. */
  readonly status: number;
  readonly hint: string;

  constructor(message: string, { code = "", status = 0, hint = "" } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.hint = hint;
  }

  /** Of anything that was thrown. */
  static of(thrown: unknown): Problem {
    if (thrown instanceof Problem) {
      return thrown;
    }
    return new Problem(thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown));
  }
}

/** Codes by which a server says that it does not know who asks. */
const UNKNOWN_CALLER = [
  "ExpiredTokenException",
  "IncompleteSignatureException",
  "InvalidSignatureException",
  "MissingAuthenticationTokenException",
  "UnrecognizedClientException",
];

export function isUnknownCaller(problem: Problem): boolean {
  return UNKNOWN_CALLER.includes(problem.code);
}

/** Asks, and throws a Problem for whatever is no answer of success. */
export async function ask(call: Call): Promise<Answer> {
  const answer = await send(call.patient === true ? call : { ...call, signal: bounded(call.signal) });
  const text = await readText(answer);
  if (!answer.ok) {
    throw refused(answer.status, text, answer.headers.get("x-amzn-errortype"));
  }
  return { text, header: (name) => answer.headers.get(name) };
}

/** A member of an answer that has to be a list. */
export function listOf<T>(value: readonly T[] | undefined, member: string): readonly T[] {
  if (!Array.isArray(value)) {
    throw new Problem(`the server's answer has no list \`${member}\``, { hint: "see whether `stepwell serve` itself answers at this address" });
  }
  return value;
}

export async function askJson<T>(call: Call): Promise<T> {
  const { text } = await ask(call);
  return JSON.parse(text === "" ? "null" : text) as T;
}

/** Asks for what comes little by little: the answer as it is, whatever its status. */
export async function send(call: Call): Promise<Response> {
  const { url, headers } = await prepared(call, current().key);
  const options: RequestInit = { method: call.method, headers, cache: "no-store", credentials: "omit" };
  if (call.body !== undefined) {
    options.body = call.body;
  }
  if (call.signal !== undefined) {
    options.signal = call.signal;
  }
  try {
    return await fetch(url, options);
  } catch (thrown) {
    if (call.signal?.aborted === true) {
      throw isLate(call.signal) ? late() : thrown;
    }
    throw silent();
  }
}

function bounded(signal: AbortSignal | undefined): AbortSignal {
  const time = AbortSignal.timeout(ANSWER_MS_MAX);
  return signal === undefined ? time : AbortSignal.any([signal, time]);
}

function isLate({ reason }: AbortSignal): boolean {
  return reason instanceof DOMException && reason.name === "TimeoutError";
}

function late(): Problem {
  return new Problem(`${location.origin} did not answer within ${ANSWER_MS_MAX / 1_000} s`, {
    hint: "what was asked for may have been done all the same; look, then try it again",
  });
}

/** An answer that is none of success. */
export async function refusal(answer: Response): Promise<Problem> {
  return refused(answer.status, await readText(answer), answer.headers.get("x-amzn-errortype"));
}

/** Asks one thing with a key that is not yet the session's; throws a Problem where it does not count. */
export async function tryKey(key: Key, region: string): Promise<void> {
  const call = action("states", "AWSStepFunctions.ListStateMachines", { maxResults: 1 });
  const unsigned = unsignedOf(call);
  const headers = await signed(unsigned, call.service, region, key);
  const options: RequestInit = { method: call.method, headers, body: unsigned.body, cache: "no-store", credentials: "omit" };
  const answer = await fetch(urlOf(unsigned), options).catch(() => {
    throw silent();
  });
  if (!answer.ok) {
    throw parsed(answer.status, await readText(answer), answer.headers.get("x-amzn-errortype"));
  }
}

/** The same as `ask` of a large body, of which `sent` is told how much has gone. */
export async function upload(call: Call, sent: (bytes: number, all: number) => void): Promise<Answer> {
  const { url, headers } = await prepared(call, current().key);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(call.method, url);
    for (const [name, value] of Object.entries(headers)) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => sent(event.loaded, event.total);
    request.upload.onload = (event) => sent(event.total, event.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) {
        resolve({ text: request.responseText, header: (name) => request.getResponseHeader(name) });
      } else {
        reject(refused(request.status, request.responseText, request.getResponseHeader("x-amzn-errortype")));
      }
    };
    request.onerror = () => reject(silent());
    request.onabort = () => reject(new Problem("the upload was stopped before it was answered"));
    const { signal } = call;
    if (signal?.aborted === true) {
      reject(new Problem("the upload was stopped before it was sent"));
      return;
    }
    signal?.addEventListener("abort", () => request.abort());
    request.send(call.body ?? "");
  });
}

/** A call of an API that has one path and names its operation in a header. */
export function action(service: Service, target: string, members: object): Call {
  return {
    service,
    method: "POST",
    path: "/",
    headers: { "content-type": "application/x-amz-json-1.0", "x-amz-target": target },
    body: JSON.stringify(members),
  };
}

async function prepared(call: Call, key: Key | null): Promise<{ url: string; headers: Record<string, string> }> {
  const { region } = current();
  const unsigned = unsignedOf(call);
  const url = urlOf(unsigned);
  if (key !== null) {
    return { url, headers: await signed(unsigned, call.service, region, key) };
  }
  const headers = { ...unsigned.headers };
  if (region !== USUAL_REGION) {
    headers["authorization"] = scope(call.service, region);
  }
  return { url, headers };
}

function unsignedOf(call: Call): Unsigned {
  const { method, path, query = {}, headers = {}, body = "" } = call;
  return { method, path, query, headers, body };
}

function urlOf({ path, query }: Unsigned): string {
  const asked = Object.entries(query).map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  return asked.length === 0 ? path : `${path}?${asked.join("&")}`;
}

async function readText(answer: Response): Promise<string> {
  return answer.text().catch(() => {
    throw new Problem("the connection broke off before all of the answer had come", { hint: "try it again" });
  });
}

function silent(): Problem {
  return new Problem(`${location.origin} does not answer`, {
    hint: "see whether `stepwell serve` runs there and is reached from here, then try it again",
  });
}

/** The same as `parsed`; where the key is why, a key is asked for. */
function refused(status: number, text: string, type: string | null): Problem {
  const problem = parsed(status, text, type);
  if (isUnknownCaller(problem)) {
    demandKey(problem.message);
  }
  return problem;
}

/** Wire form of errors: of Step Functions `__type` and `message`, of functions `Message` and a header, of our own paths `error`. */
interface WireError {
  __type?: string;
  message?: string;
  Message?: string;
  error?: string;
}

function parsed(status: number, text: string, type: string | null): Problem {
  let told: WireError = {};
  try {
    told = (JSON.parse(text) ?? {}) as WireError;
  } catch {
    // Somebody else answered, such as a proxy: its text is all there is.
  }
  const code = (type ?? told.__type ?? "").split("#").at(-1) ?? "";
  const message = told.message ?? told.Message ?? told.error ?? text.trim();
  return new Problem(message === "" ? `the server answered with status ${status} and no text` : message, { code, status });
}
