// Who asks: an access key, kept until the browser's tab is closed, and the region that is asked for. Hides where they are kept.

import { useSyncExternalStore } from "react";

/** An access key; a session of STS has a token as well. */
export interface Key {
  readonly id: string;
  readonly secret: string;
  readonly token: string;
}

export interface Session {
  readonly region: string;
  readonly key: Key | null;
  /** Why a key is asked for, in the server's words; null as long as none is, or the key counts. */
  readonly demand: string | null;
}

/** What a server takes a request for that names no region. */
export const USUAL_REGION = "us-east-1";
const STORED_UNDER = "stepwell.session";

let session = restored();
const listeners = new Set<() => void>();

export function current(): Session {
  return session;
}

export function useSession(): Session {
  return useSyncExternalStore(subscribe, current);
}

export function signIn(key: Key, region: string): void {
  change({ key, region, demand: null });
}

/** Forgets the key, and whatever the page holds that was asked for with it. */
export function signOut(): void {
  sessionStorage.removeItem(STORED_UNDER);
  // A browser may keep the page as it is, for who goes back.
  session = { region: session.region, key: null, demand: "signed out" };
  for (const listener of listeners) {
    listener();
  }
  location.replace(import.meta.env.BASE_URL);
}

export function chooseRegion(region: string): void {
  change({ ...session, region });
}

/** Told by whoever's request was not taken for its key's. */
export function demandKey(why: string): void {
  if (session.demand !== why) {
    change({ ...session, demand: why });
  }
}

function change(next: Session): void {
  session = next;
  const { region, key } = next;
  sessionStorage.setItem(STORED_UNDER, JSON.stringify({ region, key }));
  for (const listener of listeners) {
    listener();
  }
}

/** Calls back whenever the session is another one; the answer ends that. */
export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function restored(): Session {
  const none: Session = { region: USUAL_REGION, key: null, demand: null };
  const text = sessionStorage.getItem(STORED_UNDER);
  if (text === null) {
    return none;
  }
  try {
    const { region, key } = JSON.parse(text) as Session;
    return { region, key, demand: null };
  } catch {
    return none;
  }
}
