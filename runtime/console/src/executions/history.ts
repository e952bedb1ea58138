// The attempts of an execution, folded from the events of its history as they come. Hides how events name what they belong to: by
// the event before them.

import type { EndedAttempt, Note, Usage } from "../api/executions";

/** An event, as GetExecutionHistory has it; outcomes of plugins' attempts have what was used beside. */
export interface HistoryEvent {
  readonly id: number;
  readonly previousEventId: number;
  readonly timestamp: number;
  readonly type: string;
  readonly usage?: Usage;
  readonly [details: string]: unknown;
}

export type AttemptStatus = "waiting" | "running" | "submitted" | "succeeded" | "failed" | "timed out" | "stopped";

/** It never changes: what becomes of an attempt makes another one, so that what is drawn of the same one stays. */
export interface Attempt {
  /** State's entry and number, which no other attempt has. */
  readonly key: string;
  readonly state: string;
  readonly enteredId: number;
  readonly number: number;
  /** What the state calls, in short. */
  readonly calls: string;
  readonly scheduledAt: number;
  readonly status: AttemptStatus;
  readonly endedAt: number | null;
  readonly input: string | null;
  readonly output: string | null;
  readonly error: string | null;
  readonly cause: string | null;
  readonly usage: Usage | null;
  /** Plugin with the version that it ran with, once that is known. */
  readonly plugin: string | null;
  /** The latest note of its progress. */
  readonly note: string | null;
  /** Input, output and cause were let go: later attempts have large ones. */
  readonly isEmptied: boolean;
}

/** Attempts that are kept, the latest; and how many of the first ones go at a time. */
const ATTEMPTS_MAX = 10_000;
const ATTEMPTS_LET_GO = 1_000;
/** Characters of inputs, outputs and causes that are kept of all attempts; the latest one has its own whatever they are. */
const VALUES_CHARS_MAX = 32 << 20;

/** What an execution waits for beside its attempts. */
export interface Waiting {
  readonly state: string;
  /** A Wait state's moment, the next attempt of a task, or whatever goes on within another state. */
  readonly awaits: "time" | "attempt" | "work";
  /** Since when the first of them waits. */
  readonly since: number;
  /** How many flows of a Map or Parallel wait for the same. */
  readonly flows: number;
}

/** A state that was entered, and not left yet. */
interface Stay {
  readonly state: string;
  readonly type: string;
  /** When it was entered, or its latest attempt failed. */
  since: number;
  failed: boolean;
}

interface Details {
  readonly name?: string;
  readonly resource?: string;
  readonly resourceType?: string;
  readonly parameters?: string;
  readonly input?: string;
  readonly output?: string;
  readonly error?: string;
  readonly cause?: string;
}

/** What begins an attempt: a task's own event, of each of the three kinds of resources. */
const SCHEDULED = /^(Task|LambdaFunction|Activity)Scheduled$/;
/** What ends one, and how. */
const ENDED = /^(?:Task|LambdaFunction|Activity)(Succeeded|Failed|TimedOut|ScheduleFailed|StartFailed|SubmitFailed)$/;
/** What cuts off the attempt of a state, and all attempts: neither has an end of its own. */
const STATE_ABORTED = /StateAborted$/;
const ALL_OVER = /^Execution(Succeeded|Failed|Aborted|TimedOut)$/;
const STARTED = /^(Task|LambdaFunction|Activity)Started$/;
const STATE_ENTERED = /^(.*)StateEntered$/;
const STATE_LEFT = /State(Exited|Aborted)$/;

export class History {
  /** Attempts in the order in which they were scheduled. */
  readonly attempts: Attempt[] = [];
  /** How many there were before those. */
  gone = 0;
  /** How many were scheduled first, whose values were let go. */
  private emptied = 0;
  private chars = 0;
  /** By key, how many were scheduled before it. */
  private readonly places = new Map<string, number>();
  /** By event, the event that entered its state. */
  private readonly entered = new Map<number, number>();
  private readonly names = new Map<number, string>();
  /** By entry of a state, how many attempts it has had. */
  private readonly counts = new Map<number, number>();
  /** By entry, the key of the attempt that has no end yet. */
  private readonly open = new Map<number, string>();
  private readonly stays = new Map<number, Stay>();

