// What is made to harm the page, or does: archives, values and logs beyond all measure, answers of another server, tabs that nobody
// looks at.

import assert from "node:assert/strict";

import { guest } from "./plugins.mjs";
import { zip } from "./zip.mjs";

/** Elements of a page that shows what was cut; ours, several times what a page has. */
const ELEMENTS_MAX = 3_000;
const CHARS_MAX = 400_000;

export const hostile = [
  [
    "archives made to harm are refused at once",
    async (world) => {
      const { browser, mark } = world;
      const manifest = Buffer.from('name = "harm"\n');
      const code = ["a.wasm", guest(world, "noop")];
      await browser.show("plugins");
      for (const [name, files, why] of [
        ["many", Array.from({ length: 1_001 }, (_, at) => [`${at}/plugin.toml`, manifest]), "holds more than 1000 files"],
        ["two", [["a/plugin.toml", manifest], ["b/plugin.toml", manifest], code], "holds several plugin.toml"],
        ["large", [["plugin.toml", Buffer.alloc(65_537, "#")], code], "is larger than"],
        ["unit", [["plugin.toml", Buffer.from('[limits]\nmemory = "64constructor"\n')], code], "is no size"],
      ]) {
        const label = `${name}-${mark}.zip`;
        await browser.choose(label, zip(files));
        await page(browser).getByRole("listitem", { name: `Upload of ${label}` }).getByText(why).waitFor();
      }
    },
  ],
  [
    "of a large value and a long log a part is drawn",
    async (world) => {
      const { browser, server } = world;
      // Its indents would be 18 MB.
      const large = `${"[".repeat(90)}${Array(100_000).fill(1).join(",")}${"]".repeat(90)}`;
      const input = `{"do": "log-flood", "large": ${large}}`;
      const { executionArn } = await server.call("StartExecution", { stateMachineArn: world.machine, input });
      await browser.show("executions", executionArn);
      const log = page(browser).getByRole("region", { name: "Log of Do, attempt 1" });
      const more = log.getByRole("button", { name: /^Show \d+ lines before these$/ });
      await more.waitFor();
      assert.equal(await log.getByRole("listitem").count(), 50);
      const [elements, chars] = await page(browser).evaluate(() => [document.getElementsByTagName("*").length, document.body.textContent.length]);
      assert.ok(elements < ELEMENTS_MAX && chars < CHARS_MAX, `${elements} elements, ${chars} characters`);
      const hidden = Number((await more.innerText()).split(" ")[1]);
      await more.click();
      await log.getByRole("listitem").nth(49 + hidden).waitFor();
      const whole = page(browser).getByRole("region", { name: "Input of the execution" });
      await whole.getByRole("button", { name: /characters after these$/ }).click();
      assert.ok((await whole.evaluate(({ textContent }) => textContent.length)) > large.length);
    },
  ],
  [
    "a page out of sight lets its stream go",
    async ({ browser, machine }) => {
      await browser.show("executions", machine);
      const stream = page(browser).getByRole("status", { name: "Live stream" });
      await stream.getByText("Live", { exact: true }).waitFor();
      await sight(browser, true);
      await stream.getByText("Paused").waitFor();
      await sight(browser, false);
      await stream.getByText("Live", { exact: true }).waitFor();
    },
  ],
  [
    "an answer of another server leaves the page whole",
    async ({ browser }) => {
      const complaints = browser.complaints.length;
      const list = /\/2015-03-31\/functions\?/;
      for (const [body, why] of [
        ['{"Functions": [{}]}', "This page cannot be shown"],
        ['{"Functions": 5}', "has no list `Functions`"],
        ["{}", "has no list `Functions`"],
        ["<h1>a proxy</h1>", "The list cannot be read"],
      ]) {
        await page(browser).route(list, (route) => route.fulfill({ status: 200, contentType: "application/json", body }));
        await browser.show("plugins");
        await page(browser).getByText(why).waitFor();
        await page(browser).unroute(list);
        await page(browser).getByRole("link", { name: "Executions" }).click();
        await page(browser).getByRole("heading", { name: "Executions" }).waitFor();
      }
      // What could not be drawn, React told the browser.
      browser.complaints.length = complaints;
    },
  ],
  [
    "one can go back from the console",
    async ({ browser }) => {
      const shown = () => page(browser).getByRole("heading", { name: "Plugins", exact: true }).waitFor();
      const before = new URL("/health", page(browser).url()).href;
      await page(browser).goto(before);
      await browser.show();
      await shown();
      await page(browser).goBack();
      assert.equal(page(browser).url(), before);
    },
  ],
];

function page(browser) {
  return browser.page;
}

/** Tells the page that its tab is hidden, or is not any more: without a screen all tabs are in sight. */
async function sight(browser, hidden) {
  await page(browser).evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}
