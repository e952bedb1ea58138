// Signature Version 4 of requests. Its hashes are computed in JavaScript: a page that came over plain HTTP has no crypto.subtle.

import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";

import type { Key } from "./session";

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
    headers: { ...request.headers, host: location.host },
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
export function sha256(bytes: Uint8Array): string {
  const hash = new Sha256();
  hash.update(bytes);
  return [...hash.digestSync()].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
