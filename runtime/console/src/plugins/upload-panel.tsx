// Where plugins are dropped or chosen, and what became of each.

import { useEffect, useRef, useState, type DragEvent, type FormEvent } from "react";

import { Problem } from "../api/request";
import { bytes } from "../ui/format";
import { Busy, Field, Hash, Refusal } from "../ui/parts";
import { Link } from "../router";
import { chosen, chosenFolder, dropped, hasFiles } from "./dropped";
import type { Source } from "./package";
import { add, areUnderWay, dismiss, isUnderWay, retry, useUploads, type Stage, type Upload, type Wishes } from "./uploads";

/** With `name`, everything is uploaded under it. */
export function UploadPanel({ name }: { name?: string }) {
  const [wishes, setWishes] = useState<Wishes>({ publish: true, description: "", alias: "" });
  const [problem, setProblem] = useState<Problem | null>(null);
  const uploads = useUploads().filter((upload) => name === undefined || upload.name === name);
  useLeaveWarning();
  const take = (sources: readonly Source[]) => {
    setProblem(null);
    add(sources, wishes, name).catch((thrown: unknown) => setProblem(Problem.of(thrown)));
  };
  return (
    <>
      <DropZone name={name} take={take} failed={setProblem} />
      <div className="row wishes">
        <label className="check">
          <input type="checkbox" checked={wishes.publish} onChange={(event) => setWishes({ ...wishes, publish: event.target.checked })} />
          Publish each upload as a version
        </label>
        {wishes.publish && (
          <label className="check">
            Its description
            <input value={wishes.description} placeholder="none" maxLength={256} onChange={(event) => setWishes({ ...wishes, description: event.target.value })} />
          </label>
        )}
        <label className="check">
          Alias that stands for it
          <input
            className="short"
            value={wishes.alias}
            placeholder="none"
            spellCheck={false}
            autoComplete="off"
            onChange={(event) => setWishes({ ...wishes, alias: event.target.value.trim() })}
          />
        </label>
      </div>
      {problem !== null && <Refusal problem={problem} title="Not taken" />}
      {uploads.length > 0 && (
        <ul className="uploads" aria-label="Uploads">
          {uploads.map((upload) => (
            <Row key={upload.id} upload={upload} fixed={name !== undefined} />
          ))}
        </ul>
      )}
    </>
  );
}

interface DropZoneProps {
  readonly name: string | undefined;
  readonly take: (sources: readonly Source[]) => void;
  readonly failed: (problem: Problem) => void;
}

function DropZone({ name, take, failed }: DropZoneProps) {
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const drag = (event: DragEvent) => {
    if (hasFiles(event.dataTransfer)) {
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      setOver(true);
    }
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    dropped(event.dataTransfer).then(take, (thrown: unknown) => failed(Problem.of(thrown)));
  };
  return (
    <div className={over ? "drop over" : "drop"} onDragEnter={drag} onDragOver={drag} onDragLeave={() => setOver(false)} onDrop={drop} role="group" aria-label="Upload">
      <p>
        <strong>{name === undefined ? "Drop plugins here" : `Drop the next code of ${name} here`}</strong>
        <span>
          a <code>.wasm</code>, a <code>.zip</code> that holds one, or a folder with <code>plugin.toml</code>
        </span>
      </p>
      <div className="row">
        <button type="button" className="primary" onClick={() => files.current?.click()}>
          Choose files
        </button>
        <button type="button" onClick={() => folder.current?.click()}>
          Choose a folder
        </button>
      </div>
      <input
        ref={files}
        type="file"
        hidden
        multiple={name === undefined}
        accept=".wasm,.zip"
        aria-label="Files to upload"
        onChange={(event) => taken(event.target, chosen, take)}
      />
      <input ref={folder} type="file" hidden webkitdirectory="" aria-label="Folder to upload" onChange={(event) => taken(event.target, chosenFolder, take)} />
    </div>
  );
}

function taken(input: HTMLInputElement, sources: (files: FileList) => Source[], take: (sources: readonly Source[]) => void): void {
  if (input.files !== null) {
    take(sources(input.files));
  }
  // The same file may be chosen again.
  input.value = "";
}

function Row({ upload, fixed }: { upload: Upload; fixed: boolean }) {
  const { stage, name, label } = upload;
  const size = upload.source.kind === "file" ? bytes(upload.source.file.size) : filesOf(upload.source.files.length);
  return (
    <li className={`upload ${stage.at}`} aria-label={`Upload of ${label}`}>
      <div className="row">
        <strong className="wrap">{label}</strong>
        <span className="dim">{size}</span>
        <button type="button" className="quiet right" onClick={() => dismiss(upload.id)}>
          {isUnderWay(stage) && stage.at !== "waiting" ? "Stop" : "Dismiss"}
        </button>
      </div>
      <Told stage={stage} name={name} />
      {stage.at === "refused" && <Again upload={upload} fixed={fixed} />}
    </li>
  );
}

function filesOf(count: number): string {
  return count === 1 ? "1 file" : `${count} files`;
}

function Told({ stage, name }: { stage: Stage; name: string }) {
  switch (stage.at) {
    case "waiting":
      return <Busy>waits for the uploads before it</Busy>;
    case "reading":
      return <Busy>is read and packed</Busy>;
    case "sending":
      return (
        <div className="progress">
          <progress max={stage.all} value={stage.sent} aria-label={`Bytes of ${name} that were sent`} />
          <span role="status">
            {bytes(stage.sent)} of {bytes(stage.all)} sent
          </span>
        </div>
      );
    case "compiling":
      return <Busy>checking and compiling{stage.waitsFor !== null && `: ${stage.waitsFor}`}</Busy>;
    case "served":
      return (
        <>
          <p className="good" role="status">
            <Link to={["plugins", name]}>{name}</Link> {stage.version === "$LATEST" ? "is served" : `version ${stage.version} is served`}, sha256 <Hash hex={stage.sha256} />
          </p>
          {stage.notes.map((note) => (
            <p key={note} className="hint">
              {note}
            </p>
          ))}
        </>
      );
    case "refused":
      return (
        <Refusal problem={stage.problem}>{stage.serving !== null && <p className="serving">{stage.serving}</p>}</Refusal>
      );
  }
}

/** The file is kept: as it is, or under another name. */
function Again({ upload, fixed }: { upload: Upload; fixed: boolean }) {
  const [name, setName] = useState(upload.name);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    retry(upload.id, fixed ? undefined : name.trim());
  };
  return (
    <form className="row again" onSubmit={submit}>
      {!fixed && (
        <Field label="Name">{(id) => <input id={id} value={name} onChange={(event) => setName(event.target.value)} spellCheck={false} autoComplete="off" />}</Field>
      )}
      <button type="submit">Try again</button>
    </form>
  );
}

/** A browser asks before it closes the tab of an upload. */
function useLeaveWarning(): void {
  useEffect(() => {
    const warn = (event: BeforeUnloadEvent) => {
      if (areUnderWay()) {
        event.preventDefault();
      }
    };
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, []);
}
