"""Adapters on a real llama-server and on the doubles of Ollama and vLLM: the program dies, the server does, the copy is
cut, the source is saved over, the disk is full; the next run makes it good. A few of what ``make campaign`` does by the hundred.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.campaign.adapter_places import PLACES
from tests.campaign.adapters import AdapterTrial
from tests.campaign.lab import DIED, Forks, Trouble

pytestmark = pytest.mark.e2e
Told = Callable[..., AdapterTrial]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    running = Forks()
    yield running
    running.close()


@pytest.fixture
def told(forks: Forks, tmp_path: Path) -> Iterator[Told]:
    """Tells a story in a place of a kind."""
    with ExitStack() as stack:

        def begin(kind: str, name: str, plant: str | None = None) -> AdapterTrial:
            place = stack.enter_context(PLACES[kind](tmp_path / "place"))
            return AdapterTrial(tmp_path / "lab", forks, place, name, plant=plant)

        yield begin


@pytest.mark.parametrize(
    ("kind", "name"), [("llama-server", "follow, changed"), ("ollama", "follow, changed"), ("vllm", "update")]
)
def test_killed_at_any_boundary_of_a_change_the_next_run_makes_it_good(kind: str, name: str, told: Told) -> None:
    trial, dice = told(kind, name), random.Random(f"{kind} {name}")
    begun = min(trial.end.copies)  # what comes before only looks
    (ended,) = trial.survive(Trouble(dice.randint(begun, trial.end.instants - 5), dice.choice(["kill", "torn"])))
    assert ended.code in DIED
    if kind == "ollama":  # the slot has its new base already, and the adapter stands on the old one
        trial.survive(Trouble(begun))


def test_a_copy_that_is_cut_refused_or_made_of_a_file_that_changes_is_never_served(told: Told) -> None:
    trial = told("vllm", "attach")
    first, second = trial.end.copies[0], trial.end.copies[-1]
    assert first < second, "copied in more than one step"
    troubles = Trouble(second, "torn"), Trouble(first, errno.ENOSPC, for_good=True), Trouble(first, "changed")
    torn, full, changed = (trial.survive(trouble)[0] for trouble in troubles)
    assert torn.code in DIED
    assert full.code == 1
    assert "No space left on device" in full.out + full.err, full.text
    assert changed.code == 1
    assert "is not what it was when it was looked at" in changed.out + changed.err, changed.text


def test_a_server_that_goes_down_in_the_middle_costs_a_retry(told: Told) -> None:
    trial = told("vllm", "forgotten by a restart")
    trial.survive(Trouble(dies_after_seconds=trial.end.seconds / 2))
