// State machines, and the executions of one of them as they start and end.

import { useEffect, useState } from "react";

import {
  executions,
  expressExecutions,
  machinePath,
  machines,
  MACHINES_MAX,
  nameOf,
  regionOf,
  STATUSES,
  type Execution,
  type Machine,
  type Page,
  type Status,
} from "../api/executions";
import type { Problem } from "../api/request";
import { chooseRegion, useSession } from "../api/session";
import { follow, type Link as StreamLink } from "../api/stream";
import { Link } from "../router";
import { duration } from "../ui/format";
import { useLoad, useNow, useTitle } from "../ui/load";
import { Busy, Empty, Hint, Moment, Refusal, Section, Table } from "../ui/parts";
import { Start } from "./start";
import { ExecutionBadge, LinkState, wordOf } from "./status";

/** Of the state machine of that ARN; of none as long as none is chosen. */
export function Executions({ machine }: { machine: string | null }) {
  useTitle("Executions");
  const { value, problem, loading, reload } = useLoad("machines", machines);
  const [wanted, setWanted] = useState("");
  const found = (value ?? []).filter(({ name }) => name.toLowerCase().includes(wanted.toLowerCase()));
  const chosen = value?.find(({ stateMachineArn }) => stateMachineArn === machine);
  const { region } = useSession();
  const itsRegion = (machine === null ? null : regionOf(machine)) ?? region;
  return (
    <>
      <h1>Executions</h1>
      <div className="sides">
        <Section
          title="State machines"
          aside={
            <button type="button" className="quiet" onClick={reload} disabled={loading}>
              Reload
            </button>
          }
        >
          {(value?.length ?? 0) > 5 && (
            <input type="search" aria-label="Filter state machines by name" placeholder="Filter by name" value={wanted} onChange={(event) => setWanted(event.target.value)} />
          )}
          {problem !== null && <Refusal problem={problem} title="The list cannot be read" />}
          {value === null && loading && <Busy>reading the list</Busy>}
          {value?.length === 0 && <Empty text={`There is no state machine in ${region}. \`stepwell machine put FILE --region ${region} --endpoint ${location.origin}\` makes one.`} />}
          {(value?.length ?? 0) >= MACHINES_MAX && <Hint text={`The first ${MACHINES_MAX} are listed; \`stepwell machine list\` lists all.`} />}
          <ul className="machines" aria-label="State machines">
            {found.map(({ stateMachineArn, name, type }) => (
              <li key={stateMachineArn}>
                <Link to={["executions", stateMachineArn]} current={stateMachineArn === machine}>
                  <span className="wrap">{name}</span>
                  {type === "EXPRESS" && <span className="tag">express</span>}
                </Link>
              </li>
            ))}
          </ul>
        </Section>
        {machine === null && value !== null && value.length > 0 && (
          <section className="card">
            <Empty text="Choose a state machine to see its executions." />
          </section>
        )}
        {machine !== null && itsRegion !== region && <Elsewhere name={nameOf(machine)} region={itsRegion} />}
        {machine !== null && itsRegion === region && value !== null && <OfMachine key={machine} arn={machine} machine={chosen} />}
      </div>
    </>
  );
}

/** A state machine that the list beside it cannot have. */
function Elsewhere({ name, region }: { name: string; region: string }) {
  return (
    <section className="card">
      <Empty text={`${name} is in the region ${region}, and the state machines beside are those of another one.`} />
      <div className="row">
        <button type="button" className="primary" onClick={() => chooseRegion(region)}>
          Show {region}
        </button>
      </div>
    </section>
  );
}

