import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Architecture, Attention
from reconciler.ranking.kv_cache import kv_bytes, kv_shape

KIB = 1024
GEMMA_3_27B = Architecture(
    "gemma3", 62, 5376, 32, 16, 128, 262144, attention=Attention("swa", window=1024, global_every=6)
)
QWEN_3_6_27B = Architecture(
    "qwen3_5",
    64,
    5120,
    24,
    4,
    256,
    248320,
    attention=Attention("hybrid-linear", full_layers=16, state_bytes=158_334_976),
)
DEEPSEEK_V3 = Architecture(
    "deepseek_v3", 61, 7168, 128, 128, 56,
    attention=Attention("mla", kv_lora_rank=512, qk_rope_head_dim=64, v_head_dim=128),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "architecture", "kib"),
    [
        ("Llama-3.1-8B", Architecture("llama", 32, 4096, 32, 8, 128), 128),
        ("Qwen3-8B", Architecture("qwen3", 36, 4096, 32, 8, 128), 144),
        ("Qwen2.5-7B", Architecture("qwen2", 28, 3584, 28, 4, 128), 56),
        ("Qwen3-32B, head size not hidden over heads", Architecture("qwen3", 64, 5120, 64, 8, 128), 256),
        ("Llama-3.1-70B", Architecture("llama", 80, 8192, 64, 8, 128), 320),
        ("Qwen3-30B-A3B", Architecture("qwen3_moe", 48, 2048, 32, 4, 128, experts=128, active_experts=8), 96),
        ("Qwen3.6-27B, 16 full of 64 layers", QWEN_3_6_27B, 64),
        ("Llama-2-7B, no grouped heads", Architecture("llama", 32, 4096, 32, 32, None), 512),
    ],
)
def test_golden_kv_per_token(name, architecture, kib):
    assert kv_bytes(architecture, 4096) == kib * KIB * 4096


def test_golden_latent_attention_of_deepseek_v3():
    per_token = kv_bytes(DEEPSEEK_V3, 1000) / 1000
    assert per_token == 61 * 576 * 2
    assert round(per_token / KIB) == 69


def test_golden_sliding_window_of_gemma_3_27b_at_131072():
    assert round(kv_bytes(GEMMA_3_27B, 131_072) / 2**30, 1) == 10.4


def test_window_layers_stop_at_their_window():
    inside, outside = kv_bytes(GEMMA_3_27B, 1024), kv_bytes(GEMMA_3_27B, 2048)
    assert inside == 62 * 2 * 16 * 128 * 2 * 1024
    assert outside - inside == 10 * 2 * 16 * 128 * 2 * 1024


def test_quantised_cache_takes_its_block_sizes():
    """Changed from the origin (halves, quarters): a block of 32 values carries its scale, 34 and 18 bytes for 64."""
    llama = Architecture("llama", 32, 4096, 32, 8, 128)
    full = kv_bytes(llama, 4096)
    assert kv_bytes(llama, 4096, "q8_0") == full * 34 // 64
    assert kv_bytes(llama, 4096, "q4_0") == full * 18 // 64


def test_parallel_sequences_each_have_their_cache():
    assert kv_bytes(GEMMA_3_27B, 8192, parallel=4) == 4 * kv_bytes(GEMMA_3_27B, 8192)


def test_layers_that_share_a_cache_store_none():
    gemma_4_e2b = Architecture(
        "gemma4", 35, 1536, 8, 1, 256,
        attention=Attention("swa", 7, 28, window=512, global_head_dim=512, kv_shared_layers=20),
    )  # fmt: skip
    assert kv_bytes(gemma_4_e2b, 512) == (3 * 2 * 512 + 12 * 2 * 256) * 2 * 512


def test_full_layers_may_have_their_own_heads():
    gemma_4_12b = Architecture(
        "gemma4", 48, 3840, 16, 8, 256,
        attention=Attention("swa", 8, 40, window=1024, global_head_dim=512, global_kv_heads=1),
    )  # fmt: skip
    assert kv_bytes(gemma_4_12b, 1024) == (8 * 2 * 512 + 40 * 2 * 8 * 256) * 2 * 1024


def test_layers_without_attention_take_nothing():
    nemotron = Architecture(
        "nemotron-nas", 80, 8192, 64, 8, 128, attention=Attention("no-attention-layers", full_layers=49)
    )
    assert kv_bytes(nemotron, 4096) == 49 * 2 * 8 * 128 * 2 * 4096


def test_recurrent_state_is_a_part_of_its_own():
    shape = kv_shape(QWEN_3_6_27B)
    assert shape is not None
    assert shape.state_bytes == 158_334_976


def test_recurrent_state_is_estimated_where_nobody_states_it():
    shape = kv_shape(
        Architecture("qwen3_5", 64, 5120, 24, 4, 256, attention=Attention("hybrid-linear", full_layers=16))
    )
    assert shape is not None
    assert 158_000_000 < shape.state_bytes < 320_000_000


def test_encoders_keep_no_cache():
    assert kv_bytes(Architecture("nomic-bert", 12, 768, 12, 12, 64), 2048) == 0


@pytest.mark.parametrize("unknown", [Architecture(None), Architecture("llama", 32), Architecture("llama", None, 4096)])
def test_unknown_dimensions_give_no_number(unknown):
    assert kv_bytes(unknown, 4096) is None


count = st.none() | st.integers(1, 200)
attentions = st.none() | st.builds(
    Attention,
    kind=st.sampled_from(["swa", "mla", "hybrid-linear", "hybrid-mamba", "hybrid-mamba-parallel", "chunked", "compressed"]),
    full_layers=count, window_layers=count, window=st.none() | st.integers(1, 100_000), global_every=st.none() | st.integers(1, 12),
    kv_lora_rank=st.none() | st.integers(1, 1024), qk_rope_head_dim=count, v_head_dim=count, global_head_dim=count,
    global_kv_heads=count, kv_shared_layers=st.integers(0, 300), state_bytes=st.integers(0, 10**9),
)  # fmt: skip
architectures = st.builds(
    Architecture, name=st.sampled_from([None, "llama", "gemma3", "bert"]), layers=count,
    hidden=st.none() | st.integers(1, 20_000), heads=count, kv_heads=count, head_dim=count,
    vocab=st.none() | st.integers(1, 300_000), attention=attentions,
)  # fmt: skip


@given(
    architectures,
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.sampled_from(["f16", "q8_0", "q4_0"]),
    st.integers(1, 8),
)
def test_more_context_never_takes_less(architecture, one, other, cache, parallel):
    small = kv_bytes(architecture, min(one, other), cache, parallel)
    large = kv_bytes(architecture, max(one, other), cache, parallel)
    assert (small is None) == (large is None)
    if small is not None:
        assert 0 <= small <= large
