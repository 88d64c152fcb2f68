import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Build
from reconciler.domain.estimate import Requirement
from reconciler.domain.units import Bytes
from reconciler.ranking.memory import estimate_memory
from reconciler.ranking.speed import estimate_speed
from tests.ranking.made import LLAMA_8B, M3_MAX, RTX_4090, machine, model
from tests.ranking.test_memory import machines, models, quants, requirements

MAC_400 = machine("macos", vram=64, gbps=400.0, ram=64)


def speed(hardware, *, billions=32.0, active=None, quant="Q4_K_M", context=4096, **more):
    of = model(billions=billions, active=active, **more)
    build, requirement = Build(quant, Bytes(0), exact=False), Requirement(context=context)
    return estimate_speed(of, build, estimate_memory(of, build, requirement, hardware), hardware, requirement)


def test_32b_on_a_400_gbps_mac():
    """Changed from the origin: the backend is llama.cpp's Metal, which Ollama runs, not MLX, which it does not."""
    estimate = speed(MAC_400)
    assert 10 <= estimate.tokens_per_second <= 30
    assert (estimate.confidence, estimate.offloaded, estimate.backend) == ("high", 0.0, "metal")


def test_70b_on_a_4090_is_partly_outside_and_much_slower():
    """Changed from the origin (8.0 t/s): times add up, so the blend is harmonic and RAM dominates."""
    estimate = speed(RTX_4090, billions=70)
    assert 0 < estimate.offloaded < 1
    assert estimate.tokens_per_second < speed(machine(vram=80), billions=70).tokens_per_second / 4
    assert estimate.confidence == "medium"


def test_a_12_gb_card_has_most_of_it_outside():
    estimate = speed(machine(vram=12), billions=70)
    assert estimate.offloaded > 0.5
    assert estimate.confidence == "low"


def test_all_weights_active_is_dense():
    assert speed(RTX_4090, active=32).tokens_per_second == speed(RTX_4090).tokens_per_second


def test_30b_a3b_is_several_times_as_fast_as_a_dense_one():
    """Changed from the origin (4 ×): a mixture has the same fixed time per layer, and reads scattered rows."""
    assert (
        speed(RTX_4090, billions=30, active=3).tokens_per_second >= 3 * speed(RTX_4090, billions=30).tokens_per_second
    )


def test_cpu_speed_comes_from_the_bandwidth_of_the_ram():
    slow, fast = (speed(machine("cpu", ram=32, ram_gbps=gbps), billions=7) for gbps in (40.0, 80.0))
    assert 0 < slow.tokens_per_second < fast.tokens_per_second < 2 * slow.tokens_per_second
    assert (fast.confidence, fast.offloaded, fast.backend) == ("low", 1.0, "cpu")


def test_what_fits_nowhere_has_no_speed():
    estimate = speed(machine(vram=4, ram=8), billions=70)
    assert (estimate.tokens_per_second, estimate.high, estimate.effective_bandwidth_gbps) == (0, 0, 0)
    assert (estimate.confidence, estimate.offloaded) == ("low", 1.0)


def test_unified_memory_is_not_counted_twice():
    """Changed from the origin: 70 B at 4 bits (44 GiB) was said to run on a Mac of 36 GB, as 36 + 36."""
    assert speed(M3_MAX, billions=70).tokens_per_second == 0


def test_an_unknown_quant_has_low_confidence():
    assert speed(RTX_4090, billions=7, quant="Q99").confidence == "low"


def test_an_assumed_bandwidth_has_at_most_medium_confidence():
    assert speed(machine(bandwidth_source="assumed", confidence="low")).confidence == "medium"
    assert speed(machine(bandwidth_source="override")).confidence == "high"


def test_backends_differ():
    """Changed from the origin (mlx above ollama by choice of the caller): the platform decides the backend."""
    names = [speed(machine(platform)).backend for platform in ("nvidia", "amd", "macos", "intel")]
    assert names == ["cuda", "rocm", "metal", "sycl"]


def test_old_nvidia_cards_reach_less_of_their_bandwidth():
    new, old = speed(machine(compute_capability="8.9")), speed(machine(compute_capability="6.1"))
    assert old.tokens_per_second < 0.6 * new.tokens_per_second
    assert speed(machine(name="NVIDIA GeForce GTX 1070")).tokens_per_second == old.tokens_per_second


def test_small_models_do_not_outrun_their_fixed_time():
    small = speed(RTX_4090, billions=0.5)
    assert small.tokens_per_second < 0.5 * (1008e9 / (0.5e9 * 4.85 / 8))


def test_speed_falls_with_context():
    at = [
        speed(RTX_4090, billions=8, architecture=LLAMA_8B, context=context).tokens_per_second
        for context in (4096, 32768, 65536)
    ]
    assert at == sorted(at, reverse=True)


def test_two_cards_share_the_layers_one_after_the_other():
    one, two = speed(machine(vram=48)), speed(machine(vram=24, count=2))
    assert two.tokens_per_second == pytest.approx(one.tokens_per_second)
    assert two.high / two.low > one.high / one.low


def test_a_slower_second_card_slows_the_whole():
    fast = machine(vram=24, count=2)
    mixed = fast.model_copy(
        update={"devices": (fast.devices[0], fast.devices[1].model_copy(update={"bandwidth_gbps": 360.0}))}
    )
    assert speed(mixed).tokens_per_second < 0.7 * speed(fast).tokens_per_second