function OfMachine({ arn, machine }: { arn: string; machine: Machine | undefined }) {
  const [status, setStatus] = useState<Status | null>(null);
  const isExpress = machine?.type === "EXPRESS";
  const { listed, more, isCut, problem, link, refresh, loading } = useExecutions(arn, status, isExpress);
  return (
    <Section title={nameOf(arn)} aside={isExpress || (problem !== null && link.at === "refused") ? undefined : <LinkState link={link} />}>
      <div className="row">
        {!isExpress && (
          <label className="check">
            Status
            <select value={status ?? ""} onChange={(event) => setStatus(event.target.value === "" ? null : (event.target.value as Status))}>
              <option value="">all</option>
              {STATUSES.map((each) => (
                <option key={each} value={each}>
                  {wordOf(each)}
                </option>
              ))}
            </select>
          </label>
        )}
        <button type="button" onClick={refresh} disabled={loading}>
          Reload
        </button>
        <Start machine={arn} isExpress={isExpress} started={refresh} />
      </div>
      {isExpress && <Hint text="Those that this server remembers, for a day at most. `stepwell serve --express-history` says how much is remembered." />}
      {problem !== null && <Refusal problem={problem} title="The executions cannot be read" />}
      {loading && listed.length === 0 && <Busy>reading the executions</Busy>}
      {!loading && listed.length === 0 && problem === null && <Empty text={status === null ? "There is no execution yet." : `No execution has the status ${wordOf(status)}.`} />}
      {listed.length > 0 && (
        <Table label={`Executions of ${nameOf(arn)}`} head={["Name", "Status", "Started", "Duration"]}>
          {listed.map((execution) => (
            <tr key={execution.executionArn}>
              <th scope="row">
                <Link to={["executions", execution.executionArn]}>{execution.name}</Link>
              </th>
              <td>
                <ExecutionBadge status={execution.status} />
              </td>
              <td>
                <Moment at={new Date(execution.startDate * 1_000)} />
              </td>
              <td className="number">
                <Lasted execution={execution} />
              </td>
            </tr>
          ))}
        </Table>
      )}
      {isCut && <Hint text="The newest are listed; `stepwell execution list` lists all." />}
      {more !== null && (
        <button type="button" onClick={more} disabled={loading}>
          Show more
        </button>
      )}
    </Section>
  );
}

function Lasted({ execution: { startDate, stopDate } }: { execution: Execution }) {
  const now = useNow(stopDate === undefined, 1_000);
  return <>{duration(Math.max(0, Math.round((stopDate ?? now / 1_000) * 1_000 - startDate * 1_000)))}</>;
}

interface Listed {
  readonly listed: readonly Execution[];
  readonly more: (() => void) | null;
  /** There are others, and no more are listed here. */
  readonly isCut: boolean;
  readonly problem: Problem | null;
  readonly link: StreamLink;
  readonly loading: boolean;
  refresh(): void;
}

/** Pages that are listed, and read anew when something starts or ends. */
const PAGES_MAX = 10;
/** How often the list is read anew at most. */
const READ_EVERY_MS = 1_000;

/** The newest first, and read anew when the state machine's stream tells that one started or ended. */
function useExecutions(arn: string, status: Status | null, isExpress: boolean): Listed {
  const [pages, setPages] = useState(1);
  const { value, problem, loading, reload } = useLoad(`${arn} ${status} ${isExpress}`, () => read(arn, status, isExpress, pages));
  const [link, setLink] = useState<StreamLink>({ at: "connecting" });
  useEffect(() => {
    if (isExpress) {
      return;
    }
    const stopped = new AbortController();
    let timer: number | null = null;
    const again = () => {
      timer ??= window.setTimeout(() => {
        timer = null;
        reload();
      }, READ_EVERY_MS);
    };
    const linked = (told: StreamLink) => {
      setLink(told);
      if (told.at === "live") {
        // What started or ended while there was no stream, nobody told.
        again();
      }
    };
    void follow(`${machinePath(arn)}/events`, { message: again, link: linked }, stopped.signal);
    return () => {
      stopped.abort();
      if (timer !== null) {
        window.clearTimeout(timer);
      }
    };
  }, [arn, isExpress, reload]);
  const more = () => {
    setPages(pages + 1);
    reload();
  };
  return {
    listed: value?.items ?? [],
    more: value?.next != null && pages < PAGES_MAX ? more : null,
    isCut: value?.next != null && pages >= PAGES_MAX,
    problem,
    link,
    loading,
    refresh: reload,
  };
}

async function read(arn: string, status: Status | null, isExpress: boolean, pages: number): Promise<Page<Execution>> {
  const items: Execution[] = [];
  let next: string | null = null;
  for (let page = 0; page < pages && (page === 0 || next !== null); page += 1) {
    const told: Page<Execution> = await (isExpress ? expressExecutions(arn) : executions(arn, status, next));
    items.push(...told.items);
    next = told.next;
  }
  return { items, next };
}
