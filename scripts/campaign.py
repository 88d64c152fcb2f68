"""Faults by the thousand, with a printed seed; ``--write`` puts the figures into ``docs/reliability.md``.

    python scripts/campaign.py --seconds 600            as long as that, about
    python scripts/campaign.py --seed 7 --only killed   one part again
    python scripts/campaign.py --jobs 3                 three parts at a time: most of the time is waiting for servers

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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.docs import MARK  # noqa: E402

DOCUMENT = ROOT / "docs" / "reliability.md"
Figures = Counter[tuple[str, str]]
"""(where, what) → how often."""

PORTS, STORE, OLLAMA, ROUTER, VLLM, DOORS = (
    "every port, on fakes", "store", "Ollama (the double)", "llama-server (a real one)", "vLLM (the double)", "doors",
)  # fmt: skip
CRASHES, FAULTS, LIVES, INPUTS = "crashes survived", "faults injected", "lives", "inputs tried"
SERVERS = {"ollama": OLLAMA, "llama-server": ROUTER, "vllm": VLLM}


def power_loss(seconds: float, dice: random.Random) -> Figures:
    """Every instant between us and a port once, in every scenario; then several cuts in a row."""
    from tests.campaign import adapter_cuts
    from tests.campaign.cuts import survive, undisturbed
    from tests.campaign.scenarios import SCENARIOS

    figures: Figures = Counter()

    async def of_adapters() -> None:
        known = {name: await adapter_cuts.undisturbed(name) for name in adapter_cuts.STORIES}
        end = time.monotonic() + seconds / 2
        while time.monotonic() < end:
            name = dice.choice(list(known))
            instants, expected = known[name]
            cuts = tuple(dice.randrange(instants) for _ in range(dice.randint(1, 4)))
            await adapter_cuts.survive(name, cuts, expected)
            figures[PORTS, CRASHES] += len(cuts)

    async def all_of_it() -> None:
        await of_adapters()
        known = {name: await undisturbed(name) for name in SCENARIOS}
        for name, (instants, expected) in known.items():
            for cut in range(instants):
                await survive(name, (cut,), expected)
                figures[PORTS, CRASHES] += 1
        end = time.monotonic() + seconds / 2
        while time.monotonic() < end:
            name = dice.choice(list(SCENARIOS))
            instants, expected = known[name]
            cuts = tuple(dice.randrange(instants) for _ in range(dice.randint(2, 5)))
            await survive(name, cuts, expected)
            figures[PORTS, CRASHES] += len(cuts)

    asyncio.run(all_of_it())
    return figures


def killed(seconds: float, dice: random.Random) -> Figures:
    """The real program on a store, killed, switched off or refused at its file operations."""
    from tests.campaign.lab import DIED, STORIES, Forks, Lab, Trial, kinds_of_trouble, tapped_hub

    figures: Figures = Counter()
    forks = Forks()
    with tempfile.TemporaryDirectory() as folder, tapped_hub(Path(folder) / "hub") as tap:
        trials = {name: Trial(Lab(Path(folder) / str(n), forks, tap.url), name, tap) for n, name in enumerate(STORIES)}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            trial = trials[dice.choice(list(trials))]
            troubles = [kinds_of_trouble(trial.end.instants, dice) for _ in range(dice.choice([1, 1, 2, 3]))]
            try:
                ends = trial.survive(*troubles, lose_record=trial.story is not STORIES["drift"] and dice.random() < 0.2)
            except AssertionError as error:
                raise AssertionError(f"{trial.story}: {', '.join(map(str, troubles))}: {error}") from error
            for trouble, ended in zip(troubles, ends, strict=True):
                figures[STORE, CRASHES] += ended.code in DIED
                figures[STORE, FAULTS] += trouble.is_a_fault
    forks.close()
    return figures


def served(kind: str, seconds: float, dice: random.Random) -> Figures:
    """The real program on a model server: it is killed, or the server goes down and comes back."""
    from tests.campaign.lab import DIED, Forks, Lab
    from tests.campaign.served import ServedTrial, stories_of, trouble_of
    from tests.campaign.sites import SITES

    figures: Figures = Counter()
    forks = Forks()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        trials = []
        for number, name in enumerate(stories_of(kind)):
            site = stack.enter_context(SITES[kind](Path(folder) / f"site{number}"))
            lab = Lab(Path(folder) / f"lab{number}", forks, site.hub, site.variables())
            trials.append(ServedTrial(lab, site, name))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            trial = dice.choice(trials)
            troubles = [trouble_of(trial.end, dice) for _ in range(dice.choice([1, 1, 2, 3]))]
            try:
                ends = trial.survive(*troubles)
            except AssertionError as error:
                raise AssertionError(f"{trial.story}: {', '.join(map(str, troubles))}: {error}") from error
            for trouble, ended in zip(troubles, ends, strict=True):
                figures[SERVERS[kind], CRASHES] += ended.code in DIED
                figures[SERVERS[kind], FAULTS] += trouble.is_a_fault
    forks.close()
    return figures


def adapted(kind: str, seconds: float, dice: random.Random) -> Figures:
    """The real program with adapters: one story after the other, each with trouble at any of its boundaries."""
    from tests.campaign.adapter_places import PLACES
    from tests.campaign.adapters import AdapterTrial, stories_of, trouble_of
    from tests.campaign.lab import DIED, Forks

    figures: Figures = Counter()
    forks, begun, told = Forks(), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        stories = stories_of(kind)
        dice.shuffle(stories)
        while time.monotonic() < begun + seconds:
            name, here = stories[told % len(stories)], Path(folder) / str(told)
            told += 1
            with PLACES[kind](here / "place") as place:
                trial = AdapterTrial(here / "lab", forks, place, name)
                end = min(begun + seconds, time.monotonic() + max(20.0, seconds / len(stories)))
                while time.monotonic() < end:
                    troubles = [trouble_of(trial.end, dice) for _ in range(dice.choice([1, 1, 2, 3]))]
                    try:
                        ends = trial.survive(*troubles)
                    except AssertionError as error:
                        raise AssertionError(f"{name}: {', '.join(map(str, troubles))}: {error}") from error
                    for trouble, ended in zip(troubles, ends, strict=True):
                        figures[SERVERS[kind], CRASHES] += ended.code in DIED
                        figures[SERVERS[kind], FAULTS] += trouble.is_a_fault
    forks.close()
    return figures


def bad_answers(kind: str, seconds: float, dice: random.Random) -> Figures:
    """Every kind of bad answer and lie of a model server, everywhere on the way to it, then several at once."""
    from tests.campaign.bad_answers import KINDS, PARTS, any_faults
    from tests.campaign.bad_line import Fault
    from tests.campaign.served_world import ServedMachine
    from tests.campaign.sites import SITES
    from tests.campaign.test_bad_answers import swapped_over

    figures: Figures = Counter()
    waiting = [[Fault(one, part, dice.randrange(4), times=3)] for one in KINDS for part in PARTS[kind]]
    dice.shuffle(waiting)
    with tempfile.TemporaryDirectory() as folder, SITES[kind](Path(folder) / "site") as site:
        site.keep()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            faults = waiting.pop() if waiting else any_faults(kind, dice)
            shown = repr(faults)
            site.bring_back()
            with tempfile.TemporaryDirectory() as here:
                machine = ServedMachine(Path(here), site=site)
                try:
                    asyncio.run(swapped_over(machine, faults))
                except AssertionError as error:
                    raise AssertionError(f"{shown}: {error}") from error
                figures[SERVERS[kind], FAULTS] += len(machine.answers.met)
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
            figures[STORE, FAULTS] += len(machine.line.met)
    return figures


def lives(where: str, test: str, each: int, seconds: float, dice: random.Random) -> Figures:
    """A model-based test, one seed after the other."""
    figures: Figures = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seed = dice.randrange(2**32)
        words = ["-q", "-p", "no:cacheprovider", f"tests/campaign/test_model.py::{test}", f"--hypothesis-seed={seed}"]
        environment = {**os.environ, "LOCALMODELS_CAMPAIGN_EXAMPLES": "40"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{test} --hypothesis-seed={seed}\n{done.stdout[-4000:]}"
        figures[where, LIVES] += each
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
    NOTES.append(f"{len(found['tried'])} doors; a fuzzer took {found['peakBytes'] // 10**6} MB at most")
    return Counter({(DOORS, INPUTS): sum(found["tried"].values())})


NOTES: list[str] = []
"""What else is worth saying of a run."""

ON_STORES = "test_whatever_happens_to_a_machine_the_books_balance_and_nothing_foreign_is_lost"
ON_SERVERS = "test_whatever_happens_to_a_model_server_the_books_balance_too"
OF_ADAPTERS = "test_whatever_happens_to_adapters_they_are_ours_or_theirs_and_have_their_files"
PARTS: dict[str, tuple[Callable[[float, random.Random], Figures], float]] = {
    "power": (power_loss, 0.06),
    "killed": (killed, 0.1),
    "killed-ollama": (partial(served, "ollama"), 0.08),
    "killed-llama-server": (partial(served, "llama-server"), 0.08),
    "adapters-llama-server": (partial(adapted, "llama-server"), 0.12),
    "adapters-ollama": (partial(adapted, "ollama"), 0.07),
    "adapters-vllm": (partial(adapted, "vllm"), 0.07),
    "line": (bad_line, 0.04),
    "answers-ollama": (partial(bad_answers, "ollama"), 0.07),
    "answers-llama-server": (partial(bad_answers, "llama-server"), 0.07),
    "lives": (partial(lives, STORE, ON_STORES, 40), 0.04),
    "lives-ollama": (partial(lives, OLLAMA, f"{ON_SERVERS}[ollama]", 10), 0.05),
    "lives-llama-server": (partial(lives, ROUTER, f"{ON_SERVERS}[llama-server]", 10), 0.05),
    "lives-adapters-ollama": (partial(lives, OLLAMA, f"{OF_ADAPTERS}[ollama]", 6), 0.03),
    "lives-adapters-llama-server": (partial(lives, ROUTER, f"{OF_ADAPTERS}[llama-server]", 6), 0.03),
    "hostile": (hostile, 0.04),
}
"""Each with its share of the time."""


def table(figures: Figures, *, seconds: float, seed: int) -> str:
    """The figures as the page shows them: a row per runtime."""
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    said = "".join(f" {note}." for note in NOTES)
    head = f"Run of {datetime.now(UTC):%Y-%m-%d}: {seconds:.0f} s, seed {seed}, {machine}.{said}\n\n"
    columns = (CRASHES, FAULTS, LIVES, INPUTS)
    lines = [f"| on | {' | '.join(columns)} | **losses** |", "|---|---|---|---|---|---|"]
    for where in (PORTS, STORE, OLLAMA, ROUTER, VLLM, DOORS):
        cells = [f"{figures[where, column]:,}" if figures[where, column] else "–" for column in columns]
        lines.append(f"| {where} | {' | '.join(cells)} | **0** |")
    return head + "\n".join(lines) + "\n"


FOUND = "found: "
"""What a part in a process of its own says in the end: its figures, as JSON."""
Told = Iterable[tuple[str, Figures | None]]
"""What each part found; None: a loss, which it has told."""


def one_by_one(seconds: dict[str, float], seed: int) -> Told:
    """Every part in this process."""
    for name, share in seconds.items():
        try:
            yield name, PARTS[name][0](share, random.Random(f"{seed}-{name}"))
        except Exception:  # noqa: BLE001 - whatever it is, it is a loss, and this is where it is told
            traceback.print_exc()
            yield name, None


def side_by_side(seconds: dict[str, float], seed: int, jobs: int) -> Told:
    """Some at a time, each in a process of its own; the longest first."""

    def run(name: str) -> tuple[str, Figures | None]:
        command = [sys.executable, __file__, "--only", name, "--seconds", str(seconds[name]), "--seed", str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        last = next((line for line in done.stdout.splitlines() if line.startswith(FOUND)), None)
        if done.returncode or last is None:
            print(done.stdout, done.stderr, sep="\n")
            return name, None
        counts, notes = json.loads(last.removeprefix(FOUND))
        NOTES.extend(notes)
        return name, Counter({(where, what): count for where, what, count in counts})

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(run, sorted(seconds, key=lambda name: -seconds[name]))


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=600)
    asked.add_argument("--seed", type=int, default=None)
    asked.add_argument("--only", choices=sorted(PARTS))
    asked.add_argument("--jobs", type=int, default=1, help="parts at a time, each in a process of its own")
    asked.add_argument("--write", action="store_true", help="put the figures into docs/reliability.md")
    given = asked.parse_args()
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    figures: Figures = Counter()
    begun = time.monotonic()
    names = [name for name in PARTS if given.only in (None, name)]
    seconds = {name: given.seconds * (1 if given.only else PARTS[name][1] * given.jobs) for name in names}
    for name, found in one_by_one(seconds, seed) if given.jobs == 1 else side_by_side(seconds, seed, given.jobs):
        if found is None:
            print(f"LOSS in {name}; again: python scripts/campaign.py --seed {seed} --only {name}")
            return 1
        for (where, what), count in found.items():
            print(f"{name}: {count:,} {what} ({where})", flush=True)
        figures.update(found)
    if given.only:
        print(FOUND + json.dumps([[[*key, count] for key, count in figures.items()], NOTES]))
    shown = table(figures, seconds=time.monotonic() - begun, seed=seed)
    print(shown)
    if given.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(MARK.sub(lambda it: it[1] + shown + it[3], text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
