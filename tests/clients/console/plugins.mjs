// Plugins: uploaded by the button and by drop, refused, called, their aliases moved and rolled back, deleted.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { zip } from "./zip.mjs";

/** Bytes a second that leave while progress is looked at: the upload takes some seconds then. */
const SLOW = 150_000;
/** What no page may take for markup. */
export const MARKUP = `<img src="x" onerror="window.hit=1"><b>bold</b><script>window.hit=1</script>`;

export const plugins = [
  [
    "a plugin is uploaded by the button",
    async (world) => {
      const { browser } = world;
      await browser.show("plugins");
      await browser.choose(`${pay(world)}.wasm`, guest(world, "echo"));
      await served(browser.page, `${pay(world)}.wasm`, 1);
      await row(browser.page, pay(world)).waitFor();
    },
  ],
  [
    "a slow upload shows its progress",
    async (world) => {
      const { browser } = world;
      const name = `behave-${world.mark}`;
      const moved = new Set();
      await browser.throttled(SLOW, async () => {
        // With time enough for what is watched later.
        const archive = zip([
          ["plugin.toml", Buffer.from(`[limits]\nwall = "60s"\n`)],
          ["behave.wasm", guest(world, "behave")],
        ]);
        await browser.choose(`${name}.zip`, archive);
        const upload = browser.page.getByRole("listitem", { name: `Upload of ${name}.zip` });
        const bar = upload.getByRole("progressbar");
        await bar.waitFor();
        while (await bar.isVisible()) {
          const [value, max] = await bar.evaluate(({ value, max }) => [value, max]).catch(() => [0, 0]);
          if (value > 0 && value < max) {
            moved.add(value);
          }
        }
      });
      assert.ok(moved.size > 1, `the bar stood at ${[...moved].join(", ")}`);
      await served(browser.page, `${name}.zip`, 1);
    },
  ],
  [
    "a file and a folder are uploaded by a drop",
    async (world) => {
      const { browser } = world;
      await onDisk(async (folder) => {
        const [file, kept] = [path.join(folder, `dropped-${world.mark}.wasm`), path.join(folder, `folder-${world.mark}`)];
        writeFileSync(file, guest(world, "noop"));
        mkdirSync(path.join(kept, "target"), { recursive: true });
        writeFileSync(path.join(kept, "plugin.toml"), MANIFEST);
        writeFileSync(path.join(kept, "built.wasm"), guest(world, "noop"));
        writeFileSync(path.join(kept, "target", "other.wasm"), "not this one");
        await browser.drop(file, kept);
        await served(browser.page, `dropped-${world.mark}.wasm`, 1);
        await served(browser.page, `folder-${world.mark}/`, 1);
      });
      await row(browser.page, `dropped-${world.mark}`).waitFor();
      await settings(row(browser.page, `folder-${world.mark}`));
    },
  ],
  [
    "a zip archive is uploaded with its plugin.toml",
    async (world) => {
      const { browser } = world;
      const name = `zipped-${world.mark}`;
      const archive = zip([
        ["plugin.toml", Buffer.from(MANIFEST)],
        ["built.wasm", guest(world, "noop")],
      ]);
      await browser.choose(`${name}.zip`, archive);
      await served(browser.page, `${name}.zip`, 1);
      await settings(row(browser.page, name));
    },
  ],
  [
    "what is no name is refused before it is sent",
    async (world) => {
      const { browser } = world;
      const before = browser.changes.length;
      await browser.choose("no name!.wasm", guest(world, "noop"));
      const upload = browser.page.getByRole("listitem", { name: "Upload of no name!.wasm" });
      await upload.getByText("1 to 64 of the characters A-Z a-z 0-9 - _").waitFor();
      assert.deepEqual(browser.changes.slice(before), []);
      await upload.getByLabel("Name").fill(`renamed-${world.mark}`);
      await upload.getByRole("button", { name: "Try again" }).click();
      await served(browser.page, "no name!.wasm", 1);
      await row(browser.page, `renamed-${world.mark}`).waitFor();
    },
  ],
  [
    "a broken upload leaves the working version",
    async (world) => {
      const { browser } = world;
      const broken = Buffer.concat([guest(world, "echo").subarray(0, 5_000), Buffer.from("and no more")]);
      await browser.choose(`${pay(world)}.wasm`, broken);
      const upload = browser.page.getByRole("listitem", { name: `Upload of ${pay(world)}.wasm` }).first();
      const refusal = upload.getByRole("alert");
      await refusal.getByText(`${pay(world)} goes on serving as it was`).waitFor();
      await refusal.getByText("the code of version 1").waitFor();
      // In full, and it can be tried again.
      assert.ok((await refusal.locator("pre").innerText()).length > 20);
      await upload.getByRole("button", { name: "Try again" }).click();
      await refusal.getByText("goes on serving").waitFor();
      await browser.page.getByRole("link", { name: pay(world) }).first().click();
      await call(browser.page, pay(world), `{"works": "still"}`);
      await answer(browser.page, pay(world)).getByText(`"works": "still"`).waitFor();
    },
  ],
  [
    "what is no WebAssembly is not sent",
    async (world) => {
      const { browser } = world;
      const before = browser.changes.filter((change) => change.startsWith("PUT")).length;
      await browser.choose("text.wasm", Buffer.from("#!/bin/sh\necho\n"));
      const upload = browser.page.getByRole("listitem", { name: "Upload of text.wasm" });
      await upload.getByText("neither a zip archive nor WebAssembly").waitFor();
      assert.equal(browser.changes.filter((change) => change.startsWith("PUT")).length, before);
      await upload.getByRole("button", { name: "Dismiss" }).click();
      await upload.waitFor({ state: "detached" });
    },
  ],
  [
    "an alias is moved and rolled back",
    async (world) => {
      const { browser } = world;
      const { page } = browser;
      await page.getByRole("button", { name: "New alias" }).click();
      await page.getByLabel("Alias", { exact: true }).fill("live");
      await page.getByLabel("Stands for version").selectOption("1");
      await page.getByRole("button", { name: "Make the alias" }).click();
      await standsFor(page, "live", "1");
      // The next code, under the plugin's own name whatever the file's is.
      await browser.choose("other.wasm", guest(world, "noop"));
      await served(page, "other.wasm", 2);
      await standsFor(page, "live", "1");
      await page.getByRole("button", { name: "Change live" }).click();
      await page.getByLabel("Stands for version").selectOption("2");
      await page.getByRole("button", { name: "Move live" }).click();
      await standsFor(page, "live", "2");
      await page.getByRole("button", { name: "Roll back live" }).click();
      await standsFor(page, "live", "1");
      await call(page, pay(world), `{"alias": 1}`, "live");
      await answer(page, pay(world)).getByText(`"alias": 1`).waitFor();
      await answer(page, pay(world)).getByText("version 1").waitFor();
    },
  ],
  [
    "an alias gives a part of its calls to another",
    async ({ browser: { page } }) => {
      await page.getByRole("button", { name: "Change live" }).click();
      await page.getByLabel("A part of calls to").selectOption("2");
      await page.getByLabel("Percent of calls").fill("25");
      await page.getByRole("button", { name: "Move live" }).click();
      await standsFor(page, "live", "1, 2 for 25 % of calls");
      // Once it stands for that one, there is no other.
      await page.getByRole("button", { name: "Change live" }).click();
      await page.getByLabel("Stands for version").selectOption("2");
      assert.equal(await page.getByLabel("Percent of calls").count(), 0);
      await page.getByRole("button", { name: "Move live" }).click();
      await standsFor(page, "live", "2");
    },
  ],
  [
    "a version is published and deleted",
    async (world) => {
      const { browser } = world;
      const { page } = browser;
      const publish = async (description) => {
        await page.getByLabel("Description of the next version").fill(description);
        await page.getByRole("button", { name: "Publish what is served" }).click();
      };
      await publish("the same");
      await page.getByText("What is served is version 2 already").waitFor();
      await page.getByLabel("Publish each upload as a version").uncheck();
      await browser.choose("latest.wasm", guest(world, "identity"));
      await page.getByRole("listitem", { name: "Upload of latest.wasm" }).getByText("is served, sha256").waitFor();
      await publish("the third");
      const third = page.getByRole("row", { name: "the third" });
      await third.getByRole("rowheader", { name: "3" }).waitFor();
      await third.getByRole("button", { name: "Delete version 3" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Delete the version" }).click();
      await third.waitFor({ state: "detached" });
      await page.getByRole("row", { name: "Delete version 2" }).waitFor();
    },
  ],
  [
    "markup of a guest is shown as text",
    async (world) => {
      const { browser } = world;
      const { page } = browser;
      const name = `behave-${world.mark}`;
      await browser.show("plugins", name);
      await call(page, name, JSON.stringify({ do: "fail", error: MARKUP, cause: MARKUP }));
      const told = answer(page, name);
      await told.getByText("Failed: version $LATEST").waitFor();
      assert.equal(await told.locator("pre.text").innerText(), MARKUP);
      await call(page, name, JSON.stringify({ do: "echo", said: MARKUP }));
      await told.getByText("Succeeded: version $LATEST").waitFor();
      await told.getByText("window.hit=1").waitFor();
      await call(page, name, `{"do": "log"}`);
      await told.getByRole("region", { name: "End of the log" }).getByText("noticed").waitFor();
      await isText(page);
    },
  ],
  [
    "memory, time and variables are changed",
    async (world) => {
      const { browser, mark } = world;
      const { page } = browser;
      await browser.show("plugins", `behave-${mark}`);
      await page.getByRole("button", { name: "Change settings" }).click();
      await page.getByLabel("Memory of an attempt, MiB").fill("192");
      await page.getByLabel("Time of an attempt, s").fill("11");
      await page.getByLabel("Environment variables").fill("no variable");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("“no variable” is no variable").waitFor();
      await page.getByLabel("Environment variables").fill("MODE=a=b\nTZ=UTC");
      await page.getByRole("button", { name: "Save" }).click();
      const served = page.getByRole("region", { name: "What is served" });
      await served.getByText("192 MiB").waitFor();
      await served.getByText("11 s").waitFor();
      await served.getByRole("listitem").filter({ hasText: "variable MODE = a=b" }).waitFor();
      assert.equal(await page.getByRole("button", { name: "Save" }).count(), 0);
    },
  ],
  [
    "what is no JSON is not sent",
    async (world) => {
      const { page } = world.browser;
      await call(page, `behave-${world.mark}`, `{"do": }`);
      await page.getByText("the input is no JSON").waitFor();
    },
  ],
  [
    "a name that nobody uploaded is called all the same",
    async (world) => {
      const { browser, mark } = world;
      const { page } = browser;
      const name = `none-${mark}`;
      await browser.show("plugins", name);
      await page.getByText(`If the server's plugin directory has ${name}`).waitFor();
      await call(page, name, "{}");
      // This one is in no directory either, which the server says.
      await page.getByRole("alert").getByText("Function not found").waitFor();
    },
  ],
  [
    "a plugin is deleted once its name is typed",
    async (world) => {
      const { browser } = world;
      const { page } = browser;
      await browser.show("plugins", pay(world));
      await page.getByRole("button", { name: "Delete", exact: true }).click();
      const dialog = page.getByRole("dialog");
      const sure = dialog.getByRole("button", { name: "Delete the plugin" });
      assert.ok(await sure.isDisabled());
      await dialog.getByRole("textbox").fill("another");
      assert.ok(await sure.isDisabled());
      await dialog.getByRole("textbox").fill(pay(world));
      await sure.click();
      await row(page, `behave-${world.mark}`).waitFor();
      assert.equal(await row(page, pay(world)).count(), 0);
    },
  ],
  [
    "a plugin of the plugin directory is listed and called",
    async (world) => {
      const { page } = world.browser;
      await world.browser.show("plugins");
      await page.getByRole("button", { name: `Try ${FROM_DIRECTORY}` }).click();
      await call(page, FROM_DIRECTORY, `{"from": "there"}`);
      await answer(page, FROM_DIRECTORY).getByText(`"from": "there"`).waitFor();
      await page.getByRole("button", { name: "Reload" }).click();
      const cell = (name) => ofDirectory(page).getByRole("cell", { name, exact: true });
      // By now it is loaded.
      await cell("ok").waitFor();
      await cell("1.2.0").waitFor();
      await cell("task component").waitFor();
    },
  ],
  [
    "an upload is served in place of the directory's plugin",
    async (world) => {
      const { browser } = world;
      const { page } = browser;
      await browser.choose(`${FROM_DIRECTORY}.wasm`, guest(world, "noop"));
      await served(page, `${FROM_DIRECTORY}.wasm`, 1);
      await ofDirectory(page).getByRole("link", { name: "upload of that name" }).click();
      await page.getByRole("button", { name: "Delete", exact: true }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("textbox").fill(FROM_DIRECTORY);
      await dialog.getByRole("button", { name: "Delete the plugin" }).click();
      await ofDirectory(page).getByRole("button", { name: `Try ${FROM_DIRECTORY}` }).waitFor();
    },
  ],
];

/** What the server's plugin directory has: `echo`, of version 1.2.0. */
const FROM_DIRECTORY = "from-dir";

const MANIFEST = `module = "built.wasm"\n[limits]\nmemory = "200MiB"\nwall = "7s"\n`;

/** Nothing of a guest became an element or ran. */
export async function isText(page) {
  assert.equal(await page.locator("main img, main b, main script").count(), 0);
  assert.equal(await page.evaluate(() => window.hit), undefined);
}

function pay({ mark }) {
  return `pay-${mark}`;
}

export function guest({ guests }, name) {
  return readFileSync(path.join(guests, `${name}.wasm`));
}

/** The row of a plugin in the list. */
function row(page, name) {
  return page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) });
}

