// Signature Version 4 of requests. Hides that hashes are computed in JavaScript where the browser has none: a page that came over
// plain HTTP from elsewhere than this machine has no crypto.subtle.

import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";

import type { Key } from "./session";

/** Bytes that are hashed before the page has its turn. */
const HASHED_AT_ONCE = 1 << 20;

/** Whose API is asked: the name that the signature has. */
export type Service = "states" | "lambda";

/** A request to the page's own host. */
export interface Unsigned {
  readonly method: string;
  /** Percent-encoded, without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The headers of the request, those of its signature among them. */
export async function signed(request: Unsigned, service: Service, region: string, key: Key): Promise<Record<string, string>> {
  const credentials = { accessKeyId: key.id, secretAccessKey: key.secret };
  const signer = new SignatureV4({
    credentials: key.token === "" ? credentials : { ...credentials, sessionToken: key.token },
    region,
    service,
    sha256: Sha256,
  });
  const made = await signer.sign({
    method: request.method,
    protocol: location.protocol,
    hostname: location.hostname,
    path: request.path,
    query: { ...request.query },
    // The signer takes the body's hash from here, and does not compute it.
    headers: { ...request.headers, host: location.host, "x-amz-content-sha256": await sha256(new TextEncoder().encode(request.body)) },
    body: request.body,
  });
  const { host: _, ...headers } = made.headers;
  return headers;
}

/**
 * What tells a server that asks for no key which region is meant: the scope of a credential, which it does not examine.
 */
export function scope(service: Service, region: string): string {
  return `AWS4-HMAC-SHA256 Credential=any/20260101/${region}/${service}/aws4_request, SignedHeaders=host, Signature=0`;
}

/** SHA-256 in hexadecimal digits. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const browsers: SubtleCrypto | undefined = crypto.subtle;
  const digest = browsers === undefined ? await computed(bytes) : new Uint8Array(await browsers.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function computed(bytes: Uint8Array): Promise<Uint8Array> {
  const hash = new Sha256();
  for (let at = 0; at < bytes.length; at += HASHED_AT_ONCE) {
    hash.update(bytes.subarray(at, at + HASHED_AT_ONCE));
    // Else the page stands still for as long as a large body takes.
    await new Promise((resolve) => setTimeout(resolve));
  }
  return hash.digest();
}
