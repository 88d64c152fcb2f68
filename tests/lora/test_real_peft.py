"""Where the real libraries are installed: what they write today is still read, and layouts are still what we say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.formats.safetensors_header import SafetensorsHeader, read_safetensors
from reconciler.lora.adapter_config import read_adapter_config
from reconciler.lora.agreement import judge_agreement, judge_weights
from reconciler.lora.base_shapes import PLAIN, PLAIN_ATTENTION, BaseFacts, base_from_config, fit_of
from reconciler.lora.weights import AdapterFacts, facts_of
from tests.lora_files import PEFT

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_lora_fixtures.py"
LIBRARIES = ("torch", "transformers", "peft", "safetensors")
MISSING = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
needs_libraries = pytest.mark.skipif(
    bool(MISSING),
    reason=f"not installed: {', '.join(MISSING)} (pip install torch peft); tests/lora/peft has what they wrote",
)
SMALL = {"vocab_size": 40, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 6,
         "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
WITHOUT_HEAD_DIM = ("cohere", "olmo2")


def read(folder: Path) -> AdapterFacts:
    raw = (folder / "adapter_model.safetensors").read_bytes()
    header = read_safetensors(raw, size=len(raw))
    assert isinstance(header, SafetensorsHeader)
    return facts_of([AdapterTensor(each.name, each.dtype, each.shape) for each in header.tensors], "safetensors")


@pytest.mark.filterwarnings("ignore")
@needs_libraries
def test_what_peft_writes_today_is_what_it_wrote(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_lora_fixtures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.build(tmp_path / "made")
    for folder in sorted((tmp_path / "made").iterdir()):
        if (folder / "adapter_config.json").exists():
            found, stated = read(folder), read_adapter_config((folder / "adapter_config.json").read_bytes())
            assert (*judge_weights(found), *judge_agreement(found, stated)) == (), folder.name
            assert found == read(PEFT / folder.name), folder.name


@pytest.mark.filterwarnings("ignore")
@needs_libraries
@pytest.mark.parametrize("kind", sorted(PLAIN_ATTENTION))
def test_every_listed_layout_is_the_librarys(kind: str) -> None:
    model, base = built(kind)
    compared = 0
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() != 2:
            continue
        inputs, outputs = weight.shape if type(module).__name__.endswith("Embedding") else reversed(weight.shape)
        rows = [
            AdapterTensor(f"{name}.lora_A.weight", "F32", (1, inputs)),
            AdapterTensor(f"{name}.lora_B.weight", "F32", (outputs, 1)),
        ]
        fit = fit_of(facts_of(rows, "safetensors"), base)
        assert fit.verdict != "shape-mismatch", fit.differences
        compared += fit.compared
    assert compared == (16 if kind in PLAIN else 10)


def built(kind: str) -> tuple[Any, BaseFacts]:
    """A model of this type without weights, and what its configuration says."""
    import torch
    import transformers

    more: dict[str, int] = {} if kind in WITHOUT_HEAD_DIM else {"head_dim": 10}
    if kind in PLAIN_ATTENTION - PLAIN:
        more |= {"num_experts": 4, "moe_intermediate_size": 8} if kind != "mixtral" else {"num_local_experts": 4}
    settings = transformers.AutoConfig.for_model(kind, **SMALL, **more)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(settings), base_from_config(settings.to_dict())
