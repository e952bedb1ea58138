#!/usr/bin/env python3
"""Sends whatever requests the API's model and its mutations give, and judges the answers: exit code 1 when one is wrong."""

import argparse
import collections
import itertools
import json
import random
import socket
import sys
import threading
import time

import shapes
import wrong
from world import World

# An answer that takes longer is a hang.
ANSWER_SECONDS_MAX = 120
# Who asks for a task, or sends less than it announced, waits this long and hangs up: the service would hold the line.
PATIENCE_SECONDS = 0.1
# What belongs together is made anew after this many requests of a worker, since they delete it.
MEND_EVERY = 100
BYTES_SHOWN = 600


class NoAnswer(Exception):
    """The connection was closed, or nothing came in time."""


def bytes_of(request):
    """What goes over the wire."""
    if request.raw is not None:
        return request.raw
    # Lone surrogates go as they are: no UTF-8, as a careless client sends them.
    body = request.body if request.body is not None else json.dumps(request.members, ensure_ascii=len(request.what) % 2 == 0).encode("utf-8", "surrogatepass")
    headers = {
        "Host": "127.0.0.1",
        "X-Amz-Target": f"AWSStepFunctions.{request.operation}",
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **request.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace") + body


def exchange(address, data, seconds):
    """Status, headers and body of the answer."""
    with socket.create_connection(address, timeout=ANSWER_SECONDS_MAX) as connection:
        connection.settimeout(seconds)
        try:
            # A server may answer and close before it has read all.
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        found = b""
        end = time.monotonic() + seconds
        try:
            while more := connection.recv(65_536):
                found += more
                if time.monotonic() > end:
                    raise TimeoutError
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {seconds} s") from error
        except ConnectionResetError:
            pass
    head, found_end, body = found.partition(b"\r\n\r\n")
    if not found_end:
        raise NoAnswer(f"the connection was closed after {found[:80]!r}")
    # An answer may be preceded by `100 Continue`.
    if b" 100 " in head.split(b"\r\n", 1)[0]:
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split(" ")[1]), headers, body


def complaints(request, status, headers, body):
    """What is wrong with an answer."""
    if status >= 500:
        yield f"HTTP {status}: {body[:300]!r}"
        return
    if request.is_framed_wrong or request.headers.get("Origin"):
        return
    if "x-amzn-requestid" not in headers:
        yield f"HTTP {status} without x-amzn-RequestId"
    if not headers.get("content-type", "").startswith("application/x-amz-json-1."):
        yield f"HTTP {status} of the type {headers.get('content-type')}"
    try:
        answer = json.loads(body)
    except ValueError:
        yield f"HTTP {status} with no JSON: {body[:200]!r}"
        return
    if status == 200:
        operation = shapes.MODEL["operations"][request.operation]
        if "X-Amz-Target" not in request.headers and "output" in operation:
            yield from shapes.misfits(answer, operation["output"]["shape"], "answer")
    elif not (isinstance(answer.get("__type"), str) and answer["__type"]):
        yield f"HTTP {status} without a code: {body[:200]!r}"
    elif not isinstance(answer.get("message", ""), str):
        yield f"HTTP {status} whose message is no text: {body[:200]!r}"


class Fuzz:
    """Workers that send requests by their numbers."""

    def __init__(self, options):
        host, port = options.endpoint.rsplit("/", 1)[-1].rsplit(":", 1)
        self.address, self.options = (host, int(port)), options
        self.numbers = itertools.count() if options.number is None else iter([options.number])
        self.end = time.monotonic() + options.seconds if options.seconds else None
        self.lock = threading.Lock()
        self.wrong, self.outcomes, self.kinds = [], collections.Counter(), collections.Counter()

    def next(self):
        with self.lock:
            number = next(self.numbers, None)
        over = number is None or (self.end and time.monotonic() > self.end)
        over = over or (self.options.requests and number >= self.options.requests) or len(self.wrong) >= 20
        return None if over else number

    def work(self):
        try:
            self.send_all()
        except Exception as error:  # whatever happens is the outcome
            with self.lock:
                self.wrong.append(f"FAIL a worker ended: {type(error).__name__}: {error}")

    def send_all(self):
        world = World(self.address, exchange)
        for count in itertools.count():
            number = self.next()
            if number is None:
                return
            if count % MEND_EVERY == 0:
                world.mend()
            self.one(number, world)

    def one(self, number, world):
        chance = random.Random(f"{self.options.seed}:{number}")
        maker = shapes.Maker(chance, world)
        operation = chance.choice(shapes.OPERATIONS)
        request = wrong.wronged(wrong.Request(operation, maker.request(operation)), maker)
        try:
            data = bytes_of(request)
            is_impatient = operation == "GetActivityTask" or request.is_framed_wrong
            found = exchange(self.address, data, PATIENCE_SECONDS if is_impatient else ANSWER_SECONDS_MAX)
            outcome = str(found[0])
            faults = list(complaints(request, *found))
        except NoAnswer as error:
            outcome = "none"
            faults = [] if is_impatient else [str(error)]
        with self.lock:
            self.outcomes[outcome] += 1
            self.kinds[request.what] += 1
            for fault in faults[:3]:
                self.wrong.append(f"FAIL number {number}, {operation}, {request.what}: {fault}\n     {data[:BYTES_SHOWN]!r}")

    def run(self):
        workers = [threading.Thread(target=self.work) for _ in range(self.options.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        health = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        try:
            status = exchange(self.address, health, ANSWER_SECONDS_MAX)[0]
        except (NoAnswer, OSError) as error:
            status = error
        if status != 200:
            self.wrong.append(f"FAIL the server is not healthy afterwards: {status}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="URL of the server, which loses its data's worth")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=0, help="stop after so many")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long")
    parser.add_argument("--number", type=int, help="this request of the seed alone")
    parser.add_argument("--jobs", type=int, default=8, help="workers")
    options = parser.parse_args()
    fuzz = Fuzz(options)
    fuzz.run()
    print(*fuzz.wrong, sep="\n") if fuzz.wrong else None
    sent = sum(fuzz.outcomes.values())
    answers = ", ".join(f"{count} {outcome}" for outcome, count in sorted(fuzz.outcomes.items()))
    print(f"{'FAIL' if fuzz.wrong or not sent else 'ok'} seed {options.seed}: {sent} requests, {len(fuzz.kinds)} kinds: {answers}")
    return 1 if fuzz.wrong or not sent else 0


if __name__ == "__main__":
    sys.exit(main())
