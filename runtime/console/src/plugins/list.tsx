// The account's uploaded plugins.

import { useEffect, useState } from "react";

import { LISTED_MAX, plugins, type Configuration } from "../api/functions";
import { Link } from "../router";
import { bytes, duration, hexOf, moment } from "../ui/format";
import { useLoad, useTitle } from "../ui/load";
import { Busy, Empty, Hash, Hint, Moment, Refusal, Section, Table } from "../ui/parts";
import { Directory, noUploads, useDirectory } from "./directory";
import { UploadPanel } from "./upload-panel";
import { onServed } from "./uploads";

export function PluginList() {
  useTitle("Plugins");
  const { value, problem, loading, reload } = useLoad("plugins", plugins);
  const directory = useDirectory(loading);
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
        {value?.length === 0 && <Empty text={noUploads(directory)} />}
        {value !== null && value.length > 0 && found.length === 0 && <Empty text={`No plugin's name has “${wanted}”.`} />}
        {found.length > 0 && <Listed plugins={found} />}
        {value !== null && value.length >= LISTED_MAX && <Hint text={`The first ${LISTED_MAX} are listed; \`stepwell plugin versions\` lists all.`} />}
      </Section>
      <Directory loaded={directory} uploaded={value ?? []} />
    </>
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
