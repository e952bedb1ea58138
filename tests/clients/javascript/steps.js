// One case: its names, its calls through the SDK, and what they have to answer. Hides the SDK's classes.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import * as sdk from "@aws-sdk/client-sfn";

const UNTIL_MS_MAX = 120_000;
const LOOK_MS = 40;

export class Case {
  constructor(client, called, account) {
    this.client = client;
    this.called = called;
    this.known = {
      account,
      role: `arn:aws:iam::${account}:role/tests`,
      unique: `js-${randomBytes(6).toString("hex")}`,
    };
  }

  async run({ steps }) {
    for (const [index, step] of steps.entries()) {
      try {
        await this.step(step);
      } catch (error) {
        error.stack = `step ${index + 1}, ${step.call}: ${error.message}`;
        throw error;
      }
    }
  }

  async step(step) {
    this.called.add(step.call);
    const input = this.filled(step.with ?? {});
    if (step.refused) {
      return this.refused(step, input);
    }
    const answer = step.until ? await this.until(step, input) : await this.answer(step, input);
    matches(answer, this.filled(step.answer ?? {}, true), "answer");
    for (const [name, member] of Object.entries(step.keep ?? {})) {
      const value = member.split(".").reduce((inner, key) => (key === "json" ? JSON.parse(inner) : inner?.[key]), answer);
      assert.equal(typeof value, "string", `${member} of ${JSON.stringify(answer)}`);
      this.known[name] = value;
    }
  }

  async answer(step, input) {
    return step.pages ? this.pages(step, input) : plain(await this.send(step.call, input));
  }

  async until(step, input) {
    const wanted = this.filled(step.until, true);
    const end = performance.now() + UNTIL_MS_MAX;
    for (;;) {
      const answer = await this.answer(step, input);
      try {
        matches(answer, wanted, "answer");
        return answer;
      } catch (error) {
        if (performance.now() > end) {
          throw error;
        }
      }
      await pause(LOOK_MS);
    }
  }

  async send(call, input) {
    const answer = await this.client.send(new sdk[`${call}Command`](input));
    assert.equal(answer.$metadata.httpStatusCode, 200);
    assert.match(answer.$metadata.requestId ?? "", /^[0-9a-f-]{36}$/, "request id");
    return answer;
  }

  // All pages of a list, through the SDK's paginator where it has one.
  async pages({ call, pages }, input) {
    const items = [];
    let count = 0;
    const add = (page) => {
      count += 1;
      items.push(...plain(page)[pages.of]);
    };
    const paginate = sdk[`paginate${call}`];
    if (paginate) {
      for await (const page of paginate({ client: this.client, pageSize: pages.size }, input)) {
        add(page);
      }
    } else {
      let nextToken;
      do {
        const page = await this.send(call, { ...input, maxResults: pages.size, nextToken });
        add(page);
        nextToken = page.nextToken;
      } while (nextToken);
    }
    return { items, pages: count };
  }

  // The SDK has to know the error by its class, where its model has one, and by its code otherwise.
  async refused({ call, refused }, input) {
    const { code, message, modelled = true } = typeof refused === "string" ? { code: refused } : refused;
    const error = await this.client.send(new sdk[`${call}Command`](input)).then(
      (answer) => assert.fail(`${code} is expected, not ${JSON.stringify(answer)}`),
      (error) => error,
    );
    assert.equal(error.name, code, String(error));
    assert.ok(error instanceof (modelled ? sdk[code] : sdk.SFNServiceException), `class ${error.constructor.name}`);
    assert.equal(error.$fault, "client");
    assert.equal(error.$metadata.httpStatusCode, 400);
    assert.match(error.$metadata.requestId ?? "", /^[0-9a-f-]{36}$/, "request id");
    if (message !== undefined) {
      assert.equal(error.message, this.text(message));
    }
  }

  // What is told with names put in. In requests `{"json": …}` is the text of that JSON.
  filled(value, expected = false) {
    if (typeof value === "string") {
      return this.text(value);
    }
    if (Array.isArray(value)) {
      return value.map((item) => this.filled(item, expected));
    }
    if (value === null || typeof value !== "object") {
      return value;
    }
    const filled = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, this.filled(inner, expected)]));
    return !expected && isAlone(filled, "json") ? JSON.stringify(filled.json) : filled;
  }

  text(text) {
    return text.replaceAll(/\{([a-z]\w*)\}/g, (_, name) => {
      assert.ok(name in this.known, `no step has kept {${name}}`);
      return this.known[name];
    });
  }
}

const isAlone = (value, key) => Object.keys(value).length === 1 && key in value;

// As JSON: without what is undefined, dates as texts.
function plain(answer) {
  const { $metadata, ...members } = answer;
  return JSON.parse(JSON.stringify(members));
}

// Objects hold at least what is expected, lists exactly that; `tests/clients/cases/README.md` has the special ones.
function matches(found, expected, at) {
  if (expected === null || typeof expected !== "object") {
    assert.deepEqual(found, expected, `${at}: ${JSON.stringify(expected)} is expected, not ${JSON.stringify(found)}`);
  } else if (Array.isArray(expected)) {
    assert.ok(Array.isArray(found) && found.length === expected.length, `${at}: ${expected.length} items are expected, not ${JSON.stringify(found)}`);
    expected.forEach((item, index) => matches(found[index], item, `${at}[${index}]`));
  } else if (isAlone(expected, "json")) {
    assert.equal(typeof found, "string", `${at}: JSON text is expected, not ${JSON.stringify(found)}`);
    assert.deepEqual(JSON.parse(found), expected.json, `${at}: ${found}`);
  } else if (isAlone(expected, "absent")) {
    assert.equal(found, undefined, `${at}: nothing is expected, not ${JSON.stringify(found)}`);
  } else if (isAlone(expected, "time")) {
    const age = Date.now() - Date.parse(found);
    assert.ok(Math.abs(age) < 600_000, `${at}: a time of these minutes is expected, not ${JSON.stringify(found)}`);
  } else if (isAlone(expected, "holds")) {
    assert.ok(typeof found === "string" && found.includes(expected.holds), `${at}: ${JSON.stringify(expected.holds)} within ${JSON.stringify(found)}`);
  } else {
    assert.ok(found !== null && typeof found === "object", `${at}: an object is expected, not ${JSON.stringify(found)}`);
    Object.entries(expected).forEach(([key, inner]) => matches(found[key], inner, `${at}.${key}`));
  }
}
