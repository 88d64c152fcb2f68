"""The double of vLLM answers as a real one did, word for word; ``scripts/real_vllm.py`` asks a real one again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests import lora_files
from tests.doubles.vllm import VllmDouble
from tests.doubles.vllm_exchanges import BASE, KEY, answers, asked

RECORDED = Path(__file__).with_name("vllm_answers.json")
"""What vLLM 0.32.0 answered."""
BESIDE = {
    "tokens": {
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": np.zeros((2, 16), np.float32)
    },
    "embedding": {"base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((8, 32), np.float32)},
    "deep": lora_files.pairs("q_proj", rank=8, layers=(7,)),
}
"""What stands in their weights beside plain pairs."""


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
        ("ranks", 8, {"rank_pattern": {"q_proj": 12}, "alpha_pattern": {"v_proj": 4}}),
        ("embedding", 8, {"target_modules": ["embed_tokens", "lm_head"]}),
        ("tokens", 8, {"trainable_token_indices": [1, 2]}),
        ("replicated", 8, {"layer_replication": [[0, 2], [1, 2]]}),
        ("alora", 8, {"alora_invocation_tokens": [5, 6]}),
        ("lorabias", 8, {"lora_bias": True}),
        ("bdlora", 8, {"use_bdlora": {"nblocks": 2}}),
        ("qalora", 8, {"use_qalora": True}),
        ("deep", 8, {}),
        *((init, 8, {"init_lora_weights": init}) for init in ("orthogonal", "pissa", "olora", "corda", "loftq", "eva")),
    ):
        tensors = lora_files.pairs("q_proj", rank=rank) | BESIDE.get(name, {})
        lora_files.folder(tmp_path / name, tensors, lora_files.config(r=rank, **more))
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


class TestTheEngine:
    """What a real one was seen to do (0.32.0, by hand, since it does not outlive it)."""

    @pytest.mark.parametrize("how", [{"load_inplace": True}, {}])
    def test_loaded_in_place_it_is_read_at_every_step(self, models, how):
        with VllmDouble(str(models / "base"), names=BASE) as double:
            load = {"lora_name": "sql", "lora_path": str(models / "one"), **how}
            assert post(double, "/v1/load_lora_adapter", load) == 200
            assert post(double, "/v1/completions", {"model": "sql", "prompt": "a"}) == 200
            shutil.rmtree(models / "one")
            assert post(double, "/v1/completions", {"model": "sql", "prompt": "a"}) == (500 if how else 200)
            assert double.healthy is not bool(how)

    def test_what_fell_out_of_its_cache_is_read_again(self, models):
        with VllmDouble(str(models / "base"), names=BASE, slots=1) as double:
            for name in ("one", "two"):
                assert (
                    post(double, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(models / name)}) == 200
                )
            assert post(double, "/v1/completions", {"model": "one", "prompt": "a"}) == 200
            shutil.rmtree(models / "two")
            assert post(double, "/v1/completions", {"model": "two", "prompt": "a"}) == 500
            assert post(double, "/v1/completions", {"model": BASE[0], "prompt": "a"}) == 500, "the base goes too"

    def test_a_request_goes_on_with_what_was_unloaded(self, models):
        with VllmDouble(str(models / "base"), names=BASE, slots=1) as double:
            assert post(double, "/v1/load_lora_adapter", {"lora_name": "a", "lora_path": str(models / "one")}) == 200
            begun = double.loras["a"]
            assert post(double, "/v1/unload_lora_adapter", {"lora_name": "a"}) == 200
            shutil.rmtree(models / "one")
            double.answer_on(begun)
            assert double.healthy
            assert post(double, "/v1/load_lora_adapter", {"lora_name": "b", "lora_path": str(models / "two")}) == 200
            double.answer_on(begun)
            assert not double.healthy


def post(double: VllmDouble, path: str, body: dict[str, object]) -> int:
    request = urllib.request.Request(double.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
