"""Hostile input by the clock, in a process of its own: ``python tests/fuzz/run.py --seconds 15 --seed 1``.

Prints one JSON object: inputs tried per door, defects with the input that shows each, and the most memory it took.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from reconciler.errors import ReconcilerError
from tests.fuzz.doors import DOORS
from tests.fuzz.mutate import mutated

HANG_SECONDS = 10


class Hang(BaseException):
    """One input took longer than any may."""


def _too_long(*_: object) -> None:
    raise Hang


def tried(name: str, content: bytes) -> dict[str, Any] | None:
    """None, or what is wrong with how a door took this input."""
    signal.alarm(HANG_SECONDS)
    try:
        DOORS[name].read(content)
    except ReconcilerError:
        return None
    except (Hang, Exception) as error:
        where = traceback.format_exception(error)[-12:]
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{name}: {type(error).__name__} in {last.name}"
        return {
            "kind": kind,
            "door": name,
            "error": repr(error)[:300],
            "where": "".join(where),
            "input": content[:20_000].hex(),
        }
    finally:
        signal.alarm(0)
    return None


def _peak_bytes() -> int:
    """The most memory of this program; on Linux ``ru_maxrss`` also remembers the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def fuzz(seconds: float, seed: int, doors: list[str], *, each: int | None = None) -> dict[str, Any]:
    """Every door in turn until the time is over, or with ``each`` so many inputs a door: the same ones every time."""
    signal.signal(signal.SIGALRM, _too_long)
    dice = random.Random(seed)
    examples = {name: DOORS[name].examples() for name in doors}
    everything = [content for each in examples.values() for content in each]
    counts, defects = dict.fromkeys(doors, 0), []
    for name in doors:
        for content in examples[name]:
            defects += [wrong for wrong in [tried(name, content)] if wrong]
    end = time.monotonic() + seconds
    while (time.monotonic() < end if each is None else min(counts.values()) < each) and len(defects) < 20:
        for name in doors:
            until = time.monotonic() + 0.05
            while time.monotonic() < until if each is None else counts[name] < each:
                content = mutated(dice.choice(examples[name]), dice, everything)
                counts[name] += 1
                wrong = tried(name, content)
                if wrong and all(wrong["kind"] != known["kind"] for known in defects):
                    defects.append(wrong)
    return {
        "seed": seed,
        "tried": counts,
        "defects": defects,
        "peakBytes": _peak_bytes(),
    }


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=15)
    asked.add_argument("--seed", type=int, default=None)
    asked.add_argument("--each", type=int, default=None)
    asked.add_argument("--door", action="append", choices=sorted(DOORS))
    given = asked.parse_args()
    warnings.simplefilter("ignore")
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    found = fuzz(given.seconds, seed, given.door or list(DOORS), each=given.each)
    print(json.dumps(found))  # noqa: T201 - this is what it is run for
    return 1 if found["defects"] else 0


if __name__ == "__main__":
    sys.exit(main())
