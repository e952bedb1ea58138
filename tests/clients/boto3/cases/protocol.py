"""What lies beneath the SDK: headers, content types, and the paths beside the API."""

import json
import urllib.error
import urllib.request

from harness import LONG_WAIT, PASS, case, same, true


def send(context, path="/", body=b"{}", **headers):
    """One plain HTTP request; answers status, headers and text."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(context.endpoint + path, data=body, headers=names)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


LIST = {"X_Amz_Target": "AWSStepFunctions.ListStateMachines", "Content_Type": "application/x-amz-json-1.0"}


@case()
def every_answer_has_a_request_id(context):
    status, headers, _ = send(context, **LIST)
    same((status, headers["Content-Type"]), (200, "application/x-amz-json-1.0"))
    true(headers["x-amzn-RequestId"], "request id of a success")
    status, headers, text = send(context, **{**LIST, "X_Amz_Target": "AWSStepFunctions.Nonsense"})
    same(status, 400)
    true(headers["x-amzn-RequestId"], "request id of an error")
    same(json.loads(text)["__type"], "com.amazon.coral.service#UnknownOperationException")
    metadata = context.client.list_state_machines()["ResponseMetadata"]
    true(metadata["RequestId"], "the SDK finds the request id")


@case()
def content_types(context):
    for kind, wanted in (
        ("application/x-amz-json-1.0", 200),
        ("application/x-amz-json-1.1", 200),
        ("application/x-amz-json-1.0; charset=utf-8", 200),
        ("application/json", 415),
        ("text/plain", 415),
    ):
        same(send(context, **{**LIST, "Content_Type": kind})[0], wanted, kind)


@case()
def pages_of_other_sites_are_refused(context):
    for header in ("Origin", "Referer", "Sec_Fetch_Site"):
        foreign = {**LIST, header: "http://evil.example", "Host": "evil.example"}
        same(send(context, **foreign)[0], 403, header)
        same(send(context, **{**foreign, "Host": "localhost:8083"})[0], 200, header)
    same(send(context, **{**LIST, "Host": "evil.example"})[0], 200, "SDKs may use any name")


@case()
def too_large_a_body(context):
    status, _, text = send(context, body=b'{"x": "' + b"x" * 1_100_000 + b'"}', **LIST)
    same(status, 413)
    true("HTTP content length exceeded" in text, text)


@case()
def health_and_metrics(context):
    status, _, text = send(context, "/health", body=None)
    same((status, json.loads(text)["status"]), (200, "ok"))
    context.client.list_state_machines()
    status, _, text = send(context, "/metrics", body=None)
    same(status, 200)
    for name in ('stepwell_api_requests_total{operation="ListStateMachines",outcome="ok"}', "stepwell_executions_started_total"):
        true(name in text, f"{name} is in the metrics")


@case()
def live_events(context):
    execution = context.start(context.machine(PASS))
    context.closed(execution)
    status, _, text = send(context, f"/api/executions/{execution}/events", body=None)
    same((status, len(json.loads(text)["events"])), (200, 4))
    status, headers, text = send(context, f"/api/executions/{execution}/events", body=None, Accept="text/event-stream")
    same((status, headers["Content-Type"]), (200, "text/event-stream"))
    same(text.count("event: history"), 4, "events of the history")
    true('"SUCCEEDED"' in text.split("event: end")[1], "the stream ends with the status")


@case()
def a_stream_follows(context):
    execution = context.start(context.machine(LONG_WAIT))
    request = urllib.request.Request(
        f"{context.endpoint}/api/executions/{execution}/events", headers={"Accept": "text/event-stream"}
    )
    with urllib.request.urlopen(request, timeout=120) as stream:
        seen = ""
        while "WaitStateEntered" not in seen:
            seen += stream.readline().decode()
        context.client.stop_execution(executionArn=execution)
        rest = stream.read().decode()
    true("ExecutionAborted" in rest and '"ABORTED"' in rest, rest)
