// The frame of all pages: where one is, and who is signed in.

import { useEffect, useRef, useState, type FormEvent } from "react";

import { isUnknownCaller, Problem, ask, action } from "./api/request";
import { chooseRegion, signOut, USUAL_REGION, useSession, type Session } from "./api/session";
import { ExecutionPage } from "./executions/execution";
import { ExpressPage } from "./executions/express";
import { Executions } from "./executions/list";
import { PluginDetail } from "./plugins/detail";
import { PluginList } from "./plugins/list";
import { goInstead, Link, useRoute } from "./router";
import { SignIn } from "./sign-in";
import { Boundary } from "./ui/boundary";
import { Busy } from "./ui/parts";

export function App() {
  const session = useSession();
  const route = useRoute();
  const known = useKnown(session);
  const at = route.join("/");
  const before = useRef(at);
  useEffect(() => {
    // Of a link that went with its page: who uses the keyboard goes on in the new one. A page that is loaded begins at its top.
    if (before.current !== at && before.current !== "" && document.activeElement === document.body) {
      document.getElementById("main")?.focus({ preventScroll: true });
    }
    before.current = at;
  }, [at]);
  useEffect(() => {
    if (route.length === 0) {
      goInstead("plugins");
    }
  }, [route.length]);
  return (
    <>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <Header session={session} route={route} />
      {session.demand !== null ? (
        <SignIn session={session} />
      ) : (
        <main id="main" tabIndex={-1} key={`${session.region} ${session.key?.id ?? ""}`}>
          <Boundary at={route.join("/")}>{known ? <Page route={route} /> : <Busy>asking the server</Busy>}</Boundary>
        </main>
      )}
    </>
  );
}

/**
 * Whether the server was asked if it takes this page's requests: before, each part of a page would be told for itself that a
 * key is missing.
 */
function useKnown({ key }: Session): boolean {
  const [known, setKnown] = useState(key !== null);
  useEffect(() => {
    if (known) {
      return;
    }
    ask(action("states", "AWSStepFunctions.ListStateMachines", { maxResults: 1 }))
      // What is wrong beside a missing key, the page itself is told.
      .catch((thrown: unknown) => isUnknownCaller(Problem.of(thrown)))
      .finally(() => setKnown(true));
  }, [known]);
  return known;
}

function Page({ route: [view, part] }: { route: readonly string[] }) {
  switch (view) {
    case undefined:
    case "plugins":
      return part === undefined ? <PluginList /> : <PluginDetail key={part} name={part} />;
    case "executions":
      return <OfExecutions arn={part ?? null} />;
    default:
      return (
        <>
          <h1>Nothing is here</h1>
          <p className="empty">
            There are <Link to={["plugins"]}>plugins</Link> and <Link to={["executions"]}>executions</Link>.
          </p>
        </>
      );
  }
}

/** An ARN of an execution is its page's, any other that of a state machine. */
function OfExecutions({ arn }: { arn: string | null }) {
  const kind = arn?.split(":")[5];
  if (arn !== null && kind === "execution") {
    return <ExecutionPage key={arn} arn={arn} />;
  }
  if (arn !== null && kind === "express") {
    return <ExpressPage key={arn} arn={arn} />;
  }
  return <Executions machine={arn} />;
}

function Header({ session, route: [view] }: { session: Session; route: readonly string[] }) {
  return (
    <header className="bar">
      <Link to={["plugins"]} className="brand">
        <img src={`${import.meta.env.BASE_URL}icon.svg`} alt="" width="24" height="24" />
        Stepwell
      </Link>
      {session.demand === null && (
        <nav aria-label="Views">
          <Link to={["plugins"]} current={view === "plugins"}>
            Plugins
          </Link>
          <Link to={["executions"]} current={view === "executions"}>
            Executions
          </Link>
        </nav>
      )}
      <div className="who right">
        {session.demand === null && <Region region={session.region} />}
        {session.key !== null && (
          <>
            <code title="Access key">{session.key.id}</code>
            <button type="button" onClick={signOut}>
              Sign out
            </button>
          </>
        )}
      </div>
    </header>
  );
}

/** State machines are in a region each; plugins are in all of them. */
function Region({ region }: { region: string }) {
  const [open, setOpen] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const choose = (event: FormEvent) => {
    event.preventDefault();
    const chosen = input.current?.value.trim() ?? "";
    setOpen(false);
    chooseRegion(chosen === "" ? USUAL_REGION : chosen);
  };
  if (!open) {
    return (
      <button type="button" className="quiet" onClick={() => setOpen(true)} aria-label={`Region ${region}, change it`}>
        {region}
      </button>
    );
  }
  return (
    <form className="row" onSubmit={choose} onKeyDown={(event) => event.key === "Escape" && setOpen(false)}>
      <input ref={input} className="short" defaultValue={region} aria-label="Region" spellCheck={false} autoFocus pattern="[a-z0-9\-]{1,32}" title="Such as us-east-1: small letters, digits and -" />
      <button type="submit">Choose</button>
    </form>
  );
}
