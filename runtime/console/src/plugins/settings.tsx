// The settings of a plugin that count for what is served: memory, time, description and environment variables.

import { useState, type FormEvent } from "react";

import { configure, MEMORY_MIB, TIMEOUT_S, type Configuration } from "../api/functions";
import { Problem } from "../api/request";
import { useDoing } from "../ui/load";
import { Field, Hint, Refusal } from "../ui/parts";

interface SettingsProps {
  readonly configuration: Configuration;
  readonly saved: () => void;
  readonly close: () => void;
}

export function Settings({ configuration, saved, close }: SettingsProps) {
  const { FunctionName, MemorySize, Timeout, Description, Environment } = configuration;
  const variables = Environment?.Variables ?? {};
  // A line each: what has a break in it cannot be written so.
  const isLines = Object.values(variables).every((value) => !/[\r\n]/.test(value));
  const [memory, setMemory] = useState(String(MemorySize));
  const [time, setTime] = useState(String(Timeout));
  const [description, setDescription] = useState(Description);
  const [lines, setLines] = useState(written(variables));
  const doing = useDoing();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    doing.run(async () => {
      await configure(FunctionName, {
        MemorySize: Number(memory),
        Timeout: Number(time),
        Description: description,
        ...(isLines ? { Environment: { Variables: read(lines) } } : {}),
      });
      saved();
    });
  };
  return (
    <form className="inset" onSubmit={submit} aria-label={`Settings of ${FunctionName}`}>
      <div className="row form">
        <Field label="Memory of an attempt, MiB">
          {(id) => <input id={id} className="short" type="number" required {...MEMORY_MIB} value={memory} onChange={(event) => setMemory(event.target.value)} />}
        </Field>
        <Field label="Time of an attempt, s">
          {(id) => <input id={id} className="short" type="number" required {...TIMEOUT_S} value={time} onChange={(event) => setTime(event.target.value)} />}
        </Field>
        <Field label="Description" grow>
          {(id) => <input id={id} value={description} maxLength={256} onChange={(event) => setDescription(event.target.value)} />}
        </Field>
      </div>
      {isLines ? (
        <Field label="Environment variables" hint="One a line, `NAME=value`; 4 KiB in all. Whoever may read the plugin reads them: they are no place for secrets.">
          {(id) => <textarea id={id} rows={3} value={lines} onChange={(event) => setLines(event.target.value)} spellCheck={false} />}
        </Field>
      ) : (
        <Hint text="A variable has several lines, so variables are left as they are here: `aws lambda update-function-configuration` changes them." />
      )}
      <Hint text="It counts for calls of `$LATEST` from then on. A version keeps what it was published with: publish another one to have these in it." />
      {doing.problem !== null && <Refusal problem={doing.problem} title="Not changed" />}
      <div className="row">
        <button type="submit" className="primary" disabled={doing.busy}>
          Save
        </button>
        <button type="button" onClick={close}>
          Cancel
        </button>
      </div>
    </form>
  );
}

function written(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${value}`)
    .join("\n");
}

function read(lines: string): Record<string, string> {
  const told = lines.split(/\r?\n/).filter((line) => line.trim() !== "");
  const variables = told.map((line): [string, string] => {
    const equals = line.indexOf("=");
    if (equals < 1) {
      throw new Problem(`“${line}” is no variable`, { hint: "write a name, `=` and a value, such as `TZ=UTC`" });
    }
    return [line.slice(0, equals).trim(), line.slice(equals + 1)];
  });
  return Object.fromEntries(variables);
}
