"""``watch``: plan at every change of the file and at every interval; with ``--apply``, keep the machine so."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.outcome import exit_code_of, unexpected
from reconciler.cli.watching import WatchEvents, WatchLines
from reconciler.cli.wiring import Wiring
from reconciler.engine.watch import watch
from reconciler.engine.world import Options
from reconciler.errors import DesiredStateError, ReconcilerError

LONGEST_TICK_SECONDS = 30.0
"""How often the engine is asked whether something is due: a failed pass may be tried again this soon."""


@dataclass(frozen=True, slots=True)
class WatchArguments:
    """What the command line was given."""

    file: Path | None
    as_json: bool
    apply: bool
    offline: bool
    take_over: bool
    lock_timeout_seconds: float


def run_watch(arguments: WatchArguments) -> int:
    """Watch until a signal ends it, also in the middle of a download, which is kept for resuming."""
    wiring = Wiring(file=arguments.file)
    wiring.path  # noqa: B018 - a file that is nowhere is an error at once; one that is broken may be mended
    reporter: WatchEvents | WatchLines = WatchEvents() if arguments.as_json else WatchLines()
    try:
        received = asyncio.run(_watch(arguments, wiring, reporter))
    except Exception as error:
        if not arguments.as_json:
            raise
        defect = error if isinstance(error, ReconcilerError) else unexpected(error)
        reporter.failed(defect)
        return exit_code_of(defect)
    reporter.ended(128 + received if received else None)
    return 128 + received if received else 0


async def _watch(arguments: WatchArguments, wiring: Wiring, reporter: WatchEvents | WatchLines) -> int | None:
    """The signal that ended it."""
    from reconciler.integrations.watcher import FolderWatch

    stop, received = asyncio.Event(), list[int]()
    loop = asyncio.get_running_loop()

    def stopped(number: int) -> None:
        received.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped, number)
    options = Options(
        freshness="offline" if arguments.offline else "cached",
        ask=not arguments.offline,
        take_over=arguments.take_over,
        lock_timeout_seconds=arguments.lock_timeout_seconds,
    )
    wakeups = FolderWatch(wiring.path, await _tick_seconds(wiring), stop)
    await watch(wiring.world(reporter), wakeups, apply=arguments.apply, options=options, on_pass=reporter.passed)
    return received[0] if received else None


async def _tick_seconds(wiring: Wiring) -> float:
    interval = LONGEST_TICK_SECONDS
    with suppress(DesiredStateError):
        interval = (await wiring.source.load()).interval_seconds
    return min(LONGEST_TICK_SECONDS, interval)
