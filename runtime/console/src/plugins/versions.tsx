// The versions of a plugin: published, named by aliases, deleted.

import { useState, type FormEvent } from "react";

import { LATEST, LISTED_MAX, publish, remove, targetOf, type Alias, type Configuration } from "../api/functions";
import { Confirm } from "../ui/dialog";
import { bytes, hexOf, moment } from "../ui/format";
import { useDoing } from "../ui/load";
import { Empty, Field, Hash, Hint, Moment, Refusal, Section, Table } from "../ui/parts";

export interface Listed {
  readonly name: string;
  /** With what is the latest. */
  readonly versions: readonly Configuration[];
  readonly aliases: readonly Alias[];
}

export function Versions({ name, versions, aliases, changed }: Listed & { changed: () => void }) {
  const [removing, setRemoving] = useState<string | null>(null);
  const numbered = versions.filter(({ Version }) => Version !== LATEST).toReversed();
  return (
    <Section title="Versions">
      <Publish name={name} known={numbered.map(({ Version }) => Version)} changed={changed} />
      {numbered.length === 0 && <Empty text="No version was published yet. A version never changes, so an alias or a state machine can rely on it." />}
      {numbered.length > 0 && (
        <Table label={`Versions of ${name}`} head={["Version", "Code", "Size", "Published", "Description", "Aliases", "!Actions"]}>
          {numbered.map((version) => (
            <tr key={version.Version}>
              <th scope="row">{version.Version}</th>
              <td>
                <Hash hex={hexOf(version.CodeSha256)} />
              </td>
              <td className="number">{bytes(version.CodeSize)}</td>
              <td>
                <Moment at={moment(version.LastModified)} />
              </td>
              <td className="wrap">{version.Description}</td>
              <td>
                {namedBy(version.Version, aliases).map((alias) => (
                  <span key={alias} className="tag">
                    {alias}
                  </span>
                ))}
              </td>
              <td className="actions">
                <button type="button" className="quiet" onClick={() => setRemoving(version.Version)} aria-label={`Delete version ${version.Version}`}>
                  Delete
                </button>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {versions.length >= LISTED_MAX && <Hint text={`The first ${LISTED_MAX} are listed; \`stepwell plugin versions\` lists all.`} />}
      {removing !== null && (
        <Confirm
          title={`Delete version ${removing} of ${name}`}
          verb="Delete the version"
          close={() => setRemoving(null)}
          act={async () => {
            await remove(name, removing);
            changed();
          }}
        >
          <p>Attempts that run go on. State machines that name this version fail from then on, and its number is not given again.</p>
        </Confirm>
      )}
    </Section>
  );
}

function Publish({ name, known, changed }: { name: string; known: readonly string[]; changed: () => void }) {
  const [description, setDescription] = useState("");
  const [told, setTold] = useState<string | null>(null);
  const doing = useDoing();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    doing.run(async () => {
      const { Version } = await publish(name, description);
      // The same code and settings are one version.
      setTold(known.includes(Version) ? `What is served is version ${Version} already; no other was made` : `What is served is version ${Version}`);
      setDescription("");
      changed();
    });
  };
  return (
    <form className="row form" onSubmit={submit}>
      <Field label="Description of the next version" grow>
        {(id) => <input id={id} value={description} maxLength={256} onChange={(event) => setDescription(event.target.value)} />}
      </Field>
      <button type="submit" disabled={doing.busy}>
        Publish what is served
      </button>
      {told !== null && doing.problem === null && (
        <p className="good full" role="status">
          {told}
        </p>
      )}
      {doing.problem !== null && <Refusal problem={doing.problem} />}
    </form>
  );
}

/** Aliases that stand for a version, or give it a part of their calls. */
function namedBy(version: string, aliases: readonly Alias[]): string[] {
  const named = aliases.filter((alias) => {
    const target = targetOf(alias);
    return target.version === version || version in target.weights;
  });
  return named.map(({ Name }) => Name);
}
