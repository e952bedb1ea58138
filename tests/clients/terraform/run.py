#!/usr/bin/env python3
"""Replays the calls of Terraform's AWS provider against a server: one line a sequence, exit code 1 when one failed.

The requests are written and signed as the provider's SDK writes them, the answers are read as JSON: what is absent, null or
of another type than the provider decodes shows. Where the server is, the region and the key come from the environment."""

import argparse
import base64
import hashlib
import http.client
import io
import json
import pathlib
import re
import sys
import time
import urllib.parse
import uuid
import xml.etree.ElementTree
import zipfile

import botocore.auth
import botocore.awsrequest
import botocore.serialize
import botocore.session

HERE = pathlib.Path(__file__).resolve().parent
AGENT = "APN/1.0 HashiCorp/1.0 Terraform/1.11.4 (+https://www.terraform.io) terraform-provider-aws/6.14.1 aws-sdk-go-v2/1.39.0"
# Pauses of the provider's waiters, shortened; and how long it waits at most.
LOOK_SECONDS = 0.05
UNTIL_SECONDS_MAX = 120


class Refused(Exception):
    """An error of the service."""

    def __init__(self, status, code, message):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


class Wire:
    """Signed requests over one connection, as the provider keeps it open."""

    def __init__(self, endpoint, region):
        self.endpoint, self.region = endpoint, region
        session = botocore.session.get_session()
        self.credentials = session.get_credentials().get_frozen_credentials()
        self.lambda_model = session.get_service_model("lambda")
        parts = urllib.parse.urlsplit(endpoint)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=75)

    def send(self, service, headers, body, method="POST", path="/"):
        headers = {
            "User-Agent": AGENT,
            "Accept-Encoding": "gzip",
            "Amz-Sdk-Invocation-Id": str(uuid.uuid4()),
            "Amz-Sdk-Request": "attempt=1; max=25",
            **headers,
        }
        request = botocore.awsrequest.AWSRequest(method, self.endpoint + path, headers=headers, data=body)
        botocore.auth.SigV4Auth(self.credentials, service, self.region).add_auth(request)
        try:
            answer = self.exchange(request, path, body)
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            # A kept connection was closed meanwhile: SDKs open another one.
            self.connection.close()
            answer = self.exchange(request, path, body)
        text = answer.read().decode()
        if not answer.headers["x-amzn-RequestId"]:
            raise AssertionError("an answer without x-amzn-RequestId")
        return answer.status, answer.headers, text

    def exchange(self, request, path, body):
        self.connection.request(request.method, path, body, dict(request.headers.items()))
        return self.connection.getresponse()

    def states(self, operation, request):
        kind = "application/x-amz-json-1.0"
        headers = {"Content-Type": kind, "X-Amz-Target": f"AWSStepFunctions.{operation}"}
        status, answered, text = self.send("states", headers, json.dumps(request).encode())
        same(answered["Content-Type"], kind, "Content-Type")
        answer = json.loads(text)
        if status == 200:
            return answer
        # `namespace#Code`, as the SDK cuts it.
        code = answer["__type"].rsplit("#", 1)[-1]
        raise Refused(status, code, answer.get("message") or answer.get("Message"))

    # The service's name is a word of Python's.
    def functions(self, operation, request):
        """REST by the API's model, of which the provider's SDK is made too."""
        model = self.lambda_model.operation_model(operation)
        made = botocore.serialize.create_serializer("rest-json").serialize_to_request(request, model)
        query = urllib.parse.urlencode(made["query_string"], doseq=True, quote_via=urllib.parse.quote)
        path = made["url_path"] + ("?" + query if query else "")
        headers = {"Content-Type": "application/json", **made["headers"]}
        status, answered, text = self.send("lambda", headers, made["body"], made["method"], path)
        answer = json.loads(text or "{}")
        if status < 300:
            # DeleteFunction has been answered by 204 for years, and newer models say 200: clients take both.
            expected = {model.http["responseCode"]} | ({204} if model.name == "DeleteFunction" else set())
            same(status in expected, True, f"status {status}, one of {expected}")
            return answer
        raise Refused(status, answered["X-Amzn-ErrorType"], answer.get("Message") or answer.get("message"))

    def sts(self, operation, request):
        return self.query("sts", "2011-06-15", operation, request)

    def iam(self, operation, request):
        return self.query("iam", "2010-05-08", operation, request)

    def query(self, service, version, operation, request):
        body = urllib.parse.urlencode({"Action": operation, "Version": version, **request}).encode()
        status, _, text = self.send(service, {"Content-Type": "application/x-www-form-urlencoded"}, body)
        space = re.compile(r"\{.*\}")
        root = xml.etree.ElementTree.fromstring(text)
        found = {space.sub("", element.tag): element.text for element in root.iter() if len(element) == 0}
        if status == 200:
            return found
        raise Refused(status, found.get("Code"), found.get("Message"))


