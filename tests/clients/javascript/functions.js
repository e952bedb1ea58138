// The function service through `@aws-sdk/client-lambda`: a function's life, one line a step of it, exit code 1 when one failed.
// Where the server is, the region and the key come from the environment, as in a user's program.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";

import * as sdk from "@aws-sdk/client-lambda";
import { NodeHttp2Handler } from "@smithy/node-http-handler";

const { values: options } = parseArgs({
  options: {
    account: { type: "string", default: "000000000000" },
    // A program that answers with its input, and another one.
    echo: { type: "string" },
    other: { type: "string" },
    http2: { type: "boolean", default: false },
  },
});

const client = new sdk.LambdaClient(options.http2 ? { requestHandler: new NodeHttp2Handler() } : {});
const [echo, other] = [readFileSync(options.echo), readFileSync(options.other)];
const FunctionName = `js-${randomBytes(6).toString("hex")}`;
const arn = `arn:aws:lambda:us-east-1:${options.account}:function:${FunctionName}`;
const Role = `arn:aws:iam::${options.account}:role/tests`;
const waiting = { client, maxWaitTime: 60 };

const send = async (command, status) => {
  const answer = await client.send(command);
  assert.equal(answer.$metadata.httpStatusCode, status ?? 200);
  assert.match(answer.$metadata.requestId ?? "", /^[0-9a-f-]{36}$/, "request id");
  return answer;
};

