import itertools

import pytest

from reconciler.ranking.evidence import LADDER, family_root, grade, grade_observation, weakest
from tests.ranking.made import observation

R1 = "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"


def test_same_model_and_quant_is_direct():
    assert grade(R1, R1, observed_quant="Q4_K_M", wanted_quant="Q4_K_M") == "direct"


def test_an_alias_of_the_quant_is_the_same_quant():
    assert grade(R1, R1.lower(), observed_quant="q4", wanted_quant=" Q4_K_M ") == "direct"


def test_another_quant_is_a_variant():
    assert grade(R1, R1, observed_quant="Q8_0", wanted_quant="Q4_K_M") == "variant"


@pytest.mark.parametrize(("one", "other"), [("Q99", "Q99"), (None, "Q4_K_M"), ("Q4_K_M", None), ("", "")])
def test_quants_that_are_not_both_known_do_not_agree(one, other):
    assert grade(R1, R1, observed_quant=one, wanted_quant=other) == "variant"


@pytest.mark.parametrize("suffix", ["-GGUF", "-gguf", "-MLX", "-AWQ", "-GPTQ"])
def test_a_mirrors_suffix_does_not_make_another_model(suffix):
    assert grade(R1, R1 + suffix) == "variant"


def test_another_size_of_the_family_is_a_base():
    assert grade("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-32B") == "base"
    assert grade("Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B-GGUF") == "base"


def test_stacked_tuning_suffixes_are_stripped():
    assert grade("acme/m-7B-Instruct-Chat", "acme/m-7B") == "base"
    assert family_root("acme/m-1.5B-it-Instruct-GGUF") == "acme/m"


def test_another_family_is_interpolated():
    assert grade("Qwen/Qwen3-8B", "google/gemma-3-12b-it") == "interpolated"


def test_a_fine_tune_inherits_nothing_by_its_name():
    assert grade("Qwen/Qwen3-8B", "someone/Qwen3-8B-Uncensored") == "interpolated"


def test_self_reported_stays_so_on_a_match_and_without():
    same = grade(R1, R1, observed_quant="Q4_K_M", wanted_quant="Q4_K_M", declared="self-reported")
    assert (same, grade("a/b", "c/d", declared="self-reported")) == ("self-reported", "self-reported")


def test_other_declared_grades_are_ignored_by_the_grader():
    assert grade("a/b", "c/d", declared="direct") == "interpolated"


def test_the_ladder_has_steps_of_at_least_0_15():
    assert all(high - low >= 0.15 - 1e-9 for high, low in itertools.pairwise(LADDER.values()))


@pytest.mark.parametrize("declared", ["direct", "variant", "base", "self-reported"])
def test_an_observation_without_a_quant_keeps_its_declared_grade_for_its_own_model(declared):
    """Changed from the origin, which trusted every declared grade for every candidate: here only for the same model,
    and only where the source does not say which quant it measured."""
    of_r1 = observation(R1, 67.8, evidence=declared)
    assert grade_observation(of_r1, f"{R1}-GGUF", "Q4_K_M") == declared
    assert grade_observation(of_r1, "Qwen/Qwen3-32B", "Q4_K_M") in ("interpolated", "self-reported")


def test_an_observation_with_a_quant_is_graded_by_it():
    measured = observation(R1, 67.8, quant="Q8_0")
    assert grade_observation(measured, R1, "Q8_0") == "direct"
    assert grade_observation(measured, R1, "Q4_K_M") == "variant"


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ([], "interpolated"), (["direct"], "direct"), (["direct", "variant"], "variant"),
        (["direct", "self-reported"], "self-reported"), (["base", "interpolated"], "interpolated"),
    ],
)  # fmt: skip
def test_weakest_evidence(grades, expected):
    assert weakest(grades) == expected