  /** Takes the next event; says whether an attempt ended by it. */
  apply(event: HistoryEvent): boolean {
    const details = detailsOf(event);
    const type = STATE_ENTERED.exec(event.type)?.[1];
    if (type !== undefined) {
      this.entered.set(event.id, event.id);
      this.names.set(event.id, details.name ?? "");
      this.stays.set(event.id, { state: details.name ?? "", type, since: event.timestamp, failed: false });
      return false;
    }
    if (ALL_OVER.test(event.type)) {
      this.stop(event.timestamp);
    }
    if (STATE_LEFT.test(event.type)) {
      this.leave(this.entered.get(event.previousEventId), details.name);
    }
    const entry = this.entered.get(event.previousEventId);
    if (entry !== undefined) {
      this.entered.set(event.id, entry);
    }
    if (entry === undefined) {
      return false;
    }
    if (SCHEDULED.test(event.type)) {
      this.schedule(event, details, entry);
      return false;
    }
    const key = this.open.get(entry);
    if (key !== undefined && STARTED.test(event.type)) {
      this.change(key, { status: "running" });
    }
    if (key !== undefined && event.type === "TaskSubmitted" && this.find(key)?.calls.includes(".waitForTaskToken")) {
      this.change(key, { status: "submitted" });
    }
    if (key !== undefined && STATE_ABORTED.test(event.type)) {
      this.cutOff(entry, key, event.timestamp);
    }
    const ended = ENDED.exec(event.type)?.[1];
    if (key === undefined || ended === undefined) {
      return false;
    }
    this.open.delete(entry);
    const stay = this.stays.get(entry);
    if (stay !== undefined && ended !== "Succeeded") {
      stay.since = event.timestamp;
      stay.failed = true;
    }
    this.change(key, {
      status: ended === "Succeeded" ? "succeeded" : ended === "TimedOut" ? "timed out" : "failed",
      endedAt: event.timestamp,
      output: details.output ?? null,
      error: details.error ?? null,
      cause: details.cause ?? null,
      ...(event.usage === undefined ? {} : { usage: event.usage }),
    });
    return true;
  }

  /** The latest note of an attempt that runs. */
  note(note: Note): void {
    const key = keyOf(note.enteredEventId, note.attempt);
    const attempt = this.find(key);
    if (attempt !== undefined && attempt.endedAt === null) {
      this.change(key, { note: note.note, status: "running" });
    }
  }

  /** What is told of an attempt that a plugin ended. */
  ended(told: EndedAttempt): void {
    const key = keyOf(told.enteredEventId, told.attempt);
    const attempt = this.find(key);
    const plugin = told.version ?? told.plugin;
    if (attempt !== undefined && (attempt.plugin !== plugin || !isSame(attempt.usage, told.usage))) {
      this.change(key, { plugin, usage: told.usage });
    }
  }

  /** The execution is over: what is open was cut off. */
  stop(at: number | null): void {
    for (const [entry, key] of this.open) {
      this.cutOff(entry, key, at);
    }
    this.stays.clear();
  }

  /** What it waits for beside its attempts, the same of several flows together. */
  waiting(): Waiting[] {
    const found = new Map<string, Waiting>();
    const busy = this.open.size > 0;
    for (const [entry, { state, type, since, failed }] of this.stays) {
      const awaits = type === "Wait" ? "time" : failed && !this.open.has(entry) ? "attempt" : "work";
      if (awaits !== "work") {
        const key = `${awaits} ${state}`;
        const before = found.get(key);
        found.set(key, { state, awaits, since: before?.since ?? since, flows: (before?.flows ?? 0) + 1 });
      }
    }
    if (found.size > 0 || busy) {
      return [...found.values()];
    }
    // Such as a map run, whose executions have histories of their own.
    const innermost = [...this.stays.values()].at(-1);
    return innermost === undefined ? [] : [{ state: innermost.state, awaits: "work", since: innermost.since, flows: 1 }];
  }

  /** The events of a Map or Parallel may follow one of a state within: then its name tells which was left. */
  private leave(entry: number | undefined, name: string | undefined): void {
    const isIts = entry !== undefined && (name === undefined || this.names.get(entry) === name);
    const left = isIts ? entry : [...this.stays].findLast(([, { state }]) => state === name)?.[0];
    if (left !== undefined) {
      this.stays.delete(left);
    }
  }

