"""What the suite of a lent vLLM attaches where nobody names adapters: made to the widths of the base it serves."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open

from tests.contracts.adapter_drivers import adapters_by_config


def test_two_adapters_are_made_by_the_config_of_a_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    said = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3}
    (base / "config.json").write_text(json.dumps(said), encoding="utf-8")
    one, two = adapters_by_config(tmp_path, base)
    told = [json.loads((place / "adapter_config.json").read_text(encoding="utf-8")) for place in (one, two)]
    assert told[0] != told[1]
    assert {each["base_model_name_or_path"] for each in told} == {str(base)}
    with safe_open(one / "adapter_model.safetensors", "np") as weights:
        shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    assert len(shapes) == 3 * 2 * 2
    assert shapes["base_model.model.model.layers.2.self_attn.v_proj.lora_B.weight"] == (16, 4)
    assert shapes["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"] == (4, 32)
