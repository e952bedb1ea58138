// An execution that is started with an input that is typed.

import { useEffect, useRef, useState, type FormEvent } from "react";

import { start } from "../api/executions";
import { go } from "../router";
import { checkJson } from "../ui/json";
import { useDoing } from "../ui/load";
import { Field, Refusal } from "../ui/parts";

interface StartProps {
  readonly machine: string;
  readonly isExpress: boolean;
  readonly started: () => void;
}

export function Start({ machine, isExpress, started }: StartProps) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="primary right" onClick={() => setOpen(true)}>
        Start execution
      </button>
      {open && <Asked machine={machine} isExpress={isExpress} started={started} close={() => setOpen(false)} />}
    </>
  );
}

function Asked({ machine, isExpress, started, close }: StartProps & { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [name, setName] = useState("");
  const [input, setInput] = useState("{}");
  const doing = useDoing();
  useEffect(() => dialog.current?.showModal(), []);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (doing.busy) {
      return;
    }
    doing.run(async () => {
      checkJson(input);
      const arn = await start(machine, name.trim(), input);
      close();
      if (isExpress) {
        started();
      } else {
        go("executions", arn);
      }
    });
  };
  return (
    <dialog ref={dialog} onClose={close} aria-label="Start an execution">
      <form onSubmit={submit}>
        <h2>Start an execution</h2>
        <Field label="Name" hint="Left out, one is made. At most 80 characters; letters, digits, `-` and `_` are always taken, spaces and `/` never.">
          {(id) => <input id={id} value={name} onChange={(event) => setName(event.target.value)} spellCheck={false} autoComplete="off" />}
        </Field>
        <Field label="Input, JSON">{(id) => <textarea id={id} rows={8} value={input} onChange={(event) => setInput(event.target.value)} spellCheck={false} />}</Field>
        {doing.problem !== null && <Refusal problem={doing.problem} title="Not started" />}
        <div className="row end">
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" className="primary" disabled={doing.busy}>
            Start
          </button>
        </div>
      </form>
    </dialog>
  );
}
