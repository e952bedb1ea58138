// The plugins of the server's plugin directory, which the operator put there, and calls of them.

import { useEffect, useRef, useState } from "react";

import { directory, DIRECTORY_LISTED_MAX, type DirectoryPage, type DirectoryPlugin } from "../api/directory";
import type { Configuration } from "../api/functions";
import { Link } from "../router";
import { useLoad, type Loaded } from "../ui/load";
import { Hint, Refusal, Section, Table } from "../ui/parts";
import { TryIt } from "./try-it";

/** Loads with the page's list: again when that is. */
export function useDirectory(listLoads: boolean): Loaded<DirectoryPage> {
  const loaded = useLoad("directory", directory);
  const { reload } = loaded;
  const before = useRef(listLoads);
  useEffect(() => {
    if (listLoads && !before.current) {
      reload();
    }
    before.current = listLoads;
  }, [listLoads, reload]);
  return loaded;
}

/** What is said where nothing was uploaded. */
export function noUploads({ value }: Loaded<DirectoryPage>): string {
  const how = `Drop a plugin above, or send one by \`stepwell plugin push FILE --endpoint ${location.origin}\`.`;
  return value?.plugins.length === 0 ? `There is no plugin yet, neither uploaded nor in the server's plugin directory. ${how}` : `Nothing was uploaded yet. ${how}`;
}

/** Nothing where the directory has none. */
export function Directory({ loaded: { value, problem }, uploaded }: { loaded: Loaded<DirectoryPage>; uploaded: readonly Configuration[] }) {
  const [tried, setTried] = useState<string | null>(null);
  const plugins = value?.plugins ?? [];
  if (problem === null && plugins.length === 0) {
    return null;
  }
  const names = new Set(uploaded.map(({ FunctionName }) => FunctionName));
  const callable = tried !== null && !names.has(tried) && plugins.some(({ name }) => name === tried);
  return (
    <>
      <Section title="From the server's plugin directory">
        {problem !== null && <Refusal problem={problem} title="The plugin directory cannot be listed" />}
        {plugins.length > 0 && (
          <Table label="Plugins of the server's plugin directory" head={["Name", "Version", "Contract", "State", "!Actions"]}>
            {plugins.map((plugin) => (
              <Row key={plugin.name} plugin={plugin} isUploadServed={names.has(plugin.name)} tryIt={() => setTried(plugin.name)} />
            ))}
          </Table>
        )}
        {value?.nextToken !== undefined && <Hint text={`The first ${DIRECTORY_LISTED_MAX} are listed; \`stepwell plugin list\` lists all.`} />}
        <Hint text="The server's operator puts them there. Where one has the name of an upload, the upload is served." />
      </Section>
      {callable && <TryIt key={tried} name={tried} versions={[]} aliases={[]} />}
    </>
  );
}

function Row({ plugin, isUploadServed, tryIt }: { plugin: DirectoryPlugin; isUploadServed: boolean; tryIt: () => void }) {
  const { name, version, source, contract } = plugin;
  return (
    <tr>
      <th scope="row" title={source}>
        <Link to={["plugins", name]}>{name}</Link>
      </th>
      <td>{version}</td>
      <td>{contract}</td>
      <td className="wrap">
        <State plugin={plugin} isUploadServed={isUploadServed} />
      </td>
      <td>
        {!isUploadServed && (
          <button type="button" onClick={tryIt} aria-label={`Try ${name}`}>
            Try it
          </button>
        )}
      </td>
    </tr>
  );
}

function State({ plugin: { name, contract, problem, missingGrants }, isUploadServed }: { plugin: DirectoryPlugin; isUploadServed: boolean }) {
  if (isUploadServed) {
    return (
      <>
        an <Link to={["plugins", name]}>upload of that name</Link> is served
      </>
    );
  }
  if (problem !== undefined) {
    return <span className="bad">{problem}</span>;
  }
  if (contract === undefined) {
    return <>not loaded yet</>;
  }
  return missingGrants.length === 0 ? <>ok</> : <>ok, without {missingGrants.join("; ")}</>;
}
