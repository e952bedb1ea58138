// State machines, their executions, and what the attempts of an execution used and said. Hides which of the server's two APIs
// tells what.

import { action, ask, askJson, listOf } from "./request";

export type Status = "RUNNING" | "SUCCEEDED" | "FAILED" | "TIMED_OUT" | "ABORTED" | "PENDING_REDRIVE";

export const STATUSES: readonly Status[] = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"];

export interface Machine {
  readonly stateMachineArn: string;
  readonly name: string;
  readonly type: "STANDARD" | "EXPRESS";
}

/** Dates are seconds since 1970. */
export interface Execution {
  readonly executionArn: string;
  readonly stateMachineArn: string;
  readonly name: string;
  readonly status: Status;
  readonly startDate: number;
  readonly stopDate?: number;
}

export interface Described extends Execution {
  readonly input?: string;
  readonly output?: string;
  readonly error?: string;
  readonly cause?: string;
  readonly redriveCount?: number;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** What an attempt used; what is 0 is not there. */
export interface Usage {
  readonly cpuMicros?: number;
  readonly wallMicros?: number;
  readonly queuedMicros?: number;
  readonly memoryBytesMax?: number;
  readonly fuel?: number;
}

/** An attempt that has ended. */
export interface EndedAttempt {
  readonly state: string;
  readonly enteredEventId: number;
  readonly attempt: number;
  readonly plugin: string;
  readonly version?: string;
  readonly ended: number;
  readonly usage: Usage;
}

/** The latest note of an attempt that runs. */
export interface Note {
  readonly state: string;
  readonly enteredEventId: number;
  readonly attempt: number;
  readonly plugin: string;
  readonly at: number;
  readonly note: string;
}

export interface LogLine {
  readonly level: "trace" | "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: readonly (readonly [string, string])[];
  readonly afterMs: number;
}

/** What an attempt that has ended logged and printed. */
export interface AttemptLog {
  readonly state: string;
  /** Not there of what an older server kept. */
  readonly enteredEventId?: number;
  readonly attempt: number;
  readonly ended: number;
  readonly lines: readonly LogLine[];
  readonly stdout: string;
  readonly stderr: string;
  readonly cut: boolean;
  readonly progress?: string;
}

/** Items of one page. */
const PAGE_ITEMS = 100;
const EVENTS_PAGE_ITEMS = 1_000;
/** State machines that are listed. */
export const MACHINES_MAX = 1_000;

export async function machines(): Promise<Machine[]> {
  const found: Machine[] = [];
  let nextToken: string | undefined;
  do {
    const members = { maxResults: PAGE_ITEMS, nextToken };
    const page = await call<{ stateMachines: Machine[]; nextToken?: string }>("ListStateMachines", members);
    found.push(...listOf(page.stateMachines, "stateMachines"));
    nextToken = page.nextToken;
  } while (nextToken !== undefined && found.length < MACHINES_MAX);
  return found;
}

export async function executions(machine: string, status: Status | null, token: string | null): Promise<Page<Execution>> {
  const page = await call<{ executions: Execution[]; nextToken?: string }>("ListExecutions", {
    stateMachineArn: machine,
    maxResults: PAGE_ITEMS,
    ...(status === null ? {} : { statusFilter: status }),
    ...(token === null ? {} : { nextToken: token }),
  });
  return { items: listOf(page.executions, "executions"), next: page.nextToken ?? null };
}

/** The executions of an EXPRESS state machine that the server remembers. */
export async function expressExecutions(machine: string): Promise<Page<Execution>> {
  const { executions } = await own<{ executions: Execution[] }>(`/api/machines/${encodeURIComponent(machine)}/express`, {});
  return { items: listOf(executions, "executions").map((execution) => ({ ...execution, stateMachineArn: machine })), next: null };
}

/** A page of the events of one of them, and how many of the first ones the server has dropped. */
export async function expressEvents<T>(arn: string, token: string | null): Promise<Page<T> & { readonly dropped: number }> {
  const query = { maxResults: String(EVENTS_PAGE_ITEMS), ...(token === null ? {} : { nextToken: token }) };
  const page = await own<{ events: T[]; droppedEvents: number; nextToken?: string }>(`${executionPath(arn)}/events`, query);
  return { items: page.events, next: page.nextToken ?? null, dropped: page.droppedEvents };
}

export function describe(arn: string): Promise<Described> {
  return call("DescribeExecution", { executionArn: arn });
}

/** Starts one and tells its ARN; a name is made where none is given. */
export async function start(machine: string, name: string, input: string): Promise<string> {
  const members = { stateMachineArn: machine, input, ...(name === "" ? {} : { name }) };
  const { executionArn } = await call<{ executionArn: string }>("StartExecution", members);
  return executionArn;
}

export async function stop(arn: string): Promise<void> {
  await ask(action("states", "AWSStepFunctions.StopExecution", { executionArn: arn }));
}

export async function attempts(arn: string, token: string | null): Promise<Page<EndedAttempt> & { readonly progress: readonly Note[] }> {
  const path = `${executionPath(arn)}/attempts`;
  const page = await own<{ attempts: EndedAttempt[]; progress: Note[]; nextToken?: string }>(path, paged(token));
  return { items: listOf(page.attempts, "attempts"), progress: page.progress, next: page.nextToken ?? null };
}

export async function logs(arn: string, token: string | null): Promise<Page<AttemptLog>> {
  const page = await own<{ attempts: AttemptLog[]; nextToken?: string }>(`${executionPath(arn)}/logs`, paged(token));
  return { items: listOf(page.attempts, "attempts"), next: page.nextToken ?? null };
}

export function executionPath(arn: string): string {
  return `/api/executions/${encodeURIComponent(arn)}`;
}

export function machinePath(arn: string): string {
  return `/api/machines/${encodeURIComponent(arn)}`;
}

/** The name within an ARN of an execution or a state machine. */
export function nameOf(arn: string): string {
  const parts = arn.split(":");
  return (parts[5] === "stateMachine" ? parts[6] : parts[7]) ?? arn;
}

/** Null of what is no ARN. */
export function regionOf(arn: string): string | null {
  return arn.split(":")[3] ?? null;
}

/** The ARN of the state machine of an EXPRESS execution. */
export function machineOf(arn: string): string {
  const parts = arn.split(":");
  return [...parts.slice(0, 5), "stateMachine", parts[6] ?? ""].join(":");
}

function paged(token: string | null): Record<string, string> {
  const most = { maxResults: String(PAGE_ITEMS) };
  return token === null ? most : { ...most, nextToken: token };
}

function call<T>(operation: string, members: object): Promise<T> {
  return askJson(action("states", `AWSStepFunctions.${operation}`, members));
}

function own<T>(path: string, query: Record<string, string>): Promise<T> {
  return askJson({ service: "states", method: "GET", path, query });
}
