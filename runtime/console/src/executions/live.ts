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
  readonly waiting: readonly Waiting[];
  /** By the attempt's key. */
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

const NOTHING: View = { described: null, attempts: [], waiting: [], logs: new Map(), link: { at: "connecting" }, problem: null, cut: false };

export function useExecution(arn: string): View {
  const [view, setView] = useState(NOTHING);
  useEffect(() => {
    const watcher = new Watcher(arn, setView);
    void watcher.run();
    return () => watcher.stop();
  }, [arn]);
  return view;
}

class Watcher {
  private readonly stopped = new AbortController();
  private history = new History();
  private readonly used = new Pages<EndedAttempt>();
  private readonly said = new Pages<AttemptLog>();
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

  /** Of the attempt that said it: of one that does not tell its state's entry, by the state's name and the end. */
  private keyOf(log: AttemptLog): string {
    if (log.enteredEventId !== undefined) {
      return keyOf(log.enteredEventId, log.attempt);
    }
    const isIts = ({ state, number, endedAt }: Attempt) => state === log.state && number === log.attempt && endedAt === log.ended;
    return this.history.attempts.find(isIts)?.key ?? "";
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
      this.show({
        described: this.described,
        // Each is drawn as it is now, though the fold goes on with the same ones.
        attempts: this.history.attempts.map((attempt) => ({ ...attempt })),
        waiting: this.history.waiting(),
        logs: new Map(this.said.all().map((log) => [this.keyOf(log), log])),
        link: this.link,
        problem: this.problem,
        cut: this.used.cut || this.said.cut,
      });
    }, DRAWN_EVERY_MS);
  }
}

/** A list that grows at its end: the pages that are full are not asked for again. */
class Pages<T> {
  cut = false;
  private readonly full: T[] = [];
  private last: readonly T[] = [];
  private token: string | null = null;

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
      this.cut = this.full.length >= ATTEMPTS_MAX;
    }
  }
}
