// Chromium with a fresh profile, and all that it does while the console is driven: which addresses it asks, what its pages complain
// of. Hides its flags, and how files are dropped as a person drops them.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { chromium } from "playwright-core";

const PROGRAM = "/usr/bin/chromium";
/** It is to ask for nothing of its own: a request to anywhere else is then a page's. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** How long anything may take to be seen. */
const PATIENCE_MS = 30_000;
/** What Chromium itself says of an answer that is none of success; the page has told it by then. */
const REFUSED_ANSWER = /^Failed to load resource: the server responded with a status of [45]\d\d/;

export class Browser {
  /** Requests of pages to other origins than the server's. */
  strayed = [];
  /** What pages complained of. */
  complaints = [];
  /** Changes that pages asked for: method and path. */
  changes = [];

  static async open(endpoint) {
    const profile = mkdtempSync(path.join(tmpdir(), "stepwell-console-"));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: PROGRAM,
      headless: true,
      args: FLAGS,
      viewport: { width: 1280, height: 900 },
    });
    const browser = new Browser();
    browser.profile = profile;
    browser.context = context;
    browser.endpoint = endpoint;
    context.setDefaultTimeout(PATIENCE_MS);
    context.on("request", (request) => browser.#asked(request));
    context.on("weberror", (error) => browser.complaints.push(String(error.error())));
    context.on("console", (message) => {
      const text = message.text();
      if (["error", "warning"].includes(message.type()) && !REFUSED_ANSWER.test(text)) {
        browser.complaints.push(text);
      }
    });
    browser.page = context.pages()[0] ?? (await context.newPage());
    return browser;
  }

  async close() {
    await this.context.close();
    rmSync(this.profile, { recursive: true, force: true });
  }

  #asked(request) {
    const url = new URL(request.url());
    if (url.protocol !== "about:" && url.origin !== this.endpoint) {
      this.strayed.push(request.url());
    }
    if (request.method() !== "GET") {
      this.changes.push(`${request.method()} ${url.pathname}`);
    }
  }

  /** Shows a view of the console, loaded anew. */
  async show(...parts) {
    await this.page.goto(`${this.endpoint}/console/${parts.map(encodeURIComponent).join("/")}`);
  }

  /** Chooses a file by the button, as bytes with a name. */
  async choose(name, buffer) {
    const asked = this.page.waitForEvent("filechooser");
    await this.page.getByRole("button", { name: "Choose files" }).click();
    await (await asked).setFiles({ name, mimeType: "application/wasm", buffer });
  }

  /** Drops files or folders of the disk where uploads are taken, by the events that the system gives. */
  async drop(...paths) {
    const zone = this.page.getByRole("group", { name: "Upload" });
    await zone.scrollIntoViewIfNeeded();
    const box = await zone.boundingBox();
    const at = { x: box.x + box.width / 3, y: box.y + box.height / 2 };
    const session = await this.context.newCDPSession(this.page);
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await session.send("Input.dispatchDragEvent", { type, ...at, data: { items: [], files: paths, dragOperationsMask: 1 } });
    }
    await session.detach();
  }

  /** Lets so many bytes a second leave while `act` runs. */
  async throttled(uploadThroughput, act) {
    const session = await this.context.newCDPSession(this.page);
    const conditions = { offline: false, latency: 0, downloadThroughput: -1 };
    await session.send("Network.enable");
    await session.send("Network.emulateNetworkConditions", { ...conditions, uploadThroughput });
    try {
      await act();
    } finally {
      await session.send("Network.emulateNetworkConditions", { ...conditions, uploadThroughput: -1 });
      await session.detach();
    }
  }
}
