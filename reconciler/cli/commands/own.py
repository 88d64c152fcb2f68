"""``adopt`` and ``disown``: take a model or an adapter over, let it go. Neither touches a target."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.streams import one_line
from reconciler.cli.wiring import Wiring
from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import show_bytes
from reconciler.engine import ownership
from reconciler.engine.world import Options


class _Noted(Silent):
    """What else a command on the record did."""

    def note(self, level: Literal["info", "warning"], message: str) -> None:
        text = one_line(message)
        sys.stderr.write(f"{text}\n" if level == "info" else f"warning: {text}\n")


def adopt(file: Path | None, name: str, *, target: str | None, lock_timeout_seconds: float, as_json: bool) -> int:
    """Write the model, or the adapter, into the record."""
    options = Options(lock_timeout_seconds=lock_timeout_seconds)
    entry = run_to_end(ownership.adopt(Wiring(file=file).world(_Noted()), name, target, options))
    advice = "next: localmodels plan; what no slot asks for is evicted, unless pool.keep names it"
    if isinstance(entry, RecordAdapter):
        advice = "next: localmodels plan; what the file does not ask for any more is detached"
    return _show(entry, f"{_called(entry)} is ours now ({show_bytes(entry.bytes)})", advice, as_json=as_json)


def disown(file: Path | None, name: str, *, target: str | None, lock_timeout_seconds: float, as_json: bool) -> int:
    """Take the model, or the adapter, out of the record."""
    options = Options(lock_timeout_seconds=lock_timeout_seconds)
    entry = run_to_end(ownership.disown(Wiring(file=file).world(_Noted()), name, target, options))
    stays = "it is served on" if isinstance(entry, RecordAdapter) else "it stays where it is"
    return _show(entry, f"{_called(entry)} is not ours any more; {stays}", "", as_json=as_json)


def _called(entry: RecordEntry | RecordAdapter) -> str:
    what = "the adapter " if isinstance(entry, RecordAdapter) else ""
    return f"{what}{entry.name} on {entry.target_name}"


def _show(entry: RecordEntry | RecordAdapter, words: str, advice: str, *, as_json: bool) -> int:
    if as_json:
        print_json(entry.model_dump(mode="json", by_alias=True))
        return 0
    sys.stdout.write(f"{one_line(words)}\n")
    sys.stderr.write(f"{advice}\n" if advice else "")
    return 0
