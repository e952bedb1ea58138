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

export type AttemptStatus = "waiting" | "running" | "succeeded" | "failed" | "timed out" | "stopped";

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

  /** Takes the next event; says whether an attempt ended by it. */
  apply(event: HistoryEvent): boolean {
    this.lastId = Math.max(this.lastId, event.id);
    const details = detailsOf(event);
    if (event.type === "ExecutionStarted") {
      this.input = details.input ?? null;
    }
    if (event.type.endsWith("StateEntered")) {
      this.entered.set(event.id, event.id);
      this.names.set(event.id, details.name ?? "");
      return false;
    }
    if (ALL_OVER.test(event.type)) {
      this.stop(event.timestamp);
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
    if (attempt !== undefined && STATE_ABORTED.test(event.type)) {
      this.cutOff(attempt, event.timestamp);
    }
    const ended = ENDED.exec(event.type)?.[1];
    if (attempt === undefined || ended === undefined) {
      return false;
    }
    this.open.delete(entry);
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

/** `taskFailedEventDetails` of an event of the type `TaskFailed`; all entries of states have the same ones. */
function detailsOf(event: HistoryEvent): Details {
  const type = event.type.endsWith("StateEntered") ? "stateEntered" : event.type.charAt(0).toLowerCase() + event.type.slice(1);
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
