#!/usr/bin/env python3
"""The server that the example talks to: fixed answers, Python's standard library alone.

/weather turns the first request of every idempotency key away with 503, so that a retry is always seen.
/reports keeps one report for each idempotency key.
/admin/keys answers too: what keeps the example out is its grants, not this server.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlsplit

USERS = {"1": {"id": 1, "name": "Ada", "city": "Oslo"}}
ORDERS = {"1": [{"id": "o-1001", "cents": 12980}, {"id": "o-1002", "cents": 4500}]}
WEATHER = {"Oslo": {"city": "Oslo", "celsius": -3, "sky": "snow"}}

lock = Lock()
seen = set()
reports = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.startswith("/users/"):
            self.document(USERS.get(url.path.removeprefix("/users/")))
        elif url.path == "/orders":
            self.document(ORDERS.get(query.get("user")))
        elif url.path == "/weather":
            self.weather(query.get("city"))
        elif url.path == "/admin/keys":
            self.document(["not for you"])
        else:
            self.document(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.path != "/reports":
            self.document(None)
            return
        key = self.headers.get("idempotency-key", "")
        with lock:
            first = key not in reports
            report = reports.setdefault(key, {"id": f"report-{len(json.loads(body))}-fields", "bytes": len(body)})
        self.answer(201 if first else 200, report)

    def weather(self, city):
        key = self.headers.get("idempotency-key", "")
        with lock:
            first = key not in seen
            seen.add(key)
        if first:
            self.answer(503, {"error": "warming up, try again"})
        else:
            self.document(WEATHER.get(city))

    def document(self, value):
        self.answer(404, {"error": "there is no such document"}) if value is None else self.answer(200, value)

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=18473, help="the grants in tasks/*/plugin.toml name this one")
    port = parser.parse_args().port
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
