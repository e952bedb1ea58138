// What is asked before something is done that cannot be undone.

import { useEffect, useRef, useState, type FormEvent, type ReactNode } from "react";

import { useDoing } from "./load";
import { Field, Refusal } from "./parts";

interface ConfirmProps {
  readonly title: string;
  /** What the button says that does it. */
  readonly verb: string;
  /** A text that has to be typed first. */
  readonly typed?: string;
  readonly act: () => Promise<void>;
  readonly close: () => void;
  readonly children: ReactNode;
}

/** Opens with the page that holds it, and is closed by it. */
export function Confirm({ title, verb, typed, act, close, children }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  const doing = useDoing();
  useEffect(() => dialog.current?.showModal(), []);
  const may = typed === undefined || text === typed;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (may && !doing.busy) {
      doing.run(async () => {
        await act();
        close();
      });
    }
  };
  return (
    <dialog ref={dialog} onClose={close} aria-label={title}>
      <form onSubmit={submit}>
        <h2>{title}</h2>
        {children}
        {typed !== undefined && (
          <Field label={`Type ${typed} to confirm`}>
            {(id) => <input id={id} value={text} onChange={(event) => setText(event.target.value)} autoComplete="off" spellCheck={false} autoFocus />}
          </Field>
        )}
        {doing.problem !== null && <Refusal problem={doing.problem} />}
        <div className="row end">
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" className="danger" disabled={!may || doing.busy}>
            {verb}
          </button>
        </div>
      </form>
    </dialog>
  );
}
