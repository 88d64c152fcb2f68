"""Whole processes, measured side by side: A B A B, so that what else the machine does hits both alike."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over the runs of one command."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def once(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """One run, from start to end. Raises ``CalledProcessError`` where it does not end with 0."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def side_by_side(
    commands: Mapping[str, Sequence[str]], runs: int, environment: Mapping[str, str] | None = None
) -> dict[str, Cost]:
    """Every command once to warm up, then all of them in turn, ``runs`` times."""
    around = dict(os.environ) | dict(environment or {})
    around.pop("PYTHONDONTWRITEBYTECODE", None)  # the warm-up leaves compiled modules, as any installation has them
    for command in commands.values():
        once(command, around)
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(once(command, around))
    return {name: _medians(each) for name, each in costs.items()}


def _medians(costs: list[Cost]) -> Cost:
    return Cost(
        median(cost.seconds for cost in costs),
        median(cost.cpu_seconds for cost in costs),
        median(cost.peak_mib for cost in costs),
    )
