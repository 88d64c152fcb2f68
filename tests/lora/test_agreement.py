"""Weights against their configuration: real adapters agree, and every way to disagree has a code of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.lora.adapter_config import adapter_config, read_adapter_config
from reconciler.lora.agreement import judge_agreement, judge_weights
from reconciler.lora.weights import AdapterFacts, facts_of
from tests.lora.test_weights import of_peft
from tests.lora_files import PEFT, config, pair, pairs


def facts(tensors: dict[str, Any], dtype: str = "F32") -> AdapterFacts:
    return facts_of([AdapterTensor(name, dtype, each.shape) for name, each in tensors.items()], "safetensors")


def codes(found: AdapterFacts, **changes: Any) -> list[str]:
    both = (*judge_weights(found), *judge_agreement(found, adapter_config(config(**changes))))
    return [f"{one.severity} {one.code}" for one in both]


@pytest.mark.parametrize(
    "name", sorted(folder.name for folder in PEFT.iterdir() if (folder / "adapter_config.json").exists())
)
def test_adapters_of_the_real_peft_agree_with_themselves(name: str) -> None:
    stated = read_adapter_config((PEFT / name / "adapter_config.json").read_bytes())
    found = of_peft(name)
    assert (*judge_weights(found), *judge_agreement(found, stated)) == ()


BOTH = pairs("q_proj", "v_proj")
HEAD = {"base_model.model.lm_head.weight": BOTH["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]}
BIAS = {"base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias": next(iter(HEAD.values()))[0]}
VECTOR = {"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector": next(iter(HEAD.values()))[0]}
TORN = {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": np.zeros((16, 2), np.float32)}
TOKENS = {"base_model.model.model.embed_tokens.trainable_tokens_delta": np.zeros((3, 16), np.float32)}
EVIL = "(.*a)+x"


@pytest.mark.parametrize(
    ("tensors", "changes", "expected"),
    [
        (BOTH, {}, []),
        (BOTH, {"r": 8}, ["error rank_differs"]),
        (BOTH, {"r": None}, []),
        (BOTH, {"rank_pattern": {"v_proj": 2}}, ["error rank_differs"]),
        (pairs("q_proj") | pairs("v_proj", rank=2), {"rank_pattern": {"v_proj": 2}}, []),
        (pairs("q_proj") | pairs("v_proj", rank=2), {"rank_pattern": {r"^model\.layers\.\d+\.self_attn\.v_proj": 2}}, []),
        (BOTH, {"rank_pattern": {EVIL: 2}}, ["note rank_pattern_not_tried"]),
        (pairs("q_proj", "k_proj"), {}, ["error modules_unexpected", "warning modules_missing"]),
        (pairs("q_proj"), {}, ["warning modules_missing"]),
        (BOTH, {"target_modules": ".*_proj"}, []),
        (BOTH, {"target_modules": ".*q_proj"}, ["error modules_unexpected"]),
        (BOTH, {"target_modules": EVIL}, ["note targets_not_tried"]),
        (BOTH, {"target_modules": "all-linear"}, []),
        (BOTH, {"target_modules": []}, []),
        (BOTH, {"exclude_modules": ["v_proj"]}, ["error modules_excluded"]),
        (BOTH, {"exclude_modules": r".*\.v_proj"}, ["error modules_excluded"]),
        (BOTH, {"layers_to_transform": [0]}, ["error layers_unexpected"]),
        (BOTH, {"layers_to_transform": [0, 1, 2]}, ["warning layers_missing"]),
        (pairs("q_proj", "v_proj", layers=(0, 1, 5)), {}, ["warning layers_missing"]),
        (BOTH, {"use_dora": True}, ["error dora_missing"]),
        (BOTH | VECTOR, {}, ["error dora_undeclared"]),
        (BOTH, {"modules_to_save": ["lm_head"]}, ["error saved_missing"]),
        (BOTH | HEAD, {"modules_to_save": ["lm_head"]}, []),
        (BOTH | HEAD, {}, ["warning saved_undeclared"]),
        (BOTH | BIAS, {}, ["warning bias_undeclared"]),
        (BOTH | BIAS, {"bias": "lora_only"}, []),
        (BOTH, {"trainable_token_indices": [1, 2]}, ["error tokens_differ"]),
        (BOTH | TOKENS, {"trainable_token_indices": [1, 2]}, ["error tokens_differ"]),
        (BOTH | TOKENS, {"trainable_token_indices": [1, 2, 3]}, []),
        (BOTH | {"something": next(iter(HEAD.values()))}, {}, ["warning tensors_stray"]),
        (dict(list(BOTH.items())[1:]), {}, ["error pair_incomplete"]),
        (BOTH | TORN, {}, ["error pair_contradictory"]),
        (HEAD, {"modules_to_save": ["lm_head"]}, ["error no_pairs", "warning modules_missing"]),
        (BOTH | pair("visual.blocks.0.q_proj", 9, 9, 4), {}, []),
    ],
)  # fmt: skip
def test_every_way_to_disagree_has_a_code(
    tensors: dict[str, Any], changes: dict[str, Any], expected: list[str]
) -> None:
    assert codes(facts(tensors), **changes) == expected


@pytest.mark.parametrize(
    ("adapter_type", "beside", "expected"),
    [
        ("lora", (), []),
        (None, (), ["error adapter_type_not_lora"]),
        ("ia3", (), ["error adapter_type_not_lora"]),
        ("lora", ("blk.0.attn_norm.weight",), []),
        ("lora", ("output.weight",), ["error tensors_refused"]),
    ],
)
def test_what_llama_cpp_stops_at(adapter_type: str | None, beside: tuple[str, ...], expected: list[str]) -> None:
    names = {"blk.0.attn_q.weight.lora_a": (4, 16), "blk.0.attn_q.weight.lora_b": (16, 4)} | dict.fromkeys(
        beside, (16,)
    )
    rows = [AdapterTensor(name, "F32", shape) for name, shape in names.items()]
    found = facts_of(rows, "gguf", alpha=8.0, architecture="llama", adapter_type=adapter_type)
    assert [f"{one.severity} {one.code}" for one in judge_weights(found)] == expected


def test_types_that_no_runtime_adds() -> None:
    assert codes(facts(BOTH, "I8")) == ["error dtype_odd"]


def test_types_that_differ_among_pairs() -> None:
    rows = [AdapterTensor(name, "F16" if "q_proj" in name else "F32", each.shape) for name, each in BOTH.items()]
    assert codes(facts_of(rows, "safetensors")) == ["warning dtype_mixed"]


def test_many_modules_are_told_by_the_first_few() -> None:
    found = judge_agreement(
        facts(pairs("q_proj", layers=range(50))), adapter_config(config(r=8, target_modules=["q_proj"]))
    )
    assert found[0].message.startswith("ranks differ in 50 modules: ")
    assert found[0].message.endswith("and 47 more")
