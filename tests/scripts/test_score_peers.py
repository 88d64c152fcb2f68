"""The peers' estimates: llmfit's formula as its source states it, and what each peer is told about a row."""

import pytest

from reconciler.formats.measured_file import MeasuredPoint
from tests.scripts.loading import load

llmfit = load("score_peers_llmfit")
peers = load("score_peers_llmfit", "score_peers")

OLMOE = {
    "name": "allenai/OLMoE-1B-7B", "is_moe": True, "num_experts": 64, "active_experts": 8, "hidden_size": 2048,
    "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 128,
    "moe_intermediate_size": 1024, "vocab_size": 50304, "shared_expert_intermediate_size": None,
}  # fmt: skip


def row(**more):
    return {
        "params": 27_000_000_000, "active": None, "moe": False, "quant": "Q4_K_M", "bandwidth_gbps": 1008.0,
        "memory_gb": 24.0, "context": 8192, "kv_dtype": None, **more,
    }  # fmt: skip


def test_llmfit_dense_speed_is_bandwidth_over_nominal_bytes():
    """Its own comment: a 27B model at Q4 on an RTX 4090 gives about 40 tokens a second."""
    assert llmfit.estimate(row(), {})["speed"] == pytest.approx(1008 / 13.5 * 0.55)


@pytest.mark.parametrize(("quant", "said"), [("Q2_K", 281), ("Q4_K_M", 257), ("Q8_0", 216)])
def test_llmfit_mixture_speed_is_what_its_comments_say(quant, said):
    """Its comments give these for OLMoE on a card of 512 GB/s; they are rounded or of another day by a few percent."""
    point = row(moe=True, params=6_900_000_000, active=1_300_000_000, quant=quant, bandwidth_gbps=512.0)
    assert llmfit.estimate(point, OLMOE)["speed"] == pytest.approx(said, rel=0.06)


def test_llmfit_mixture_without_dimensions_pays_for_many_experts():
    point = row(moe=True, params=30_000_000_000, active=3_000_000_000, memory_gb=80.0)
    known = llmfit.estimate(point, {"num_experts": 128})["speed"]
    assert known == pytest.approx(1008 / (3 * 0.58) * 0.55 * 0.40)
    assert llmfit.estimate(point, {})["speed"] == pytest.approx(known * 0.60 / 0.40)


def test_llmfit_counts_every_layer_at_the_whole_context():
    gemma = {"num_hidden_layers": 62, "head_dim": 128, "num_key_value_heads": 16}
    assert llmfit.estimate(row(context=131_072), gemma)["kv"] == 62.0
    assert llmfit.estimate(row(context=131_072, kv_dtype="q8_0"), gemma)["kv"] == 31.0
    assert llmfit.estimate(row(), {})["kv"] == pytest.approx(8e-6 * 27 * 8192)


def test_llmfit_knows_a_model_by_its_slug():
    catalogue = llmfit.Catalogue([OLMOE])
    assert catalogue.find("somebody/olmoe_1b-7b") is OLMOE
    assert catalogue.find("unknown", "allenai/OLMoE-1B-7B") is OLMOE
    assert catalogue.find("unknown", "") == {}


@pytest.mark.parametrize(
    ("stated", "told"),
    [(None, "Q4_K_M"), ("Q4_K_M(ollama default, assumed)", "Q4_K_M"), ("Q4_K_XL", "UD-Q4_K_XL"), ("FP16", "F16"),
     ("MLX", "MLX-4bit"), ("ud-iq2_xxs", "UD-IQ2_XXS"), ("APEX-MTP-I-Mini", "APEX-MTP-I-Mini")],
)  # fmt: skip
def test_peers_are_told_quants_as_they_spell_them(stated, told):
    assert peers.quant_of(MeasuredPoint("a", "RTX 4090", "acme/alpha", 8.0, quant=stated)) == told


def test_a_peer_is_told_what_the_row_says():
    point = MeasuredPoint(
        "a", "Apple M4 Pro", "acme/alpha", 8.0, mem_gb=24, bw_gbps=273, quant="Q4_K_M", ctx_alloc=4096
    )
    facts = peers.facts(point)
    assert (facts["vendor"], facts["params"], facts["bandwidth_gbps"], facts["context"]) == (
        "apple",
        8 * 10**9,
        273,
        4096,
    )
    assert facts["gguf"]
    assert facts["listed_bytes"] == pytest.approx(4.85e9, rel=0.01)
    assert not peers.facts(MeasuredPoint("b", "RTX 4090", "acme/alpha", 8.0, quant="NVFP4"))["gguf"]
