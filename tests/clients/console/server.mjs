// Calls of the server beside the browser: what the console has no page for yet. Hides how requests are signed.

import { createHash, createHmac } from "node:crypto";

const REGION = "us-east-1";
const SERVICE = "states";

export class Server {
  /** `key` is an id and a secret, or null where the server asks for none. */
  constructor(endpoint, key) {
    this.endpoint = endpoint;
    this.key = key;
  }

  /** The answer to an operation of Step Functions; throws what it was refused with. */
  async call(operation, members) {
    const body = JSON.stringify(members);
    const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": `AWSStepFunctions.${operation}` };
    const answer = await fetch(`${this.endpoint}/`, { method: "POST", headers: this.#signed(headers, body), body });
    const text = await answer.text();
    if (!answer.ok) {
      throw new Error(`${operation}: ${text}`);
    }
    return JSON.parse(text || "null");
  }

  #signed(headers, body) {
    if (this.key === null) {
      return headers;
    }
    const moment = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const day = moment.slice(0, 8);
    const all = { ...headers, host: new URL(this.endpoint).host, "x-amz-date": moment };
    const names = Object.keys(all).sort();
    const listed = names.join(";");
    const canonical = ["POST", "/", "", ...names.map((name) => `${name}:${all[name]}`), "", listed, hash(body)].join("\n");
    const scope = `${day}/${REGION}/${SERVICE}/aws4_request`;
    const text = ["AWS4-HMAC-SHA256", moment, scope, hash(canonical)].join("\n");
    const key = [day, REGION, SERVICE, "aws4_request"].reduce(mac, `AWS4${this.key.secret}`);
    const signature = mac(key, text).toString("hex");
    const { host: _, ...sent } = all;
    return { ...sent, authorization: `AWS4-HMAC-SHA256 Credential=${this.key.id}/${scope}, SignedHeaders=${listed}, Signature=${signature}` };
  }
}

function hash(text) {
  return createHash("sha256").update(text).digest("hex");
}

function mac(key, text) {
  return createHmac("sha256", key).update(text).digest();
}
