from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Architecture, Attention, Build
from reconciler.domain.estimate import Requirement
from reconciler.domain.units import GIB, Bytes
from reconciler.ranking.kv_cache import CELL_PADDING
from reconciler.ranking.memory import estimate_memory
from tests.ranking.made import LLAMA_8B, M3_MAX, RTX_4090, machine, model
from tests.ranking.test_kv_cache import GEMMA_3_27B, QWEN_3_6_27B, architectures


def gib(billions, quant="Q4_K_M", **asked):
    of = model(billions=billions, builds=(quant,))
    return of, estimate_memory(of, of.repositories[0].builds[0], Requirement(**asked), RTX_4090)


@pytest.mark.parametrize(
    ("billions", "quant", "weights", "kv", "total"),
    [
        (7, "Q4_K_M", 3.952, 0.214, 6.666), (8, "Q4_K_M", 4.517, 0.244, 7.261), (14, "Q4_K_M", 7.905, 0.427, 10.832),
        (30, "Q4_K_M", 16.938, 0.916, 20.354), (32, "Q4_K_M", 18.068, 0.977, 21.544),
        (32, "Q8_0", 31.665, 0.977, 35.142), (70, "Q4_K_M", 39.523, 2.136, 44.159),
    ],
)  # fmt: skip
def test_the_origins_reference_values_hold_where_no_architecture_is_known(billions, quant, weights, kv, total):
    _, memory = gib(billions, quant)
    assert memory.basis == "seed-formula"
    assert memory.weights_basis == "bits-per-weight"
    assert memory.weights_bytes / GIB == pytest.approx(weights, abs=0.001)
    assert memory.kv_bytes / GIB == pytest.approx(kv, abs=0.001)
    assert memory.total_bytes / GIB == pytest.approx(total, abs=0.001)


def test_unknown_quant_takes_8_bits():
    _, memory = gib(32, "Q99")
    assert memory.weights_bytes / GIB == pytest.approx(29.8, abs=0.05)
    assert memory.total_bytes / GIB == pytest.approx(33.3, abs=0.05)


def test_double_context_doubles_the_cache():
    assert gib(32, context=8192)[1].kv_bytes == pytest.approx(2 * gib(32, context=4096)[1].kv_bytes, abs=2)


def test_quantised_cache_halves_and_quarters_in_the_origins_formula():
    full = gib(32)[1].kv_bytes
    assert gib(32, kv_cache="q8_0")[1].kv_bytes == pytest.approx(full / 2, abs=1)
    assert gib(32, kv_cache="q4_0")[1].kv_bytes == pytest.approx(full / 4, abs=1)


def test_the_total_is_the_sum_of_its_parts_and_the_origins_constants_are_exact():
    _, memory = gib(32)
    assert (memory.compute_bytes, memory.overhead_bytes) == (1.5 * GIB, GIB)
    assert memory.total_bytes == (
        memory.weights_bytes + memory.kv_bytes + memory.state_bytes + memory.compute_bytes + memory.overhead_bytes
    )


def test_a_mixture_loads_all_its_experts():
    dense, moe = model(billions=30), model(billions=30, active=3)
    build = dense.repositories[0].builds[0]
    assert (
        estimate_memory(dense, build, Requirement(), RTX_4090).weights_bytes
        == estimate_memory(moe, build, Requirement(), RTX_4090).weights_bytes
    )


def test_defaults_are_4096_tokens_at_16_bits():
    assert (Requirement().context, Requirement().kv_cache, Requirement().parallel) == (4096, "f16", 1)


def test_a_real_file_is_its_own_size():
    of = model(builds=(Build("Q4_K_M", Bytes(4_920_739_232), exact=True),))
    memory = estimate_memory(of, of.repositories[0].builds[0], Requirement(), RTX_4090)
    assert (memory.weights_bytes, memory.weights_basis) == (4_920_739_232, "file")


def test_a_rounded_file_says_so():
    of = model(builds=(Build("Q4_K_M", Bytes(4_900_000_000), exact=False),))
    memory = estimate_memory(of, of.repositories[0].builds[0], Requirement(), RTX_4090)
    assert memory.weights_basis == "approximate-file"


def test_bits_are_over_the_weights_that_load_not_over_the_published_ones():
    of = model(billions=27.4, gguf_weights=27_009_000_000)
    memory = estimate_memory(of, of.repositories[0].builds[0], Requirement(), RTX_4090)
    assert memory.weights_bytes == round(27_009_000_000 * 4.85 / 8)


