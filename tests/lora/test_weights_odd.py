"""Tensors that few adapters have: convolutions, experts, names that look like halves, shapes without a dimension."""

from __future__ import annotations

import pytest

from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.lora.weights import AdapterFacts, facts_of
from tests.lora.test_weights import P, made


def of(**tensors: tuple[int, ...]) -> AdapterFacts:
    return made(**tensors)


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ((4, 16), (32, 4), (4, 16, 32)),
        ((4, 3, 3, 3), (32, 4, 1, 1), (4, None, None)),
        ((4, 16), (32, 4, 1, 1), (4, None, None)),
        ((4, 3, 3, 3), (32, 4), (4, None, None)),
        ((2, 4, 16), (2, 32, 4), (4, 16, 32)),
    ],
)
def test_widths_are_told_of_plain_matrices_alone(
    a: tuple[int, ...], b: tuple[int, ...], found: tuple[int, int | None, int | None]
) -> None:
    (module,) = of(x__lora_A__weight=a, x__lora_B__weight=b).modules
    assert (module.rank, module.inputs, module.outputs) == found


@pytest.mark.parametrize(
    ("a", "b"),
    [((4, 16), (32, 5)), ((0, 16), (32, 0)), ((4,), (4,)), ((4,), (32, 4)), ((4, 16), (4,)), ((2, 4, 16), (3, 32, 4))],
)
def test_halves_without_one_rank_are_a_contradiction_and_no_module(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    found = of(x__lora_A__weight=a, x__lora_B__weight=b)
    assert (found.modules, len(found.contradictory)) == ((), 1)
    assert str(list(a)) in found.contradictory[0]


def test_tokens_are_counted_and_a_delta_without_a_shape_is_none() -> None:
    assert of(embed__trainable_tokens_delta=(3, 16)).token_deltas == 3
    assert of(embed__trainable_tokens_delta=()).token_deltas == 0


def test_what_looks_like_a_half_and_is_none_is_stray_and_not_a_whole_module() -> None:
    found = of(x__lora_A__weight=(4, 16), x__lora_B__weight=(32, 4), x__lora_C__weight=(4, 4))
    assert (found.saved, found.stray) == ((), (f"{P.removeprefix('base_model.model.')}.x.lora_C.weight",))


def test_a_magnitude_alone_is_stray() -> None:
    found = of(x__lora_magnitude_vector=(16,))
    assert (len(found.stray), found.has_dora, found.modules) == (1, False, ())


def test_a_bias_is_its_module_s_with_or_without_a_pair() -> None:
    found = of(x__lora_A__weight=(4, 16), x__lora_B__weight=(32, 4), x__lora_B__bias=(32,), y__bias=(16,))
    assert [path.rpartition(".")[2] for path in found.biases] == ["x", "y"]
    assert found.saved == ()


def test_the_order_of_tensors_is_irrelevant() -> None:
    rows = [
        AdapterTensor(f"{P}.{name}", "F32", shape)
        for name, shape in {"x.lora_A.weight": (4, 16), "x.lora_B.weight": (32, 4), "head.weight": (2, 2)}.items()
    ]
    assert facts_of(rows, "safetensors") == facts_of(rows[::-1], "safetensors")
