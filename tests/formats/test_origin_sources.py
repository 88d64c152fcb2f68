from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.formats.origin_sources import parse_hf_popularity, parse_open_llm_leaderboard

TODAY = date(2026, 6, 1)


def test_scores_keep_their_model():
    payload = {"models": [{"model": "a/b", "scores": {"mmlu": 70, "gpqa": 31.5}}, {"model": "c/d", "scores": {}}]}
    answer = parse_open_llm_leaderboard(payload, TODAY)
    assert [(o.model, o.benchmark, o.value, o.evidence, o.observed_at) for o in answer.observations] == [
        ("a/b", "mmlu", 70, "direct", TODAY),
        ("a/b", "gpqa", 31.5, "direct", TODAY),
    ]
    assert [(w.code, w.message) for w in answer.warnings] == [("schema_invalid", "c/d has no scores")]


@pytest.mark.parametrize("score", [None, "70", True, float("inf"), 10**400])
def test_one_value_that_is_no_number_refuses_all(score):
    payload = {"models": [{"model": "a/b", "scores": {"mmlu": 70}}, {"model": "c/d", "scores": {"mmlu": score}}]}
    answer = parse_open_llm_leaderboard(payload, TODAY)
    assert (answer.observations, answer.warnings[0].code) == ((), "schema_invalid")


def test_popularity_is_relative_to_the_most_popular():
    answer = parse_hf_popularity(
        [{"id": "a/b", "downloads": 900, "likes": 2}, {"id": "c/d", "downloads": 0, "likes": 5}], TODAY
    )
    assert [(o.model, o.benchmark, o.value, o.evidence) for o in answer.observations] == [
        ("a/b", "hf-popularity", 100, "interpolated"),
        ("c/d", "hf-popularity", 25, "interpolated"),
    ]


@pytest.mark.parametrize("payload", [[], [{"id": "a/b", "downloads": 0, "likes": 0}], [{"downloads": 1, "likes": 1}]])
def test_popularity_without_a_measure_is_a_warning(payload):
    answer = parse_hf_popularity(payload, TODAY)
    assert (answer.observations, [w.code for w in answer.warnings]) == ((), ["schema_invalid"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["models", "model", "scores", "id", "downloads", "likes"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_gives_an_answer(payload):
    for parse in (parse_open_llm_leaderboard, parse_hf_popularity):
        answer = parse(payload, TODAY)
        assert answer.fetched_at == TODAY