  private cutOff(entry: number, key: string, at: number | null): void {
    this.change(key, { status: "stopped", endedAt: at });
    this.open.delete(entry);
  }

  private find(key: string): Attempt | undefined {
    const place = this.places.get(key);
    return place === undefined ? undefined : this.attempts[place - this.gone];
  }

  private change(key: string, changes: Partial<Attempt>): void {
    const attempt = this.find(key);
    const place = this.places.get(key);
    if (attempt === undefined || place === undefined) {
      return;
    }
    const changed = { ...attempt, ...changes };
    const next = attempt.isEmptied ? withoutValues(changed) : changed;
    this.attempts[place - this.gone] = next;
    this.chars += charsOf(next) - charsOf(attempt);
    this.fit();
  }

  /** Lets values go, the first ones first, until the rest is no more than is kept; and attempts, where there are too many. */
  private fit(): void {
    const last = this.gone + this.attempts.length - 1;
    while (this.chars > VALUES_CHARS_MAX && this.emptied < last) {
      const at = this.emptied - this.gone;
      this.emptied += 1;
      const attempt = this.attempts[at];
      if (attempt !== undefined) {
        this.chars -= charsOf(attempt);
        this.attempts[at] = withoutValues(attempt);
      }
    }
    if (this.attempts.length >= ATTEMPTS_MAX + ATTEMPTS_LET_GO) {
      for (const attempt of this.attempts.splice(0, ATTEMPTS_LET_GO)) {
        this.chars -= charsOf(attempt);
        this.places.delete(attempt.key);
      }
      this.gone += ATTEMPTS_LET_GO;
      this.emptied = Math.max(this.emptied, this.gone);
    }
  }

  private schedule(event: HistoryEvent, details: Details, entry: number): void {
    const number = (this.counts.get(entry) ?? 0) + 1;
    this.counts.set(entry, number);
    const attempt: Attempt = {
      key: keyOf(entry, number),
      state: this.names.get(entry) ?? "",
      enteredId: entry,
      number,
      calls: called(details),
      scheduledAt: event.timestamp,
      // An activity waits until a worker takes it; all else is dispatched as it is scheduled.
      status: event.type === "ActivityScheduled" ? "waiting" : "running",
      endedAt: null,
      input: details.parameters ?? details.input ?? null,
      output: null,
      error: null,
      cause: null,
      usage: null,
      plugin: null,
      note: null,
      isEmptied: false,
    };
    this.places.set(attempt.key, this.gone + this.attempts.length);
    this.attempts.push(attempt);
    this.open.set(entry, attempt.key);
    this.chars += charsOf(attempt);
    this.fit();
  }
}

function charsOf({ input, output, cause }: Attempt): number {
  return (input?.length ?? 0) + (output?.length ?? 0) + (cause?.length ?? 0);
}

function withoutValues(attempt: Attempt): Attempt {
  return { ...attempt, input: null, output: null, cause: null, isEmptied: true };
}

function isSame(one: Usage | null, other: Usage): boolean {
  const names = ["cpuMicros", "wallMicros", "queuedMicros", "memoryBytesMax", "fuel"] as const;
  return one !== null && names.every((name) => one[name] === other[name]);
}

/** Of an attempt: its state's entry and its number. The time of its end is none, since what it said may end before its event. */
export function keyOf(entry: number, attempt: number): string {
  return `${entry}.${attempt}`;
}

/** `taskFailedEventDetails` of an event of the type `TaskFailed`; all entries of states have the same ones, and all exits. */
export function detailsOf(event: HistoryEvent): Details {
  const shared = /State(Entered|Exited)$/.exec(event.type)?.[1];
  const type = shared !== undefined ? `state${shared}` : event.type.charAt(0).toLowerCase() + event.type.slice(1);
  return (event[`${type}EventDetails`] ?? {}) as Details;
}

/** `wasm:pay`, `lambda:invoke pay:live`, or the resource as it is. */
function called({ resourceType, resource = "", parameters }: Details): string {
  const named = resourceType === undefined ? resource : `${resourceType}:${resource}`;
  if (resourceType !== "lambda" || parameters === undefined) {
    return named;
  }
  try {
    const { FunctionName } = JSON.parse(parameters) as { FunctionName?: unknown };
    return typeof FunctionName === "string" ? `${named} ${FunctionName}` : named;
  } catch {
    return named;
  }
}
