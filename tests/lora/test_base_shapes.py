"""Adapters against what their base is made of: listed layouts exactly, everything else unknown and never guessed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Architecture
from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.lora.base_shapes import BaseFacts, ShapeFit, base_from_catalogue, base_from_config, fit_of
from reconciler.lora.weights import AdapterFacts, facts_of
from tests.builders import model
from tests.lora.test_weights import of_peft
from tests.lora_files import PEFT, TINY, pair, pairs

BASE = base_from_config(TINY)
SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def facts(tensors: dict[str, Any]) -> AdapterFacts:
    return facts_of([AdapterTensor(name, "F32", each.shape) for name, each in tensors.items()], "safetensors")


def of_gguf(architecture: str = "llama", **shapes: tuple[int, int]) -> AdapterFacts:
    rows = []
    for name, (inputs, outputs) in shapes.items():
        path = f"blk.{name.replace('__', '.')}.weight"
        rows += [
            AdapterTensor(f"{path}.lora_a", "F32", (4, inputs)),
            AdapterTensor(f"{path}.lora_b", "F32", (outputs, 4)),
        ]
    return facts_of(rows, "gguf", architecture=architecture)


def test_the_config_that_transformers_wrote() -> None:
    written = base_from_config(json.loads((PEFT / "base" / "config.json").read_text()))
    assert written == BASE
    assert fit_of(of_peft("all-linear"), written) == ShapeFit("exact-shape", 14)
    assert fit_of(of_peft("embedding"), written).verdict == "exact-shape"


@pytest.mark.parametrize("change", [{"hidden_size": 32}, {"num_attention_heads": 8}, {"num_key_value_heads": 4}, {"intermediate_size": 48}, {"num_hidden_layers": 1}, {"head_dim": 8}])  # fmt: skip
def test_every_dimension_counts(change: dict[str, int]) -> None:
    found = fit_of(facts(pairs(*SEVEN)), base_from_config(TINY | change))
    assert found.verdict == "shape-mismatch"
    assert found.differences


def test_heads_may_be_wider_than_the_model() -> None:
    wide = TINY | {"head_dim": 6}
    own = {"q_proj": (16, 24), "k_proj": (16, 12), "v_proj": (16, 12), "o_proj": (24, 16)}
    assert fit_of(facts(pairs(*own, widths=own)), base_from_config(wide)) == ShapeFit("exact-shape", 8)


def test_heads_share_the_width_where_nothing_says_theirs() -> None:
    plain = {key: value for key, value in TINY.items() if key != "head_dim"}
    assert fit_of(facts(pairs(*SEVEN)), base_from_config(plain)).verdict == "exact-shape"
    other = fit_of(facts(pairs("q_proj")), base_from_config(plain | {"model_type": "qwen3"}))
    assert other.verdict == "unknown", "a type that has a width of its own for heads"


def test_vocabulary_counts_for_embeddings() -> None:
    assert fit_of(of_peft("embedding"), base_from_config(TINY | {"vocab_size": 33})).verdict == "shape-mismatch"


def test_a_layer_the_base_does_not_have() -> None:
    found = fit_of(facts(pairs("q_proj", layers=(0, 7))), BASE)
    assert found.differences == ("model.layers.7.self_attn.q_proj: the base has 2 layers",)
    assert fit_of(facts(pairs("q_proj", layers=(0, 7))), BASE, replicates_layers=True).verdict == "unknown"


@pytest.mark.parametrize(
    "prefix", ["model", "model.language_model", "language_model.model", "base.vision_tower", "model.visual"]
)
def test_only_the_text_part_is_compared(prefix: str) -> None:
    found = fit_of(facts(pair(f"{prefix}.layers.0.self_attn.q_proj", 16, 16, 4)), BASE)
    assert found.verdict == ("unknown" if "vis" in prefix else "exact-shape")


@pytest.mark.parametrize("name", ["qkv_proj", "gate_up_proj", "c_attn", "experts", "w1", "q_a_proj"])
def test_fused_modules_and_experts_stay_unknown(name: str) -> None:
    assert fit_of(facts(pair(f"model.layers.0.self_attn.{name}", 3, 3, 1)), BASE).verdict == "unknown"


def test_a_mixture_is_compared_by_its_attention_only() -> None:
    base = base_from_config(TINY | {"model_type": "qwen3_moe"})
    assert fit_of(of_peft("experts"), base) == ShapeFit("exact-shape", 2, 2)
    assert fit_of(facts(pair("model.layers.0.mlp.gate_proj", 1, 1, 1)), base).verdict == "unknown"


@pytest.mark.parametrize("kind", ["qwen3_5", "gemma3n", "deepseek_v3", None, 5])
def test_a_layout_that_is_not_listed_stays_unknown(kind: object) -> None:
    assert fit_of(facts(pairs(*SEVEN)), base_from_config(TINY | {"model_type": kind})).verdict == "unknown"


def test_what_the_config_leaves_out_is_unknown() -> None:
    bare = {key: value for key, value in TINY.items() if key not in ("intermediate_size", "num_key_value_heads")}
    found = fit_of(facts(pairs("q_proj", "k_proj", "gate_proj")), base_from_config(bare))
    assert (found.verdict, found.compared, found.unknown) == ("exact-shape", 2, 4)
    assert (
        fit_of(facts(pairs("gate_proj", widths={"gate_proj": (17, 1)})), base_from_config(bare)).verdict
        == "shape-mismatch"
    )


def test_a_model_that_sees_is_known_by_its_text_part() -> None:
    nested = {"model_type": "gemma3", "text_config": TINY | {"model_type": "gemma3_text"}}
    assert base_from_config(nested).architecture == "gemma3_text"
    assert base_from_config(nested).hidden == 16


@pytest.mark.parametrize(
    "document", [{}, {"hidden_size": "16"}, {"text_config": 5, "num_hidden_layers": -1, "head_dim": True}]
)
def test_a_config_of_nonsense_says_nothing(document: dict[str, Any]) -> None:
    assert base_from_config(document) == BaseFacts("config.json", None)


def test_the_catalogues_dimensions() -> None:
    known = Architecture("llama", layers=2, hidden=16, heads=4, kv_heads=2, head_dim=4, vocab=32)
    base = base_from_catalogue(replace(model("acme/tiny"), architecture=known))
    assert fit_of(of_peft("plain"), base).verdict == "exact-shape"
    assert fit_of(of_peft("embedding"), base).unknown == 1, "its vocabulary is not compared"


def test_gguf_adapters_against_a_config() -> None:
    fits = of_gguf(**{"0.attn_q": (16, 16), "1.attn_k": (16, 8), "0.ffn_down": (24, 16), "0.attn_output": (16, 16)})
    assert fit_of(fits, BASE) == ShapeFit("exact-shape", 4)
    assert fit_of(of_gguf(**{"0.attn_q": (16, 17)}), BASE).verdict == "shape-mismatch"
    assert fit_of(of_gguf("qwen2", **{"0.attn_q": (16, 16)}), BASE).verdict == "shape-mismatch"


def test_gguf_adapters_against_a_table() -> None:
    table = BaseFacts(
        "gguf", "llama", layers=2, tensors={"blk.0.attn_q.weight": (16, 16), "token_embd.weight": (16, 32)}
    )
    assert fit_of(of_gguf(**{"0.attn_q": (16, 16)}), table).verdict == "exact-shape"
    assert "no such tensor" in fit_of(of_gguf(**{"0.attn_k": (16, 16)}), table).differences[0]
    assert fit_of(of_peft("embedding"), table).verdict == "exact-shape", "a PEFT adapter is compared by what it becomes"
    assert fit_of(of_peft("plain"), table).unknown == 3


def test_phi_has_fused_projections_in_the_table_too() -> None:
    table = BaseFacts("gguf", "phi3", layers=2, tensors={"blk.0.attn_qkv.weight": (16, 48)})
    assert fit_of(facts(pair("model.layers.0.self_attn.qkv_proj", 1, 1, 1)), table).verdict == "unknown"


@given(
    st.dictionaries(
        st.sampled_from([*TINY, "text_config"]),
        st.none() | st.integers() | st.text(max_size=3) | st.dictionaries(st.text(), st.integers(), max_size=2),
    )
)
def test_any_config_describes_a_base(document: dict[str, Any]) -> None:
    fit_of(facts(pairs("q_proj")), base_from_config(document))
