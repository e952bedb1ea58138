// One plugin: what it is served with, its versions and aliases, new code, a call of it, and its end.

import { useEffect, useState } from "react";

import { aliases, plugin, remove, versions, type Bounds, type Plugin } from "../api/functions";
import { go, Link } from "../router";
import { Confirm } from "../ui/dialog";
import { bytes, duration, hexOf, moment } from "../ui/format";
import { useLoad, useTitle } from "../ui/load";
import { Busy, Copy, Facts, Hash, Hint, Moment, Refusal, Section } from "../ui/parts";
import { Aliases } from "./aliases";
import { Settings } from "./settings";
import { TryIt } from "./try-it";
import { UploadPanel } from "./upload-panel";
import { onServed } from "./uploads";
import { Versions } from "./versions";

export function PluginDetail({ name }: { name: string }) {
  useTitle(name);
  const { value, problem, loading, reload } = useLoad(name, async () => {
    const [told, numbered, named] = await Promise.all([plugin(name), versions(name), aliases(name)]);
    return { plugin: told, versions: numbered, aliases: named };
  });
  const [removing, setRemoving] = useState(false);
  useEffect(() => onServed((served) => served === name && reload()), [name, reload]);
  const isUnknown = problem?.code === "ResourceNotFoundException";
  return (
    <>
      <nav className="crumbs" aria-label="Where this is">
        <Link to={["plugins"]}>Plugins</Link> / <span>{name}</span>
      </nav>
      <div className="row title">
        <h1 className="wrap">{name}</h1>
        {value !== null && (
          <button type="button" className="danger right" onClick={() => setRemoving(true)}>
            Delete
          </button>
        )}
      </div>
      {isUnknown && <NotUploaded name={name} />}
      {problem !== null && !isUnknown && (
        <Refusal problem={problem} title="This plugin cannot be read">
          <button type="button" onClick={reload}>
            Try again
          </button>
        </Refusal>
      )}
      {value === null && loading && <Busy>reading the plugin</Busy>}
      {value !== null && (
        <>
          <Overview told={value.plugin} changed={reload} />
          <Section title="New code">
            <UploadPanel name={name} />
          </Section>
          <Versions name={name} versions={value.versions} aliases={value.aliases} changed={reload} />
          <Aliases name={name} versions={value.versions} aliases={value.aliases} changed={reload} />
          <TryIt name={name} versions={value.versions} aliases={value.aliases} />
        </>
      )}
      {removing && (
        <Confirm
          title={`Delete ${name}`}
          verb="Delete the plugin"
          typed={name}
          close={() => setRemoving(false)}
          act={async () => {
            await remove(name);
            go("plugins");
          }}
        >
          <p>
            All its versions and aliases go. Tasks that run end as they would; state machines that call {name} fail from then on. Nothing brings it back but another upload.
          </p>
        </Confirm>
      )}
    </>
  );
}

/** A name that the server's plugin directory may have, whose plugins are called as uploads are. */
function NotUploaded({ name }: { name: string }) {
  return (
    <>
      <Section title="Nothing was uploaded under this name">
        <Hint
          text={`If the server's plugin directory has ${name}, it is called below, and by state machines as any other. What it may use and is granted its \`plugin.toml\` says, and on the server's machine \`stepwell plugin inspect ${name} --plugins DIR\`. What is uploaded here is served in its place.`}
        />
        <UploadPanel name={name} />
      </Section>
      <TryIt name={name} versions={[]} aliases={[]} />
    </>
  );
}

function Overview({ told, changed }: { told: Plugin; changed: () => void }) {
  const { configuration, bounds, reserved, tags } = told;
  const [editing, setEditing] = useState(false);
  const saved = () => {
    setEditing(false);
    changed();
  };
  const variables = Object.entries(configuration.Environment?.Variables ?? {});
  return (
    <Section
      title="What is served"
      aside={
        <button type="button" onClick={() => setEditing(true)}>
          Change settings
        </button>
      }
    >
      {editing && <Settings configuration={configuration} saved={saved} close={() => setEditing(false)} />}
      <Facts
        facts={[
          ["Code", <Hash key="code" hex={hexOf(configuration.CodeSha256)} />],
          ["Size", bytes(configuration.CodeSize)],
          ["Changed", <Moment key="changed" at={moment(configuration.LastModified)} />],
          ["Memory of an attempt", memory(configuration.MemorySize, bounds)],
          ["Time of an attempt", time(configuration.Timeout, bounds)],
          ["Calls at a time", reserved === null ? "no bound of its own" : String(reserved)],
          configuration.Description === "" ? null : ["Description", configuration.Description],
          [
            "Granted",
            variables.length === 0 ? (
              "nothing"
            ) : (
              <ul className="plain" key="granted">
                {variables.map(([name, value]) => (
                  <li key={name}>
                    variable <code>{name}</code> = <code>{value}</code>
                  </li>
                ))}
              </ul>
            ),
          ],
          Object.keys(tags).length === 0
            ? null
            : [
                "Tags",
                Object.entries(tags)
                  .map(([name, value]) => `${name}=${value}`)
                  .join(", "),
              ],
          [
            "ARN",
            <span className="row" key="arn">
              <code className="wrap">{configuration.FunctionArn}</code>
              <Copy text={configuration.FunctionArn} what="the ARN" />
            </span>,
          ],
        ]}
      />
      <Hint text="An upload is granted its own environment variables and nothing else; folders, HTTP and secrets are for plugins of the server's plugin directory." />
    </Section>
  );
}

/** What it has, and what it asked for where the operator's ceiling leaves less. */
function memory(mib: number, { memoryBytes }: Bounds): string {
  const asked = mib * (1 << 20);
  return memoryBytes !== null && memoryBytes < asked ? `${bytes(memoryBytes)} (not ${bytes(asked)}: the operator's ceiling allows no more)` : bytes(asked);
}

function time(seconds: number, { timeMs }: Bounds): string {
  const asked = seconds * 1_000;
  return timeMs !== null && timeMs < asked ? `${duration(timeMs)} (not ${duration(asked)}: the operator's ceiling allows no more)` : duration(asked);
}
