"""A request on its way, and what can be wrong with it: members, bodies, headers, framing."""

import dataclasses
import json

# A body of this many bytes is more than the API takes.
HUGE = 1_200_000
DEEP = 50_000


@dataclasses.dataclass
class Request:
    operation: str
    members: dict
    method: str = "POST"
    path: str = "/"
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = None
    # Whether HTTP itself is broken: then the connection may be closed without an answer, or with one in no form of AWS's.
    is_framed_wrong: bool = False
    # Bytes on the wire instead of head and body.
    raw: bytes = None
    what: str = "as the model has it"


def wronged(request, maker):
    """The request with one thing wrong, or none."""
    random = maker.random
    if random.random() < 0.3:
        return request
    wrong = random.choice(WRONGS)
    request.what = wrong.__name__
    wrong(request, maker)
    return request


def without_a_member(request, maker):
    if request.members:
        del request.members[maker.random.choice(sorted(request.members))]


def of_a_wrong_type(request, maker):
    if request.members:
        request.members[maker.random.choice(sorted(request.members))] = maker.data(3)


def bent(request, maker):
    request.members = maker.bent(request.members)


def with_unknown_members(request, maker):
    for _ in range(maker.random.choice([1, 3, 500])):
        request.members[f"unknown{maker.random.random()}"] = maker.data(3)


def with_doubled_members(request, maker):
    text = json.dumps(request.members)
    request.body = (text[:-1] + ("," if len(text) > 2 else "") + text[1:]).encode()


def with_a_huge_text(request, maker):
    key = maker.random.choice(sorted(request.members) or ["name"])
    request.members[key] = maker.random.choice(["x", "ä", "[", '{"a":', "\\", "\n"]) * maker.random.choice([257, 5_000, 70_000, 300_000])


def with_a_huge_body(request, maker):
    request.members["name"] = "x" * HUGE


def with_a_huge_number(request, maker):
    digits = maker.random.choice([400, 30_000])
    key = maker.random.choice(sorted(request.members) or ["maxResults"])
    request.body = ('{"%s": %s%s}' % (key, maker.random.choice(["", "-", "0.", "1e"]), "9" * digits)).encode()


def deep(request, maker):
    opened, closed = maker.random.choice([("[", "]"), ('{"a":', "}")])
    count = maker.random.choice([100, 1_000, DEEP])
    inner = opened * count + "1" + closed * count * maker.random.randrange(2)
    key = maker.random.choice(sorted(request.members) or ["input"])
    request.body = maker.random.choice([inner, '{"%s": %s}' % (key, inner)]).encode()


def deep_within_a_text(request, maker):
    count = maker.random.choice([100, 1_000, DEEP])
    deep_text = "[" * count + "]" * count
    for key in ("definition", "input", "output", "context", "variables"):
        if key in request.members:
            request.members[key] = maker.random.choice([deep_text, '{"StartAt":"A","States":{"A":{"Type":"Pass","Result":%s,"End":true}}}' % deep_text])
            return
    request.members["input"] = deep_text


def cut(request, maker):
    body = json.dumps(request.members).encode()
    request.body = body[: maker.random.randrange(len(body) + 1)]


def with_bytes_changed(request, maker):
    body = bytearray(json.dumps(request.members).encode())
    for _ in range(maker.random.choice([1, 2, 8])):
        body[maker.random.randrange(len(body))] = maker.random.randrange(256)
    request.body = bytes(body)


def of_random_bytes(request, maker):
    request.body = maker.random.randbytes(maker.random.choice([0, 1, 10, 1_000, 100_000]))


def of_another_form(request, maker):
    text = json.dumps(request.members)
    forms = [b"", b"null", b"[]", b"1", b'"x"', b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16"), b"Action=ListStateMachines&Version=2016-11-23", text.encode() + b"{}", b"NaN", b'{"a":NaN}']
    request.body = maker.random.choice(forms)


def with_another_target(request, maker):
    name = request.operation
    targets = ["", name, f"AWSStepFunctions.{name.lower()}", f"AWSStepFunctions.{name} ", "AWSStepFunctions.", f"AWSLambda.{name}", "AWSStepFunctions." + "x" * 5_000, "\xff", f"AWSStepFunctions.{name}.{name}"]
    request.headers["X-Amz-Target"] = maker.random.choice(targets)


def with_another_type(request, maker):
    types = ["", "application/json", "text/plain", "application/x-amz-json-1.1", "application/x-amz-json-1.0; charset=utf-7", "application/cbor", "multipart/form-data", "x" * 5_000]
    request.headers["Content-Type"] = maker.random.choice(types)


def with_odd_headers(request, maker):
    headers = [
        ("Content-Encoding", "gzip"),
        ("Expect", "100-continue"),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=/////, SignedHeaders=;;, Signature="),
        ("Authorization", "AWS4-HMAC-SHA256 " + "x" * 4_000),
        ("Authorization", "Bearer x"),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=A/20260101/" + "r" * 300 + "/states/aws4_request, SignedHeaders=host, Signature=0"),
        ("X-Amz-Date", "yesterday"),
        ("X-Amz-Security-Token", "x" * 4_000),
        ("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("Host", "sync-x"),
        ("Host", ""),
        ("Origin", "null"),
        ("Accept", "application/cbor"),
        ("Smithy-Protocol", "rpc-v2-cbor"),
    ]
    name, value = maker.random.choice(headers)
    request.headers[name] = value


def to_another_place(request, maker):
    request.method = maker.random.choice(["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FOO"])
    request.path = maker.random.choice(["/", "/x", "//", "/?Action=x", "/%00", "/%ff", "/../..", "/api/", "/api/executions/x", "/2015-03-31/functions/f/invocations", "/" + "x" * 9_000, "/service/AWSStepFunctions/operation/ListStateMachines"])
    request.is_framed_wrong = True


def framed_wrong(request, maker):
    head = "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AWSStepFunctions.ListStateMachines\r\nContent-Type: application/x-amz-json-1.0\r\n"
    raws = [
        head + "Content-Length: 5\r\n\r\n{}",
        head + "Content-Length: -1\r\n\r\n{}",
        head + "Content-Length: 99999999999999999999\r\n\r\n{}",
        head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n{}",
        head + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        head + "X: " + "y" * 200_000 + "\r\n\r\n",
        head + "".join(f"X-{number}: y\r\n" for number in range(500)) + "\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00" * 50,
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 300,
        "\r\n" * 2_000,
        "POST",
    ]
    request.raw = maker.random.choice(raws).encode("latin-1")
    request.is_framed_wrong = True


WRONGS = [
    without_a_member,
    of_a_wrong_type,
    of_a_wrong_type,
    bent,
    bent,
    with_unknown_members,
    with_doubled_members,
    with_a_huge_text,
    with_a_huge_text,
    with_a_huge_body,
    with_a_huge_number,
    deep,
    deep_within_a_text,
    cut,
    with_bytes_changed,
    with_bytes_changed,
    of_random_bytes,
    of_another_form,
    with_another_target,
    with_another_type,
    with_odd_headers,
    to_another_place,
    framed_wrong,
]
