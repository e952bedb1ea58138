// The plugins of the server's plugin directory. Hides their path.

import { askJson } from "./request";

export interface DirectoryPlugin {
  readonly name: string;
  readonly version?: string;
  /** Within the plugin directory. */
  readonly source: string;
  /** There once it was loaded. */
  readonly contract?: string;
  readonly missingGrants: readonly string[];
  /** Why it cannot be called. */
  readonly problem?: string;
}

export interface DirectoryPage {
  readonly plugins: readonly DirectoryPlugin[];
  /** There where the directory has more. */
  readonly nextToken?: string;
}

/** Plugins that are loaded, which is the most that a page has. */
export const DIRECTORY_LISTED_MAX = 1_000;

export function directory(): Promise<DirectoryPage> {
  return askJson({ service: "states", method: "GET", path: "/api/plugins", query: { maxResults: String(DIRECTORY_LISTED_MAX) } });
}
