"""What ten machines are given, as a person sees it, and what must hold for it whatever the numbers become."""

from __future__ import annotations

from functools import cache

import pytest

from reconciler.cli.views.suggest import suggestions_text
from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.desired import MIN_BITS_PER_WEIGHT, Slot, Target
from reconciler.domain.estimate import PROFILES, Profile
from reconciler.engine.suggest import Question, Suggestion, Suggestions, suggestions
from reconciler.planning.eligible import consider
from reconciler.planning.scene import Scene
from reconciler.ranking.quants import normalise
from tests.engine.machines import MACHINES, STORE, scene_on, shipped
from tests.fakes import FAKE_NOW

LARGE = [name for name in MACHINES if name not in {"laptop-8gb", "rtx-4060-8gb", "raspberry-8gb"}]
"""With at least 24 GB, or 24 GiB of them usable."""
SHOWN: dict[Profile, int] = {"general": 10, "coding": 5, "reasoning": 5, "vision": 5, "embedding": 5}
DAYS_OF_24_MONTHS = 731

everywhere = pytest.mark.parametrize("machine", MACHINES)


@cache
def scene(machine: str) -> Scene:
    return scene_on(MACHINES[machine])


@cache
def found(machine: str, profile: Profile) -> Suggestions:
    return suggestions(scene(machine), STORE, Question(profile=profile, top=10), policy="everybody")


@cache
def known() -> dict[str, CatalogModel]:
    return {model.id: model for model in shipped().models}


def build_of(row: Suggestion) -> tuple[str, Build]:
    """The format and the build in the catalogue that a line means."""
    repository = next(one for one in known()[row.model_id].repositories if one.id == row.repository)
    return repository.format, next(build for build in repository.builds if build.quant == row.quant)


@everywhere
def test_lists(machine: str, snapshot: object) -> None:
    parts = []
    for profile, count in SHOWN.items():
        ranking = found(machine, profile)
        text = suggestions_text(ranking.model_copy(update={"rows": ranking.rows[:count]}))
        title, on, _, *table, _, _ = text.splitlines()
        parts += [f"{title}, {on}" if profile == "general" else profile, *table]
    assert "\n".join(parts) == snapshot


@pytest.mark.parametrize("machine", LARGE)
def test_where_there_is_room_the_first_of_general_are_not_small(machine: str) -> None:
    first = found(machine, "general").rows[:3]
    assert len(first) == 3
    for row in first:
        assert (row.params or 0) >= 12_000_000_000, row.model_id


@everywhere
@pytest.mark.parametrize("profile", PROFILES)
def test_every_pick_fits_and_runs_and_is_not_too_coarse(machine: str, profile: Profile) -> None:
    ranking = found(machine, profile)
    capacity = scene(machine).hardware(STORE).capacity_bytes
    scores = [row.score for row in ranking.rows]
    assert scores
    assert scores == sorted(scores, reverse=True)
    for row in ranking.rows:
        assert row.memory_bytes <= capacity
        if row.max_context_basis != "unknown":
            assert row.context <= (row.max_context or 0), row.model_id
        assert 0 < row.tokens_per_second_low <= row.tokens_per_second <= row.tokens_per_second_high
        assert 0 <= row.low <= row.score <= row.high <= 100
        assert build_of(row)[0] == "gguf"
        assert normalise(row.quant).bits_per_weight >= MIN_BITS_PER_WEIGHT


@everywhere
@pytest.mark.parametrize("profile", PROFILES)
def test_the_first_is_not_of_yesterday(machine: str, profile: Profile) -> None:
    first = known()[found(machine, profile).rows[0].model_id]
    assert first.released is not None
    assert (FAKE_NOW.date() - first.released).days <= DAYS_OF_24_MONTHS, first.id


@pytest.mark.parametrize("machine", ["rtx-4090-24gb", "epyc-256gb"])
def test_on_ollama_no_pick_is_in_parts_or_of_another_format(machine: str) -> None:
    target = Target(name="o", runtime="ollama", endpoint="http://127.0.0.1:11434")
    rows = suggestions(scene_on(MACHINES[machine], target=target), target, Question(top=30), policy="everybody").rows
    assert rows
    for row in rows:
        if row.packager != "ollama-library":
            kind, build = build_of(row)
            assert kind == "gguf"
            assert not build.sharded


@pytest.mark.parametrize("machine", ["rtx-4090-24gb", "raspberry-8gb"])
@pytest.mark.parametrize("profile", ["general", "coding"])
def test_the_publisher_comes_before_packagers_at_equal_bytes(machine: str, profile: Profile) -> None:
    options = consider(scene(machine), Slot(name="s", profile=profile), STORE).options
    seen: set[tuple[str, str, int]] = set()
    compared = 0
    for option in options:
        candidate = option.candidate
        key = (candidate.model.id, candidate.quant, candidate.bytes)
        if candidate.repository.organisation == candidate.model.publisher:
            assert key not in seen, f"a packager's {candidate.key} came first"
            compared += 1
        seen.add(key)
    assert compared
