"""The ranking as a whole: what the origin's algorithm tests show, the properties, the parity fixtures."""

import json
import math
import random
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import BenchmarkObservation, Build, Repository
from reconciler.domain.estimate import PROFILES, Candidate, Requirement
from reconciler.domain.measurement import Measurement, machine_key
from reconciler.domain.units import GIB, Bytes
from reconciler.formats.seed_snapshot import seed_catalogue
from reconciler.ranking.calibration import UNCALIBRATED, Calibration
from reconciler.ranking.candidates import candidates
from reconciler.ranking.memory import estimate_memory, memory_model
from reconciler.ranking.numbers import assess
from reconciler.ranking.order import order_key
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex
from reconciler.ranking.rank import rank, rank_models
from reconciler.ranking.score import scale_score
from reconciler.ranking.speed import estimate_speed, speed_model
from tests.ranking.generated import generated_catalogue
from tests.ranking.made import M3_MAX, RTX_4090, SEED_DAY, candidate, catalogue, machine, model, observation, seed
from tests.ranking.test_memory import machines, models, quants, requirements

SEED_DOCUMENT = Path(__file__).parents[1] / "formats" / "seed_snapshot.json"
BIG = machine("macos", vram=128, gbps=546.0, ram=128, ram_gbps=546.0)


def ranked(of, hardware=RTX_4090, today=SEED_DAY, **asked):
    return tuple(rank(candidates(of), Requirement(**asked), hardware, of, today))


def in_full(of, requirement, hardware, calibration=UNCALIBRATED):
    """The ranking by its definition: every candidate assessed, then sorted."""
    index = EvidenceIndex.of(of, SEED_DAY)
    rows = [
        assess(one, requirement, hardware, index, SEED_DAY, calibration=calibration)
        for one in candidates(of)
        if model_serves(one.model, requirement.profile)
    ]
    return tuple(sorted(rows, key=order_key))


def scores(of, hardware=RTX_4090, **asked):
    return {row.candidate.model.id: round(row.score, 2) for row in ranked(of, hardware, **asked)}


# Parity fixtures of the origin (its section 11).


@pytest.mark.parametrize("hardware", [M3_MAX, RTX_4090], ids=["m3-max-36gb", "rtx-4090-24gb"])
def test_parity_with_the_origins_fixtures(hardware):
    rows = ranked(seed(), hardware)
    assert rows[0].candidate.model.id == "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B-GGUF"
    assert [round(row.score, 2) for row in rows] == [57.63, 54.57, 0.0]
    assert [row.fits for row in rows] == [True, True, False]
    assert 55 <= rows[0].score <= 60


def test_parity_of_the_70b_on_a_larger_host():
    assert scores(seed(), machine(vram=48)) == {
        "meta-llama/Llama-3.3-70B-Instruct-GGUF": 71.0,
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B-GGUF": 57.63,
        "Qwen/Qwen3-32B-GGUF": 54.57,
    }


def test_parity_of_the_memory_that_filters_the_70b():
    by_id = {row.candidate.model.id: row for row in ranked(seed())}
    llama = by_id["meta-llama/Llama-3.3-70B-Instruct-GGUF"]
    assert llama.memory.total_bytes / GIB == pytest.approx(44.16, abs=0.01)


@pytest.mark.parametrize("hardware", [M3_MAX, RTX_4090], ids=["m3-max-36gb", "rtx-4090-24gb"])
def test_parity_with_the_origins_own_snapshot_document(hardware):
    """Its document names no files: the candidates are its models at Q4_K_M, as in its fixtures."""
    of = seed_catalogue(json.loads(SEED_DOCUMENT.read_text()))
    found = [candidate(each) for each in of.models]
    rows = tuple(rank(found, Requirement(), hardware, of, of.generated_at))
    assert [round(row.score, 2) for row in rows] == [57.63, 54.57, 0.0]


# The algorithm.