class Sequence:
    """One sequence on its way."""

    def __init__(self, wire, account, sequence):
        self.wire, self.phases = wire, sequence["phases"]
        self.known = {
            "account": account,
            "role": f"arn:aws:iam::{account}:role/terraform",
            "unique": f"tf-{uuid.uuid4().hex[:12]}",
        }
        # Whole answers, by the name of what the provider keeps of them in its state.
        self.state = {}

    def run(self):
        for phase in self.phases:
            for number, step in enumerate(phase["calls"], 1):
                try:
                    for _ in range(step.get("times", 1)):
                        self.step(step)
                except Exception as error:
                    raise AssertionError(f"{phase['phase']}, call {number}, {step['call']}: {error}") from error

    def step(self, step):
        request = self.filled(step.get("with", {}), step_is_request=True)
        service = getattr(self.wire, step.get("service", "states"))
        if "gone" in step:
            return gone(step["gone"], lambda: service(step["call"], request))
        if "refused" in step:
            return refused(step["refused"], step.get("status", 400), lambda: service(step["call"], request))
        wanted = self.filled(step.get("until", step.get("answer", {})))
        end = time.monotonic() + (UNTIL_SECONDS_MAX if "until" in step else 0)
        while True:
            answer = service(step["call"], request)
            without_null(answer, step["call"])
            found = list(differences(answer, wanted, "answer"))
            if not found:
                break
            if time.monotonic() > end:
                raise AssertionError("; ".join(found))
            time.sleep(LOOK_SECONDS)
        for name, path in step.get("keep", {}).items():
            self.known[name] = at(answer, path)
        self.compare(step, answer)

    def compare(self, step, answer):
        """What the provider has kept in its state is what it reads later; otherwise it plans a change that nobody made."""
        if "kept" in step:
            self.state[step["kept"]] = answer
        if "as_kept" in step:
            same(answer, self.state[step["as_kept"]], f"{step['as_kept']} drifts")

    def filled(self, value, step_is_request=False):
        if isinstance(value, str):
            return re.sub(r"\{([a-z]\w*)\}", lambda found: self.known[found.group(1)], value)
        if isinstance(value, list):
            return [self.filled(item, step_is_request) for item in value]
        if not isinstance(value, dict):
            return value
        filled = {key: self.filled(inner, step_is_request) for key, inner in value.items()}
        if step_is_request and set(filled) == {"json"}:
            return json.dumps(filled["json"])
        return package(filled["zip"]) if step_is_request and set(filled) == {"zip"} else filled


def package(word):
    """An archive with a program that does nothing, as `filename` names one; another word, other code."""
    section = lambda number, content: bytes([number, len(content)]) + content
    note = bytes([len(word)]) + word.encode()
    module = b"\0asm\1\0\0\0" + b"".join([
        section(1, b"\1\x60\0\0"),
        section(3, b"\1\0"),
        section(5, b"\1\0\1"),
        section(7, b"\2\6memory\2\0\6_start\0\0"),
        section(10, b"\1\2\0\x0b"),
        section(0, note),
    ])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("task.wasm"), module)
    return stream.getvalue()


