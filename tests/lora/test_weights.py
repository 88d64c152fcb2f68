"""What headers say of an adapter, on files of the real peft and on those nobody should write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.formats.safetensors_header import SafetensorsHeader, read_safetensors
from reconciler.lora.adapter_config import AdapterConfig
from reconciler.lora.served_features import features_of
from reconciler.lora.weights import AdapterFacts, facts_of
from tests.lora_files import PEFT

P = "base_model.model.model.layers.0.self_attn"


def of_peft(name: str) -> AdapterFacts:
    raw = (PEFT / name / "adapter_model.safetensors").read_bytes()
    header = read_safetensors(raw, size=len(raw))
    assert isinstance(header, SafetensorsHeader)
    return facts_of([AdapterTensor(each.name, each.dtype, each.shape) for each in header.tensors], "safetensors")


def made(**shapes: tuple[int, ...]) -> AdapterFacts:
    return facts_of(
        [AdapterTensor(f"{P}.{name.replace('__', '.')}", "F32", shape) for name, shape in shapes.items()], "safetensors"
    )


def _strange(found: AdapterFacts) -> list[object]:
    return [each for each in (found.unpaired, found.contradictory, found.stray, found.odd_dtypes) if each]


def test_a_plain_adapter() -> None:
    found = of_peft("plain")
    assert (found.ranks, found.targets, found.layers, found.dtypes) == ((4,), ("q_proj", "v_proj"), (0, 1), ("F32",))
    q, v = found.modules[:2]
    assert (q.path, q.inputs, q.outputs) == ("model.layers.0.self_attn.q_proj", 16, 16)
    assert (v.target, v.inputs, v.outputs) == ("v_proj", 16, 8)
    assert found.parameters == 2 * (4 * 16 * 3 + 4 * 8)
    assert _strange(found) == []


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("all-linear", "targets", ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")),
        ("dora", "has_dora", True), ("saved-head", "saved", ("lm_head",)), ("rank-pattern", "ranks", (2, 4)),
        ("rank-pattern", "max_rank", 4), ("bf16", "dtypes", ("BF16",)), ("one-layer", "layers", (1,)), ("tokens", "token_deltas", 2),
        ("lora-bias", "biases", ("model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.v_proj")),
        ("fan-in-fan-out", "layers", (0, 1)), ("experts", "ranks", (2,)), ("renamed", "ranks", (8,)),
    ],
)  # fmt: skip
def test_every_feature_as_peft_saves_it(name: str, field: str, value: object) -> None:
    assert getattr(of_peft(name), field) == value


@pytest.mark.parametrize(
    "name", sorted(folder.name for folder in PEFT.iterdir() if (folder / "adapter_config.json").exists())
)
def test_nothing_of_peft_is_strange(name: str) -> None:
    found = of_peft(name)
    assert _strange(found) == []


def test_the_base_s_own_embedding_beside_its_pair_changes_nothing() -> None:
    """As peft saves an adapter of embeddings unless it is told not to."""
    pair = [
        AdapterTensor("base_model.model.model.embed_tokens.lora_embedding_A", "F32", (4, 32)),
        AdapterTensor("base_model.model.model.embed_tokens.lora_embedding_B", "F32", (16, 4)),
    ]
    copy = AdapterTensor("base_model.model.model.embed_tokens.base_layer.weight", "F32", (32, 16))
    found = facts_of([*pair, copy], "safetensors")
    assert (found.saved, found.stray, [one.path for one in found.modules]) == ((), (), ["model.embed_tokens"])
    assert features_of(found, AdapterConfig()) == ()
    assert facts_of([copy], "safetensors").saved == ("model.embed_tokens.base_layer",)


def test_an_embedding_has_its_vocabulary_for_inputs() -> None:
    module = next(each for each in of_peft("embedding").modules if each.is_embedding)
    assert (module.path, module.rank, module.inputs, module.outputs) == ("model.embed_tokens", 4, 32, 16)


def test_half_a_pair() -> None:
    found = made(q_proj__lora_A__weight=(4, 16))
    assert (found.unpaired, found.modules) == (("model.layers.0.self_attn.q_proj",), ())


@pytest.mark.parametrize(
    ("a", "b"), [((4, 16), (16, 8)), ((16,), (16, 16)), ((), (16, 4)), ((0, 16), (16, 0)), ((4, 16), (4,))]
)
def test_halves_that_do_not_fit(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    found = made(q_proj__lora_A__weight=a, q_proj__lora_B__weight=b)
    assert len(found.contradictory) == 1
    assert found.modules == ()


def test_convolutions_have_a_rank_and_no_widths_to_compare() -> None:
    found = made(conv__lora_A__weight=(4, 16, 3, 3), conv__lora_B__weight=(16, 4, 1, 1))
    assert (found.modules[0].rank, found.modules[0].inputs) == (4, None)


def test_halves_with_another_number_of_experts_do_not_fit_together() -> None:
    rows = {"blk.0.ffn_up_exps.weight.lora_a": (8, 4, 16), "blk.0.ffn_up_exps.weight.lora_b": (7, 24, 4)}
    found = facts_of([AdapterTensor(name, "F32", shape) for name, shape in rows.items()], "gguf", alpha=8.0)
    assert (found.modules, len(found.contradictory)) == ((), 1)


def test_gguf_experts_have_their_number_first_and_embeddings_stand_turned_round() -> None:
    rows = {
        "blk.0.ffn_up_exps.weight.lora_a": (8, 4, 16), "blk.0.ffn_up_exps.weight.lora_b": (8, 24, 4),
        "token_embd.weight.lora_a": (32, 4), "token_embd.weight.lora_b": (16, 4),
    }  # fmt: skip
    found = facts_of([AdapterTensor(name, "F32", shape) for name, shape in rows.items()], "gguf", alpha=8.0)
    experts, embedding = found.modules
    assert (experts.rank, experts.inputs, experts.outputs, experts.layer) == (4, 16, 24, 0)
    assert (embedding.rank, embedding.inputs, embedding.outputs, embedding.is_embedding) == (4, 32, 16, True)
    assert (experts.target, found.ranks) == ("ffn_up_exps", (4,))


def test_integers_are_no_weights() -> None:
    found = facts_of([AdapterTensor(f"{P}.q_proj.lora_A.weight", "I8", (4, 16))], "safetensors")
    assert found.odd_dtypes == ("I8",)


_NAMES = st.lists(st.sampled_from(["q_proj", "lora_A", "lora_B", "weight", "layers", "0", "blk", "bias", "base_layer", "", "lora_a", "experts"]), max_size=6)  # fmt: skip


@given(st.dictionaries(_NAMES.map(".".join), st.lists(st.integers(0, 2**40), max_size=4).map(tuple), max_size=12))
def test_any_tensors_have_facts(tensors: dict[str, tuple[int, ...]]) -> None:
    found = facts_of([AdapterTensor(name, "F32", shape) for name, shape in tensors.items()], "safetensors")
    assert all(module.rank > 0 for module in found.modules)
    assert found.max_rank is None or found.max_rank in found.ranks