def test_the_parts_of_an_assessment_agree_with_each_other():
    of = seed()
    for row in ranked(of):
        again = estimate_memory(row.candidate.model, row.candidate.build, Requirement(), RTX_4090)
        assert row.memory == again
        assert row.speed == estimate_speed(row.candidate.model, row.candidate.build, again, RTX_4090, Requirement())
        assert row.score == scale_score(row.fits, row.quality, row.speed).score
        assert row.low <= row.score <= row.high


def test_one_candidate_alone_is_assessed_as_in_the_ranking():
    of = seed()
    index = EvidenceIndex.of(of, SEED_DAY)
    for row in ranked(of):
        assert assess(row.candidate, Requirement(), RTX_4090, index, SEED_DAY) == row


def test_the_unfit_come_last_with_score_0():
    of = catalogue(
        [model("a/big-70B", billions=70), model("a/small-8B")],
        [observation("a/big-70B", 99), observation("a/small-8B", 9)],
    )
    rows = ranked(of)
    assert [row.fits for row in rows] == [True, False]
    assert (rows[1].score, rows[1].low, rows[1].high) == (0, 0, 0)


def test_a_cpu_only_machine_gets_a_ranking():
    """Changed from the origin, where fit compared with the memory of a graphics card that was not there."""
    rows = ranked(catalogue([model()], [observation("acme/alpha-8B", 60)]), machine("cpu", ram=16))
    assert rows[0].fits
    assert rows[0].score > 0


def test_direct_evidence_ranks_above_self_reported():
    of = catalogue(
        [model("a/one-8B"), model("b/two-8B")],
        [observation("a/one-8B", 60, evidence="self-reported"), observation("b/two-8B", 60)],
    )
    assert [row.candidate.model.id for row in ranked(of)] == ["b/two-8B", "a/one-8B"]


def test_the_weakest_grade_is_shown():
    of = catalogue(
        [model("a/one-8B")],
        [observation("a/one-8B", 60), observation("a/one-8B", 60, benchmark="other", evidence="self-reported")],
    )
    assert ranked(of)[0].quality.evidence == "self-reported"


def test_a_fresh_observation_ranks_above_one_of_18_months():
    of = catalogue(
        [model("a/one-8B"), model("b/two-8B")],
        [observation("a/one-8B", 60, observed_at=date(2024, 12, 4)), observation("b/two-8B", 60)],
    )
    assert [row.candidate.model.id for row in ranked(of)] == ["b/two-8B", "a/one-8B"]


def test_no_candidates_give_no_rows():
    assert ranked(catalogue()) == ()


def test_without_any_observation_there_is_a_ranking_of_low_confidence():
    rows = ranked(catalogue([model()]))
    assert (rows[0].quality.evidence, rows[0].quality.confidence) == ("interpolated", "low")
    assert EvidenceIndex.of(catalogue([model()]), SEED_DAY).is_empty


def test_observations_attach_to_their_own_model_only():
    of = catalogue([model("a/one-8B"), model("b/two-8B")], [observation("a/one-8B", 60)])
    assert [len(row.quality.parts) for row in ranked(of)] == [1, 0]


def test_popularity_breaks_ties_and_nothing_more():
    same = [model("a/one-8B", downloads=5), model("b/two-8B", downloads=5_000_000)]
    level = catalogue(same, [observation(of.id, 60.0) for of in same])
    assert ranked(level)[0].candidate.model.id == "b/two-8B"
    ahead = catalogue(same, [observation("a/one-8B", 60.1), observation("b/two-8B", 60.0)])
    assert ranked(ahead)[0].candidate.model.id == "a/one-8B"


def test_the_publishers_repository_goes_before_packagers_at_equal_bytes():
    build = (Build("Q4_K_M", Bytes(5 * GIB), exact=True),)
    of = model("Qwen/q-8B", repositories=(Repository("AAA/q-8B-GGUF", build), Repository("Qwen/q-8B-GGUF", build)))
    assert [row.candidate.repository.organisation for row in ranked(catalogue([of]))] == ["Qwen", "AAA"]


