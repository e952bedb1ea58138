// One execution: how it stands, what it was given and gave back, and its tasks as they run.

import { useState } from "react";

import { nameOf, stop, type Described } from "../api/executions";
import { Link } from "../router";
import { Confirm } from "../ui/dialog";
import { duration } from "../ui/format";
import { useNow, useTitle } from "../ui/load";
import { Busy, Copy, Data, Empty, Facts, Failure, Moment, Refusal, Section } from "../ui/parts";
import { Attempts } from "./attempts";
import { useExecution } from "./live";
import { ExecutionBadge, LinkState } from "./status";

export function ExecutionPage({ arn }: { arn: string }) {
  useTitle(nameOf(arn));
  const view = useExecution(arn);
  const { described, problem, link } = view;
  return (
    <>
      <nav className="crumbs" aria-label="Where this is">
        <Link to={["executions"]}>Executions</Link> /{" "}
        {described !== null && (
          <>
            <Link to={["executions", described.stateMachineArn]}>{nameOf(described.stateMachineArn)}</Link> /{" "}
          </>
        )}
        <span>{nameOf(arn)}</span>
      </nav>
      <div className="row title">
        <h1 className="wrap">{nameOf(arn)}</h1>
        {described !== null && <ExecutionBadge status={described.status} />}
        {(problem === null || link.at !== "refused") && <LinkState link={link} />}
        {described?.status === "RUNNING" && <Stop arn={arn} />}
      </div>
      {problem !== null && <Refusal problem={problem} title={described === null ? "This execution cannot be read" : "Not all of this execution can be read"} />}
      {described === null && problem === null && <Busy>reading the execution</Busy>}
      {described !== null && (
        <>
          <Overview described={described} />
          <Section title="Tasks">
            <Attempts view={view} />
          </Section>
        </>
      )}
    </>
  );
}

export function Overview({ described }: { described: Described }) {
  const { startDate, stopDate, input, output, error, cause, status, redriveCount = 0, executionArn } = described;
  return (
    <Section title="Execution">
      <Facts
        facts={[
          ["Started", <Moment key="started" at={new Date(startDate * 1_000)} />],
          ["Ended", stopDate === undefined ? "not yet" : <Moment key="ended" at={new Date(stopDate * 1_000)} />],
          ["Duration", <Lasted key="lasted" described={described} />],
          redriveCount === 0 ? null : ["Redrives", String(redriveCount)],
          [
            "ARN",
            <span className="row" key="arn">
              <code className="wrap">{executionArn}</code>
              <Copy text={executionArn} what="the ARN" />
            </span>,
          ],
        ]}
      />
      {(error !== undefined || cause !== undefined) && <Failure error={error ?? ""} cause={cause ?? ""} title={status === "ABORTED" ? "Aborted" : "Failed"} label="Cause of the failure" />}
      <div className="halves">
        <div>
          <h3>Input</h3>
          {input === undefined ? <Empty text="It is not told." /> : <Data text={input} label="Input of the execution" />}
        </div>
        <div>
          <h3>Output</h3>
          {output === undefined ? <Empty text={status === "RUNNING" ? "There is none yet." : "There is none."} /> : <Data text={output} label="Output of the execution" />}
        </div>
      </div>
    </Section>
  );
}

function Lasted({ described: { startDate, stopDate } }: { described: Described }) {
  const now = useNow(stopDate === undefined);
  return <>{duration(Math.max(0, Math.round((stopDate ?? now / 1_000) * 1_000 - startDate * 1_000)))}</>;
}

function Stop({ arn }: { arn: string }) {
  const [asked, setAsked] = useState(false);
  return (
    <>
      <button type="button" className="danger right" onClick={() => setAsked(true)}>
        Stop
      </button>
      {asked && (
        <Confirm title={`Stop ${nameOf(arn)}`} verb="Stop the execution" close={() => setAsked(false)} act={() => stop(arn)}>
          <p>Its running tasks are cut off where they are, and it ends as Aborted.</p>
        </Confirm>
      )}
    </>
  );
}
