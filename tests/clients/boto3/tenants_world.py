"""The two tenants of `tenants.py`: their clients, what tenant `a` has, and requests that are signed by hand."""

import datetime
import hashlib
import hmac
import json
import urllib.error
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config
from harness import LONG_WAIT, PASS, chain, true, until

REGION = "us-east-1"


class World:
    """The server, the keys, and what tenant `a` has."""

    def __init__(self, endpoint, keys):
        self.endpoint = endpoint
        self.keys = keys
        self.a, self.b = self.client("a-admin"), self.client("b-admin")
        self.build()

    def client(self, name, secret=None, service="stepfunctions"):
        key = self.keys[name]
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key["accessKeyId"],
            aws_secret_access_key=secret or key["secretAccessKey"],
            aws_session_token=key.get("sessionToken"),
            config=Config(inject_host_prefix=False, read_timeout=75, retries={"max_attempts": 0}),
        )

    def sts(self, name):
        return self.client(name, service="sts")

    def session(self, name, answer, **changed):
        """A session as a key of that name, from the answer of STS."""
        made = answer["Credentials"]
        self.keys[name] = {
            "accessKeyId": made["AccessKeyId"],
            "secretAccessKey": made["SecretAccessKey"],
            "sessionToken": made["SessionToken"],
            **changed,
        }
        return self.client(name)

    def role(self, name="a-admin"):
        return f"arn:aws:iam::{self.keys[name]['account']}:role/tests"

    def machine(self, client, role, name, definition, **more):
        text = json.dumps(definition)
        return client.create_state_machine(name=name, definition=text, roleArn=role, **more)

    def build(self):
        a = self.a
        made = self.machine(a, self.role(), "machine", LONG_WAIT, publish=True)
        self.arn, self.version = made["stateMachineArn"], made["stateMachineVersionArn"]
        routing = [{"stateMachineVersionArn": self.version, "weight": 100}]
        self.alias = a.create_state_machine_alias(name="live", routingConfiguration=routing)["stateMachineAliasArn"]
        self.express = self.machine(a, self.role(), "express", PASS, type="EXPRESS")["stateMachineArn"]
        self.execution = a.start_execution(stateMachineArn=self.arn, name="waits")["executionArn"]
        self.activity = a.create_activity(name="activity")["activityArn"]
        task = {"Type": "Task", "Resource": self.activity}
        asks = self.machine(a, self.role(), "asks", chain(("Ask", task)))["stateMachineArn"]
        self.asking = a.start_execution(stateMachineArn=asks)["executionArn"]
        self.token = a.get_activity_task(activityArn=self.activity)["taskToken"]
        wait = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3600, "End": True}}}
        each = {**wait, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
        maps = chain(("Map", {"Type": "Map", "ItemProcessor": each}))
        mapping = self.machine(a, self.role(), "maps", maps)["stateMachineArn"]
        self.mapping = a.start_execution(stateMachineArn=mapping, input="[1]")["executionArn"]
        runs = until(lambda: a.list_map_runs(executionArn=self.mapping)["mapRuns"], bool)
        self.map_run = runs[0]["mapRunArn"]

    def signed(
        self, name, path="/", method="POST", body=b"{}", at=None, headers=None, payload=None, sent=None, service="states"
    ):
        """A request signed here, without the SDK. Answers status and body; `sent` is the body on the way instead."""
        key = self.keys[name]
        at = at or datetime.datetime.now(datetime.timezone.utc)
        stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
        host = urllib.parse.urlsplit(self.endpoint).netloc
        headers = {"host": host, "x-amz-date": stamp, **(headers or {})}
        if method == "POST":
            headers.setdefault("content-type", "application/x-amz-json-1.0")
            headers.setdefault("x-amz-target", "AWSStepFunctions.ListStateMachines")
        digest = hashlib.sha256(body).hexdigest()
        if payload:
            headers["x-amz-content-sha256"] = digest = payload
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        target, _, query = path.partition("?")
        request = "\n".join([method, urllib.parse.quote(target, safe="/~"), query, lines, names, digest])
        scope = f"{day}/{REGION}/{service}/aws4_request"
        signing = b"AWS4" + key["secretAccessKey"].encode()
        for part in scope.split("/"):
            signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()

        def sign(text):
            return hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()

        hashed = hashlib.sha256(request.encode()).hexdigest()
        signature = sign(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}")
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={key['accessKeyId']}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        if payload and payload.startswith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"):
            empty = hashlib.sha256(b"").hexdigest()
            framed = b""
            chunks = [body[start : start + 7] for start in range(0, len(body), 7)] + [b""]
            for chunk in chunks:
                hashed = hashlib.sha256(chunk).hexdigest()
                signature = sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{scope}\n{signature}\n{empty}\n{hashed}")
                framed += f"{len(chunk):x};chunk-signature={signature}\r\n".encode() + chunk
                framed += b"" if payload.endswith("TRAILER") and not chunk else b"\r\n"
            if payload.endswith("TRAILER"):
                trailer = "x-amz-checksum-crc32:AAAAAA=="
                hashed = hashlib.sha256(f"{trailer}\n".encode()).hexdigest()
                signature = sign(f"AWS4-HMAC-SHA256-TRAILER\n{stamp}\n{scope}\n{signature}\n{hashed}")
                framed += f"{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()
            body = framed
        body = sent(body) if sent else body
        return self.http(path, method, headers, body if method == "POST" else None)

    def own(self, key, operation, /, **body):
        """A call of the server's own, which no SDK knows. Answers its JSON, or the error's code."""
        headers = {"x-amz-target": f"Stepwell.{operation}", "content-type": "application/x-amz-json-1.0"}
        status, text = self.signed(key, headers=headers, body=json.dumps(body).encode())
        return json.loads(text) if status == 200 else code((status, text))

    def http(self, path, method="GET", headers=None, body=None):
        request = urllib.request.Request(self.endpoint + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def code(answer):
    status, text = answer
    true(status >= 400, f"it was served: {text[:200]}")
    return json.loads(text)["__type"].rsplit("#")[-1]