def test_ties_end_by_key():
    of = catalogue([model("b/same-8B"), model("a/same-8B")])
    assert [row.candidate.model.id for row in ranked(of)] == ["a/same-8B", "b/same-8B"]


@pytest.mark.parametrize("line", ["guard", "ocr", "reranker", "embedding"])
def test_a_specialist_never_wins_general(line):
    of = catalogue([model("a/special-8B", line=line), model()], [observation("a/special-8B", 99)])
    assert [row.candidate.model.id for row in ranked(of)] == ["acme/alpha-8B"]


def test_a_larger_quant_of_a_model_scores_higher():
    """Changed from the origin, where a Q2_K and a Q8_0 of one repository tied and speed preferred the smaller."""
    of = catalogue([model(builds=("Q2_K", "Q4_K_M", "Q8_0"))], [observation("acme/alpha-8B", 60)])
    assert [row.candidate.quant for row in ranked(of)] == ["Q8_0", "Q4_K_M", "Q2_K"]


def test_a_model_slower_than_reading_loses():
    rows = {gbps: ranked(seed(), machine(gbps=gbps))[0].score for gbps in (30.0, 300.0, 1008.0)}
    assert rows[30.0] < rows[300.0] == rows[1008.0]


# Properties.

days = st.dates(date(2022, 1, 1), date(2028, 1, 1))
names = st.sampled_from([f"{org}/m{number}-8B" for org in "ab" for number in range(6)])
observations = st.builds(
    BenchmarkObservation,
    model=names,
    benchmark=st.sampled_from(["mmlu-pro", "livebench_average", "lmarena_text", "humaneval", "arena_vision"]),
    value=st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]),
    scale=st.sampled_from(["0-100", "elo", "0-100 (lower is better)"]),
    source=st.sampled_from(["livebench", "lmarena", "elsewhere"]),
    observed_at=days,
    evidence=st.sampled_from(["direct", "variant", "base", "interpolated", "self-reported"]),
    quant=st.none() | quants,
    release=st.sampled_from([None, "2026-01"]),
)


def named(of, name, day, line, rank_, built):
    return replace(
        of, id=name, lineage=name.split("-")[0], released=day, line=line, generation_rank=rank_,
        repositories=(Repository(f"{name}-GGUF", tuple(Build(q, Bytes(b), exact=False) for q, b in built)),),
    )  # fmt: skip


catalogues = st.builds(
    catalogue,
    st.lists(
        st.builds(
            named, models, names, st.none() | days, st.sampled_from(["general", "coder", "embedding", "vision"]),
            st.integers(0, 5),
            st.lists(st.tuples(quants, st.integers(0, 10**12)), max_size=3, unique_by=lambda built: built[0]),
        ),
        max_size=6, unique_by=lambda of: of.id,
    ),
    st.lists(observations, max_size=40),
)  # fmt: skip


@given(catalogues, requirements, machines, st.sampled_from(PROFILES), st.randoms(use_true_random=False))
def test_order_is_irrelevant_and_the_same_inputs_give_the_same_ranking(of, requirement, hardware, profile, chance):
    requirement = replace(requirement, profile=profile)
    models_, taken = list(of.models), list(of.observations)
    chance.shuffle(models_)
    chance.shuffle(taken)
    shuffled = catalogue(models_, taken)
    found = list(candidates(shuffled))
    chance.shuffle(found)
    one = rank(candidates(of), requirement, hardware, of, SEED_DAY)
    other = rank(found, requirement, hardware, shuffled, SEED_DAY)
    assert [(row.candidate.key, row.score, row.low, row.high) for row in one] == [
        (row.candidate.key, row.score, row.low, row.high) for row in other
    ]


