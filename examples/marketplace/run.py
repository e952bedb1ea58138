#!/usr/bin/env python3
"""Two tenants on one server, one of them hostile. Prints what became of each attack, and whether the honest one was harmed.

STEPWELL names the program, PLUGINS the folder with the built tasks; Python's standard library is all it takes.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
STEPWELL = os.environ.get("STEPWELL", "stepwell")
PLUGINS = pathlib.Path(os.environ.get("PLUGINS", HERE / "../../target/examples/marketplace/plugins")).resolve()
HONEST, HOSTILE = "111111111111", "222222222222"
OTHERS_PLUGIN, OTHERS_EXECUTION = "the other's plugin", "the other's execution"
APPRAISALS = 20
LOOPS = 8


class Failure(Exception):
    """Something is not as this script promises."""


def run(*arguments, key=None, wanted=(0,)):
    """The program with an access key; its stdout and stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    if key:
        environment["AWS_ACCESS_KEY_ID"] = key["accessKeyId"]
        environment["AWS_SECRET_ACCESS_KEY"] = key["secretAccessKey"]
    done = subprocess.run([STEPWELL, *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode not in wanted:
        raise Failure(f"{arguments} ended with {done.returncode}: {done.stderr}")
    return done.stdout, done.stderr


class Tenant:
    """An account with an access key, at a server."""

    def __init__(self, account, data):
        self.account = account
        run("tenant", "add", account, "--data", data)
        self.key = json.loads(run("tenant", "keys", "add", account, "--role", "admin", "--json", "--data", data)[0])
        self.endpoint = None

    def call(self, *arguments, wanted=(0,)):
        return run(*arguments, "--endpoint", self.endpoint, key=self.key, wanted=wanted)

    def upload(self, plugin, *settings):
        self.call("plugin", "push", PLUGINS / f"{plugin}.wasm", *settings)

    def machine(self, name):
        self.call("machine", "put", HERE / f"{name}.asl.json", "--name", name)

    def start(self, machine, given):
        return self.call("execution", "start", machine, "--input", json.dumps(given))[0].strip()

    def ended(self, execution):
        self.call("execution", "watch", execution, wanted=(0, 1))
        return self.told(execution)

    def told(self, execution):
        return json.loads(self.call("execution", "show", execution, "--json")[0])


def server(data):
    """The server, and its address."""
    log = open(data.with_suffix(".log"), "w", encoding="utf-8")
    process = subprocess.Popen([STEPWELL, "serve", "--auth", "--listen", "127.0.0.1:0", "--data", data],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
    for line in process.stdout:
        if "AWS_ENDPOINT_URL_SFN=" in line:
            return process, line.strip().split("=", 1)[1]
    raise Failure("the server does not start: " + pathlib.Path(log.name).read_text(encoding="utf-8"))


def attacks(endpoint, data):
    """What the hostile tenant tries, by name."""
    return [
        {"name": "an endless loop", "attack": "loop"},
        {"name": "a memory bomb", "attack": "memory"},
        {"name": "a file of the host", "attack": "read", "path": "/etc/passwd"},
        {"name": "the server's data", "attack": "read", "path": str(data / "journal.sqlite")},
        {"name": "the other's plugins", "attack": "read", "path": f"../{HONEST}/appraise.wasm"},
        {"name": "the host's environment", "attack": "environment"},
        {"name": "the server itself", "attack": "fetch", "url": f"{endpoint}/metrics"},
        {"name": "the cloud's metadata", "attack": "fetch", "url": "http://169.254.169.254/latest/meta-data/"},
        {"name": "a socket of its own", "attack": "connect", "address": endpoint.split("//")[1]},
    ]


# Which of the two bounds of time ends a loop depends on how busy the machine is.
TELLING = {"Stepwell.CpuTime": "its time is over", "States.Timeout": "its time is over"}


def market(honest, hostile, data):
    honest.upload("appraise", "--timeout", "10s")
    honest.machine("honest")
    hostile.upload("hostile", "--timeout", "5s", "--memory", "128MiB")
    for name in ("hostile", "flood", "poach"):
        hostile.machine(name)
    print("both have uploaded their plugins")

    print("the hostile one tries to take, or to get hold of")
    raid = hostile.ended(hostile.start("hostile", {"attacks": attacks(hostile.endpoint, data)}))
    for result in json.loads(raid["output"]):
        if result["error"] == "none":
            raise Failure(f"{result['name']} was got hold of: {result['loot']}")
        print(f"  {result['name']:24} {TELLING.get(result['error'], result['error'])}")

    flood = hostile.start("flood", {"loops": [{"attack": "loop"}] * LOOPS, "enough": False})
    print(f"the hostile one keeps {LOOPS} endless loops running")
    listings = [{"title": f"lamp {n}", "cents": 1000 + 50 * n, "comparable": [1000, 1300, 900]} for n in range(APPRAISALS)]
    orders = [(honest.start("honest", listing), listing) for listing in listings]
    for execution, listing in orders:
        told = honest.ended(execution)
        wanted = {"title": listing["title"], "median": 1000, "verdict": "fair" if listing["cents"] <= 1250 else "dear"}
        if told["status"] != "SUCCEEDED" or json.loads(told["output"]) != wanted:
            raise Failure(f"the honest one was harmed: {told}")
    if hostile.told(flood)["status"] != "RUNNING":
        raise Failure("the flood is over, so this proves nothing")
    print(f"meanwhile {APPRAISALS} of {APPRAISALS} appraisals of the honest one are right")

    print("the hostile one asks for")
    poached = hostile.ended(hostile.start("poach", listings[0]))
    if poached["status"] != "FAILED":
        raise Failure(f"the other's plugin was called: {poached}")
    print(f"  {OTHERS_PLUGIN:24} {poached['error']}")
    _, said = hostile.call("execution", "show", orders[0][0], wanted=(2,))
    print(f"  {OTHERS_EXECUTION:24} {said.split(':')[1].strip()}")
    hostile.call("execution", "stop", flood)


def main():
    with tempfile.TemporaryDirectory(prefix="marketplace-") as scratch:
        data = pathlib.Path(scratch) / "data"
        honest, hostile = Tenant(HONEST, data), Tenant(HOSTILE, data)
        process, endpoint = server(data)
        try:
            honest.endpoint = hostile.endpoint = endpoint
            market(honest, hostile, data)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
