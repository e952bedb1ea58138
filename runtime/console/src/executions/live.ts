// One execution as it is now: what describes it, its attempts and their logs, as they come. Hides which of the server's answers
// each comes from, and that they are asked for again when an attempt ends.

import { useEffect, useState } from "react";

import { attempts, describe, executionPath, logs, type AttemptLog, type Described, type EndedAttempt, type Note, type Page, type Status } from "../api/executions";
import { Problem } from "../api/request";
import { follow, type Link, type Message } from "../api/stream";
import { History, keyOf, type Attempt, type HistoryEvent, type Waiting } from "./history";

export interface View {
  readonly described: Described | null;
  readonly attempts: readonly Attempt[];
  /** How many there were before those that are kept. */
  readonly gone: number;
  readonly waiting: readonly Waiting[];
  /** By the attempt: see `logOf`. */
  readonly logs: ReadonlyMap<string, AttemptLog>;
  readonly link: Link;
  /** Why it cannot be read, or a part of it. */
  readonly problem: Problem | null;
  /** More attempts than are kept here. */
  readonly cut: boolean;
}

/** How often a page is drawn anew at most: what comes meanwhile is drawn together. */
const DRAWN_EVERY_MS = 100;
/** How often what attempts used and said is asked for at most. */
const ASKED_EVERY_MS = 400;
/** Attempts whose logs and figures are kept, in all. */
const ATTEMPTS_MAX = 2_000;
/** Characters of what they said that are kept, in all; and what a line takes beside its text, in characters. */
const SAID_CHARS_MAX = 16 << 20;
const LINE_CHARS = 64;

const NOTHING: View = { described: null, attempts: [], gone: 0, waiting: [], logs: new Map(), link: { at: "connecting" }, problem: null, cut: false };

export function useExecution(arn: string): View {
  const [view, setView] = useState(NOTHING);
  useEffect(() => {
    const watcher = new Watcher(arn, setView);
    void watcher.run();
    return () => watcher.stop();
  }, [arn]);
  return view;
}

/** What an attempt said, once it has ended and the server has told it. */
export function logOf({ logs }: Pick<View, "logs">, { key, state, number, endedAt }: Attempt): AttemptLog | null {
  return logs.get(key) ?? logs.get(olderKey(state, number, endedAt)) ?? null;
}

/** Where a server did not keep which entry of its state an attempt belongs to. */
function olderKey(state: string, number: number, endedAt: number | null): string {
  return `${state}\n${number}\n${endedAt}`;
}

function keyOfLog({ state, enteredEventId, attempt, ended }: AttemptLog): string {
  return enteredEventId === undefined ? olderKey(state, attempt, ended) : keyOf(enteredEventId, attempt);
}

function charsOf({ lines, stdout, stderr }: AttemptLog): number {
  const ofLines = lines.map(({ message, fields }) => LINE_CHARS * (1 + fields.length) + message.length + fields.flat().join("").length);
  return ofLines.reduce((all, chars) => all + chars, stdout.length + stderr.length);
}

class Watcher {
  private readonly stopped = new AbortController();
  private readonly history = new History();
  private readonly used = new Pages<EndedAttempt>(() => 0, 0);
  private readonly said = new Pages<AttemptLog>(charsOf, SAID_CHARS_MAX);
  /** What an attempt said does not change: the first that was told of it is kept, and what is drawn of it stays. */
  private readonly logs = new Map<string, AttemptLog>();
  private described: Described | null = null;
  private link: Link = { at: "connecting" };
  private problem: Problem | null = null;
  private drawing: number | null = null;
  private asking = false;
  private askAgain = false;

  constructor(
    private readonly arn: string,
    private readonly show: (view: View) => void,
  ) {}

  async run(): Promise<void> {
    this.show(NOTHING);
    await this.guarded(async () => {
      this.described = await describe(this.arn);
    });
    this.draw();
    this.ask();
    const path = `${executionPath(this.arn)}/events`;
    await follow(path, { message: (message) => this.message(message), link: (link) => this.linked(link) }, this.stopped.signal);
  }

  stop(): void {
    this.stopped.abort();
    if (this.drawing !== null) {
      window.clearTimeout(this.drawing);
    }
  }

  private message({ event, data }: Message): void {
    if (event === "history") {
      const told = JSON.parse(data) as HistoryEvent;
      if (this.history.apply(told)) {
        this.ask();
      }
    } else if (event === "progress") {
      this.history.note(JSON.parse(data) as Note);
    } else if (event === "end") {
      const { status, stopDate } = JSON.parse(data) as { status?: Status; stopDate?: number };
      this.history.stop(stopDate ?? null);
      if (this.described !== null && status !== undefined) {
        this.described = { ...this.described, status, ...(stopDate === undefined ? {} : { stopDate }) };
      }
      void this.guarded(async () => {
        this.described = await describe(this.arn);
      }).then(() => this.draw());
      this.ask();
    }
    this.draw();
  }

  private linked(link: Link): void {
    this.link = link;
    this.draw();
  }

  /** Asks what attempts used and said; while that is asked, once more afterwards. */
  private ask(): void {
    if (this.asking) {
      this.askAgain = true;
      return;
    }
    this.asking = true;
    this.askAgain = false;
    void this.guarded(async () => {
      await this.used.more((token) => attempts(this.arn, token));
      await this.said.more((token) => logs(this.arn, token));
    }).then(() => {
      this.draw();
      window.setTimeout(() => {
        this.asking = false;
        if (this.askAgain && !this.stopped.signal.aborted) {
          this.ask();
        }
      }, ASKED_EVERY_MS);
    });
  }

  private async guarded(act: () => Promise<void>): Promise<void> {
    try {
      await act();
      this.problem = null;
    } catch (thrown) {
      this.problem = Problem.of(thrown);
    }
  }

  private draw(): void {
    if (this.drawing !== null || this.stopped.signal.aborted) {
      return;
    }
    this.drawing = window.setTimeout(() => {
      this.drawing = null;
      for (const told of this.used.all()) {
        this.history.ended(told);
      }
      for (const log of this.said.all()) {
        const key = keyOfLog(log);
        if (!this.logs.has(key)) {
          this.logs.set(key, log);
        }
      }
      this.show({
        described: this.described,
        attempts: [...this.history.attempts],
        gone: this.history.gone,
        waiting: this.history.waiting(),
        logs: this.logs,
        link: this.link,
        problem: this.problem,
        cut: this.used.cut || this.said.cut,
      });
    }, DRAWN_EVERY_MS);
  }
}

/** A list that grows at its end: the pages that are full are not asked for again. It ends where there are too many, or they are too large. */
class Pages<T> {
  cut = false;
  private size = 0;
  private readonly full: T[] = [];
  private last: readonly T[] = [];
  private token: string | null = null;

  constructor(
    private readonly sizeOf: (item: T) => number,
    private readonly sizeMax: number,
  ) {}

  all(): readonly T[] {
    return [...this.full, ...this.last];
  }

  async more(load: (token: string | null) => Promise<Page<T>>): Promise<void> {
    while (!this.cut) {
      const page = await load(this.token);
      if (page.next === null) {
        this.last = page.items;
        return;
      }
      this.full.push(...page.items);
      this.last = [];
      this.token = page.next;
      this.size = page.items.reduce((all, item) => all + this.sizeOf(item), this.size);
      this.cut = this.full.length >= ATTEMPTS_MAX || this.size > this.sizeMax;
    }
  }
}
