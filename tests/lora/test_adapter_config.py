"""``adapter_config.json`` as the real peft writes it, and as everybody else may."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES, AdapterConfig, adapter_config, read_adapter_config
from tests.lora_files import PEFT


def of_peft(name: str) -> AdapterConfig:
    return read_adapter_config((PEFT / name / "adapter_config.json").read_bytes())


def test_what_peft_writes() -> None:
    found = of_peft("plain")
    assert (found.peft_type, found.task_type, found.base_model) == ("LORA", "CAUSAL_LM", "acme/tiny-llama")
    assert (found.rank, found.alpha, found.targets, found.target_modules) == (4, 8.0, "list", ("q_proj", "v_proj"))
    assert (found.bias, found.use_dora, found.use_rslora, found.modules_to_save) == ("none", False, False, ())
    assert found.peft_version == "0.21.2"


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("dora", "use_dora", True), ("rslora", "use_rslora", True), ("bias", "bias", "lora_only"),
        ("lora-bias", "lora_bias", True), ("saved-head", "modules_to_save", ("lm_head",)),
        ("rank-pattern", "rank_pattern", {"layers.1.self_attn.q_proj": 2}), ("alpha-pattern", "alpha_pattern", {"v_proj": 4.0}),
        ("one-layer", "layers_to_transform", (1,)), ("one-layer", "layers_pattern", ("layers",)),
        ("pattern", "targets", "pattern"), ("fan-in-fan-out", "fan_in_fan_out", True), ("tokens", "trainable_tokens", 2),
        ("excluded", "exclude_modules", ("gate_proj",)), ("experts", "target_parameters", ("mlp.experts.gate_up_proj",)),
    ],
)  # fmt: skip
def test_every_feature_as_peft_writes_it(name: str, field: str, value: object) -> None:
    assert getattr(of_peft(name), field) == value


@pytest.mark.parametrize(
    ("document", "field", "value"),
    [
        ({"peft_type": 5}, "peft_type", None), ({"task_type": ["x"]}, "task_type", None),
        ({"base_model_name_or_path": None}, "base_model", None), ({"base_model_name_or_path": ""}, "base_model", ""),
        ({"peft_type": ""}, "peft_type", ""), ({"r": -1}, "rank", None), ({"r": 8.0}, "rank", None),
        ({"r": "8"}, "rank", None), ({"r": True}, "rank", None), ({"r": 0}, "rank", 0),
        ({"lora_alpha": 16}, "alpha", 16.0), ({"lora_alpha": 1.5}, "alpha", 1.5), ({"lora_alpha": "16"}, "alpha", None),
        ({"lora_alpha": 10**400}, "alpha", None), ({"lora_alpha": float("inf")}, "alpha", None),
        ({"target_modules": "q_proj"}, "target_modules", ("q_proj",)), ({"target_modules": ["a", 1, "b"]}, "target_modules", ("a", "b")),
        ({"target_modules": {"a": 1}}, "target_modules", ()), ({"target_modules": "all-linear"}, "targets", "all-linear"),
        ({"target_modules": []}, "targets", None), ({"use_dora": "yes"}, "use_dora", False),
        ({"layers_to_transform": 3}, "layers_to_transform", (3,)), ({"layer_replication": [[0, 4], [2, 5], [1]]}, "layer_replication", ((0, 4), (2, 5))),
        ({"trainable_token_indices": {"embed": [1, 2], "x": [3]}}, "trainable_tokens", 3), ({"rank_pattern": [1]}, "rank_pattern", {}),
        ({"harn_lora_contract_id": 1, "lora_contract_id": "b", "harn_contract_id": "c"}, "contract_id", "b"),
        ({"harn_contract_id": "c", "lora_contract_id": "b", "harn_lora_contract_id": "a"}, "contract_id", "a"),
        ({"harn_contract_id": "c", "lora_contract_id": "b"}, "contract_id", "b"),
        ({"target_modules": "All-Linear"}, "targets", "all-linear"),
        ({"harn_contract_id": "c"}, "contract_id", "c"), ({"lora_contract_id": ""}, "contract_id", ""),
    ],
)  # fmt: skip
def test_a_field_of_another_type_counts_as_not_stated(document: dict[str, Any], field: str, value: object) -> None:
    assert getattr(adapter_config(document), field) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "Expecting value"), (b"{", "Expecting"), (b"[]", "not an object"), (b"\xff\xfe{}", "codec"),
        (b'{"a":' * 50_000, "nested too deep"), (b" " * (CONFIG_LIMIT_BYTES + 1), "larger than"),
        (b'{"peft_type": "\\ud800"}', "surrogates"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_said(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_adapter_config(raw)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(sorted(json.loads((PEFT / "plain" / "adapter_config.json").read_text()))), _JSON)
)
def test_any_document_is_a_configuration(document: dict[str, Any]) -> None:
    found = adapter_config(document)
    assert found.rank is None or found.rank >= 0


@given(
    st.fixed_dictionaries(
        {"lora_parameters": st.dictionaries(st.sampled_from(["rank", "scale", "dropout", "keys"]), _JSON) | _JSON},
        optional=dict.fromkeys(("fine_tune_type", "model", "num_layers", "r", "target_modules"), _JSON),
    )
)
def test_any_document_of_mlx_is_a_configuration(document: dict[str, Any]) -> None:
    found = adapter_config(document)
    assert found.is_mlx
    assert found.rank is None or found.rank >= 0
    assert found.alpha is None or math.isfinite(found.alpha)


def test_a_configuration_of_mlx() -> None:
    found = read_adapter_config((PEFT.parent / "mlx" / "dora" / "adapter_config.json").read_bytes())
    assert (found.rank, found.alpha, found.use_dora, found.base_model) == (4, 80.0, True, "acme/tiny-llama")
    assert (found.target_modules, found.targets) == (("self_attn.q_proj", "self_attn.v_proj"), "list")
    assert adapter_config({"lora_parameters": {"rank": 10**400, "scale": 2.0}}).alpha is None
    assert not adapter_config({"peft_type": "LORA", "lora_parameters": {"rank": 4}}).is_mlx


@given(st.binary(max_size=300))
def test_any_bytes_are_a_configuration_or_an_error(raw: bytes) -> None:
    try:
        read_adapter_config(raw)
    except ValueError:
        return
