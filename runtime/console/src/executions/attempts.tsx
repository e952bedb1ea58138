// The attempts of an execution: how each stands, what it used, what it says.

import { memo, useState } from "react";

import type { AttemptLog, LogLine } from "../api/executions";
import { bytes, count, duration } from "../ui/format";
import { useNow } from "../ui/load";
import { Data, Details, Empty, Failure, Hint, Long } from "../ui/parts";
import type { Attempt, Waiting } from "./history";
import { logOf, type View } from "./live";
import { AttemptBadge, WaitBadge } from "./status";

/** Attempts that are drawn, the latest; and as many more each time. */
const SHOWN = 100;
/** Lines of the log of one that are drawn, the last; the others when they are asked for. */
const LINES_SHOWN = 50;

export function Attempts({ view }: { view: Pick<View, "attempts" | "gone" | "waiting" | "logs" | "cut"> }) {
  const { attempts, gone, waiting, cut } = view;
  const [shown, setShown] = useState(SHOWN);
  const hidden = Math.max(0, attempts.length - shown);
  return (
    <>
      {attempts.length === 0 && waiting.length === 0 && <Empty text="No task was scheduled yet." />}
      {hidden === 0 && gone > 0 && <Hint text={`${count(gone)} attempts before these are not shown; \`stepwell execution history\` has all.`} />}
      {hidden > 0 && (
        <button type="button" onClick={() => setShown(shown + SHOWN)}>
          Show {Math.min(hidden, SHOWN)} of {hidden} attempts before these
        </button>
      )}
      <ol className="attempts" aria-label="Attempts">
        {attempts.slice(hidden).map((attempt) => (
          <Row key={attempt.key} attempt={attempt} log={logOf(view, attempt)} />
        ))}
        {waiting.map((each) => (
          <Waits key={`${each.awaits} ${each.state}`} waiting={each} />
        ))}
      </ol>
      {cut && <Hint text="Figures and logs are shown of the first attempts alone; `stepwell execution logs` has all." />}
    </>
  );
}

const Row = memo(function Row({ attempt, log }: { attempt: Attempt; log: AttemptLog | null }) {
  const { state, number, status, plugin, calls, note, error, cause, isEmptied } = attempt;
  const label = `${state}, attempt ${number}`;
  const said = note ?? log?.progress ?? null;
  return (
    <li className={`attempt ${status.replace(" ", "-")}`} aria-label={label}>
      <div className="row">
        <AttemptBadge status={status} />
        <strong className="wrap">{state}</strong>
        {number > 1 && <span className="dim">attempt {number}</span>}
        <code className="wrap">{plugin ?? calls}</code>
        <Elapsed from={attempt.scheduledAt} to={attempt.endedAt} />
      </div>
      {said !== null && (
        <p className="note">
          <span className="dim">Progress</span> <span className="wrap">{said}</span>
        </p>
      )}
      <Used attempt={attempt} />
      {(error !== null || cause !== null) && <Failure error={error ?? ""} cause={cause ?? ""} title={status === "timed out" ? "Timed out" : "Failed"} label={`Cause of ${label}`} />}
      {log !== null && <Log log={log} label={label} />}
      {(attempt.input !== null || attempt.output !== null) && (
        <Details summary="Input and output">
          <div className="halves">
            {attempt.input !== null && <Data text={attempt.input} label={`Input of ${label}`} />}
            {attempt.output !== null && <Data text={attempt.output} label={`Output of ${label}`} />}
          </div>
        </Details>
      )}
      {isEmptied && <Hint text="Its input and output are not kept here, since those after it are large; `stepwell execution history` has them." />}
    </li>
  );
});

/** What runs no task now: a Wait state, or a task between two attempts. */
function Waits({ waiting: { state, awaits, since, flows } }: { waiting: Waiting }) {
  const what = { time: "until its time has come", attempt: "before its next attempt", work: "for what goes on within it" }[awaits];
  return (
    <li className="attempt waiting" aria-label={`${state} waits`}>
      <div className="row">
        <WaitBadge />
        <strong className="wrap">{state}</strong>
        <span className="dim">
          {what}
          {flows > 1 && `, in ${flows} flows`}
        </span>
        <Elapsed from={since} to={null} />
      </div>
    </li>
  );
}

function Elapsed({ from, to }: { from: number; to: number | null }) {
  const now = useNow(to === null);
  const ms = (to ?? now / 1_000) * 1_000 - from * 1_000;
  return <span className="dim right number">{duration(Math.max(0, Math.round(ms)))}</span>;
}

function Used({ attempt: { usage } }: { attempt: Attempt }) {
  if (usage === null) {
    return null;
  }
  const { cpuMicros, wallMicros, memoryBytesMax, fuel } = usage;
  const figures = [
    cpuMicros === undefined ? null : (["CPU", duration(cpuMicros / 1_000)] as const),
    wallMicros === undefined ? null : (["ran for", duration(wallMicros / 1_000)] as const),
    memoryBytesMax === undefined ? null : (["memory", bytes(memoryBytesMax)] as const),
    fuel === undefined ? null : (["fuel", count(fuel)] as const),
  ].filter((figure) => figure !== null);
  return (
    <ul className="figures" aria-label="Used">
      {figures.map(([name, value]) => (
        <li key={name}>
          <span className="dim">{name}</span> {value}
        </li>
      ))}
    </ul>
  );
}

function Log({ log, label }: { log: AttemptLog; label: string }) {
  const { lines, stdout, stderr, cut } = log;
  const [all, setAll] = useState(false);
  const hidden = all ? 0 : Math.max(0, lines.length - LINES_SHOWN);
  if (lines.length === 0 && stdout === "" && stderr === "") {
    return null;
  }
  return (
    <div className="log" role="region" aria-label={`Log of ${label}`} tabIndex={0}>
      {hidden > 0 && (
        <button type="button" className="quiet" onClick={() => setAll(true)}>
          Show {hidden} lines before these
        </button>
      )}
      {lines.length > 0 && (
        <ol>
          {lines.slice(hidden).map((line, at) => (
            <Line key={hidden + at} line={line} />
          ))}
        </ol>
      )}
      {stdout !== "" && <Printed name="stdout" text={stdout} />}
      {stderr !== "" && <Printed name="stderr" text={stderr} />}
      {cut && <Hint text="More was said than its limit of `log` keeps." />}
    </div>
  );
}

function Line({ line: { afterMs, level, message, fields } }: { line: LogLine }) {
  return (
    <li className={`line ${level}`}>
      <span className="dim number">+{afterMs} ms</span>
      <span className="level">{level}</span>
      <span className="message">
        {message}
        {fields.map(([name, value], at) => (
          <code key={at} className="pair">
            {name}={value}
          </code>
        ))}
      </span>
    </li>
  );
}

function Printed({ name, text }: { name: string; text: string }) {
  return (
    <div className="printed">
      <span className="level">{name}</span>
      <pre>
        <Long text={text} />
      </pre>
    </div>
  );
}
