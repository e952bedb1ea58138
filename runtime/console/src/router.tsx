// Which page is shown: the path below the console's own, by parts. Hides how parts are written into an address.

import { useSyncExternalStore, type MouseEvent, type ReactNode } from "react";

const BASE = import.meta.env.BASE_URL;
const MOVED = "stepwell:moved";

export function useRoute(): readonly string[] {
  const path = useSyncExternalStore(subscribe, () => location.pathname);
  return partsOf(path);
}

export function go(...parts: string[]): void {
  history.pushState(null, "", href(parts));
  moved();
}

/** The same in place of the page that is shown, to which nobody goes back then. */
export function goInstead(...parts: string[]): void {
  history.replaceState(null, "", href(parts));
  moved();
}

function moved(): void {
  dispatchEvent(new Event(MOVED));
  scrollTo(0, 0);
}

interface LinkProps {
  readonly to: readonly string[];
  readonly children: ReactNode;
  readonly className?: string;
  readonly current?: boolean;
}

export function Link({ to, children, className, current = false }: LinkProps) {
  const follow = (event: MouseEvent) => {
    // A click with a key is the browser's: a new tab, a download.
    if (event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      go(...to);
    }
  };
  return (
    <a href={href(to)} onClick={follow} className={className} aria-current={current ? "page" : undefined}>
      {children}
    </a>
  );
}

function href(parts: readonly string[]): string {
  // Colons of ARNs need no escape, and are easier to read without.
  return BASE + parts.map((part) => encodeURIComponent(part).replaceAll("%3A", ":").replaceAll("%24", "$")).join("/");
}

function partsOf(path: string): string[] {
  const parts = path.startsWith(BASE) ? path.slice(BASE.length).split("/") : [];
  return parts.filter((part) => part !== "").map(decoded);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function subscribe(listener: () => void): () => void {
  addEventListener("popstate", listener);
  addEventListener(MOVED, listener);
  return () => {
    removeEventListener("popstate", listener);
    removeEventListener(MOVED, listener);
  };
}
