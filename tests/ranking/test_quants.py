import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ranking.quants import _PERPLEXITY, KNOWN_QUANTS, bits_per_weight, normalise


@pytest.mark.parametrize(
    ("quant", "bits"),
    [
        ("F32", 32), ("FP16", 16), ("BF16", 16), ("F16", 16), ("Q8_0", 8.5), ("Q6_K", 6.6), ("Q5_K_M", 5.7),
        ("Q5_K_S", 5.5), ("Q4_K_M", 4.85), ("Q4_K_S", 4.6), ("Q4_0", 4.5), ("Q3_K_M", 3.9), ("Q3_K_S", 3.5),
        ("Q2_K", 3.35), ("IQ4_XS", 4.25), ("IQ3_M", 3.7), ("MLX-4bit", 4.25), ("MLX-8bit", 8.5),
    ],
)  # fmt: skip
def test_the_origins_quants_keep_their_name_and_bits(quant, bits):
    assert (normalise(quant).canonical, normalise(quant).known, bits_per_weight(quant)) == (quant, True, bits)


def test_case_does_not_matter():
    assert normalise("q4_k_m") == normalise("Q4_K_M")
    assert normalise("mlx-4BIT").canonical == "MLX-4bit"


def test_surrounding_blanks_do_not_matter():
    assert normalise("  Q6_K \n") == normalise("Q6_K")


@pytest.mark.parametrize(
    ("alias", "canonical"),
    [("mlx-q4", "MLX-4bit"), ("MLX-4-bit", "MLX-4bit"), ("mlx-q8", "MLX-8bit"), ("mlx-8-bit", "MLX-8bit")],
)
def test_mlx_aliases(alias, canonical):
    assert normalise(alias).canonical == canonical


@pytest.mark.parametrize(
    ("alias", "canonical"),
    [
        ("q8", "Q8_0"), ("q6", "Q6_K"), ("q5", "Q5_K_M"), ("q4", "Q4_K_M"), ("q3", "Q3_K_M"), ("q2", "Q2_K"),
        ("fp16", "FP16"), ("bf16", "BF16"), ("f16", "F16"), ("f32", "F32"),
    ],
)  # fmt: skip
def test_shorthand_aliases(alias, canonical):
    assert normalise(alias).canonical == canonical


def test_an_unknown_quant_takes_8_bits_and_is_echoed():
    quant = normalise(" Q99_Z ")
    assert (quant.canonical, quant.known, quant.bits_per_weight) == ("Q99_Z", False, 8.0)


def test_a_blank_text_is_echoed_as_it_is():
    assert [(normalise(text).canonical, normalise(text).known) for text in ("", "  ")] == [("", False), ("  ", False)]


def test_every_known_name_resolves_to_itself():
    assert all(normalise(name).canonical == name for name in KNOWN_QUANTS)


@pytest.mark.parametrize(
    ("quant", "low", "high"),
    [
        ("UD-Q4_K_XL", 4.6, 5.3), ("IQ2_XXS", 2.0, 2.4), ("IQ4_NL", 4.4, 4.7), ("MXFP4", 4.2, 4.7), ("Q4_1", 5.0, 5.1),
        ("Q3_K_L", 4.0, 4.5), ("Q5_0", 5.4, 5.7), ("TQ1_0", 1.6, 2.1), ("UD-IQ1_S", 1.8, 2.5),
    ],
)  # fmt: skip
def test_quants_the_origin_did_not_know_have_the_bits_of_real_files(quant, low, high):
    assert normalise(quant).known
    assert low <= bits_per_weight(quant) <= high


def test_a_dynamic_form_of_a_known_quant_is_known():
    assert normalise("ud-q8_0").canonical == "UD-Q8_0"
    assert normalise("ud-q8_0").known


def test_quality_falls_with_the_published_perplexity():
    order = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ2_XXS", "IQ1_S"]
    factors = [normalise(name).quality_factor for name in order]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == 1.0
    assert factors[4] == pytest.approx(6.233160 / 6.382937)


def test_a_quant_nobody_measured_lies_between_its_neighbours():
    assert (
        normalise("Q4_K_S").quality_factor < normalise("UD-Q4_K_XL").quality_factor < normalise("Q6_K").quality_factor
    )


@given(st.text(max_size=30))
def test_any_text_gives_a_usable_quant(text):
    quant = normalise(text)
    assert 0 < quant.bits_per_weight <= 32
    assert 0 < quant.quality_factor <= 1
    assert normalise(quant.canonical) == quant or not quant.known


def test_eight_bits_keep_everything_that_sixteen_keep():
    """The published difference is a thirtieth of its own standard error: sixteen bits win by nothing, and are slower."""
    assert {normalise(name).quality_factor for name in ("Q8_0", "MLX-8bit", "BF16", "F16", "F32")} == {1.0}
    assert normalise("Q6_K").quality_factor < 1.0


def test_a_model_released_in_four_bits_lost_nothing_and_one_converted_to_them_did():
    assert normalise("MXFP4").quality_factor == 1.0
    for converted in ("MXFP4_MOE", "NVFP4", "MLX-4bit", "AWQ", "GPTQ"):
        assert normalise("Q3_K_M").quality_factor < normalise(converted).quality_factor < 0.98


@pytest.mark.parametrize("other", ["Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8"])
def test_blocks_in_another_order_are_the_same_quant(other):
    assert normalise(other).quality_factor == normalise("Q4_0").quality_factor


def test_more_bits_of_the_same_making_never_keep_less():
    for making in ("UD-", "MLX-"):
        of = sorted(
            (normalise(name) for name in KNOWN_QUANTS if name.startswith(making)), key=lambda q: q.bits_per_weight
        )
        assert [quant.quality_factor for quant in of] == sorted(quant.quality_factor for quant in of)


def test_no_quant_is_known_to_keep_nothing_or_more_than_everything():
    assert all(0 < normalise(name).quality_factor <= 1 for name in KNOWN_QUANTS)


def test_every_quant_of_the_published_perplexities_has_its_bits():
    assert [name for name in _PERPLEXITY if not normalise(name).known] == []
    assert bits_per_weight("Q2_K_S") == pytest.approx(16 * 2.96 / 14.97, abs=0.001)
