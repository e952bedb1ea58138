// An access key is asked for, refused, taken and forgotten.

import assert from "node:assert/strict";

import { guest, served } from "./plugins.mjs";

const WRONG = "wrong-wrong-wrong-wrong-wrong-wrong-wron";

export const signingIn = [
  [
    "a server with keys asks for one",
    async ({ browser }) => {
      await browser.show();
      const { page } = browser;
      await page.getByRole("form", { name: "Sign in" }).waitFor();
      assert.equal(await page.getByRole("table").count(), 0);
    },
  ],
  [
    "a wrong secret shows the server's refusal",
    async ({ browser: { page }, key }) => {
      await fill(page, key.id, WRONG);
      const refusal = page.getByRole("alert");
      await refusal.getByText("InvalidSignatureException").waitFor();
      await refusal.getByText("The request signature we calculated does not match").waitFor();
      await refusal.getByText("the secret is not its own").waitFor();
      assert.equal(await stored(page), null);
    },
  ],
  [
    "the right one signs in, and a reload keeps it",
    async ({ browser: { page }, key }) => {
      await fill(page, key.id, key.secret);
      await page.getByRole("heading", { name: "Plugins", exact: true }).waitFor();
      await page.reload();
      await page.getByRole("heading", { name: "Plugins", exact: true }).waitFor();
      await page.getByText(key.id).waitFor();
    },
  ],
  [
    "requests are signed where a browser hashes nothing",
    async (world) => {
      const { browser, mark } = world;
      const { page } = browser;
      // As of a page that came over plain HTTP from another machine.
      await page.addInitScript(() => {
        if (sessionStorage.getItem("plain") !== null) {
          Object.defineProperty(crypto, "subtle", { value: undefined });
        }
      });
      await page.evaluate(() => sessionStorage.setItem("plain", ""));
      await page.reload();
      assert.equal(await page.evaluate(() => crypto.subtle), undefined);
      await browser.choose(`plain-${mark}.wasm`, guest(world, "noop"));
      await served(page, `plain-${mark}.wasm`, 1);
      await page.evaluate(() => sessionStorage.removeItem("plain"));
      await page.reload();
      assert.notEqual(await page.evaluate(() => crypto.subtle), undefined);
    },
  ],
  [
    "another key has none of the uploads of the one before",
    async (world) => {
      const { browser, key, mark } = world;
      const { page } = browser;
      const uploads = page.getByRole("listitem", { name: /^Upload of / });
      await browser.choose(`first-${mark}.wasm`, guest(world, "noop"));
      await served(page, `first-${mark}.wasm`, 1);
      // The key ends, and for one request another one counts.
      const answers = [
        { status: 403, json: { __type: "ExpiredTokenException", message: "over" } },
        { status: 200, json: { stateMachines: [] } },
      ];
      const api = `${browser.endpoint}/`;
      await page.route(api, (route) => (answers.length > 0 ? route.fulfill(answers.shift()) : route.continue()));
      await page.getByRole("link", { name: "Executions" }).click();
      await fill(page, "AKIAANOTHERANOTHER00", WRONG);
      await page.getByRole("alert").getByText("UnrecognizedClientException").or(page.getByText("security token")).first().waitFor();
      await page.unroute(api);
      await fill(page, key.id, key.secret);
      await page.getByRole("link", { name: "Plugins", exact: true }).click();
      await page.getByRole("link", { name: `first-${mark}`, exact: true }).first().waitFor();
      assert.equal(await uploads.count(), 0);
    },
  ],
];

export const signingOut = [
  [
    "signing out forgets the key",
    async ({ browser, key }) => {
      const { page } = browser;
      await browser.show("executions");
      await browser.show("plugins");
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("form", { name: "Sign in" }).waitFor();
      assert.equal(await stored(page), null);
      assert.equal(await page.getByText(key.id).count(), 0);
      await page.goBack();
      await page.getByRole("form", { name: "Sign in" }).waitFor();
    },
  ],
];

async function fill(page, id, secret) {
  await page.getByLabel("Access key id").fill(id);
  await page.getByLabel("Secret access key").fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** What the tab keeps of a key. */
async function stored(page) {
  const text = await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }));
  return /secret\\*":\\*"[^\\"]/.test(text) ? text : null;
}
