"""Faults by the thousand, with a printed seed; ``--write`` puts the figures into ``docs/reliability.md``.

    python scripts/campaign.py --seconds 600            as long as that, about
    python scripts/campaign.py --seed 7 --only killed   one part again

Every part keeps going until its share of the time is over. The first loss ends the run with what shows it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.docs import MARK  # noqa: E402

DOCUMENT = ROOT / "docs" / "reliability.md"
Figures = Counter[str]


def power_loss(seconds: float, dice: random.Random) -> Figures:
    """Every instant between us and a port once, in every scenario; then several cuts in a row."""
    from tests.campaign.cuts import survive, undisturbed
    from tests.campaign.scenarios import SCENARIOS

    figures: Figures = Counter()

    async def all_of_it() -> None:
        known = {name: await undisturbed(name) for name in SCENARIOS}
        for name, (instants, expected) in known.items():
            for cut in range(instants):
                await survive(name, (cut,), expected)
                figures["power cuts at a call through a port"] += 1
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = dice.choice(list(SCENARIOS))
            instants, expected = known[name]
            cuts = tuple(dice.randrange(instants) for _ in range(dice.randint(2, 5)))
            await survive(name, cuts, expected)
            figures["power cuts at a call through a port"] += len(cuts)

    asyncio.run(all_of_it())
    return figures


def killed(seconds: float, dice: random.Random) -> Figures:
    """The real program, killed, switched off or refused at its file operations."""
    from tests.campaign.lab import STORIES, Forks, Lab, Trial, kinds_of_trouble, tapped_hub

    figures: Figures = Counter()
    forks = Forks()
    with tempfile.TemporaryDirectory() as folder, tapped_hub(Path(folder) / "hub") as tap:
        trials = {name: Trial(Lab(Path(folder) / str(n), forks, tap.url), name, tap) for n, name in enumerate(STORIES)}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            trial = trials[dice.choice(list(trials))]
            troubles = [kinds_of_trouble(trial.end.instants, dice) for _ in range(dice.choice([1, 1, 2, 3]))]
            try:
                ends = trial.survive(*troubles)
            except AssertionError as error:
                raise AssertionError(f"{trial.story}: {', '.join(map(str, troubles))}: {error}") from error
            for trouble, ended in zip(troubles, ends, strict=True):
                if ended.code == 137:
                    figures[f"the program died ({trouble.how})"] += 1
                elif isinstance(trouble.how, int):
                    figures["file operations refused (disk full, no permission, read-only, broken)"] += 1
    forks.close()
    return figures


def bad_line(seconds: float, dice: random.Random) -> Figures:
    """Every kind of fault at every place on the way to a Hub, then several at once."""
    from tests.campaign.bad_line import KINDS, Fault, any_faults
    from tests.campaign.real_world import Machine
    from tests.campaign.test_bad_line import PARTS, swapped_over

    figures: Figures = Counter()
    waiting = [[Fault(kind, part, times=6)] for kind in KINDS for part in PARTS]
    end = time.monotonic() + seconds
    while time.monotonic() < end or waiting:
        faults = waiting.pop() if waiting else any_faults(dice)
        shown = repr(faults)
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(Path(folder))
            try:
                asyncio.run(swapped_over(machine, faults))
            except AssertionError as error:
                raise AssertionError(f"{shown}: {error}") from error
            figures["answers of a Hub that were bad"] += len(machine.line.met)
    figures["kinds of bad answer"] = len(KINDS)
    return figures


def lives(seconds: float, dice: random.Random) -> Figures:
    """The model-based test, one seed after the other."""
    figures: Figures = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seed = dice.randrange(2**32)
        words = ["-q", "-p", "no:cacheprovider", "tests/campaign/test_model.py", f"--hypothesis-seed={seed}"]
        environment = {**os.environ, "LOCALMODELS_CAMPAIGN_EXAMPLES": "50"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"--hypothesis-seed={seed}\n{done.stdout[-4000:]}"
        figures["lives of a machine, up to 12 events each"] += 50
    return figures


def hostile(seconds: float, dice: random.Random) -> Figures:
    """The fuzzer."""
    seed = dice.randrange(2**32)
    program = ROOT / "tests" / "fuzz" / "run.py"
    words = [sys.executable, str(program), "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert not found["defects"], json.dumps(found["defects"], indent=1)[:6000]
    figures: Figures = Counter({"hostile inputs": sum(found["tried"].values())})
    figures["doors they came in by"] = len(found["tried"])
    figures["most memory a fuzzer took, in MB"] = found["peakBytes"] // 10**6
    return figures


PARTS: dict[str, tuple[Callable[[float, random.Random], Figures], float]] = {
    "power": (power_loss, 0.15),
    "killed": (killed, 0.4),
    "line": (bad_line, 0.15),
    "lives": (lives, 0.15),
    "hostile": (hostile, 0.15),
}
"""Each with its share of the time."""


def table(figures: Figures, *, seconds: float, seed: int) -> str:
    """The figures as the page shows them."""
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    head = f"Run of {datetime.now(UTC):%Y-%m-%d}: {seconds:.0f} s, seed {seed}, {machine}.\n\n| what | how often |\n|---|---|\n"
    rows = "".join(f"| {what} | {count:,} |\n" for what, count in figures.items())
    return f"{head}{rows}| **losses** | **0** |\n"


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=600)
    asked.add_argument("--seed", type=int, default=None)
    asked.add_argument("--only", choices=sorted(PARTS))
    asked.add_argument("--write", action="store_true", help="put the figures into docs/reliability.md")
    given = asked.parse_args()
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    figures: Figures = Counter()
    begun = time.monotonic()
    for name, (part, share) in PARTS.items():
        if given.only not in (None, name):
            continue
        try:
            found = part(given.seconds * (1 if given.only else share), random.Random(f"{seed}-{name}"))
        except Exception:  # noqa: BLE001 - whatever it is, it is a loss, and this is where it is told
            traceback.print_exc()
            print(f"LOSS in {name}; again: python scripts/campaign.py --seed {seed} --only {name}")
            return 1
        for what, count in found.items():
            print(f"{name}: {count:,} {what}", flush=True)
        figures.update(found)
    shown = table(figures, seconds=time.monotonic() - begun, seed=seed)
    print(shown)
    if given.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(MARK.sub(lambda it: it[1] + shown + it[3], text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
