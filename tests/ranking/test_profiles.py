import pytest

from reconciler.domain.estimate import PROFILES
from reconciler.ranking.profiles import benchmark_weight, is_listed, line_serves, model_serves
from tests.ranking.made import model


@pytest.mark.parametrize(
    "line", ["guard", "ocr", "reranker", "embedding", "medical", "math", "function-calling", "diffusion"]
)
def test_a_specialist_never_serves_general(line):
    assert not line_serves(line, "general")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_guard_serves_nothing(profile):
    assert not line_serves("guard", profile)


def test_a_coder_serves_coding_and_not_general():
    assert line_serves("coder", "coding")
    assert not line_serves("coder", "general")


def test_general_models_serve_coding_and_reasoning():
    assert line_serves("general", "coding")
    assert line_serves("general", "reasoning")


def test_a_general_model_that_sees_serves_vision():
    assert not model_serves(model(), "vision")
    assert model_serves(model(capabilities=(("vision", ("hub",)),)), "vision")
    assert model_serves(model(line="vision"), "vision")


def test_a_guard_that_sees_does_not_serve_vision():
    assert not model_serves(model(line="guard", capabilities=(("vision", ("hub",)),)), "vision")


@pytest.mark.parametrize(
    ("benchmark", "profile"),
    [
        ("livebench_coding", "coding"), ("arena_code", "coding"), ("evalplus_humaneval_plus", "coding"),
        ("livebench_mathematics", "reasoning"), ("ollb2_gpqa", "reasoning"), ("mteb_eng_v2_retrieval", "embedding"),
        ("arena_vision", "vision"), ("lmarena_text_style_control", "general"), ("mmlu-pro", "general"),
        ("HumanEval-X", "coding"), ("swe-bench-verified", "coding"), ("gsm8k", "reasoning"), ("aime-2026", "reasoning"),
        ("arc", "reasoning"), ("mmmu", "vision"), ("beir", "embedding"),
    ],
)  # fmt: skip
def test_each_benchmark_speaks_of_its_profile(benchmark, profile):
    assert benchmark_weight(benchmark, profile) > 0.15


def test_coding_goes_before_reasoning_in_a_name():
    assert benchmark_weight("code-reasoning", "coding") == 1.0
    assert benchmark_weight("code-reasoning", "reasoning") == 0.0


@pytest.mark.parametrize("benchmark", ["mteb_eng_v2_mean_task", "arena_vision", "beir", "mmmu"])
def test_embeddings_and_images_say_nothing_of_general(benchmark):
    assert benchmark_weight(benchmark, "general") == 0.0


def test_a_sub_score_outside_the_table_is_left_to_its_whole():
    assert benchmark_weight("bfcl_v4_web_search", "general") == 0.0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("counted", ["hf-popularity", "hub-downloads", "github_stars"])
def test_popularity_is_no_quality(counted, profile):
    """Changed from the origin, where it was a term of the mean and dragged good models down."""
    assert benchmark_weight(counted, profile) == 0.0


@pytest.mark.parametrize("profile", ["general", "coding", "reasoning", "embedding"])
def test_every_profile_has_a_benchmark_that_is_all_about_it(profile):
    assert any(
        benchmark_weight(name, profile) == 1.0
        for name in ("livebench_average", "arena_code", "livebench_mathematics", "mteb_eng_v2_mean_task")
    )


def test_the_table_knows_its_own_benchmarks_only():
    assert is_listed("livebench_coding")
    assert not is_listed("mmlu-pro")
