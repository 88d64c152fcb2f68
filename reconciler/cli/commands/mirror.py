"""``mirror``: serve a store read-only as a Hub, until stopped."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from reconciler.cli.outcome import SCHEMA_VERSION
from reconciler.cli.wiring import Wiring
from reconciler.servers.mirror import serve


def run_mirror(folder: Path, *, host: str, port: int, as_json: bool) -> int:
    """Print the URL on the first line, then serve; one line per request on stderr."""
    wiring, stop, received = Wiring(), threading.Event(), list[int]()

    def stopped(number: int, _frame: object) -> None:
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with serve(folder, host, port, cache_directory=wiring.places.cache, log=_log, hashing=_hashing) as mirror:
            _announce(mirror.url, folder, as_json=as_json)
            while not stop.wait(1.0):
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else 0


def _announce(url: str, folder: Path, *, as_json: bool) -> None:
    if as_json:
        data = {"url": url, "dir": str(folder)}
        envelope = {"schemaVersion": SCHEMA_VERSION, "ok": True, "data": data, "error": None, "warnings": []}
        sys.stdout.write(json.dumps(envelope) + "\n")
    else:
        sys.stdout.write(f"{url}\n")
        sys.stderr.write(f"serving {folder} as a Hub; use it with hub.endpoint or HF_ENDPOINT={url}\n")
    sys.stdout.flush()


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _hashing(name: str, done: int) -> None:
    if done == 0:
        sys.stderr.write(f"reading {name} to know its content\n")
