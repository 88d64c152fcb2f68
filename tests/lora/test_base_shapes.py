"""Adapters against what their base is made of: listed layouts exactly, everything else unknown and never guessed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import Architecture
from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.lora.base_layouts import LAYOUTS, TEXT_PARTS, UNLISTED
from reconciler.lora.base_shapes import BaseFacts, ShapeFit, base_from_catalogue, base_from_config, fit_of
from reconciler.lora.base_tensors import IN_LAYER, tensor_of
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
def test_what_a_layout_does_not_have_stays_unknown(name: str) -> None:
    found = fit_of(facts(pair(f"model.layers.0.self_attn.{name}", 3, 3, 1)), BASE)
    assert found.verdict == "unknown"
    assert found.reason == "llama: not in its layout, or of a width that config.json does not tell"


def test_fused_projections() -> None:
    phi = base_from_config(TINY | {"model_type": "phi3"})
    assert fit_of(of_peft("fused"), phi) == ShapeFit("exact-shape", 4)
    assert fit_of(of_peft("fused"), base_from_config(TINY | {"model_type": "phi3", "num_key_value_heads": 4})).different
    assert fit_of(of_peft("query-key-value"), base_from_config(TINY | {"model_type": "gpt_neox"})).compared == 4
    gpt = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 32}
    assert fit_of(of_peft("fan-in-fan-out"), base_from_config(gpt)) == ShapeFit("exact-shape", 2)
    assert fit_of(of_peft("fan-in-fan-out"), base_from_config(gpt | {"n_embd": 12})).verdict == "shape-mismatch"


MIXTURE = TINY | {"model_type": "qwen3_moe", "moe_intermediate_size": 8}


def test_experts_in_one_stack_and_one_by_one() -> None:
    assert fit_of(of_peft("experts"), base_from_config(MIXTURE)) == ShapeFit("exact-shape", 4)
    assert fit_of(of_peft("both-stacks"), base_from_config(MIXTURE)) == ShapeFit("exact-shape", 4)
    wider = base_from_config(MIXTURE | {"moe_intermediate_size": 9})
    assert "experts" in fit_of(of_peft("both-stacks"), wider).differences[0]
    one = facts(pair("model.layers.0.mlp.experts.3.gate_proj", 16, 8, 2))
    assert fit_of(one, base_from_config(MIXTURE)).verdict == "exact-shape"
    assert fit_of(one, wider).verdict == "shape-mismatch"
    dense = fit_of(facts(pair("model.layers.0.mlp.gate_proj", 1, 1, 1)), base_from_config(MIXTURE))
    assert dense.verdict == "shape-mismatch", "a layer may be without experts, of the dense width"


@pytest.mark.parametrize("kind", ["exaone", "kimi_k2", "nobody-knows", None, 5])
def test_a_layout_that_is_not_listed_stays_unknown_with_its_reason(kind: object) -> None:
    found = fit_of(facts(pairs(*SEVEN)), base_from_config(TINY | {"model_type": kind}))
    assert found.verdict == "unknown"
    wanted = {
        "exaone": "exaone: transformers does not build it", "kimi_k2": "kimi_k2: transformers does not build it",
        "nobody-knows": "nobody-knows: its layout is not listed",
    }  # fmt: skip
    assert (found.reason or "").startswith(wanted.get(str(kind), "nothing says which architecture"))


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
    assert base_from_config(nested).numbers["hidden_size"] == 16


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
    table = BaseFacts("gguf", "phi3", layers=2, tensors={"blk.0.attn_qkv.weight": (16, 32)})
    own = pair("model.layers.0.self_attn.qkv_proj", 16, 32, 1)
    assert fit_of(facts(own), table) == ShapeFit("exact-shape", 1)
    assert fit_of(facts(pair("model.layers.0.self_attn.qkv_proj", 16, 33, 1)), table).verdict == "shape-mismatch"
    split = fit_of(facts(pair("model.layers.0.self_attn.q_proj", 1, 1, 1)), table)
    assert split.reason == "the base's file has no tensor of that name: its converter splits or joins them"


def test_experts_in_the_table() -> None:
    table = BaseFacts(
        "gguf",
        "qwen3moe",
        layers=2,
        tensors={f"blk.{layer}.ffn_{name}_exps.weight": (16, 8) for layer in (0, 1) for name in ("up", "gate")},
    )
    assert fit_of(of_peft("both-stacks"), table) == ShapeFit("exact-shape", 4)
    assert fit_of(facts(pair("model.layers.0.mlp.experts.3.gate_proj", 16, 8, 2)), table).verdict == "exact-shape"
    assert fit_of(facts(pair("model.layers.0.mlp.experts.3.gate_proj", 16, 9, 2)), table).verdict == "shape-mismatch"


LAYOUT_ROWS = json.loads((PEFT.parent / "layouts.json").read_text())[1:]
UNCOMPARED = re.compile(
    r"(?:^|\.)(?:gate|gate\.wg|router|router\.\w+|mamba\.\w+|mixer\.(?:in|out)_proj|altup\.\w+|altup_\w+\.\d|laurel\.\w+"
    r"|indexer\.\w+|\w+_embeddings|embed_tokens_per_layer|per_layer_model_projection|wpe|transform\.dense|lm_head\.dense"
    r"|\w*\.?decoder)$"
)
"""Routers, states and what stands around layers: no layout has them."""
PARTLY = {"laguna": "self_attn", "mimo_v2_flash": "self_attn", "mllama_text_model": "embed_tokens|lm_head",
          "lfm2": "feed_forward"}  # fmt: skip
"""What the numbers of these do not tell."""


@pytest.mark.parametrize("row", LAYOUT_ROWS, ids=lambda row: f"{row['model_type']}-{'head_dim' in str(row['config'])}")
def test_every_listed_layout_is_what_the_library_built(row: dict[str, Any]) -> None:
    base = base_from_config(row["config"])
    assert base.layout is not None
    is_blind = base.layout.heads == "stated" and "head_dim" not in base.numbers
    for name, shape in row["modules"].items():
        found = fit_of(_of_module(name, shape), base)
        assert found.verdict != "shape-mismatch", found.differences
        if found.verdict == "exact-shape":
            other = [*shape[:-1], shape[-1] + 1]
            assert fit_of(_of_module(name, other), base).verdict != "exact-shape", name
            continue
        is_left_out = re.search(PARTLY.get(base.architecture or "", "^$"), name)
        assert (is_blind and "self_attn" in name) or "mixer" in name or is_left_out or UNCOMPARED.search(name), name


def _of_module(name: str, shape: list[int]) -> AdapterFacts:
    """An adapter of this module alone; of three numbers a stack of experts, as ``target_parameters`` has it."""
    rank, path = (shape[0], name.rpartition(".")[0]) if len(shape) == 3 else (1, name)
    outputs, inputs = shape[-2:] if len(shape) == 3 else shape[::-1]
    return facts_of(
        [
            AdapterTensor(f"{path}.lora_A.weight", "F32", (rank, inputs)),
            AdapterTensor(f"{path}.lora_B.weight", "F32", (outputs, rank)),
        ],
        "safetensors",
    )


def test_every_listed_layout_was_built() -> None:
    built = {base_from_config(row["config"]).architecture for row in LAYOUT_ROWS}
    assert set(LAYOUTS) <= built


def test_tensors_are_called_as_the_library_of_gguf_calls_them() -> None:
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    compared = set()
    for layout in LAYOUTS.values():
        for architecture in layout.gguf:
            if architecture not in kinds:
                continue  # the installed library is older than the architecture
            names = gguf.get_tensor_name_map(kinds[architecture], 4)
            for path in layout.rows:
                mine = tensor_of(path, 3)
                theirs = [names.get_name(f"{start}.3.{path.replace('*.', '')}") for start in STARTS]
                known = [each for each in theirs if each]
                if mine and known:
                    assert f"{known[0]}.weight" == mine, (architecture, path)
                    compared.add(path)
    assert set(IN_LAYER) == compared


STARTS = ("model.layers", "transformer.h", "gpt_neox.layers", "encoder.layer", "backbone.layers", "layers")


def test_every_architecture_of_the_catalogue_has_a_layout_or_a_reason() -> None:
    names = {each.architecture.name for each in load_bundled().models} - {None}
    without = {name for name in names if TEXT_PARTS.get(name, name) not in LAYOUTS}
    assert without == set(UNLISTED)
    assert all(TEXT_PARTS[name] in LAYOUTS for name in TEXT_PARTS)


@given(
    st.dictionaries(
        st.sampled_from([*TINY, "text_config"]),
        st.none() | st.integers() | st.text(max_size=3) | st.dictionaries(st.text(), st.integers(), max_size=2),
    )
)
def test_any_config_describes_a_base(document: dict[str, Any]) -> None:
    fit_of(facts(pairs("q_proj")), base_from_config(document))