/** The row of the plugin of the plugin directory. */
function ofDirectory(page) {
  const table = page.getByRole("region", { name: "Plugins of the server's plugin directory", exact: true });
  return table.getByRole("row").filter({ has: page.getByRole("rowheader", { name: FROM_DIRECTORY, exact: true }) });
}

/** The upload of a file ended as that version. */
export async function served(page, label, version) {
  const upload = page.getByRole("listitem", { name: `Upload of ${label}` });
  await upload.first().getByText(`version ${version} is served`).waitFor();
}

/** Those of MANIFEST. */
async function settings(row) {
  await row.getByText("200 MiB").waitFor();
  await row.getByText("7 s", { exact: true }).waitFor();
}

async function call(page, name, input, qualifier = "$LATEST") {
  await page.getByLabel("Input, JSON").fill(input);
  await page.getByLabel("Version or alias").selectOption(qualifier);
  await page.getByRole("button", { name: `Call ${name}` }).click();
}

function answer(page, name) {
  return page.getByRole("group", { name: `Answer of ${name}` });
}

async function standsFor(page, alias, target) {
  const aliases = page.getByRole("table").filter({ hasText: "Stands for" });
  await aliases.getByRole("row", { name: alias }).getByRole("cell", { name: target, exact: true }).waitFor();
}

async function onDisk(act) {
  const folder = mkdtempSync(path.join(tmpdir(), "stepwell-drop-"));
  try {
    await act(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