def test_compute_buffer_is_the_one_llama_cpp_logs():
    """llama-server b10434 plans 120.01 MiB for the dimensions of Llama 3.1 8B at 4096 tokens, and 0.49 for its output."""
    of = model(architecture=replace(LLAMA_8B, feed_forward=14336), context_length=131072)
    memory = estimate_memory(of, of.repositories[0].builds[0], Requirement(context=4096), RTX_4090)
    assert memory.basis == "architecture"
    assert memory.compute_bytes == 120 * 2**20 + 128256 * 4
    assert memory.kv_bytes_per_token == 128 * 1024


def test_the_largest_context_fits_and_one_more_token_does_not():
    of = model(billions=27, architecture=GEMMA_3_27B, context_length=1_000_000)
    build = of.repositories[0].builds[0]
    memory = estimate_memory(of, build, Requirement(), RTX_4090)
    assert memory.max_context is not None
    assert memory.max_context % CELL_PADDING == 0
    assert memory.max_context_basis == "memory"
    there = estimate_memory(of, build, Requirement(context=memory.max_context), RTX_4090)
    beyond = estimate_memory(of, build, Requirement(context=memory.max_context + 1), RTX_4090)
    assert there.total_bytes <= 24 * GIB < beyond.total_bytes


def test_the_largest_context_is_at_most_the_models_own():
    of = model(architecture=LLAMA_8B, context_length=8192)
    memory = estimate_memory(of, of.repositories[0].builds[0], Requirement(), RTX_4090)
    assert (memory.max_context, memory.max_context_basis) == (8192, "model")


def test_no_context_fits_where_the_weights_do_not():
    memory = gib(70)[1]
    assert (memory.max_context, memory.max_context_basis) == (None, "memory")


def test_of_a_model_of_unknown_length_no_largest_context_is_claimed():
    of = model(architecture=LLAMA_8B, context_length=None)
    build = of.repositories[0].builds[0]
    fits = estimate_memory(of, build, Requirement(context=4096), RTX_4090)
    assert (fits.max_context, fits.max_context_basis) == (None, "unknown")
    too_long = estimate_memory(of, build, Requirement(context=10**6), RTX_4090)
    assert too_long.max_context_basis == "memory"
    assert 4096 < too_long.max_context < 10**6


