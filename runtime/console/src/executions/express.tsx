// An execution of an EXPRESS state machine, folded from the events that the server remembers of it. Hides that nothing describes
// such an execution: how it stands is its last event's.

import { useEffect } from "react";

import { expressEvents, machineOf, nameOf, type Described, type Status } from "../api/executions";
import { Link } from "../router";
import { useLoad, useTitle } from "../ui/load";
import { Busy, Hint, Refusal, Section } from "../ui/parts";
import { Attempts } from "./attempts";
import { Overview } from "./execution";
import { detailsOf, History, type HistoryEvent } from "./history";
import { ExecutionBadge } from "./status";

/** Events that are read, in all. */
const EVENTS_MAX = 10_000;
/** How often one that runs is read anew. */
const READ_EVERY_MS = 1_000;

const NOTHING_SAID = new Map();

interface Told {
  readonly described: Described;
  readonly history: History;
  /** How many of the first events are gone. */
  readonly dropped: number;
  readonly cut: boolean;
}

export function ExpressPage({ arn }: { arn: string }) {
  useTitle(nameOf(arn));
  const { value, problem, reload } = useLoad(arn, () => read(arn));
  const runs = value?.described.status === "RUNNING";
  useEffect(() => {
    if (!runs) {
      return;
    }
    const timer = setInterval(reload, READ_EVERY_MS);
    return () => clearInterval(timer);
  }, [runs, reload]);
  const machine = machineOf(arn);
  return (
    <>
      <nav className="crumbs" aria-label="Where this is">
        <Link to={["executions"]}>Executions</Link> / <Link to={["executions", machine]}>{nameOf(machine)}</Link> / <span>{nameOf(arn)}</span>
      </nav>
      <div className="row title">
        <h1 className="wrap">{nameOf(arn)}</h1>
        {value !== null && <ExecutionBadge status={value.described.status} />}
      </div>
      {problem !== null && (
        <Refusal problem={problem} title="This execution cannot be read">
          <Hint text="A server remembers EXPRESS executions for a day, until it ends, and as many as `stepwell serve --express-history` has room for. What stays is in the log of their state machine." />
        </Refusal>
      )}
      {value === null && problem === null && <Busy>reading the execution</Busy>}
      {value !== null && <Shown told={value} />}
    </>
  );
}

function Shown({ told: { described, history, dropped, cut } }: { told: Told }) {
  return (
    <>
      <Overview described={described} />
      <Section title="Tasks">
        {dropped > 0 && <Hint text={`The server has dropped the first ${dropped} events of it, so what they told is not here.`} />}
        {cut && <Hint text={`The first ${EVENTS_MAX} events were read.`} />}
        <Attempts view={{ attempts: history.attempts, gone: history.gone, waiting: history.waiting(), logs: NOTHING_SAID, cut: false }} />
        <Hint text="Of an EXPRESS execution no log lines are kept." />
      </Section>
    </>
  );
}

async function read(arn: string): Promise<Told> {
  const history = new History();
  const events: HistoryEvent[] = [];
  let next: string | null = null;
  let dropped = 0;
  do {
    const page: Awaited<ReturnType<typeof expressEvents<HistoryEvent>>> = await expressEvents<HistoryEvent>(arn, next);
    events.push(...page.items);
    next = page.next;
    dropped = page.dropped;
  } while (next !== null && events.length < EVENTS_MAX);
  for (const event of events) {
    history.apply(event);
  }
  return { described: described(arn, events), history, dropped, cut: next !== null };
}

const ENDS: Readonly<Record<string, Status>> = {
  ExecutionSucceeded: "SUCCEEDED",
  ExecutionFailed: "FAILED",
  ExecutionAborted: "ABORTED",
  ExecutionTimedOut: "TIMED_OUT",
};

function described(arn: string, events: readonly HistoryEvent[]): Described {
  const [first, last] = [events[0], events.at(-1)];
  const status = ENDS[last?.type ?? ""];
  const { input } = first?.type === "ExecutionStarted" ? detailsOf(first) : {};
  const { output, error, cause } = status !== undefined && last !== undefined ? detailsOf(last) : {};
  return {
    executionArn: arn,
    stateMachineArn: machineOf(arn),
    name: nameOf(arn),
    status: status ?? "RUNNING",
    startDate: first?.timestamp ?? 0,
    ...(status !== undefined && last !== undefined ? { stopDate: last.timestamp } : {}),
    ...(input === undefined ? {} : { input }),
    ...(output === undefined ? {} : { output }),
    ...(error === undefined ? {} : { error }),
    ...(cause === undefined ? {} : { cause }),
  };
}