def test_mixtures_have_the_wider_interval():
    dense, moe = speed(RTX_4090), speed(RTX_4090, active=3)
    assert moe.high / moe.low > dense.high / dense.low > 1


@given(models, quants, requirements, machines)
def test_every_speed_is_a_finite_number_within_its_interval(of, quant, requirement, hardware):
    build = Build(quant, Bytes(0), exact=False)
    estimate = estimate_speed(of, build, estimate_memory(of, build, requirement, hardware), hardware, requirement)
    numbers = (estimate.low, estimate.tokens_per_second, estimate.high)
    assert all(math.isfinite(number) and number >= 0 for number in numbers)
    assert numbers == tuple(sorted(numbers))
    assert math.isfinite(estimate.effective_bandwidth_gbps)
    assert 0 <= estimate.offloaded <= 1


@pytest.mark.parametrize("platform", ["macos", "nvidia", "amd", "intel"])
@pytest.mark.parametrize("gbps", [0.0, 5e-324, 1e-300, 1e300, math.inf])
def test_no_bandwidth_is_too_little_or_too_much_to_answer(platform, gbps):
    found = speed(machine(platform, vram=64, gbps=gbps, ram=64), billions=8)
    assert 0 <= found.low <= found.tokens_per_second <= found.high < math.inf
    assert found.tokens_per_second == 0 or gbps > 1
    assert math.isfinite(found.effective_bandwidth_gbps)


def test_a_prompt_takes_time_before_the_first_token():
    short, long = (speed(RTX_4090, billions=8, architecture=LLAMA_8B, context=context) for context in (2048, 32768))
    assert short.prefill_tokens_per_second > long.prefill_tokens_per_second > 10 * long.tokens_per_second
    assert 0 < short.first_token_seconds < long.first_token_seconds
    assert (short.prefill_confidence, speed(RTX_4090, active=3).prefill_confidence) == ("medium", "low")


def test_nobody_knows_the_prefill_of_what_was_not_measured():
    for unknown in (speed(machine("intel")), speed(RTX_4090, billions=70), speed(machine(compute_capability="6.1"))):
        assert (unknown.prefill_tokens_per_second, unknown.first_token_seconds, unknown.prefill_confidence) == (
            None,
        ) * 3


def test_the_depth_may_be_told():
    of, build, requirement = model(architecture=LLAMA_8B), Build("Q4_K_M", Bytes(0), exact=False), Requirement()
    memory = estimate_memory(of, build, requirement, RTX_4090)
    at = [
        estimate_speed(of, build, memory, RTX_4090, requirement, depth=depth).tokens_per_second
        for depth in (0, 2048, 4096)
    ]
    assert at == sorted(at, reverse=True)
    assert at[1] == estimate_speed(of, build, memory, RTX_4090, requirement).tokens_per_second


def test_vllm_and_mlx_are_runners_of_their_own():
    of, build, requirement = model(), Build("Q4_K_M", Bytes(0), exact=False), Requirement()

    def said(hardware, runner):
        memory = estimate_memory(of, build, requirement, hardware)
        return estimate_speed(of, build, memory, hardware, requirement, runner=runner)

    assert said(MAC_400, "mlx").backend == "mlx"
    assert said(RTX_4090, "vllm").tokens_per_second < said(RTX_4090, "llama.cpp").tokens_per_second


def test_intel_is_low_confidence_with_a_wide_interval():
    estimate = speed(machine("intel"), billions=8)
    assert estimate.confidence == "low"
    assert estimate.high / estimate.low > 3


def test_parallel_sequences_do_not_slow_one_stream():
    of, build = model(architecture=LLAMA_8B), Build("Q4_K_M", Bytes(0), exact=False)
    one, four = (
        estimate_speed(of, build, estimate_memory(of, build, asked, RTX_4090), RTX_4090, asked).tokens_per_second
        for asked in (Requirement(), Requirement(parallel=4))
    )
    assert one == four


@given(st.floats(0.3, 60), st.floats(0.3, 60), st.sampled_from(["nvidia", "amd", "macos", "cpu"]))
def test_more_active_weights_are_never_faster(one, other, platform):
    few, many = sorted((one, other))
    hardware = machine(platform, vram=200, ram=200)
    slow, fast = (speed(hardware, billions=61, active=active).tokens_per_second for active in (many, few))
    assert slow <= fast * (1 + 1e-9)


@given(st.floats(1, 5000), st.floats(1, 5000), st.sampled_from(["nvidia", "amd", "macos", "intel"]))
def test_more_bandwidth_is_never_slower(one, other, platform):
    slow, fast = (
        speed(machine(platform, vram=80, gbps=gbps), billions=8).tokens_per_second for gbps in sorted((one, other))
    )
    assert 0 < slow <= fast * (1 + 1e-9)


@given(st.floats(5, 60), st.floats(5, 60))
def test_more_outside_the_accelerator_is_never_faster(one, other):
    small, large = sorted((one, other))
    slow, fast = (speed(machine(vram=vram, ram=128), billions=60).tokens_per_second for vram in (small, large))
    assert slow <= fast * (1 + 1e-9)
