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

export interface Attempt {
  /** State's entry and number, which no other attempt has. */
  readonly key: string;
  readonly state: string;
  readonly enteredId: number;
  readonly number: number;
  /** What the state calls, in short. */
  readonly calls: string;
  readonly scheduledAt: number;
  status: AttemptStatus;
  endedAt: number | null;
  input: string | null;
  output: string | null;
  error: string | null;
  cause: string | null;
  usage: Usage | null;
  /** Plugin with the version that it ran with, once that is known. */
  plugin: string | null;
  /** The latest note of its progress. */
  note: string | null;
}

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
  input: string | null = null;
  lastId = 0;
  private readonly byKey = new Map<string, Attempt>();
  /** By event, the event that entered its state. */
  private readonly entered = new Map<number, number>();
  private readonly names = new Map<number, string>();
  /** By entry of a state, how many attempts it has had. */
  private readonly counts = new Map<number, number>();
  private readonly open = new Map<number, Attempt>();
  private readonly stays = new Map<number, Stay>();

  /** Takes the next event; says whether an attempt ended by it. */
  apply(event: HistoryEvent): boolean {
    this.lastId = Math.max(this.lastId, event.id);
    const details = detailsOf(event);
    if (event.type === "ExecutionStarted") {
      this.input = details.input ?? null;
    }
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
    const attempt = this.open.get(entry);
    if (attempt !== undefined && STARTED.test(event.type)) {
      attempt.status = "running";
    }
    if (attempt !== undefined && event.type === "TaskSubmitted" && attempt.calls.includes(".waitForTaskToken")) {
      attempt.status = "submitted";
    }
    if (attempt !== undefined && STATE_ABORTED.test(event.type)) {
      this.cutOff(attempt, event.timestamp);
    }
    const ended = ENDED.exec(event.type)?.[1];
    if (attempt === undefined || ended === undefined) {
      return false;
    }
    this.open.delete(entry);
    const stay = this.stays.get(entry);
    if (stay !== undefined && ended !== "Succeeded") {
      stay.since = event.timestamp;
      stay.failed = true;
    }
    attempt.status = ended === "Succeeded" ? "succeeded" : ended === "TimedOut" ? "timed out" : "failed";
    attempt.endedAt = event.timestamp;
    attempt.output = details.output ?? null;
    attempt.error = details.error ?? null;
    attempt.cause = details.cause ?? null;
    attempt.usage = event.usage ?? attempt.usage;
    return true;
  }

  /** The latest note of an attempt that runs. */
  note(note: Note): void {
    const attempt = this.byKey.get(keyOf(note.enteredEventId, note.attempt));
    if (attempt !== undefined && attempt.endedAt === null) {
      attempt.note = note.note;
      attempt.status = "running";
    }
  }

  /** What is told of an attempt that a plugin ended. */
  ended(told: EndedAttempt): void {
    const attempt = this.byKey.get(keyOf(told.enteredEventId, told.attempt));
    if (attempt !== undefined) {
      attempt.plugin = told.version ?? told.plugin;
      attempt.usage = told.usage;
    }
  }

  /** The execution is over: what is open was cut off. */
  stop(at: number | null): void {
    for (const attempt of this.open.values()) {
      this.cutOff(attempt, at);
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

  private cutOff(attempt: Attempt, at: number | null): void {
    attempt.status = "stopped";
    attempt.endedAt = at;
    this.open.delete(attempt.enteredId);
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
    };
    this.attempts.push(attempt);
    this.byKey.set(attempt.key, attempt);
    this.open.set(entry, attempt);
  }
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
