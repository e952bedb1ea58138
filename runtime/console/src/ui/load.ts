// What a page asks the server for: loading, there, or refused. Hides that an answer may come when nobody wants it any more.

import { useCallback, useEffect, useRef, useState } from "react";

import { Problem } from "../api/request";

interface State<T> {
  readonly key: string;
  readonly value: T | null;
  readonly problem: Problem | null;
  readonly loading: boolean;
}

export interface Loaded<T> {
  readonly value: T | null;
  readonly problem: Problem | null;
  readonly loading: boolean;
  reload(): void;
}

/**
 * Loads when `key` changes, and when asked to; meanwhile the value before stays if the key is the same. What is asked for while
 * it loads comes after that: a server that answers more slowly than it is asked is asked once at a time, and its answers count.
 */
export function useLoad<T>(key: string, load: () => Promise<T>): Loaded<T> {
  const [state, setState] = useState<State<T>>({
    key,
    value: null,
    problem: null,
    loading: true,
  });
  const [turn, setTurn] = useState(0);
  const under = useRef({ way: false, again: false });
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    let wanted = true;
    under.current = { way: true, again: false };
    setState((before) => ({
      key,
      value: before.key === key ? before.value : null,
      problem: null,
      loading: true,
    }));
    const over = (told: (before: State<T>) => State<T>) => {
      if (!wanted) {
        return;
      }
      setState(told);
      under.current.way = false;
      if (under.current.again) {
        setTurn((before) => before + 1);
      }
    };
    latest.current().then(
      (value) => over(() => ({ key, value, problem: null, loading: false })),
      (thrown: unknown) => over((before) => ({ ...before, problem: Problem.of(thrown), loading: false })),
    );
    return () => {
      wanted = false;
    };
  }, [key, turn]);
  const reload = useCallback(() => {
    if (under.current.way) {
      under.current.again = true;
    } else {
      setTurn((before) => before + 1);
    }
  }, []);
  const value = state.key === key ? state.value : null;
  return { value, problem: state.problem, loading: state.loading, reload };
}

/** One thing that a person asks for at a time, such as the press of a button. */
export interface Doing {
  readonly busy: boolean;
  readonly problem: Problem | null;
  run(act: () => Promise<void>): void;
  forget(): void;
}

export function useDoing(): Doing {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const run = (act: () => Promise<void>) => {
    setBusy(true);
    setProblem(null);
    act()
      .catch((thrown: unknown) => setProblem(Problem.of(thrown)))
      .finally(() => setBusy(false));
  };
  return { busy, problem, run, forget: () => setProblem(null) };
}

/** The title of the browser's tab. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Stepwell`;
  }, [title]);
}

/** Now, in milliseconds, told again every so often while `running`. */
export function useNow(running: boolean, everyMs = 500): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!running) {
      return;
    }
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [running, everyMs]);
  return now;
}
