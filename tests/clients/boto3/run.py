#!/usr/bin/env python3
"""Runs the boto3 cases against a server: one line a case, exit code 1 when one failed."""

import argparse
import concurrent.futures
import importlib
import pathlib
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import harness  # noqa: E402  (found through the path above)


def load():
    for file in sorted((HERE / "cases").glob("[a-z]*.py")):
        importlib.import_module(f"cases.{file.stem}")


def attempt(name, function, endpoint, verbose):
    started = time.monotonic()
    context = harness.Context(endpoint)
    try:
        function(context)
        verdict, why = "ok", ""
    except Exception as error:  # a case may fail in any way
        text = " ".join(str(error).split())
        verdict, why = "FAIL", f"{type(error).__name__}: {text}"[:500]
        if verbose:
            why += "\n" + traceback.format_exc()
    finally:
        context.clean()
    return name, verdict, time.monotonic() - started, why


def show(name, verdict, seconds, why):
    print(f"{verdict:4} {name:48} {seconds:6.2f} s  {why}".rstrip(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="URL of the server")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name holds this word")
    parser.add_argument("--jobs", type=int, default=8, help="cases at once")
    parser.add_argument("-v", "--verbose", action="store_true", help="with the trace of each failure")
    parser.add_argument("--guests", type=pathlib.Path, required=True, help="folder with plugins to upload")
    options = parser.parse_args()
    harness.GUESTS = options.guests
    load()
    chosen = [case for case in harness.CASES if options.only in case[0]]
    if not chosen:
        print(f"no case's name holds {options.only!r}", file=sys.stderr)
        return 2
    results = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(attempt, name, function, options.endpoint, options.verbose) for name, function in chosen]
        for done in concurrent.futures.as_completed(running):
            result = done.result()
            show(*result)
            results.append(result[1])
    failed = results.count("FAIL")
    print(f"{results.count('ok')} ok, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
