// The form that asks for an access key, where the server does.

import { useState, type FormEvent } from "react";

import { isUnknownCaller, Problem, tryKey } from "./api/request";
import { signIn, USUAL_REGION, type Key, type Session } from "./api/session";
import { useDoing, useTitle } from "./ui/load";
import { Field, Prose, Refusal } from "./ui/parts";

/** What to do about a key that does not count: the service's own words do not say it. */
const HINTS: Readonly<Record<string, string>> = {
  UnrecognizedClientException:
    "no key that counts here has this id: look at it again, or see with `stepwell tenant keys list` whether it was disabled or removed; the key of a session needs its token",
  InvalidSignatureException: "the id is known, and the secret is not its own: copy it again, all of it",
  ExpiredTokenException: "this session is over: begin another one",
};

export function SignIn({ session }: { session: Session }) {
  useTitle("Sign in");
  const [key, setKey] = useState<Key>({ id: session.key?.id ?? "", secret: "", token: "" });
  const [region, setRegion] = useState(session.region);
  const [hasToken, setHasToken] = useState(false);
  const doing = useDoing();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const asked = { id: key.id.trim(), secret: key.secret.trim(), token: hasToken ? key.token.trim() : "" };
    const where = region.trim() === "" ? USUAL_REGION : region.trim();
    doing.run(async () => {
      await tryKey(asked, where).catch((thrown: unknown) => {
        const problem = Problem.of(thrown);
        // A key that counts may be refused this one thing, such as by a rate.
        if (isUnknownCaller(problem) || problem.status === 0) {
          throw new Problem(problem.message, { code: problem.code, status: problem.status, hint: problem.hint === "" ? (HINTS[problem.code] ?? "") : problem.hint });
        }
      });
      signIn(asked, where);
    });
  };
  const refused = doing.problem ?? (session.key === null ? null : new Problem(session.demand ?? ""));
  return (
    <main id="main" tabIndex={-1} className="sign-in">
      <form className="card" onSubmit={submit} aria-label="Sign in">
        <h1>Sign in</h1>
        <p>
          <Prose text="This server asks for an access key, such as `stepwell tenant keys add` makes. It is kept in this tab until you sign out or close it, and sent nowhere: requests are signed with it." />
        </p>
        <Field label="Access key id">
          {(id) => <input id={id} required autoFocus spellCheck={false} autoComplete="username" value={key.id} onChange={(event) => setKey({ ...key, id: event.target.value })} />}
        </Field>
        <Field label="Secret access key">
          {(id) => (
            <input id={id} required type="password" autoComplete="current-password" value={key.secret} onChange={(event) => setKey({ ...key, secret: event.target.value })} />
          )}
        </Field>
        <label className="check">
          <input type="checkbox" checked={hasToken} onChange={(event) => setHasToken(event.target.checked)} />
          It is the key of a session, with a token
        </label>
        {hasToken && (
          <Field label="Session token">
            {(id) => <textarea id={id} required rows={3} spellCheck={false} value={key.token} onChange={(event) => setKey({ ...key, token: event.target.value })} />}
          </Field>
        )}
        <Field label="Region">{(id) => <input id={id} spellCheck={false} value={region} onChange={(event) => setRegion(event.target.value)} />}</Field>
        {refused !== null && <Refusal problem={refused} title="Not signed in" />}
        <button type="submit" className="primary" disabled={doing.busy}>
          Sign in
        </button>
      </form>
    </main>
  );
}
