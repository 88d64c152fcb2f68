"""The double of vLLM answers as a real one did, word for word; ``scripts/real_vllm.py`` asks a real one again."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests import lora_files
from tests.doubles.vllm import VllmDouble
from tests.doubles.vllm_exchanges import BASE, KEY, answers, asked

RECORDED = Path(__file__).with_name("vllm_answers.json")
"""What vLLM 0.32.0 answered."""


@pytest.fixture
def models(tmp_path):
    """Adapters of the names and kinds that ``scripts/real_vllm_model.py`` makes."""
    for name, rank, more in (
        ("one", 8, {}),
        ("two", 8, {}),
        ("rank16", 16, {}),
        ("rank24", 24, {}),
        ("pattern", 8, {"rank_pattern": {"q_proj": 24}}),
        ("dora", 8, {"use_dora": True}),
        ("bias", 8, {"bias": "all"}),
        ("saved", 8, {"modules_to_save": ["lm_head"]}),
        ("truncated", 8, {}),
        ("noweights", 8, {}),
        ("noconfig", 8, {}),
    ):
        lora_files.folder(tmp_path / name, lora_files.pairs("q_proj", rank=rank), lora_files.config(r=rank, **more))
    weights = tmp_path / "truncated" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "noweights" / "adapter_model.safetensors").unlink()
    (tmp_path / "noconfig" / "adapter_config.json").unlink()
    return tmp_path


def test_the_double_answers_word_for_word(models):
    with VllmDouble(str(models / "base"), names=BASE, key=KEY, dev=True, slots=2) as double:
        assert answers(double.url, models) == json.loads(RECORDED.read_text(encoding="utf-8"))


def test_every_answer_is_recorded(tmp_path):
    assert [one.title for one in asked(tmp_path)] == list(json.loads(RECORDED.read_text(encoding="utf-8")))


@pytest.mark.e2e
async def test_a_real_one_answers_so():
    url, folder = os.environ.get("LOCALMODELS_TEST_VLLM_URL"), os.environ.get("LOCALMODELS_TEST_VLLM_MODELS")
    if not url or not folder:
        pytest.skip("no real vLLM of scripts/real_vllm.py")
    found = await asyncio.to_thread(answers, url, Path(folder))
    if os.environ.get("LOCALMODELS_TEST_VLLM_RECORD"):
        RECORDED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(RECORDED.read_text(encoding="utf-8"))
