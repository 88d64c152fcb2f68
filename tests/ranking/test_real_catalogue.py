"""The ranking on the catalogue that ships: what an operator would see, and what must be true of it."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import pytest

from reconciler.domain.estimate import Assessment, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.candidates import candidates
from reconciler.ranking.quants import bits_per_weight
from reconciler.ranking.rank import rank
from tests.ranking.made import machine

CATALOGUE = load_bundled()
TODAY = CATALOGUE.generated_at
CANDIDATES = candidates(CATALOGUE)
MACHINES: dict[str, Hardware] = {
    "rtx-4090": machine("nvidia", vram=24, gbps=1008, ram=64, ram_gbps=80, reserve=4),
    "m3-max-36gb": machine("macos", vram=27, gbps=300, ram=36, ram_gbps=300, reserve=9),
    "cpu-16gb": machine("cpu", ram=16, ram_gbps=50, reserve=2.4),
    "laptop-8gb": machine("cpu", ram=8, ram_gbps=40, reserve=2),
}


@cache
def top(profile: str, name: str) -> tuple[Assessment, ...]:
    """The first five models that fit, each at its best quant of at least 4.25 bits."""
    wanted = [one for one in CANDIDATES if bits_per_weight(one.quant) >= 4.25]
    best: dict[str, Assessment] = {}
    requirement = Requirement(profile=profile, context=512 if profile == "embedding" else 8192)
    for row in rank(wanted, requirement, MACHINES[name], CATALOGUE, TODAY, limit=400):
        if row.fits and len(best) < 5:
            best.setdefault(row.candidate.model.id, row)
    return tuple(best.values())


def shown(row: Assessment) -> str:
    return (
        f"{row.score:5.1f} [{row.low:.0f}-{row.high:.0f}]  {row.candidate.model.id} {row.candidate.quant} "
        f"({row.candidate.repository.organisation}, {row.quality.evidence})"
    )


@pytest.mark.parametrize("profile", ["general", "coding"])
@pytest.mark.parametrize("name", MACHINES)
def test_the_first_five(profile, name, snapshot):
    assert "\n".join(shown(row) for row in top(profile, name)) == snapshot


@pytest.mark.parametrize("name", ["rtx-4090", "m3-max-36gb"])
def test_with_24_gb_the_first_three_of_general_are_no_toys(name):
    assert all((row.candidate.model.params or 0) >= 12e9 for row in top("general", name)[:3])


@pytest.mark.parametrize("profile", ["general", "coding", "reasoning", "vision"])
@pytest.mark.parametrize("name", MACHINES)
def test_the_first_of_each_list_came_out_within_24_months(profile, name):
    released = top(profile, name)[0].candidate.model.released
    assert released is not None
    assert TODAY - released < timedelta(days=730)


@pytest.mark.parametrize("profile", ["general", "coding", "reasoning", "vision", "embedding"])
@pytest.mark.parametrize("name", MACHINES)
def test_every_profile_has_models_on_every_machine_and_each_fits(profile, name):
    rows = top(profile, name)
    assert len(rows) == 5
    assert all(row.memory.total_bytes <= MACHINES[name].capacity_bytes for row in rows)


def test_a_measured_model_is_first():
    assert top("general", "rtx-4090")[0].quality.evidence == "direct"


@pytest.mark.parametrize(
    ("model_id", "kib"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 128), ("Qwen/Qwen3-8B", 144), ("Qwen/Qwen2.5-7B-Instruct", 56),
        ("Qwen/Qwen3-32B", 256), ("meta-llama/Llama-3.1-70B-Instruct", 320), ("Qwen/Qwen3-30B-A3B", 96),
        ("Qwen/Qwen3.6-27B", 64), ("deepseek-ai/DeepSeek-V3", 69),
    ],
)  # fmt: skip
def test_golden_kv_per_token_of_the_shipped_models(model_id, kib):
    from reconciler.ranking.kv_cache import kv_bytes

    (of,) = (each for each in CATALOGUE.models if each.id == model_id)
    per_token = kv_bytes(of.architecture, 4096)
    assert per_token is not None
    assert round(per_token / 4096 / 1024) == kib


def test_golden_kv_of_the_shipped_gemma_3_27b_at_131072():
    from reconciler.ranking.kv_cache import kv_bytes

    (of,) = (each for each in CATALOGUE.models if each.id == "google/gemma-3-27b-it")
    kv = kv_bytes(of.architecture, 131_072)
    assert kv is not None
    assert round(kv / 2**30, 1) == 10.4
