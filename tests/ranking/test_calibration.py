"""What was measured replaces the estimate of the same build, corrects its kind, and can never run away with it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import Candidate, Requirement, SpeedEstimate
from reconciler.domain.hardware import Hardware
from reconciler.domain.measurement import Measurement, machine_key
from reconciler.domain.units import GB, GIB, Bytes
from reconciler.ranking.calibration import HIGHEST, LOWEST, UNCALIBRATED, Calibration
from reconciler.ranking.candidates import candidates
from reconciler.ranking.memory import estimate_memory
from reconciler.ranking.rank import rank
from reconciler.ranking.speed import estimate_speed
from tests.builders import hardware, model
from tests.ranking.generated import generated_catalogue

GPU, CPU = hardware(), hardware(vram_gib=0)
DENSE = model("acme/alpha-8b", quants=("Q4_K_M", "Q8_0"))
OTHER = model("acme/beta-12b", params=12_000_000_000, size_gb=7.5)
SMALL = model("acme/gamma-1b", params=1_000_000_000, size_gb=0.8)
MIXTURE = replace(model("acme/delta-30b-a3b", params=30_000_000_000, size_gb=18), active_params=3_000_000_000)
MODELS = {one.id: one for one in (DENSE, OTHER, SMALL, MIXTURE)}
DAY = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def candidate(of: CatalogModel = DENSE, quant: str = "Q4_K_M") -> Candidate:
    (build,) = (build for build in of.repositories[0].builds if build.quant == quant)
    return Candidate(of, of.repositories[0], build)


def estimated(of: Candidate, machine: Hardware = GPU, *, context: int = 4096) -> SpeedEstimate:
    asked = Requirement(context=context)
    return estimate_speed(of.model, of.build, estimate_memory(of.model, of.build, asked, machine), machine, asked)


def measured(of: Candidate, ratio: float = 1.0, machine: Hardware = GPU, **changes: object) -> Measurement:
    """A measurement at the depth that an estimate for 4096 tokens has, ``ratio`` times as fast as estimated."""
    speed = estimated(of, machine).tokens_per_second * ratio
    fields = {
        "machine": machine_key(machine), "runtime": "llama-server", "model_id": of.model.id,
        "repository": of.repository.id, "quant": of.quant, "weights_bytes": of.bytes, "context": 4096,
        "prompt_tokens": 2016, "generated_tokens": 64, "runs": 3, "decode_tokens_per_second": speed,
        "slowest": speed * 0.98, "fastest": speed * 1.01, "measured_at": DAY,
    }  # fmt: skip
    return Measurement.model_validate(fields | changes)


def applied(found: list[Measurement], of: Candidate, machine: Hardware = GPU, **more: object) -> SpeedEstimate:
    calibration = Calibration.of(found, MODELS, machine, **more)
    return calibration.apply(of, estimated(of, machine))


# The same build.


def test_what_was_measured_beats_what_is_estimated_and_says_when() -> None:
    found = applied([measured(candidate(), 0.6)], candidate())
    before = estimated(candidate())
    assert math.isclose(found.tokens_per_second, before.tokens_per_second * 0.6, rel_tol=1e-9)
    assert (found.basis, found.measured_at, found.confidence) == ("measured", "2026-11-20", "high")
    assert found.high / found.low < 1.1 < before.high / before.low
    assert found.low < found.tokens_per_second < found.high
    assert math.isclose(found.effective_bandwidth_gbps, before.effective_bandwidth_gbps * 0.6, rel_tol=1e-9)


def test_a_measured_speed_is_carried_to_the_asked_depth_and_is_less_sure_there() -> None:
    calibration = Calibration.of([measured(candidate(), 0.6)], MODELS, GPU)
    deep, near = (calibration.apply(candidate(), estimated(candidate(), context=size)) for size in (32_768, 4096))
    assert math.isclose(
        deep.tokens_per_second / near.tokens_per_second,
        estimated(candidate(), context=32_768).tokens_per_second / estimated(candidate()).tokens_per_second,
        rel_tol=1e-9,
    )
    assert deep.high / deep.low > near.high / near.low


def test_runs_that_differ_widely_are_told_by_the_interval() -> None:
    steady, shaky = (
        applied([measured(candidate(), slowest=estimated(candidate()).tokens_per_second * low)], candidate())
        for low in (0.98, 0.7)
    )
    assert shaky.low < steady.low < steady.tokens_per_second


def test_one_run_or_other_work_makes_a_measurement_less_sure_and_no_surer_than_the_estimate() -> None:
    sure = applied([measured(candidate(), 1, CPU)], candidate(), CPU)
    for doubt in ({"runs": 1}, {"other_load": 0.67}):
        found = applied([measured(candidate(), 1, CPU, **doubt)], candidate(), CPU)
        assert (sure.confidence, found.confidence) == ("medium", "low")
        assert found.low < sure.low < sure.high < found.high


def test_one_run_or_other_work_is_told() -> None:
    for doubt, told in (({"runs": 1}, True), ({"other_load": 0.67}, True), ({}, False)):
        found = applied([measured(candidate(), 1, CPU, **doubt)], candidate(), CPU)
        assert (found.basis, found.doubtful) == ("measured", told)
    assert not applied([measured(candidate(), 1, CPU, runs=1)], candidate(OTHER), CPU).doubtful, "it is an estimate"


def test_a_measured_prompt_is_carried_to_the_asked_length_and_the_first_token_follows() -> None:
    known = {"prompt_tokens": 130, "prefill_tokens_per_second": 50.0}
    calibration = Calibration.of([measured(candidate(), 1, CPU, **known)], MODELS, CPU)
    for context in (4096, 32_768):
        before = estimated(candidate(), CPU, context=context)
        found = calibration.apply(candidate(), before)
        prompt = context / 2
        assert found.prefill_basis == "measured"
        assert found.prefill_tokens_per_second is not None
        assert found.first_token_seconds is not None
        assert math.isclose(
            found.first_token_seconds, prompt / found.prefill_tokens_per_second + 1 / found.tokens_per_second
        )
        expected = 50.0 * (1 + (130 + 32) / 50_000) / (1 + prompt / 50_000)
        assert math.isclose(found.prefill_tokens_per_second, expected, rel_tol=1e-6)


def test_a_short_prompt_makes_an_accelerators_reading_no_surer_and_a_doubtful_one_nobodys() -> None:
    known = {"prefill_tokens_per_second": 900.0}
    on_card, before = applied([measured(candidate(), **known)], candidate()), estimated(candidate())
    assert (on_card.prefill_basis, on_card.prefill_confidence) == ("measured", before.prefill_confidence)
    assert estimated(candidate(), CPU).prefill_confidence == "low"
    sure, once = (
        applied([measured(candidate(), 1, CPU, runs=runs, **known)], candidate(), CPU).prefill_confidence
        for runs in (3, 1)
    )
    assert (sure, once) == ("medium", "low")


def test_a_prompt_that_nobody_timed_or_that_was_too_short_stays_estimated() -> None:
    nothing: list[dict[str, object]] = [
        {}, {"prefill_tokens_per_second": 0.0}, {"prefill_tokens_per_second": math.inf},
        {"prefill_tokens_per_second": 900.0, "prompt_tokens": 9},
    ]  # fmt: skip
    for changes in nothing:
        found = applied([measured(candidate(), **changes)], candidate())
        assert (found.basis, found.prefill_basis) == ("measured", "estimated")
        assert found.prefill_tokens_per_second == estimated(candidate()).prefill_tokens_per_second


def test_a_measured_prompt_where_nothing_is_estimated_is_the_short_ones_own() -> None:
    small = hardware(vram_gib=4)
    assert estimated(candidate(), small).prefill_tokens_per_second is None
    found = applied([measured(candidate(), 1, small, prefill_tokens_per_second=90.0)], candidate(), small)
    assert (found.prefill_tokens_per_second, found.prefill_basis) == (90.0, "measured")
    assert (found.first_token_seconds, found.prefill_confidence) == (None, "low")


def test_another_repository_of_the_same_quant_counts_and_its_own_goes_before() -> None:
    elsewhere = measured(candidate(), 0.5, repository="packer/alpha-8b-GGUF")
    found = applied([elsewhere], candidate())
    assert found.basis == "measured"
    assert applied([elsewhere, measured(candidate(), 0.9)], candidate()).tokens_per_second > found.tokens_per_second


def test_the_runtime_that_is_asked_goes_before_a_newer_measurement_of_another() -> None:
    ours = measured(candidate(), 0.5)
    theirs = measured(candidate(), 0.9, runtime="ollama", measured_at=DAY + timedelta(days=1))
    slow = applied([ours, theirs], candidate(), runtime="llama-server")
    quick = applied([ours, theirs], candidate(), runtime="ollama")
    assert slow.tokens_per_second < quick.tokens_per_second == applied([ours, theirs], candidate()).tokens_per_second


def test_a_model_the_catalogue_does_not_know_is_measured_all_the_same() -> None:
    stranger = Candidate(replace(DENSE, id="somebody/else"), DENSE.repositories[0], candidate().build)
    found = Calibration.of([measured(candidate(), 0.6, model_id="somebody/else")], {}, GPU)
    assert found.apply(stranger, estimated(stranger)).basis == "measured"
    assert found.apply(candidate(OTHER), estimated(candidate(OTHER))) == estimated(candidate(OTHER))


def test_what_does_not_fit_at_the_asked_context_is_not_made_to_run() -> None:
    huge = Candidate(DENSE, DENSE.repositories[0], Build("Q4_K_M", Bytes(900 * GB), exact=True))
    assert applied([measured(candidate())], huge) == estimated(huge)


# Others of its kind.


def test_another_machine_is_another_matter() -> None:
    found = [measured(candidate(), 0.5)]
    assert Calibration.of(found, MODELS, hardware(ram_gib=32)) is UNCALIBRATED
    assert Calibration.of(found, MODELS, CPU).apply(candidate(), estimated(candidate())) == estimated(candidate())


def test_a_slow_model_slows_its_kind_by_less_than_itself() -> None:
    before, found = estimated(candidate(OTHER)), applied([measured(candidate(), 0.5)], candidate(OTHER))
    assert 0.5 < found.tokens_per_second / before.tokens_per_second < 0.75
    assert found.high / found.low < before.high / before.low
    assert found.basis == "estimated"
    assert found.measured_at is None


def test_confidence_rises_one_step_at_most_and_only_by_its_own_kind() -> None:
    assert estimated(candidate(OTHER), CPU).confidence == "low"
    assert applied([measured(candidate(), 1, CPU)], candidate(OTHER), CPU).confidence == "medium"
    assert applied([measured(candidate(), 1, CPU)], candidate(), CPU).confidence == "medium", (
        "it gains nothing on those"
    )
    several = [measured(candidate(), 1, CPU), measured(candidate(quant="Q8_0"), 1, CPU)]
    assert applied(several, candidate(OTHER), CPU).confidence == "medium"
    assert applied([measured(candidate(SMALL), 1, CPU)], candidate(OTHER), CPU).confidence == "low"


def test_a_single_run_corrects_its_kind_and_raises_no_confidence_however_many_there_are() -> None:
    third = model("acme/epsilon-14b", params=14_000_000_000, size_gb=9)
    known = {**MODELS, third.id: third}
    once = [measured(candidate(of), 0.5, CPU, runs=1) for of in (DENSE, third)]
    asked, before = candidate(OTHER), estimated(candidate(OTHER), CPU)
    found = Calibration.of(once, known, CPU).apply(asked, before)
    assert found.tokens_per_second < before.tokens_per_second
    assert (before.confidence, found.confidence) == ("low", "low")
    again = [*once, measured(candidate(), 0.5, CPU, context=8192)]
    assert Calibration.of(again, known, CPU).apply(asked, before).confidence == "medium", "one that is sure is enough"


def test_small_models_and_mixtures_say_little_about_large_dense_ones() -> None:
    ratios = [
        applied([measured(candidate(of), 0.5)], candidate(OTHER)).tokens_per_second for of in (DENSE, MIXTURE, SMALL)
    ]
    assert ratios == sorted(ratios)
    assert ratios[-1] > 0.8 * estimated(candidate(OTHER)).tokens_per_second


def test_a_model_with_embeddings_per_layer_is_as_dense_to_calibration_as_to_the_estimate() -> None:
    dense = candidate(replace(model("acme/e4b", params=8_000_000_000), active_params=4_000_000_000))
    named = replace(dense.model.architecture, name="gemma3n", experts=None, active_experts=None)
    looked_up = replace(dense, model=replace(dense.model, architecture=named))
    models = MODELS | {looked_up.model.id: looked_up.model}

    found = Calibration.of([measured(looked_up, 0.5)], models, GPU)
    corrected = found.apply(candidate(OTHER), estimated(candidate(OTHER))).tokens_per_second
    of_a_dense_one = applied([measured(candidate(DENSE), 0.5)], candidate(OTHER)).tokens_per_second
    assert math.isclose(corrected, of_a_dense_one)


def test_many_quants_of_one_model_weigh_as_one_model() -> None:
    one = [measured(candidate(), 0.5)]
    many = [*one, measured(candidate(), 0.5, context=8192), measured(candidate(quant="Q8_0"), 0.5)]
    first, second = (applied(found, candidate(OTHER)).tokens_per_second for found in (one, many))
    assert math.isclose(first, second, rel_tol=0.02)


def test_measurements_that_agree_narrow_and_those_that_do_not_widen() -> None:
    third = model("acme/epsilon-14b", params=14_000_000_000, size_gb=9)
    known = {**MODELS, third.id: third}

    def width(*ratios: float) -> float:
        found = [measured(candidate(of), ratio) for of, ratio in zip((DENSE, third), ratios, strict=False)]
        speed = Calibration.of(found, known, GPU).apply(candidate(OTHER), estimated(candidate(OTHER)))
        return speed.high / speed.low

    assert width(0.8, 0.8) < width(0.8) < width(0.5, 1.6)


def test_a_server_that_leaves_the_accelerator_alone_says_nothing_about_it() -> None:
    beside = {"on_accelerator": 0.0, "loaded_bytes": Bytes(6 * GB)}
    assert applied([measured(candidate(), 0.1, **beside)], candidate()) == estimated(candidate())
    assert applied([measured(candidate(), 0.1, **beside)], candidate(OTHER)) == estimated(candidate(OTHER))
    ollama = [measured(candidate(), 0.1, runtime="ollama", **beside)]
    assert applied(ollama, candidate()).basis == "measured", "it will do the same again"
    assert applied(ollama, candidate(OTHER)) == estimated(candidate(OTHER))
    spilled = {"on_accelerator": 0.5, "loaded_bytes": Bytes(48 * GIB)}
    assert applied([measured(candidate(), 0.1, **spilled)], candidate()).basis == "measured"


def test_other_work_on_the_processors_says_nothing_about_other_models() -> None:
    found = [measured(candidate(), 0.3, CPU, other_load=0.8)]
    assert applied(found, candidate(), CPU).basis == "measured"
    assert applied(found, candidate(OTHER), CPU) == estimated(candidate(OTHER), CPU)
    on_card = applied([measured(candidate(), 0.3, other_load=0.8)], candidate(OTHER))
    assert on_card.tokens_per_second < estimated(candidate(OTHER)).tokens_per_second


def test_an_outlier_is_bounded() -> None:
    for ratio in (1e-6, 1e6):
        speed = applied([measured(candidate(), ratio)], candidate(OTHER)).tokens_per_second
        assert LOWEST <= speed / estimated(candidate(OTHER)).tokens_per_second <= HIGHEST


def test_a_measurement_without_a_speed_is_nothing() -> None:
    for speed in (0.0, -1.0, math.nan, math.inf, 5e-324, 1e-300, 1e300):
        assert Calibration.of([measured(candidate(), decode_tokens_per_second=speed)], MODELS, GPU) is UNCALIBRATED


# What must hold for any measurements.

OF = st.sampled_from(
    [candidate(DENSE), candidate(DENSE, "Q8_0"), candidate(OTHER), candidate(SMALL), candidate(MIXTURE)]
)
MACHINE = st.sampled_from([GPU, CPU, hardware(vram_gib=8)])
RATIO = st.floats(1e-9, 1e9)


@st.composite
def some(draw: st.DrawFn, machine: Hardware) -> list[Measurement]:
    return [
        measured(
            draw(OF), draw(RATIO), machine, runtime=draw(st.sampled_from(["ollama", "llama-server"])),
            context=draw(st.sampled_from([512, 4096, 131_072])), prompt_tokens=draw(st.integers(0, 5000)),
            measured_at=DAY + timedelta(hours=draw(st.integers(0, 3))), slowest=draw(st.floats(0, 1e12)),
            weights_bytes=Bytes(draw(st.integers(0, 900 * GIB))), runs=draw(st.integers(1, 3)),
            prefill_tokens_per_second=draw(st.none() | st.floats(0, 1e12)),
        )
        for _ in range(draw(st.integers(0, 5)))
    ]  # fmt: skip


@given(OF, MACHINE)
def test_without_measurements_nothing_changes(of: Candidate, machine: Hardware) -> None:
    before = estimated(of, machine)
    assert UNCALIBRATED.apply(of, before) is before
    assert Calibration.of([], MODELS, machine).apply(of, before) is before


@given(st.data(), OF, MACHINE, st.integers(1, 200_000))
def test_every_answer_is_a_number_in_order(data: st.DataObject, of: Candidate, machine: Hardware, context: int) -> None:
    before = estimated(of, machine, context=context)
    found = Calibration.of(data.draw(some(machine)), MODELS, machine).apply(of, before)
    assert 0 <= found.low <= found.tokens_per_second <= found.high < math.inf
    assert (found.tokens_per_second > 0) == (before.tokens_per_second > 0)
    assert found.first_token_seconds is None or 0 <= found.first_token_seconds < math.inf
    assert found.prefill_tokens_per_second is None or 0 < found.prefill_tokens_per_second < math.inf
    if found.basis == "estimated" and before.tokens_per_second > 0:
        assert LOWEST * 0.999 <= found.tokens_per_second / before.tokens_per_second <= HIGHEST * 1.001


@given(st.data(), OF, MACHINE)
def test_their_order_does_not_matter(data: st.DataObject, of: Candidate, machine: Hardware) -> None:
    found = data.draw(some(machine))
    shuffled = data.draw(st.permutations(found))
    one, other = (Calibration.of(each, MODELS, machine) for each in (found, shuffled))
    assert one == other
    assert one.apply(of, estimated(of, machine)) == other.apply(of, estimated(of, machine))


@given(st.data(), OF, MACHINE, st.floats(1, 1e6))
def test_a_faster_measurement_slows_nothing_down(
    data: st.DataObject, of: Candidate, machine: Hardware, times: float
) -> None:
    found = data.draw(some(machine))
    if found:
        index = data.draw(st.integers(0, len(found) - 1))
        quicker = found[index].model_copy(
            update={"decode_tokens_per_second": found[index].decode_tokens_per_second * times}
        )
        faster = [*found[:index], quicker, *found[index + 1 :]]
        if len({one.recency for one in found}) == len(found) == len({one.conditions for one in found}):
            before, after = (
                Calibration.of(each, MODELS, machine).apply(of, estimated(of, machine)) for each in (found, faster)
            )
            assert after.tokens_per_second >= before.tokens_per_second * (1 - 1e-9)


def test_the_ranking_prunes_the_same_with_measurements() -> None:
    """What cannot come among the first is left out by its quality alone, which no measurement changes."""
    catalogue = generated_catalogue(120)
    models = {one.id: one for one in catalogue.models}
    some_models = [one for one in catalogue.models if not one.is_moe][:40:8]
    for machine in (CPU, GPU):
        found = [
            measured(candidate(one, one.repositories[0].builds[0].quant), ratio, machine)
            for one, ratio in zip(some_models, (0.2, 0.9, 1.4, 3.0, 0.5), strict=True)
        ]
        calibration = Calibration.of(found, models, machine)
        asked = (candidates(catalogue), Requirement(), machine, catalogue, date(2026, 11, 22))
        whole = tuple(rank(*asked, calibration=calibration))
        assert tuple(rank(*asked, limit=15, calibration=calibration)) == whole[:15]
        assert any(one.speed.basis == "measured" for one in whole) or machine is GPU
        assert whole != tuple(rank(*asked))
