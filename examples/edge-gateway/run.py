#!/usr/bin/env python3
"""A gateway without a compiler and, for a while, without a network. Prints what it does and checks that nothing is lost.

STEPWELL names the program that compiles, STEPWELL_EDGE the one on the gateway (the same when absent; before it may stand an
emulator), STEPWELL_TARGET the gateway's kind of machine as Rust names it (this one's when absent), PLUGINS the folder with the
built tasks; Python's standard library is all it takes.
"""

import http.server
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
STEPWELL = [os.environ.get("STEPWELL", "stepwell")]
GATEWAY = shlex.split(os.environ.get("STEPWELL_EDGE", "")) or STEPWELL
TARGET = os.environ.get("STEPWELL_TARGET", "")
PLUGINS = pathlib.Path(os.environ.get("PLUGINS", HERE / "../../target/examples/edge-gateway/plugins")).resolve()
# In the grants of `forward`.
PORT = 18474
SENSORS, MINUTES = ("cellar", "roof"), ("12:00", "12:01", "12:02")
# How long may pass until something that has to happen has happened.
PATIENCE_S = 60


class Failure(Exception):
    """Something is not as this script promises."""


def run(program, *arguments):
    """A command's stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run([*program, *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{arguments} ended with {done.returncode}: {done.stderr}")
    return done.stdout


class Gateway:
    """The server on the gateway: plugins that were compiled before, nothing else."""

    def __init__(self, scratch):
        self.log = open(scratch / "gateway.log", "a", encoding="utf-8")
        self.process = subprocess.Popen(
            [*GATEWAY, "serve", "--listen", "127.0.0.1:0", "--data", scratch / "data",
             "--plugins", scratch / "plugins", "--precompiled", "only"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if "AWS_ENDPOINT_URL_SFN=" in line:
                self.endpoint = line.strip().split("=", 1)[1]
                return
        raise Failure("the gateway does not start: " + pathlib.Path(self.log.name).read_text(encoding="utf-8"))

    def call(self, *arguments):
        return run(GATEWAY, *arguments, "--endpoint", self.endpoint)

    def start(self, given):
        name = f"{given['sensor']}-{given['minute']}".replace(":", "")
        return self.call("execution", "start", "gateway", "--name", name, "--input", json.dumps(given)).strip()

    def describe(self, execution):
        return json.loads(self.call("execution", "show", execution, "--json"))

    def end(self, kill):
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait()
        self.log.close()


class Collector(http.server.BaseHTTPRequestHandler):
    """The other end: keeps one record a key, and says "later" to the first one."""

    protocol_version = "HTTP/1.1"
    kept = {}
    busy = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = 201
        if Collector.busy:
            Collector.busy, status = False, 503
        else:
            Collector.kept[self.headers["idempotency-key"]] = json.loads(body)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def waited(what, condition):
    """Waits until the condition holds."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > PATIENCE_S:
            raise Failure(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.1)


def readings():
    for sensor in SENSORS:
        for n, minute in enumerate(MINUTES):
            yield {"sensor": sensor, "minute": minute, "readings": [200 + n, 210 + n, 190 + n],
                   "collector": f"http://127.0.0.1:{PORT}"}


def failed_once(gateway, execution):
    history = json.loads(gateway.call("execution", "history", execution, "--json"))
    events = history if isinstance(history, list) else history["events"]
    return any(event["type"] == "TaskFailed" or event["type"] == "LambdaFunctionFailed" for event in events)


def offline(gateway):
    """Readings come in, and there is nobody to take the records. Gives the executions."""
    gateway.call("machine", "put", HERE / "machine.asl.json", "--name", "gateway")
    executions = [gateway.start(given) for given in readings()]
    again = [gateway.start(given) for given in readings()]
    if again != executions:
        raise Failure("a minute that is told twice became two executions")
    waited("every record was tried", lambda: all(failed_once(gateway, execution) for execution in executions))
    print(f"offline: {len(executions)} minutes of readings wait for a network")
    return executions


def online(gateway, executions):
    """The network is back: everything goes out."""
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    waited("every record was handed on",
           lambda: all(gateway.describe(execution)["status"] != "RUNNING" for execution in executions))
    collector.shutdown()
    for execution in executions:
        told = gateway.describe(execution)
        if told["status"] != "SUCCEEDED":
            raise Failure(f"a record was lost: {told}")
    wanted = {(given["sensor"], given["minute"], sum(given["readings"]) // 3) for given in readings()}
    found = sorted((record["sensor"], record["minute"], record["mean"]) for record in Collector.kept.values())
    if set(found) != wanted or len(found) != len(wanted):
        raise Failure(f"the collector has {found}, and not {wanted}")
    print("online: the collector has each of them once")
    for sensor, minute, mean in found:
        print(f"  {sensor:8} {minute}  {mean / 10:.1f} °C")


def main():
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        scratch = pathlib.Path(folder)
        run(STEPWELL, "plugin", "compile", PLUGINS / "condense.wasm", PLUGINS / "forward",
            "--profile", "edge", *(["--target", TARGET] if TARGET else []), "-o", scratch / "plugins")
        wasm = list((scratch / "plugins").rglob("*.wasm"))
        if wasm:
            raise Failure(f"WebAssembly is on the gateway: {wasm}")
        print("two plugins are compiled for the gateway")
        gateway = Gateway(scratch)
        try:
            executions = offline(gateway)
            gateway.end(kill=True)
            gateway = Gateway(scratch)
            print("the power was gone for a moment")
            online(gateway, executions)
        finally:
            gateway.end(kill=False)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