// The error has to be of the SDK's own class.
const refused = async (command, code, status) => {
  const error = await client.send(command).then(
    (answer) => assert.fail(`${code} is expected, not ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.ok(error instanceof sdk[code], `${code} is expected, not ${error}`);
  assert.equal(error.$metadata.httpStatusCode, status);
  assert.ok(error.message, "a text");
};

const invoke = async (input, value) => {
  const answer = await send(new sdk.InvokeCommand({ FunctionName, Payload: JSON.stringify(value), ...input }));
  assert.equal(answer.FunctionError, undefined, answer.Payload?.transformToString());
  return { ...answer, value: JSON.parse(answer.Payload.transformToString()) };
};

const hash = (bytes) => createHash("sha256").update(bytes).digest("base64");

const life = {
  async created() {
    const made = await send(
      new sdk.CreateFunctionCommand({
        FunctionName,
        Role,
        Code: { ZipFile: echo },
        Description: "from JavaScript",
        Environment: { Variables: { STAGE: "test" } },
        Handler: "task",
        MemorySize: 192,
        Publish: true,
        Runtime: "provided.al2023",
        Tags: { team: "a" },
        Timeout: 5,
      }),
      201,
    );
    assert.equal(made.FunctionArn, `${arn}:1`);
    assert.equal(made.CodeSha256, hash(echo));
    await sdk.waitUntilFunctionActiveV2(waiting, { FunctionName });
    await refused(new sdk.CreateFunctionCommand({ FunctionName, Role, Code: { ZipFile: echo } }), "ResourceConflictException", 409);
    await refused(
      new sdk.CreateFunctionCommand({ FunctionName: `${FunctionName}-no`, Role, Code: { ZipFile: Buffer.from("no code") } }),
      "InvalidParameterValueException",
      400,
    );
  },

  async told() {
    const { Configuration, Tags } = await send(new sdk.GetFunctionCommand({ FunctionName }));
    const { MemorySize, Timeout, Environment, State, Description } = Configuration;
    assert.deepEqual([MemorySize, Timeout, State, Description], [192, 5, "Active", "from JavaScript"]);
    assert.deepEqual([Environment.Variables, Tags], [{ STAGE: "test" }, { team: "a" }]);
    const names = [];
    for await (const page of sdk.paginateListFunctions({ client, pageSize: 1 }, {})) {
      assert.ok(page.Functions.length <= 1, "a page has one");
      names.push(...page.Functions.map((each) => each.FunctionName));
    }
    assert.ok(names.includes(FunctionName), `${FunctionName} is not in ${names}`);
  },

  async called() {
    const answer = await invoke({ LogType: "Tail" }, { n: [1, 2] });
    assert.deepEqual([answer.value, answer.ExecutedVersion], [{ n: [1, 2] }, "$LATEST"]);
    assert.match(Buffer.from(answer.LogResult, "base64").toString(), /^START RequestId: /);
    const event = new sdk.InvokeCommand({ FunctionName, InvocationType: "Event", Payload: "{}" });
    await send(event, 202);
    await send(new sdk.InvokeCommand({ FunctionName, InvocationType: "DryRun" }), 204);
    await refused(new sdk.InvokeCommand({ FunctionName, Payload: "{no json" }), "InvalidRequestContentException", 400);
    await refused(new sdk.InvokeCommand({ FunctionName, Qualifier: "9" }), "ResourceNotFoundException", 404);
  },

  async changed() {
    const { RevisionId } = await send(
      new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Description: "later", TracingConfig: { Mode: "Active" } }),
    );
    await sdk.waitUntilFunctionUpdatedV2(waiting, { FunctionName });
    const stale = { FunctionName, ZipFile: other, RevisionId: "00000000-0000-0000-0000-000000000000" };
    await refused(new sdk.UpdateFunctionCodeCommand(stale), "PreconditionFailedException", 412);
    const changed = await send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: other, RevisionId }));
    assert.deepEqual([changed.CodeSha256, changed.Description], [hash(other), "later"]);
    assert.equal(changed.TracingConfig.Mode, "Active");
    const published = await send(new sdk.PublishVersionCommand({ FunctionName, Description: "two" }), 201);
    assert.equal(published.FunctionArn, `${arn}:2`);
    const versions = [];
    for await (const page of sdk.paginateListVersionsByFunction({ client, pageSize: 2 }, { FunctionName })) {
      versions.push(...page.Versions.map((each) => each.Version));
    }
    assert.deepEqual(versions, ["$LATEST", "1", "2"]);
  },

  async "named by an alias"() {
    const Name = "live";
    const made = await send(new sdk.CreateAliasCommand({ FunctionName, Name, FunctionVersion: "1" }), 201);
    assert.equal(made.AliasArn, `${arn}:live`);
    const answer = await invoke({ Qualifier: Name }, 7);
    assert.deepEqual([answer.value, answer.ExecutedVersion], [7, "1"]);
    const weights = { AdditionalVersionWeights: { 2: 1 } };
    const routed = await send(new sdk.UpdateAliasCommand({ FunctionName, Name, RoutingConfig: weights }));
    assert.deepEqual(routed.RoutingConfig, weights);
    const called = await send(new sdk.InvokeCommand({ FunctionName: `${arn}:live`, Payload: "7" }));
    assert.equal(called.ExecutedVersion, "2");
    const { Aliases } = await send(new sdk.ListAliasesCommand({ FunctionName }));
    assert.deepEqual(Aliases.map((each) => each.Name), [Name]);
    await refused(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: "1" }), "ResourceConflictException", 409);
    await send(new sdk.DeleteAliasCommand({ FunctionName, Name }), 204);
    await refused(new sdk.GetAliasCommand({ FunctionName, Name }), "ResourceNotFoundException", 404);
  },

  async "permitted and tagged"() {
    const permission = { Action: "lambda:InvokeFunction", Principal: "events.amazonaws.com", StatementId: "js" };
    const { Statement } = await send(new sdk.AddPermissionCommand({ FunctionName, ...permission }), 201);
    const { Policy } = await send(new sdk.GetPolicyCommand({ FunctionName }));
    assert.deepEqual(JSON.parse(Policy).Statement, [JSON.parse(Statement)]);
    await send(new sdk.RemovePermissionCommand({ FunctionName, StatementId: "js" }), 204);
    await refused(new sdk.GetPolicyCommand({ FunctionName }), "ResourceNotFoundException", 404);
    await send(new sdk.TagResourceCommand({ Resource: arn, Tags: { stage: "x y/z" } }), 204);
    await send(new sdk.UntagResourceCommand({ Resource: arn, TagKeys: ["team"] }), 204);
    assert.deepEqual((await send(new sdk.ListTagsCommand({ Resource: arn }))).Tags, { stage: "x y/z" });
    await send(new sdk.PutFunctionConcurrencyCommand({ FunctionName, ReservedConcurrentExecutions: 0 }));
    await refused(new sdk.InvokeCommand({ FunctionName }), "TooManyRequestsException", 429);
    await send(new sdk.DeleteFunctionConcurrencyCommand({ FunctionName }), 204);
  },

  async deleted() {
    await send(new sdk.DeleteFunctionCommand({ FunctionName }), 204);
    for (const command of [new sdk.GetFunctionCommand({ FunctionName }), new sdk.InvokeCommand({ FunctionName })]) {
      await refused(command, "ResourceNotFoundException", 404);
    }
  },
};

for (const [name, step] of Object.entries(life)) {
  try {
    await step();
    console.log(`ok   a function is ${name}`);
  } catch (error) {
    console.log(`FAIL a function is ${name}: ${String(error.stack ?? error).replaceAll(/\s+/g, " ").slice(0, 900)}`);
    process.exitCode = 1;
    // What follows is of the same function.
    break;
  }
}
client.destroy();
