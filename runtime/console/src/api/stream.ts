// A live stream of the server: server-sent events, read from the body of a request, since a browser's own reader of them cannot
// sign. Hides how a stream that broke off goes on where it was.

import { Problem, refusal, send } from "./request";

export interface Message {
  readonly event: string;
  readonly data: string;
}

/** How it stands with a stream. */
export type Link =
  | { readonly at: "connecting" }
  | { readonly at: "live" }
  /** It is tried again after so many seconds. */
  | { readonly at: "broken"; readonly why: string; readonly again: number }
  /** The page is out of sight; it goes on where it was when it is seen again. */
  | { readonly at: "paused" }
  | { readonly at: "ended" }
  /** It is not tried again. */
  | { readonly at: "refused"; readonly problem: Problem };

export interface Listener {
  message(message: Message): void;
  link(link: Link): void;
}

/** Characters of one message; the server's largest are an event with its values, of 6 MiB each where limits are raised. */
const MESSAGE_CHARS_MAX = 32 << 20;
/** The server breaks a silence with a comment every 15 s. */
const SILENCE_MS_MAX = 45_000;
/**
 * How long a page that is out of sight keeps its stream. A browser has six connections to a server over HTTP/1.1, for all of its tabs:
 * six that nobody looks at would let no other page ask anything.
 */
const UNSEEN_MS_MAX = 5_000;
const WAIT_S_MIN = 1;
const WAIT_S_MAX = 15;

/** Follows a stream until it says that it ends, or until `signal`. */
export async function follow(path: string, listener: Listener, signal: AbortSignal): Promise<void> {
  let wait = WAIT_S_MIN;
  const place = { id: "" };
  listener.link({ at: "connecting" });
  while (!signal.aborted) {
    if (document.hidden) {
      listener.link({ at: "paused" });
      await seen(signal);
      continue;
    }
    const unseen = new Unseen();
    const end = await once(path, place, AbortSignal.any([signal, unseen.signal]), {
      link: listener.link,
      message: (message) => {
        wait = WAIT_S_MIN;
        listener.message(message);
      },
    }).catch((thrown: unknown): Link => broken(Problem.of(thrown).message, wait));
    unseen.stop();
    if (signal.aborted) {
      return;
    }
    if (unseen.signal.aborted && end.at === "broken") {
      continue;
    }
    const told: Link = end.at === "broken" ? { ...end, again: wait } : end;
    listener.link(told);
    if (told.at !== "broken") {
      return;
    }
    await pause(wait * 1_000, signal);
    wait = Math.min(2 * wait, WAIT_S_MAX);
  }
}

/** One request for it: how it ended. */
async function once(path: string, place: { id: string }, signal: AbortSignal, listener: Listener): Promise<Link> {
  const silence = new AbortController();
  const either = AbortSignal.any([signal, silence.signal]);
  const headers: Record<string, string> = { accept: "text/event-stream" };
  if (place.id !== "") {
    headers["last-event-id"] = place.id;
  }
  const answer = await send({ service: "states", method: "GET", path, headers, signal: either });
  if (answer.status === 204) {
    return { at: "ended" };
  }
  if (!answer.ok || answer.body === null) {
    return unanswered(await refusal(answer));
  }
  listener.link({ at: "live" });
  const reader = new Reader(place);
  let timer = window.setTimeout(() => silence.abort(), SILENCE_MS_MAX);
  try {
    const chunks = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await chunks.read();
      window.clearTimeout(timer);
      if (done) {
        return broken("the server ended it");
      }
      timer = window.setTimeout(() => silence.abort(), SILENCE_MS_MAX);
      for (const message of reader.take(value)) {
        listener.message(message);
        if (message.event === "end") {
          return { at: "ended" };
        }
      }
    }
  } catch (thrown) {
    if (silence.signal.aborted) {
      return broken(`nothing came for ${SILENCE_MS_MAX / 1_000} s`);
    }
    throw thrown;
  } finally {
    window.clearTimeout(timer);
    // Whatever is still to come of it.
    silence.abort();
  }
}

/** A server that is busy, or that is away behind a proxy, is asked again. */
function unanswered(problem: Problem): Link {
  const passing = problem.status === 429 || problem.status >= 500;
  return passing ? broken(problem.message) : { at: "refused", problem };
}

function broken(why: string, again = WAIT_S_MIN): Link {
  return { at: "broken", why, again };
}

/** Takes text as it comes, and gives the messages that are whole. */
export class Reader {
  private rest = "";
  private event = "";
  private data: string[] = [];
  /** Characters of `data`. */
  private held = 0;

  constructor(private readonly place: { id: string }) {}

  take(text: string): Message[] {
    const messages: Message[] = [];
    const lines = (this.rest + text).split(/\r?\n/);
    this.rest = lines.pop() ?? "";
    this.check(this.rest.length);
    for (const line of lines) {
      if (line === "") {
        if (this.data.length > 0) {
          messages.push({ event: this.event === "" ? "message" : this.event, data: this.data.join("\n") });
        }
        this.event = "";
        this.data = [];
        this.held = 0;
      } else {
        this.field(line);
      }
    }
    return messages;
  }

  /** A message of many lines is as long as all of them. */
  private check(more: number): void {
    if (this.held + more > MESSAGE_CHARS_MAX) {
      throw new Problem(`a message of the stream is longer than ${MESSAGE_CHARS_MAX} characters`);
    }
  }

  private field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") {
      this.event = value;
    } else if (name === "data") {
      this.check(value.length);
      this.held += value.length;
      this.data.push(value);
    } else if (name === "id") {
      this.place.id = value;
    }
  }
}

/** Aborts when the page has been out of sight for as long as it may. */
class Unseen {
  private readonly aborting = new AbortController();
  readonly signal = this.aborting.signal;
  private timer = 0;

  constructor() {
    document.addEventListener("visibilitychange", this.look);
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.look);
    window.clearTimeout(this.timer);
  }

  private readonly look = (): void => {
    window.clearTimeout(this.timer);
    if (document.hidden) {
      this.timer = window.setTimeout(() => this.aborting.abort(), UNSEEN_MS_MAX);
    }
  };
}

/** When the page is in sight again. */
function seen(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!document.hidden || signal.aborted) {
        document.removeEventListener("visibilitychange", look);
        signal.removeEventListener("abort", look);
        resolve();
      }
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = window.setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        window.clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