@given(catalogues, requirements, machines, st.sampled_from(PROFILES), days)
def test_every_number_is_finite_and_every_score_within_its_interval(of, requirement, hardware, profile, today):
    for row in rank(candidates(of), replace(requirement, profile=profile), hardware, of, today):
        assert 0 <= row.low <= row.score <= row.high <= 100
        numbers = (row.quality.score, row.quality.low, row.quality.high, row.speed.tokens_per_second, row.speed.high)
        assert all(math.isfinite(number) for number in (*numbers, row.memory.kv_bytes_per_token))
        assert row.fits == (row.memory.total_bytes <= hardware.capacity_bytes)
        assert row.fits or row.score == 0


@given(catalogues, requirements, machines)
def test_the_ranking_is_sorted_by_its_own_key(of, requirement, hardware):
    rows = rank(candidates(of), requirement, hardware, of, SEED_DAY)
    assert list(rows) == sorted(rows, key=order_key)
    assert [row.fits for row in rows] == sorted((row.fits for row in rows), reverse=True)


def test_assessing_on_another_day_reads_the_evidence_of_that_day():
    of = seed()
    index = EvidenceIndex.of(of, SEED_DAY)
    later = assess(
        Candidate(of.models[2], of.models[2].repositories[0], candidates(of)[2].build),
        Requirement(),
        BIG,
        index,
        date(2027, 5, 28),
    )
    now = assess(candidate(of.models[2]), Requirement(), BIG, index, SEED_DAY)
    assert later.score < now.score


def test_a_shuffled_seed_ranks_the_same():
    of = seed()
    found = list(candidates(of))
    random.Random(3).shuffle(found)
    assert tuple(rank(found, Requirement(), M3_MAX, of, SEED_DAY)) == ranked(of, M3_MAX)


@st.composite
def calibrations(draw, of, hardware):
    """What was measured on the machine: some builds, at speeds that may be far off every estimate."""
    found = candidates(of)
    chosen = draw(st.lists(st.sampled_from(found), max_size=3)) if found else []
    speeds = st.floats(0.01, 10_000)
    return Calibration.of(
        [measured(one, hardware, draw(speeds)) for one in chosen], {one.id: one for one in of.models}, hardware
    )


def measured(of, hardware, speed):
    return Measurement(
        machine=machine_key(hardware), runtime="llama-server", model_id=of.model.id, repository=of.repository.id,
        quant=of.quant, weights_bytes=of.bytes, context=4096, prompt_tokens=100, generated_tokens=64,
        decode_tokens_per_second=speed, slowest=speed, fastest=speed, measured_at=datetime(2026, 5, 28, tzinfo=UTC),
    )  # fmt: skip


def best_of_each_model(rows):
    found = {}
    for row in rows:
        found.setdefault(row.candidate.model.id, row)
    return tuple(found.values())


@given(catalogues, requirements, machines, st.sampled_from(PROFILES), st.none() | st.integers(0, 12), st.data())
def test_the_ranking_is_that_of_all_numbers_computed(of, requirement, hardware, profile, limit, data):
    requirement = replace(requirement, profile=profile)
    calibration = data.draw(calibrations(of, hardware))
    whole = in_full(of, requirement, hardware, calibration)
    found = rank(candidates(of), requirement, hardware, of, SEED_DAY, limit=limit, calibration=calibration)
    assert tuple(found) == whole[:limit]


@given(catalogues, requirements, machines, st.sampled_from(PROFILES), st.none() | st.integers(0, 7), st.data())
def test_the_models_are_those_of_the_whole_ranking_each_by_its_first_build(
    of, requirement, hardware, profile, limit, data
):
    requirement = replace(requirement, profile=profile)
    calibration = data.draw(calibrations(of, hardware))
    whole = in_full(of, requirement, hardware, calibration)
    found = rank_models(of, requirement, hardware, SEED_DAY, limit=limit, calibration=calibration)
    assert tuple(found) == best_of_each_model(whole)[:limit]


