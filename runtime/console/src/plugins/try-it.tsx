// A call of a plugin with an input that is typed.

import { useRef, useState, type FormEvent, type KeyboardEvent } from "react";

import { invoke, LATEST, type Invoked } from "../api/functions";
import { Problem } from "../api/request";
import { checkJson } from "../ui/json";
import { duration } from "../ui/format";
import { useDoing } from "../ui/load";
import { reportOf } from "../ui/report";
import { Busy, Data, Field, Refusal, Section } from "../ui/parts";
import type { Listed } from "./versions";

interface Told extends Invoked {
  readonly tookMs: number;
}

export function TryIt({ name, versions, aliases }: Listed) {
  const numbers = versions.map(({ Version }) => Version).filter((version) => version !== LATEST);
  const qualifiers = [LATEST, ...aliases.map(({ Name }) => Name), ...numbers.toReversed()];
  const [qualifier, setQualifier] = useState(LATEST);
  const [input, setInput] = useState("{}");
  const [told, setTold] = useState<Told | null>(null);
  const doing = useDoing();
  const stop = useRef<AbortController>(null);
  const call = () => {
    if (doing.busy) {
      return;
    }
    setTold(null);
    stop.current = new AbortController();
    const { signal } = stop.current;
    doing.run(async () => {
      checkJson(input);
      const began = performance.now();
      const invoked = await invoke(name, qualifiers.includes(qualifier) ? qualifier : LATEST, input, signal).catch((thrown: unknown) => {
        throw signal.aborted ? new Problem("nobody waits for the answer any more") : thrown;
      });
      setTold({ ...invoked, tookMs: performance.now() - began });
    });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    call();
  };
  const key = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      call();
    }
  };
  return (
    <Section title="Try it">
      <form onSubmit={submit}>
        <Field label="Input, JSON" hint="Ctrl+Enter calls it. It is called for real: what it does is done.">
          {(id) => <textarea id={id} rows={4} value={input} onChange={(event) => setInput(event.target.value)} onKeyDown={key} spellCheck={false} />}
        </Field>
        <div className="row form">
          <Field label="Version or alias">
            {(id) => (
              <select id={id} value={qualifier} onChange={(event) => setQualifier(event.target.value)}>
                {qualifiers.map((each) => (
                  <option key={each}>{each}</option>
                ))}
              </select>
            )}
          </Field>
          <button type="submit" className="primary" disabled={doing.busy}>
            Call {name}
          </button>
          {doing.busy && (
            <button type="button" onClick={() => stop.current?.abort()}>
              Stop waiting
            </button>
          )}
        </div>
      </form>
      {doing.busy && <Busy>{name} runs</Busy>}
      {doing.problem !== null && <Refusal problem={doing.problem} title="Not called" />}
      {told !== null && <Result told={told} name={name} />}
    </Section>
  );
}

function Result({ told, name }: { told: Told; name: string }) {
  const failure = told.failed ? reportOf(told.payload) : null;
  return (
    <div className="result" aria-label={`Answer of ${name}`} role="group">
      <p className={told.failed ? "bad" : "good"} role="status">
        {told.failed ? "Failed" : "Succeeded"}: version {told.version}, {duration(told.tookMs)} with the way there and back
      </p>
      {failure === null ? (
        <Data text={told.payload} label="Output" />
      ) : (
        <Refusal problem={failure} title="Error" />
      )}
      {told.log !== "" && (
        <>
          <h3>End of the log</h3>
          <pre className="data" tabIndex={0} role="region" aria-label="End of the log">
            {told.log}
          </pre>
        </>
      )}
    </div>
  );
}
