"""Memory estimates against what devices showed: which rows count, what a device can show, what the interval holds."""

import math
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Catalogue
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.measured import subjects
from reconciler.ranking.scoring import score_speed
from reconciler.ranking.scoring_memory import INTERVAL, MemoryInterval, allocated, score_memory
from tests.ranking.made import LLAMA_8B, model

CATALOGUE = Catalogue((model("acme/alpha-8B", architecture=LLAMA_8B),), (), date(2026, 11, 22), "bundled")
POINT = MeasuredPoint(
    "a", "RTX 4090", "acme/alpha-8B", 8.0, mem_gb=24, bw_gbps=1008, engine="llama.cpp", quant="Q4_K_M", ctx_alloc=8192,
    peak_mem_gb=6.5, decode_tps=100,
)  # fmt: skip


def scored(*points: MeasuredPoint):
    return score_memory(points, CATALOGUE)


def shown(**changes) -> float:
    (row,) = scored(replace(POINT, **changes)).rows
    return row.estimate


def test_an_estimate_is_what_the_ranking_says_in_gib():
    (row,) = scored(POINT).rows
    assert row.id == "a"
    assert row.measured == 6.5
    assert 5.5 < row.estimate < 7
    assert row.covered


def test_the_context_that_was_allocated_and_the_type_of_its_cache_count():
    at_8k = shown()
    assert shown(ctx_alloc=65536) - at_8k > 57344 * 131072 / 2**30
    assert shown(ctx_alloc=65536, kv_dtype="q8_0") < shown(ctx_alloc=65536)
    assert shown(context=65536) == at_8k


def test_a_device_shows_no_more_than_it_has():
    assert shown(ctx_alloc=1_000_000) == 24
    assert shown(ctx_alloc=1_000_000, mem_gb=None) > 24


@pytest.mark.parametrize("changes", [{"likely_spill": True}, {"bw_gbps": None}, {"peak_mem_gb": None}])
def test_what_is_not_known_or_spilled_does_not_count(changes):
    found = scored(replace(POINT, **changes))
    assert found.rows == ()
    assert found.group("all").n == 0
    assert found.group("all").mdape is None


@pytest.mark.parametrize(
    "changes",
    [
        {"suspect": "why not"}, {"engine": "vllm"}, {"decode_tps": None}, {"moe": True}, {"ctx_alloc": None},
        {"ctx_alloc": 0}, {"ctx_alloc": None, "context": 65536},
    ],
)  # fmt: skip
def test_everything_else_counts(changes):
    assert scored(replace(POINT, **changes)).group("all").n == 1


UNKNOWN = {"ctx_alloc": None, "prompt_tokens": 100, "gen_tokens": 28}


@pytest.mark.parametrize(
    ("changes", "tokens", "basis"),
    [
        ({"ctx_alloc": 8192, "context": 65536}, 8192, "stated"),
        ({"context": 65536}, 65536, "submitted"),
        ({"context": 64}, 128, "submitted"),
        ({"engine": "hipfire", "context": 2048}, 2048, "submitted"),
        ({}, 4096, "usual"),
        ({"context": 65536, "tps_def": 2}, 128, "run"),
        ({"engine": "mlx", "context": 65536}, 128, "run"),
        ({"engine": "ollama", "context": 2048, "mem_gb": 12}, 4096, "ollama"),
        ({"engine": "ollama", "mem_gb": 32}, 32768, "ollama"),
        ({"engine": "ollama", "mem_gb": 32, "prompt_tokens": 40000}, 40028, "ollama"),
        ({"engine": "vllm", "context": 65536}, 65536, "vllm"),
    ],
)
def test_an_allocation_that_is_not_stated_is_the_engines_own(changes, tokens, basis):
    (subject,) = subjects([replace(POINT, **(UNKNOWN | changes))], CATALOGUE)
    assert allocated(subject) == (tokens, basis)


def test_vllm_fills_its_share_of_the_device_whatever_the_model_needs():
    assert shown(engine="vllm") == pytest.approx(0.9 * 24)
    assert shown(engine="vllm", mem_gb=6.0) == 6.0
    assert shown(engine="vllm", mem_gb=None) == pytest.approx(shown())


def test_long_contexts_are_judged_apart():
    assert scored(replace(POINT, ctx_alloc=None, context=65536)).group("over_32k").n == 0
    found = scored(replace(POINT, id="b", ctx_alloc=32768), replace(POINT, id="c", ctx_alloc=32769))
    assert (found.group("all").n, found.group("over_32k").n) == (2, 1)


@given(
    needed=st.floats(0, 500),
    device=st.floats(0.5, 500) | st.just(math.inf),
    interval=st.builds(MemoryInterval, st.floats(0.1, 1), st.floats(1, 2), st.floats(0, 4)),
)
def test_an_interval_holds_its_estimate_and_stays_on_the_device(needed, device, interval):
    estimate = min(needed, device)
    low, high = interval.around(estimate, device)
    assert low <= estimate <= high <= device


def test_other_programs_widen_the_interval_upwards_and_most_where_little_is_used():
    low, high = INTERVAL.around(16.0, 24.0)
    assert 16 / low < high / 16 < 1.3
    assert INTERVAL.around(1.0, 24.0)[1] > 2


amounts = st.none() | st.floats(1e-6, 1e9)
counts = st.none() | st.integers(0, 2**53)


@given(
    st.builds(
        replace, st.just(POINT), hardware=st.text(min_size=1, max_size=12), model=st.sampled_from(("acme/alpha-8B", "x", "🦙")),
        params_b=st.floats(1e-6, 1e9), active_params_b=amounts, moe=st.booleans(), mem_gb=amounts, bw_gbps=amounts,
        quant=st.none() | st.text(max_size=8), kv_dtype=st.none() | st.text(max_size=5), ctx_alloc=counts,
        prompt_tokens=counts, gen_tokens=counts, peak_mem_gb=amounts, decode_tps=amounts, with_prompt=st.booleans(),
        engine=st.sampled_from((None, "vllm", "mlx", "ollama", "?")), backend=st.sampled_from((None, "cpu", "vulkan", "?")),
        hw_class=st.sampled_from((None, "UNIFIED", "CPU_ONLY", "?")), bytes_per_weight_nominal=amounts,
    )
)  # fmt: skip
def test_any_point_is_scored_with_numbers(point):
    for row in (*score_memory([point], CATALOGUE).rows, *score_speed([point], CATALOGUE).rows):
        assert 0 <= row.low <= row.estimate <= row.high
        assert math.isfinite(row.estimate)
