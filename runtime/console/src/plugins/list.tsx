// The account's uploaded plugins.

import { useEffect, useState, type FormEvent } from "react";

import { LISTED_MAX, plugins, type Configuration } from "../api/functions";
import { go, Link } from "../router";
import { bytes, duration, hexOf, moment } from "../ui/format";
import { useLoad, useTitle } from "../ui/load";
import { Busy, Empty, Field, Hash, Hint, Moment, Refusal, Section, Table } from "../ui/parts";
import { UploadPanel } from "./upload-panel";
import { onServed } from "./uploads";

export function PluginList() {
  useTitle("Plugins");
  const { value, problem, loading, reload } = useLoad("plugins", plugins);
  const [wanted, setWanted] = useState("");
  useEffect(() => onServed(reload), [reload]);
  const found = (value ?? []).filter(({ FunctionName }) => FunctionName.toLowerCase().includes(wanted.toLowerCase()));
  return (
    <>
      <h1>Plugins</h1>
      <Section title="Upload">
        <UploadPanel />
      </Section>
      <Section
        title="Uploaded plugins"
        aside={
          <div className="row">
            <input type="search" aria-label="Filter plugins by name" placeholder="Filter by name" value={wanted} onChange={(event) => setWanted(event.target.value)} />
            <button type="button" onClick={reload} disabled={loading}>
              Reload
            </button>
          </div>
        }
      >
        {problem !== null && <Refusal problem={problem} title="The list cannot be read" />}
        {value === null && loading && <Busy>reading the list</Busy>}
        {value?.length === 0 && <Empty text={`Nothing was uploaded yet. Drop a plugin above, or send one by \`stepwell plugin push FILE --endpoint ${location.origin}\`.`} />}
        {value !== null && value.length > 0 && found.length === 0 && <Empty text={`No plugin's name has “${wanted}”.`} />}
        {found.length > 0 && <Listed plugins={found} />}
        {value !== null && value.length >= LISTED_MAX && <Hint text={`The first ${LISTED_MAX} are listed; \`stepwell plugin versions\` lists all.`} />}
      </Section>
      <InDirectory />
    </>
  );
}

/** What the server has beside uploads, which it lists to nobody: by its name it is called all the same. */
function InDirectory() {
  const [name, setName] = useState("");
  const open = (event: FormEvent) => {
    event.preventDefault();
    go("plugins", name.trim());
  };
  return (
    <Section title="Plugins of the server's directory">
      <Hint text="What lies in the directory of `stepwell serve --plugins DIR` (left out, `plugins` inside the data directory) is served as well, and executions show it. It cannot be listed here, since no call of the server lists it: on the server's machine `stepwell plugin list --plugins DIR` does. Where an upload has the same name, the upload is served." />
      <form className="row form" onSubmit={open} aria-label="A plugin of the server's directory">
        <Field label="Name of one, to call it">{(id) => <input id={id} required value={name} onChange={(event) => setName(event.target.value)} spellCheck={false} autoComplete="off" />}</Field>
        <button type="submit">Open</button>
      </form>
    </Section>
  );
}

function Listed({ plugins }: { plugins: readonly Configuration[] }) {
  return (
    <Table label="Uploaded plugins" head={["Name", "Description", "Code", "Size", "Memory", "Time", "Changed"]}>
      {plugins.map((plugin) => (
        <tr key={plugin.FunctionName}>
          <th scope="row">
            <Link to={["plugins", plugin.FunctionName]}>{plugin.FunctionName}</Link>
          </th>
          <td className="wrap">{plugin.Description}</td>
          <td>
            <Hash hex={hexOf(plugin.CodeSha256)} />
          </td>
          <td className="number">{bytes(plugin.CodeSize)}</td>
          <td className="number">{plugin.MemorySize} MiB</td>
          <td className="number">{duration(plugin.Timeout * 1_000)}</td>
          <td>
            <Moment at={moment(plugin.LastModified)} />
          </td>
        </tr>
      ))}
    </Table>
  );
}
