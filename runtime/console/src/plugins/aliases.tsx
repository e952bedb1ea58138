// The aliases of a plugin: made, moved to another version, rolled back, deleted.

import { useState, type FormEvent } from "react";

import { LATEST, point, removeAlias, rollBack, shown, targetOf, type Alias, type Configuration, type Target } from "../api/functions";
import { Problem } from "../api/request";
import { Confirm } from "../ui/dialog";
import { useDoing } from "../ui/load";
import { Empty, Field, Refusal, Section, Table } from "../ui/parts";
import type { Listed } from "./versions";

export function Aliases({ name, versions, aliases, changed }: Listed & { changed: () => void }) {
  const [editing, setEditing] = useState<Alias | "new" | null>(null);
  const [removing, setRemoving] = useState<string | null>(null);
  const [told, setTold] = useState<string | null>(null);
  const doing = useDoing();
  const back = (alias: string) => {
    setTold(null);
    doing.run(async () => {
      const target = await rollBack(name, alias);
      setTold(`${alias} stands again for ${shown(target)}`);
      changed();
    });
  };
  const saved = (alias: string, target: Target) => {
    setEditing(null);
    setTold(`${alias} stands for ${shown(target)}`);
    changed();
  };
  return (
    <Section
      title="Aliases"
      aside={
        <button type="button" onClick={() => setEditing("new")}>
          New alias
        </button>
      }
    >
      {editing !== null && <Edit key={editing === "new" ? "" : editing.Name} name={name} versions={versions} alias={editing === "new" ? null : editing} saved={saved} close={() => setEditing(null)} />}
      {told !== null && doing.problem === null && (
        <p className="good" role="status">
          {told}
        </p>
      )}
      {doing.problem !== null && <Refusal problem={doing.problem} />}
      {aliases.length === 0 && <Empty text="There is no alias. One such as “live” can be moved to another version, and back, without a change of any state machine." />}
      {aliases.length > 0 && (
        <Table label={`Aliases of ${name}`} head={["Alias", "Stands for", "Description", "!Actions"]}>
          {aliases.map((alias) => (
            <tr key={alias.Name}>
              <th scope="row">{alias.Name}</th>
              <td>{shown(targetOf(alias))}</td>
              <td className="wrap">{alias.Description}</td>
              <td className="actions">
                <button type="button" className="quiet" onClick={() => setEditing(alias)} aria-label={`Change ${alias.Name}`}>
                  Change
                </button>
                <button type="button" className="quiet" onClick={() => back(alias.Name)} disabled={doing.busy} aria-label={`Roll back ${alias.Name}`}>
                  Roll back
                </button>
                <button type="button" className="quiet" onClick={() => setRemoving(alias.Name)} aria-label={`Delete alias ${alias.Name}`}>
                  Delete
                </button>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {removing !== null && (
        <Confirm
          title={`Delete the alias ${removing} of ${name}`}
          verb="Delete the alias"
          close={() => setRemoving(null)}
          act={async () => {
            await removeAlias(name, removing);
            changed();
          }}
        >
          <p>State machines that call {`${name}:${removing}`} fail from then on. The version that it stands for stays.</p>
        </Confirm>
      )}
    </Section>
  );
}

interface EditProps {
  readonly name: string;
  readonly versions: readonly Configuration[];
  /** None makes a new one. */
  readonly alias: Alias | null;
  readonly saved: (alias: string, target: Target) => void;
  readonly close: () => void;
}

function Edit({ name, versions, alias, saved, close }: EditProps) {
  const numbers = versions.map(({ Version }) => Version).filter((version) => version !== LATEST);
  const before = alias === null ? null : targetOf(alias);
  const [other = "", weight = 0] = Object.entries(before?.weights ?? {})[0] ?? [];
  const [called, setCalled] = useState(alias?.Name ?? "");
  const [version, setVersion] = useState(before?.version ?? numbers.at(-1) ?? LATEST);
  const [second, setSecond] = useState(other);
  // The version that an alias stands for has no part beside its own, whichever was chosen first.
  const shared = second === version ? "" : second;
  const [part, setPart] = useState(String(weight === 0 ? 10 : Number((weight * 100).toFixed(2))));
  const doing = useDoing();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    doing.run(async () => {
      const target = { version, weights: weights(shared, part) };
      await point(name, called.trim(), target);
      saved(called.trim(), target);
    });
  };
  return (
    <form className="inset" onSubmit={submit} aria-label={alias === null ? "New alias" : `Change of ${alias.Name}`}>
      <div className="row form">
        {alias === null && (
          <Field label="Alias">{(id) => <input id={id} required value={called} onChange={(event) => setCalled(event.target.value)} spellCheck={false} autoComplete="off" autoFocus />}</Field>
        )}
        <Field label="Stands for version">
          {(id) => (
            <select id={id} value={version} onChange={(event) => setVersion(event.target.value)}>
              {[...numbers, LATEST].map((number) => (
                <option key={number}>{number}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label="A part of calls to">
          {(id) => (
            <select id={id} value={shared} onChange={(event) => setSecond(event.target.value)}>
              <option value="">no other</option>
              {numbers
                .filter((number) => number !== version)
                .map((number) => (
                  <option key={number}>{number}</option>
                ))}
            </select>
          )}
        </Field>
        {shared !== "" && (
          <Field label="Percent of calls">
            {(id) => <input id={id} className="short" type="number" min="0.01" max="99.99" step="0.01" value={part} onChange={(event) => setPart(event.target.value)} />}
          </Field>
        )}
        <button type="submit" className="primary" disabled={doing.busy}>
          {alias === null ? "Make the alias" : `Move ${alias.Name}`}
        </button>
        <button type="button" onClick={close}>
          Cancel
        </button>
      </div>
      {doing.problem !== null && <Refusal problem={doing.problem} />}
    </form>
  );
}

function weights(version: string, percent: string): Record<string, number> {
  if (version === "") {
    return {};
  }
  const weight = Number(percent) / 100;
  if (!(weight > 0 && weight < 1)) {
    throw new Problem(`“${percent}” is no part of calls`, { hint: "write a number of percent above 0 and below 100" });
  }
  return { [version]: weight };
}
