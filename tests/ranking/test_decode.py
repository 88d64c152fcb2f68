import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Architecture
from reconciler.domain.hardware import Device
from reconciler.domain.units import GIB, Bytes
from reconciler.ranking.decode import (
    CONSTANTS,
    backend_key,
    bytes_per_second,
    has_layer_embeddings,
    is_tied,
    is_wide,
    layers_of,
    typical_layers,
    weights_read,
)
from tests.ranking.made import LLAMA_8B, model

QWEN3_30B_A3B = Architecture(
    "qwen3_moe", 48, 2048, 32, 4, 128, 151936, experts=128, active_experts=8
)  # dimensions as published
GEMMA_E4B = Architecture("gemma4", 42, 2560, 8, 2, 256, 262144)


def device(name="made", gbps=1000.0, *, unified=False, capability=None) -> Device:
    return Device(
        name=name, vendor="nvidia", memory_bytes=Bytes(24 * GIB), bandwidth_gbps=gbps, unified=unified,
        compute_capability=capability,
    )  # fmt: skip


def test_input_embeddings_are_not_read():
    table = 128256 * 4096
    read = weights_read(model(architecture=LLAMA_8B))
    assert (read.share, read.is_mixture) == (pytest.approx(1 - table / 8e9), False)


def test_tied_embeddings_are_read_as_the_output_head():
    small = Architecture("llama", 28, 3072, 24, 8, 128, 128256)
    assert is_tied(model(billions=3.2, architecture=small))
    assert weights_read(model(billions=3.2, architecture=small)).share == 1.0


@pytest.mark.parametrize(
    ("name", "hidden", "vocab", "tied"),
    [
        ("gemma3", 5376, 262208, True),
        ("cohere", 8192, 256000, True),
        ("qwen3", 2560, 151936, True),
        ("qwen3", 4096, 151936, False),
        ("llama", 4096, 32000, False),
        ("llama", 2048, 32000, False),
        ("phi3", 3072, 200064, True),
        ("phi3", 3072, 32064, False),
        ("nobody-knows", 1024, 50000, False),
    ],
)
def test_who_ties_its_embeddings(name, hidden, vocab, tied):
    assert is_tied(model(architecture=Architecture(name, 32, hidden, vocab=vocab))) is tied


def test_of_a_mixture_the_shared_part_and_the_active_experts_are_read():
    read = weights_read(model(billions=30.5, active=3.3, architecture=QWEN3_30B_A3B))
    assert read.is_mixture
    assert read.share == pytest.approx(3.3 / 30.5, rel=0.01)
    assert read.routed > read.always > 0.03


def test_a_mixture_that_states_its_experts_only_reads_their_share():
    read = weights_read(model(billions=30.5, architecture=QWEN3_30B_A3B))
    assert read.share == pytest.approx(3.3 / 30.5, rel=0.1)


def test_a_mixture_that_states_its_active_weights_only_reads_those():
    read = weights_read(model(billions=30, active=3))
    assert (read.share, read.is_mixture) == (pytest.approx(0.1), True)


def test_experts_without_dimensions_share_a_tenth():
    read = weights_read(model(billions=40, architecture=Architecture(None, experts=8, active_experts=2)))
    assert read.share == pytest.approx(0.1 + 0.9 / 4)


def test_per_layer_embeddings_make_no_mixture():
    of = model(billions=8.0, active=4.5, architecture=GEMMA_E4B)
    assert has_layer_embeddings(of)
    assert (weights_read(of).share, weights_read(of).is_mixture) == (pytest.approx(4.5 / 8), False)


@pytest.mark.parametrize("active", [None, 0.0, 8.0, 20.0])
def test_all_weights_active_is_dense(active):
    assert not weights_read(model(billions=8, active=active)).is_mixture


@given(
    st.floats(0.001, 3000), st.none() | st.floats(0, 3000), st.none() | st.integers(0, 10**6),
    st.none() | st.integers(0, 512), st.none() | st.integers(0, 512), st.sampled_from([None, "gemma4", "llama"]),
)  # fmt: skip
def test_never_more_than_all_weights_are_read(billions, active, wide, experts, used, name):
    shape = Architecture(name, 32, wide, wide, wide, None, wide, experts=experts, active_experts=used)
    read = weights_read(model(billions=billions, active=active, architecture=shape))
    assert 0 < read.share <= 1 + 1e-9
    assert read.always >= 0
    assert read.routed >= 0


@given(st.floats(0, 1e13), st.floats(0, 1e13))
def test_more_weights_never_mean_fewer_layers(one, other):
    assert typical_layers(min(one, other)) <= typical_layers(max(one, other))


def test_stated_layers_are_taken():
    assert layers_of(model(architecture=LLAMA_8B)) == 32
    assert layers_of(model(billions=8)) == typical_layers(8e9)


def test_the_backend_is_the_platforms_own_unless_the_runner_brings_one():
    assert backend_key("macos", "llama.cpp", device()) == "metal"
    assert backend_key("macos", "mlx", device()) == "mlx"
    assert backend_key("nvidia", "mlx", device()) == "cuda"
    assert backend_key("amd", "vulkan", device()) == "vulkan"
    assert backend_key("cpu", "ollama", None) == "cpu"


@pytest.mark.parametrize(
    ("of", "key"),
    [
        (device(capability="6.1"), "old_cuda"),
        (device(capability="7.0"), "cuda"),
        (device("NVIDIA GeForce GTX 1070"), "old_cuda"),
        (device("NVIDIA GeForce GTX 1660"), "cuda"),
        (device(capability="new"), "cuda"),
    ],
)
def test_nvidia_has_two_generations(of, key):
    assert backend_key("nvidia", "llama.cpp", of) == key


def test_memory_shared_with_the_cpu_is_read_more_slowly():
    own, shared = (
        bytes_per_second(CONSTANTS.backends["cuda"], "nvidia", device(unified=unified), CONSTANTS)
        for unified in (False, True)
    )
    assert shared == pytest.approx(own * CONSTANTS.shared_memory)


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.sampled_from(["macos", "nvidia", "amd"]), st.booleans())
def test_more_bandwidth_never_reads_more_slowly(one, other, platform, unified):
    backend = CONSTANTS.backends[backend_key(platform, "llama.cpp", device())]
    slow, fast = (
        bytes_per_second(backend, platform, device(gbps=gbps, unified=unified), CONSTANTS)
        for gbps in sorted((one, other))
    )
    assert 0 <= slow <= fast * (1 + 1e-12)


def test_eight_bits_are_wide():
    assert [is_wide(quant) for quant in ("Q8_0", "BF16", "Q6_K", "Q4_K_M", "nobody-knows")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_the_constants_are_what_physics_allows():
    for backend in CONSTANTS.backends.values():
        assert 0.1 < backend.efficiency < 0.97
        assert 10e-6 < backend.per_layer < 200e-6
    ones = (CONSTANTS.moe_bytes, CONSTANTS.moe_layers, CONSTANTS.cache_bytes, CONSTANTS.wide_weights)
    assert all(1.0 <= one < 2.0 for one in ones)
    assert 0.7 < CONSTANTS.shared_memory < 1.0
    assert all(math.isfinite(width) and width > 1 for width in (CONSTANTS.widths.dense, CONSTANTS.widths.offload))
