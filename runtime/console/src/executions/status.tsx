// How an execution or an attempt stands, by a word and a colour.

import type { Status as ExecutionStatus } from "../api/executions";
import type { Link } from "../api/stream";
import type { AttemptStatus } from "./history";

type Tone = "good" | "bad" | "busy" | "still";

const OF_EXECUTION: Readonly<Record<ExecutionStatus, readonly [string, Tone]>> = {
  RUNNING: ["Running", "busy"],
  SUCCEEDED: ["Succeeded", "good"],
  FAILED: ["Failed", "bad"],
  TIMED_OUT: ["Timed out", "bad"],
  ABORTED: ["Aborted", "still"],
  PENDING_REDRIVE: ["Pending redrive", "busy"],
};

const OF_ATTEMPT: Readonly<Record<AttemptStatus, readonly [string, Tone]>> = {
  waiting: ["Waiting for a worker", "busy"],
  running: ["Running", "busy"],
  submitted: ["Waiting for its token", "busy"],
  succeeded: ["Succeeded", "good"],
  failed: ["Failed", "bad"],
  "timed out": ["Timed out", "bad"],
  stopped: ["Stopped", "still"],
};

export function wordOf(status: ExecutionStatus): string {
  return (OF_EXECUTION[status] ?? [status])[0];
}

export function ExecutionBadge({ status }: { status: ExecutionStatus }) {
  return <Badge told={OF_EXECUTION[status] ?? [status, "still"]} />;
}

export function AttemptBadge({ status }: { status: AttemptStatus }) {
  return <Badge told={OF_ATTEMPT[status]} />;
}

export function WaitBadge() {
  return <Badge told={["Waits", "busy"]} />;
}

function Badge({ told: [word, tone] }: { told: readonly [string, Tone] }) {
  return <span className={`badge ${tone}`}>{word}</span>;
}

/** How it stands with a live stream. */
export function LinkState({ link }: { link: Link }) {
  switch (link.at) {
    case "connecting":
      return <Linked tone="busy" text="Connecting" />;
    case "live":
      return <Linked tone="good" text="Live" />;
    case "broken":
      return <Linked tone="bad" text={`The live stream broke off (${link.why}); it is tried again in ${link.again} s`} />;
    case "paused":
      return <Linked tone="still" text="Paused while this page is out of sight" />;
    case "ended":
      return <Linked tone="still" text="Over" />;
    case "refused":
      return <Linked tone="bad" text={`There is no live stream: ${link.problem.message}`} />;
  }
}

function Linked({ tone, text }: { tone: Tone; text: string }) {
  return (
    <span className={`link-state ${tone}`} role="status" aria-label="Live stream">
      {text}
    </span>
  );
}