def test_each_device_has_its_overhead_and_its_buffers():
    of = model(architecture=LLAMA_8B)
    build = of.repositories[0].builds[0]
    one, two = (estimate_memory(of, build, Requirement(), machine(count=n)) for n in (1, 2))
    assert two.overhead_bytes == 2 * one.overhead_bytes
    assert two.compute_bytes > 2 * one.compute_bytes - 128256 * 4
    assert (one.split_bytes, two.split_bytes) == (0, -(-(one.weights_bytes + one.kv_bytes) // 32))


def test_sequences_may_share_one_context_but_each_has_its_state():
    of = model(architecture=QWEN_3_6_27B)
    build = of.repositories[0].builds[0]
    alone, apart, shared = (
        estimate_memory(of, build, Requirement(parallel=n, kv_unified=unified), RTX_4090)
        for n, unified in ((1, False), (4, False), (4, True))
    )
    assert apart.kv_bytes == 4 * alone.kv_bytes
    assert shared.kv_bytes == alone.kv_bytes
    assert shared.state_bytes == apart.state_bytes == 4 * alone.state_bytes


def test_windows_of_sequences_that_share_a_context_are_side_by_side():
    """llama-server plans 2560 cells for four windows of 512 and the tokens in flight."""
    gemma = Architecture("gemma3", 6, 256, 4, 2, 64, 512, attention=Attention("swa", 1, 5, window=512))
    of = model(architecture=gemma)
    shared, apart = (
        estimate_memory(of, of.repositories[0].builds[0], asked, RTX_4090).kv_bytes
        for asked in (Requirement(context=5000, parallel=4, kv_unified=True), Requirement(context=2000, parallel=3))
    )
    assert shared == 2 * 2 * 64 * 2 * (5120 + 5 * 2560)
    assert apart == 3 * 2 * 2 * 64 * 2 * (2048 + 5 * 1024)


def test_what_a_stated_width_gives_is_near_what_the_weights_leave_for_it():
    """A catalogue seldom states feed-forward widths, a header always does."""
    known = model(architecture=replace(LLAMA_8B, feed_forward=14336))
    guessed = model(billions=8.03, architecture=LLAMA_8B)
    build = known.repositories[0].builds[0]
    one, other = (estimate_memory(of, build, Requirement(), RTX_4090).compute_bytes for of in (known, guessed))
    assert one == pytest.approx(other, rel=0.05)


models = st.builds(
    model,
    billions=st.none() | st.floats(0.001, 3000),
    active=st.none() | st.floats(0.001, 3000),
    architecture=architectures,
    context_length=st.none() | st.integers(1, 10**7),
)
quants = st.sampled_from(["Q2_K", "IQ4_XS", "Q4_K_M", "Q8_0", "F16", "whatever"])
requirements = st.builds(
    Requirement,
    context=st.integers(1, 10**6),
    kv_cache=st.sampled_from(["f16", "q8_0", "q4_0"]),
    parallel=st.integers(1, 8),
    kv_unified=st.booleans(),
)
machines = st.builds(
    machine,
    st.sampled_from(["nvidia", "amd", "intel", "macos", "cpu"]),
    vram=st.floats(0.1, 500),
    gbps=st.floats(0, 10_000),
    ram=st.floats(0.5, 2000),
    ram_gbps=st.floats(0, 1000),
    reserve=st.floats(0, 10),
    count=st.integers(1, 4),
)


@given(models, quants, requirements, machines, st.integers(1, 10**6))
def test_more_context_never_takes_less_memory(of, quant, requirement, hardware, more):
    build = Build(quant, Bytes(0), exact=False)
    small = estimate_memory(of, build, requirement, hardware)
    large = estimate_memory(of, build, replace(requirement, context=requirement.context + more), hardware)
    assert small.total_bytes <= large.total_bytes


@given(models, requirements, machines)
def test_a_larger_quant_never_weighs_less(of, requirement, hardware):
    weights = [
        estimate_memory(of, Build(quant, Bytes(0), exact=False), requirement, hardware).weights_bytes
        for quant in ("Q2_K", "Q4_K_M", "Q6_K", "Q8_0", "F16", "F32")
    ]
    assert weights == sorted(weights)


@given(models, quants, requirements, machines)
def test_the_largest_context_fits_and_no_larger_one_does(of, quant, requirement, hardware):
    build = Build(quant, Bytes(0), exact=False)

    def at(context):
        return estimate_memory(of, build, replace(requirement, context=context), hardware).total_bytes

    memory = estimate_memory(of, build, requirement, hardware)
    own, capacity = of.context_length, hardware.capacity_bytes
    if memory.max_context_basis == "unknown":
        assert own is None
        assert memory.max_context is None
        assert memory.total_bytes <= capacity
    elif memory.max_context is None:
        assert at(1) > capacity
    else:
        assert memory.max_context <= (own or requirement.context)
        assert at(memory.max_context) <= capacity
        assert memory.max_context == own or at(memory.max_context + 1) > capacity


@given(models, quants, requirements, machines)
def test_what_fits_in_the_sum_of_devices_fits_layer_by_layer(of, quant, requirement, hardware):
    """Each device holds whole layers beside its own buffers and overhead."""
    memory = estimate_memory(of, Build(quant, Bytes(0), exact=False), requirement, hardware)
    count, layers = len(hardware.devices), of.architecture.layers
    if memory.basis != "architecture" or count < 2 or memory.total_bytes > hardware.capacity_bytes:
        return
    layer = max(1, memory.weights_bytes + memory.kv_bytes) / layers
    own = (memory.compute_bytes + memory.overhead_bytes + memory.state_bytes) / count
    rooms = [device.memory_bytes - own for device in hardware.devices]
    assert sum(int(room / layer + 1e-9) for room in rooms) >= layers


@given(models, quants, requirements, st.lists(st.floats(0.5, 100), min_size=2, max_size=4))
def test_unequal_devices_hold_what_fits_in_their_sum(of, quant, requirement, sizes):
    devices = tuple(machine(vram=size).devices[0] for size in sizes)
    hardware = machine(count=2).model_copy(update={"devices": devices})
    memory = estimate_memory(of, Build(quant, Bytes(0), exact=False), requirement, hardware)
    if memory.basis == "architecture" and memory.total_bytes <= hardware.capacity_bytes:
        layers = of.architecture.layers
        layer = max(1, memory.weights_bytes + memory.kv_bytes) / layers
        own = (memory.compute_bytes + memory.overhead_bytes + memory.state_bytes) / len(devices)
        rooms = [max(0, device.memory_bytes - own) for device in devices]
        assert sum(int(room / layer + 1e-9) for room in rooms) >= layers


@given(models, quants, requirements, machines)
def test_the_total_is_the_sum_of_its_parts(of, quant, requirement, hardware):
    memory = estimate_memory(of, Build(quant, Bytes(0), exact=False), requirement, hardware)
    parts = (memory.weights_bytes, memory.kv_bytes, memory.state_bytes, memory.compute_bytes)
    assert memory.total_bytes == sum(parts) + memory.overhead_bytes + memory.split_bytes


def test_unified_memory_is_the_devices_memory():
    assert M3_MAX.capacity_bytes == 36 * GIB
