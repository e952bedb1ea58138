// Executions: listed, started, and watched as they run.

import assert from "node:assert/strict";

import { isText, MARKUP } from "./plugins.mjs";

export const executions = [
  [
    "a state machine's executions are listed live",
    async (world) => {
      const { browser, server } = world;
      const { page } = browser;
      world.machine = await machine(world);
      await browser.show("executions");
      await page.getByRole("link", { name: `live-${world.mark}` }).click();
      await page.getByText("There is no execution yet.").waitFor();
      await live(page);
      world.execution = await start(server, world.machine, "watched");
      await page.getByRole("row", { name: "watched" }).getByText("Running").waitFor();
    },
  ],
  [
    "progress, log lines and figures come without reload",
    async (world) => {
      const { page } = world.browser;
      await page.getByRole("link", { name: "watched" }).click();
      const loaded = await page.evaluate(() => performance.timeOrigin);
      // The attempts that ended.
      const noted = attempt(page, "Note, attempt 1");
      await noted.getByText("Succeeded").waitFor();
      await noted.getByText("noticed").waitFor();
      await noted.getByText("attempt=1").waitFor();
      await noted.getByText("to stdout").waitFor();
      await noted.getByText("CPU").waitFor();
      await noted.getByText("memory").waitFor();
      await noted.getByText(`behave-${world.mark}@1`).waitFor();
      await attempt(page, "Flaky, attempt 2").getByText(MARKUP).first().waitFor();
      // The one that runs: its notes change.
      const beats = attempt(page, "Beat, attempt 1");
      await beats.getByText("Running").waitFor();
      const note = beats.getByText(/^\d+ of \d+$/);
      await note.waitFor();
      const first = await note.innerText();
      await page.waitForFunction(([label, first]) => !document.querySelector(`[aria-label="${label}"]`)?.textContent?.includes(first), ["Beat, attempt 1", first]);
      assert.match(await note.innerText(), /^\d+ of \d+$/);
      assert.equal(await page.evaluate(() => performance.timeOrigin), loaded);
      await isText(page);
    },
  ],
  [
    "an execution that is stopped is told at once",
    async ({ browser: { page } }) => {
      await page.getByRole("button", { name: "Stop", exact: true }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Stop the execution" }).click();
      await page.getByText("Aborted").first().waitFor();
      await attempt(page, "Beat, attempt 1").getByText("Stopped").waitFor();
      await page.getByRole("status", { name: "Live stream" }).getByText("Over").waitFor();
    },
  ],
  [
    "one is started by the page, and fails in full",
    async (world) => {
      const { browser } = world;
      const { page } = browser;
      await browser.show("executions", world.machine);
      await page.getByRole("button", { name: "Start execution" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel("Name").fill("by-hand");
      await dialog.getByLabel("Input, JSON").fill(`{"do": "fail", "error": "Sad", "cause": ${JSON.stringify(MARKUP)}}`);
      await dialog.getByRole("button", { name: "Start", exact: true }).click();
      await page.getByRole("heading", { name: "by-hand" }).waitFor();
      await page.getByText("Failed").first().waitFor();
      const told = page.getByRole("alert").first();
      await told.getByText("Sad").waitFor();
      assert.equal(await told.locator("pre").innerText(), MARKUP);
      await isText(page);
    },
  ],
  [
    "a stream that breaks off goes on where it was",
    async (world) => {
      const { browser, server } = world;
      const { page } = browser;
      const arn = await start(server, world.machine, "broken-off");
      const asked = [];
      const first = { id: 1, previousEventId: 0, timestamp: 0, type: "ExecutionStarted", executionStartedEventDetails: { input: "{}" } };
      // The first stream tells one event and ends; those after it are the server's own.
      await page.route(/\/api\/executions\/.*\/events$/, async (route) => {
        asked.push(route.request().headers()["last-event-id"]);
        if (asked.length > 1) {
          return route.continue();
        }
        const body = `event: history\ndata: ${JSON.stringify(first)}\nid: 1\n\n`;
        return route.fulfill({ status: 200, contentType: "text/event-stream", body });
      });
      await browser.show("executions", arn);
      await page.getByText("it is tried again in 1 s").waitFor();
      await live(page);
      await page.unroute(/\/api\/executions\/.*\/events$/);
      assert.deepEqual(asked, [undefined, "1"]);
      await attempt(page, "Note, attempt 1").getByText("Succeeded").waitFor();
      await server.call("StopExecution", { executionArn: arn });
      await page.getByRole("status", { name: "Live stream" }).getByText("Over").waitFor();
    },
  ],
  [
    "what an attempt said is shown whenever it ended",
    async (world) => {
      const { browser, server } = world;
      const { page } = browser;
      const arn = await start(server, world.machine, "said");
      // The moment at which a log was closed is not always that of the event after it.
      await page.route(/\/api\/executions\/.*\/logs/, async (route) => {
        const answer = await route.fetch();
        const told = await answer.json();
        const attempts = told.attempts.map((attempt) => ({ ...attempt, ended: attempt.ended - 0.001 }));
        return route.fulfill({ response: answer, json: { ...told, attempts } });
      });
      await browser.show("executions", arn);
      await attempt(page, "Note, attempt 1").getByText("noticed").waitFor();
      await page.unroute(/\/api\/executions\/.*\/logs/);
      await server.call("StopExecution", { executionArn: arn });
      await page.getByRole("status", { name: "Live stream" }).getByText("Over").waitFor();
    },
  ],
  [
    "a link to another region leads there",
    async (world) => {
      const { browser } = world;
      const { page } = browser;
      await browser.show("executions", world.machine.replace(":us-east-1:", ":eu-central-1:"));
      await page.getByRole("button", { name: "Show eu-central-1" }).click();
      await page.getByText("There is no state machine in eu-central-1.").waitFor();
      await browser.show("executions", world.machine);
      await page.getByRole("button", { name: "Show us-east-1" }).click();
      // The link is gone with its page: the keyboard goes on in the new one.
      await page.getByRole("link", { name: "by-hand" }).press("Enter");
      await page.getByRole("heading", { name: "by-hand" }).waitFor();
      await page.waitForFunction(() => document.activeElement?.id === "main");
    },
  ],
  [
    "an EXPRESS execution is shown with its tasks",
    async (world) => {
      const { browser, server, mark } = world;
      const { page } = browser;
      const machine = await server.call("CreateStateMachine", {
        name: `express-${mark}`,
        type: "EXPRESS",
        roleArn: "arn:aws:iam::000000000000:role/stepwell",
        definition: JSON.stringify({ StartAt: "Do", States: { Do: { Type: "Task", Resource: `wasm:behave-${mark}`, End: true } } }),
      });
      const input = JSON.stringify({ do: "fail", error: "Sad", cause: "once" });
      await server.call("StartExecution", { stateMachineArn: machine.stateMachineArn, name: `quick-${mark}`, input });
      await browser.show("executions", machine.stateMachineArn);
      await page.getByRole("link", { name: `quick-${mark}` }).click();
      await page.getByRole("heading", { name: `quick-${mark}` }).waitFor();
      await attempt(page, "Do, attempt 1").getByRole("alert").getByText("Sad").waitFor();
      await attempt(page, "Do, attempt 1").getByText("CPU").waitFor();
      await page.getByRole("region", { name: "Input of the execution" }).getByText(`"cause": "once"`).waitFor();
    },
  ],
  [
    "what an execution waits for is told",
    async (world) => {
      const { browser, server } = world;
      const { page } = browser;
      const arn = await start(server, await idle(world), "idle");
      await browser.show("executions", arn);
      await attempt(page, "Ask, attempt 1").getByText("Waiting for its token").waitFor();
      await attempt(page, "Hold waits").getByText("until its time has come").waitFor();
      await attempt(page, "Again waits").getByText("before its next attempt").waitFor();
      // A function's failure is a report, of which the message is shown.
      const failed = attempt(page, "Again, attempt 1").getByRole("alert");
      assert.equal(await failed.locator("pre.text").innerText(), "later");
      await failed.getByText("The whole cause").click();
      await failed.getByText(`"errorType": "NotYet"`).waitFor();
      await server.call("StopExecution", { executionArn: arn });
      await attempt(page, "Ask, attempt 1").getByText("Stopped").waitFor();
      assert.equal(await attempt(page, "Hold waits").count(), 0);
    },
  ],
];

/** One whose last task beats until it is stopped; with an input that says what to do, the first task does that. */
async function machine({ server, mark }) {
  const plugin = `behave-${mark}`;
  const task = (parameters, rest) => ({ Type: "Task", Resource: `wasm:${plugin}`, Parameters: parameters, ResultPath: null, ...rest });
  const definition = {
    StartAt: "Asked",
    States: {
      Asked: { Type: "Choice", Choices: [{ Variable: "$.do", IsPresent: true, Next: "Do" }], Default: "Note" },
      Do: { Type: "Task", Resource: `wasm:${plugin}`, End: true },
      Note: {
        Type: "Task",
        Resource: "arn:aws:states:::lambda:invoke",
        Parameters: { FunctionName: `${plugin}:1`, Payload: { do: "log" } },
        ResultPath: null,
        Next: "Flaky",
      },
      Flaky: task(
        { do: "fail", error: "NotYet", cause: MARKUP },
        {
          Retry: [{ ErrorEquals: ["NotYet"], IntervalSeconds: 1, MaxAttempts: 1 }],
          Catch: [{ ErrorEquals: ["States.ALL"], ResultPath: null, Next: "Beat" }],
          Next: "Beat",
        },
      ),
      Beat: task({ do: "beat", times: 1_000_000_000 }, { End: true }),
    },
  };
  const made = await server.call("CreateStateMachine", {
    name: `live-${mark}`,
    roleArn: "arn:aws:iam::000000000000:role/stepwell",
    definition: JSON.stringify(definition),
  });
  return made.stateMachineArn;
}

/** One that waits in three ways for longer than anybody looks on. */
async function idle({ server, mark }) {
  const plugin = `behave-${mark}`;
  const branch = (name, state) => ({ StartAt: name, States: { [name]: { ...state, End: true } } });
  const ask = { FunctionName: plugin, Payload: { do: "echo", "token.$": "$$.Task.Token" } };
  const again = { FunctionName: plugin, Payload: { do: "fail", error: "NotYet", cause: "later" } };
  const branches = [
    branch("Hold", { Type: "Wait", Seconds: 3_600 }),
    branch("Ask", { Type: "Task", Resource: "arn:aws:states:::lambda:invoke.waitForTaskToken", Parameters: ask, TimeoutSeconds: 3_600 }),
    branch("Again", { Type: "Task", Resource: "arn:aws:states:::lambda:invoke", Parameters: again, Retry: [{ ErrorEquals: ["NotYet"], IntervalSeconds: 3_600 }] }),
  ];
  const made = await server.call("CreateStateMachine", {
    name: `idle-${mark}`,
    roleArn: "arn:aws:iam::000000000000:role/stepwell",
    definition: JSON.stringify({ StartAt: "All", States: { All: { Type: "Parallel", Branches: branches, End: true } } }),
  });
  return made.stateMachineArn;
}

async function start(server, stateMachineArn, name) {
  const { executionArn } = await server.call("StartExecution", { stateMachineArn, name, input: "{}" });
  return executionArn;
}

function attempt(page, label) {
  return page.getByRole("listitem", { name: label, exact: true });
}

async function live(page) {
  await page.getByRole("status", { name: "Live stream" }).getByText("Live", { exact: true }).waitFor();
}