LARGE = generated_catalogue(120)
SOME_MEASURED = (0, 300, 900)
MACHINES = {
    "rtx-4090": RTX_4090,
    "m3-max": M3_MAX,
    "two-cards": machine("nvidia", vram=24, gbps=936.0, count=2),
    "cpu-only": machine("cpu", ram=32),
    "nothing-fits": machine("nvidia", vram=0.5, ram=1),
}


@pytest.fixture(scope="module", params=[False, True], ids=["estimated", "calibrated"])
def calibrated(request):
    return request.param


@pytest.fixture(scope="module", params=MACHINES)
def large(request, calibrated):
    """A machine, what was measured on it, and the whole ranking of a large catalogue there."""
    hardware, found = MACHINES[request.param], candidates(LARGE)
    speeds = [measured(found[index], hardware, 3.0 + 40 * index) for index in SOME_MEASURED] if calibrated else []
    calibration = Calibration.of(speeds, {one.id: one for one in LARGE.models}, hardware)
    requirement = Requirement(context=8192)
    return found, requirement, hardware, calibration, in_full(LARGE, requirement, hardware, calibration)


@pytest.mark.parametrize("limit", [None, 1, 20, 500])
def test_the_ranking_of_a_large_catalogue_is_that_of_all_numbers_computed(large, limit):
    found, requirement, hardware, calibration, whole = large
    few = rank(found, requirement, hardware, LARGE, SEED_DAY, limit=limit, calibration=calibration)
    assert tuple(few) == whole[:limit]
    assert [one.key for one in few.candidates()] == [row.candidate.key for row in whole[:limit]]


@pytest.mark.parametrize("limit", [None, 1, 20, 500])
def test_the_models_of_a_large_catalogue_are_those_of_the_whole_ranking(large, limit):
    _, requirement, hardware, calibration, whole = large
    models_ = rank_models(LARGE, requirement, hardware, SEED_DAY, limit=limit, calibration=calibration)
    assert tuple(models_) == best_of_each_model(whole)[:limit]


def test_the_order_of_a_large_catalogue_does_not_matter_to_its_models():
    chance = random.Random(5)
    shuffled = catalogue(chance.sample(LARGE.models, len(LARGE.models)), LARGE.observations)
    requirement = Requirement(context=8192)
    one = rank_models(LARGE, requirement, RTX_4090, SEED_DAY)
    assert list(rank_models(shuffled, requirement, RTX_4090, SEED_DAY)) == list(one)


def test_the_first_one_is_the_faster_of_two_that_score_the_same_when_rounded():
    """A cut at more digits than the order reads would leave the faster out."""
    of = catalogue([model(builds=("UD-Q6_K_M", "Q6_K", "Q5_K_M"))], [observation("acme/alpha-8B", 61)])
    whole = ranked(of)
    assert len({round(row.score, 2) for row in whole[:2]}) == 2
    assert tuple(rank(candidates(of), Requirement(), RTX_4090, of, SEED_DAY, limit=1)) == whole[:1]
    assert tuple(rank_models(of, Requirement(), RTX_4090, SEED_DAY)) == whole[:1]


@given(models, requirements, machines, quants, st.integers(0, 10**12), st.booleans())
def test_what_is_compared_is_what_is_shown(of, requirement, hardware, quant, size, exact):
    """The short ways to fit and speed are those of the full estimates."""
    build = Build(quant, Bytes(size), exact=exact)
    memory, speed = memory_model(of, requirement, hardware), speed_model(of, requirement, hardware)
    full = memory.estimate(build)
    assert (memory.weights(build), memory.total(build)) == (full.weights_bytes, full.total_bytes)
    assert (full.weights_bytes <= memory.room_for_weights()) == (full.total_bytes <= hardware.capacity_bytes)
    shown = speed.estimate(build, full)
    assert speed.pace(build, full.weights_bytes, full.total_bytes) == (shown.tokens_per_second, shown.confidence)


def test_the_generator_gives_the_same_catalogue_for_the_same_seed():
    assert generated_catalogue(20) == generated_catalogue(20)
    assert generated_catalogue(20, seed=8) != generated_catalogue(20)