def at(answer, path):
    for key in path.split("."):
        answer = answer[int(key)] if isinstance(answer, list) else answer[key]
    return answer


def gone(expected, call):
    """What is deleted is looked at until it is gone, and is nothing else meanwhile than what the provider waits for."""
    end = time.monotonic() + UNTIL_SECONDS_MAX
    while time.monotonic() < end:
        try:
            status = call()["status"]
        except Refused as error:
            return same((error.status, error.code), (400, expected), f"error ({error.message})")
        if status not in ("ACTIVE", "DELETING"):
            raise AssertionError(f"{status} is none of the states that are waited for")
        time.sleep(LOOK_SECONDS)
    raise AssertionError(f"it is not gone within {UNTIL_SECONDS_MAX} s")


def refused(expected, status, call):
    try:
        answer = call()
    except Refused as error:
        # `*` where the provider goes on whatever the error is.
        if expected != "*":
            same((error.status, error.code), (status, expected), f"error ({error.message})")
        return
    raise AssertionError(f"{expected} is expected, not {answer}")


def without_null(value, path):
    """The provider's SDK takes null for absent; the service sends none, and neither do we."""
    if value is None:
        raise AssertionError(f"{path} is null")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        without_null(item, f"{path}.{key}")


def differences(found, expected, path):
    """Objects hold at least what is expected, lists exactly that; `../cases/README.md` has the special ones."""
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            yield f"{path}: {len(expected)} items are expected, not {found!r}"
            return
        for index, (one, other) in enumerate(zip(found, expected)):
            yield from differences(one, other, f"{path}[{index}]")
    elif not isinstance(expected, dict):
        if found != expected or isinstance(found, bool) != isinstance(expected, bool):
            yield f"{path}: {expected!r} is expected, not {found!r}"
    elif set(expected) == {"json"}:
        if not isinstance(found, str) or json.loads(found) != expected["json"]:
            yield f"{path}: the JSON {expected['json']!r} is expected, not {found!r}"
    elif set(expected) == {"time"}:
        # Seconds as a number: the SDK refuses a text.
        if isinstance(found, bool) or not isinstance(found, (int, float)) or abs(time.time() - found) > 600:
            yield f"{path}: a time of these minutes as a number is expected, not {found!r}"
    elif set(expected) == {"sha256"}:
        # `source_code_hash`, which the provider compares.
        wanted = base64.b64encode(hashlib.sha256(package(expected["sha256"])).digest()).decode()
        if found != wanted:
            yield f"{path}: the hash {wanted} of the archive is expected, not {found!r}"
    elif set(expected) == {"holds"}:
        if not isinstance(found, str) or expected["holds"] not in found:
            yield f"{path}: {expected['holds']!r} is expected within {found!r}"
    else:
        for key, inner in expected.items():
            if inner == {"absent": True}:
                if isinstance(found, dict) and key in found:
                    yield f"{path}.{key}: is not expected: {found[key]!r}"
            elif not isinstance(found, dict) or key not in found:
                yield f"{path}.{key}: is missing in {found!r}"
            else:
                yield from differences(found[key], inner, f"{path}.{key}")


def same(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {expected!r} is expected, not {found!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True, help="URL of the server")
    parser.add_argument("--account", default="000000000000", help="account of the key")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--only", default="", metavar="WORD", help="sequences whose name holds this word")
    options = parser.parse_args()
    files = [file for file in sorted((HERE / "sequences").glob("*.json")) if options.only in file.stem]
    failed = 0
    for file in files:
        began = time.monotonic()
        try:
            Sequence(Wire(options.endpoint, options.region), options.account, json.loads(file.read_text())).run()
            verdict, why = "ok", ""
        except Exception as error:  # whatever happens is the sequence's outcome
            verdict, why = "FAIL", " ".join(f"{type(error).__name__}: {error}".split())[:900]
            failed += 1
        print(f"{verdict:4} {file.stem:32} {time.monotonic() - began:6.2f} s  {why}".rstrip(), flush=True)
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
