// Parts that pages are made of. Whatever a guest, a tenant or a server wrote is put in as text.

import { useId, useMemo, useState, type ReactNode } from "react";

import { Problem } from "../api/request";
import { count, pretty } from "./format";
import { reportOf } from "./report";

/** What went wrong, in full. */
export function Refusal({ problem, title = "Refused", children }: { problem: Problem; title?: string; children?: ReactNode }) {
  return (
    <div className="refusal" role="alert">
      <p className="refusal-title">
        {title}
        {problem.code !== "" && <code>{problem.code}</code>}
      </p>
      <pre className={problem.message.includes("\n") ? "text lines" : "text"}>
        <Long text={problem.message} />
      </pre>
      {problem.hint !== "" && (
        <p className="hint">
          <Prose text={problem.hint} />
        </p>
      )}
      {children}
    </div>
  );
}

/** An error and its cause, as an execution or a task has them; of a function's report the message, and all of it to be opened. */
export function Failure({ error, cause, title, label }: { error: string; cause: string; title: string; label: string }) {
  const report = reportOf(cause);
  return (
    <Refusal problem={new Problem(report?.message ?? cause, { code: error })} title={title}>
      {report !== null && (
        <details>
          <summary>The whole cause</summary>
          <Data text={cause} label={label} />
        </details>
      )}
    </Refusal>
  );
}

/** A text of our own, in which backticks stand around what is typed or meant word by word. */
export function Prose({ text }: { text: string }) {
  return <>{text.split("`").map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part))}</>;
}

export function Busy({ children }: { children: ReactNode }) {
  return (
    <p className="busy" role="status">
      <span className="spinner" aria-hidden="true" />
      {children}
    </p>
  );
}

export function Section({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section className="card" aria-labelledby={id}>
      <header className="card-head">
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}

/** Names and what they stand for, side by side. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode] | null)[] }) {
  return (
    <dl className="facts">
      {facts
        .filter((fact) => fact !== null)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A moment, with all of it to be pointed at. */
export function Moment({ at }: { at: Date }) {
  if (Number.isNaN(at.getTime())) {
    return <>–</>;
  }
  const iso = at.toISOString();
  const told = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return (
    <time dateTime={iso} title={iso}>
      {told}
    </time>
  );
}

/** Text that may be long: JSON with line breaks, and the rest as it is. */
export function Data({ text, label }: { text: string; label: string }) {
  const shown = useMemo(() => pretty(text), [text]);
  return (
    <pre className="data" tabIndex={0} role="region" aria-label={label}>
      <Long text={shown} />
    </pre>
  );
}

/** Characters of a long text that are drawn before all of it is asked for. */
const DRAWN_CHARS = 64 << 10;

/** The beginning of a text, and the rest when it is asked for: a browser stands still while it lays out megabytes. */
export function Long({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  if (all || text.length <= DRAWN_CHARS) {
    return text;
  }
  return (
    <>
      {text.slice(0, DRAWN_CHARS)}…{"\n"}
      <button type="button" className="quiet" onClick={() => setAll(true)}>
        Show the {count(text.length - DRAWN_CHARS)} characters after these
      </button>
    </>
  );
}

/** What is drawn once it is opened. */
export function Details({ summary, children }: { summary: string; children: ReactNode }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{summary}</summary>
      {open && children}
    </details>
  );
}

/** The beginning of a hash, and all of it to be pointed at and copied. */
export function Hash({ hex }: { hex: string }) {
  return (
    <code className="hash" title={hex}>
      {hex.slice(0, 12)}
    </code>
  );
}

export function Copy({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false);
  // A page that came over plain HTTP from elsewhere has no clipboard; the text can be marked by hand.
  if (!("clipboard" in navigator)) {
    return null;
  }
  const copy = () => {
    navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      () => setCopied(false),
    );
  };
  return (
    <button type="button" className="quiet" onClick={copy} onBlur={() => setCopied(false)} aria-label={`Copy ${what}`}>
      {copied ? "Copied" : "Copy"}
    </button>
  );
}

interface FieldProps {
  readonly label: string;
  readonly children: (id: string) => ReactNode;
  readonly hint?: string;
  readonly grow?: boolean;
}

export function Field({ label, children, hint, grow = false }: FieldProps) {
  const id = useId();
  return (
    <div className={grow ? "field grow" : "field"}>
      <label htmlFor={id}>{label}</label>
      {children(id)}
      {hint !== undefined && (
        <small>
          <Prose text={hint} />
        </small>
      )}
    </div>
  );
}

export function Empty({ text }: { text: string }) {
  return (
    <p className="empty">
      <Prose text={text} />
    </p>
  );
}

export function Hint({ text }: { text: string }) {
  return (
    <p className="hint">
      <Prose text={text} />
    </p>
  );
}

/** A table that scrolls by itself where the page is narrow. */
export function Table({ label, head, children }: { label: string; head: readonly string[]; children: ReactNode }) {
  return (
    <div className="table" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} scope="col">
                {name.startsWith("!") ? <span className="unseen">{name.slice(1)}</span> : name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
