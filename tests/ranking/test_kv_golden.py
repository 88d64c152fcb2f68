"""The attention cache of real models, as the bundled catalogue describes them."""

import pytest

from reconciler.domain.catalog import Build
from reconciler.domain.estimate import Requirement
from reconciler.domain.units import Bytes
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.kv_cache import kv_bytes, kv_shape
from reconciler.ranking.memory import estimate_memory
from tests.ranking.made import machine

KIB, MIB, GIB = 2**10, 2**20, 2**30
H100 = machine(vram=80)


@pytest.fixture(scope="module")
def models():
    return {model.id: model for model in load_bundled().models}


@pytest.mark.parametrize(
    ("name", "kib"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 128),
        ("Qwen/Qwen3-8B", 144),
        ("Qwen/Qwen2.5-7B-Instruct", 56),
        ("Qwen/Qwen3-32B", 256),
        ("meta-llama/Llama-3.1-70B-Instruct", 320),
        ("Qwen/Qwen3-30B-A3B", 96),
        ("Qwen/Qwen3.6-27B", 64),
    ],
)
def test_bytes_per_token(models, name, kib):
    model = models[name]
    for context in (1, 4096, 131_072):
        assert kv_bytes(model.architecture, context) == kib * KIB * context
    memory = estimate_memory(model, model.repositories[0].builds[0], Requirement(context=8192), H100)
    assert memory.kv_bytes_per_token == kib * KIB
    assert memory.kv_bytes == kib * KIB * 8192


def test_latent_attention_of_deepseek_v3(models):
    architecture = models["deepseek-ai/DeepSeek-V3"].architecture
    assert kv_bytes(architecture, 1) == 61 * (512 + 64) * 2
    assert round(kv_bytes(architecture, 131_072) / 131_072 / KIB) == 69


def test_sliding_window_of_gemma_3_27b_at_131072(models):
    """10.4 GiB for the tokens; llama-server allocates 10,864 MiB, with room for 512 tokens in flight at each window."""
    model = models["google/gemma-3-27b-it"]
    assert round(kv_bytes(model.architecture, 131_072) / GIB, 1) == 10.4
    memory = estimate_memory(model, model.repositories[0].builds[0], Requirement(context=131_072), H100)
    assert round(memory.kv_bytes_per_token * 131_072 / GIB, 1) == 10.4
    assert memory.kv_bytes == 10_864 * MIB


@pytest.mark.parametrize(
    ("name", "kib"),
    [
        ("google/gemma-3n-E4B-it", 4 * 2),  # 35 layers, the last 15 share; 4 of the other 20 are full
        ("google/gemma-4-E4B-it", 4 * 4),  # 42 layers, the last 18 share; 4 of the other 24 are full, with wider heads
        ("google/gemma-4-31B-it", 10 * 8),
        ("openai/gpt-oss-20b", 12 * 2),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 12 * 4),
        ("Qwen/Qwen3.5-35B-A3B", 10 * 2),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 4 * 4),
        ("ai21labs/AI21-Jamba2-Mini", 4 * 4),
        ("tiiuae/Falcon-H1-7B-Instruct", 44),  # every layer attends, and keeps a state
        ("LiquidAI/LFM2-1.2B", 6 * 2),
        ("ibm-granite/granite-4.0-h-small", 4 * 4),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", 49 * 4),
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", 7 * 576 * 2 / KIB),
    ],
)
def test_what_each_further_token_costs_beyond_the_windows(models, name, kib):
    architecture = models[name].architecture
    assert kv_bytes(architecture, 65_536) - kv_bytes(architecture, 32_768) == kib * KIB * 32_768


def test_compressed_attention_of_deepseek_v4_flash(models):
    """21 layers keep one of 4 tokens and an index of it, 20 layers one of 128; all keep a window of 128."""
    architecture = models["deepseek-ai/DeepSeek-V4-Flash"].architecture
    grows = kv_bytes(architecture, 131_072) - kv_bytes(architecture, 65_536)
    assert grows == (21 * (512 + 128) / 4 + 20 * 512 / 128) * 2 * 65_536


def test_sparse_attention_of_deepseek_v3_2_keeps_an_index(models):
    assert kv_bytes(models["deepseek-ai/DeepSeek-V3.2"].architecture, 1) == 61 * (512 + 64 + 128) * 2


@pytest.mark.parametrize(
    ("name", "layers", "mib"),
    [("Qwen/Qwen3.6-27B", 48, 150), ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 27, 118), ("LiquidAI/LFM2-1.2B", 10, 0.2)],
)
def test_only_layers_with_a_state_count(models, name, layers, mib):
    shape = kv_shape(models[name].architecture)
    assert shape is not None
    assert shape.state_bytes / MIB == pytest.approx(mib, rel=0.25), layers


@pytest.mark.parametrize("name", ["nomic-ai/nomic-embed-text-v1.5", "BAAI/bge-m3"])
def test_encoders_have_no_cache(models, name):
    model = models[name]
    memory = estimate_memory(model, Build("F16", Bytes(10**9), exact=True), Requirement(context=512), H100)
    assert (memory.kv_bytes, memory.max_context) == (0, model.context_length)


def test_a_model_of_unknown_length_is_not_said_to_take_a_million_tokens(models):
    unknown = [model for model in models.values() if model.context_length is None and model.repositories]
    assert unknown
    for model in unknown:
        for repository in model.repositories:
            for build in repository.builds:
                memory = estimate_memory(model, build, Requirement(context=2048), H100)
                assert memory.max_context is None or memory.max_context < 2048
