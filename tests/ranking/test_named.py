from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.ranking.named import find, profile_of
from reconciler.ranking.profiles import PROFILE_LINES
from tests.builders import model
from tests.engine.machines import shipped

KNOWN = (model("acme/alpha-7b"), model("acme/beta-7b"), model("other/Alpha_7B-chat"))


@pytest.mark.parametrize(
    "name", ["acme/alpha-7b", "ACME/Alpha-7B", "hf.co/acme/alpha-7b", "alpha_7b", " acme/alpha-7b/ "]
)
def test_spellings_of_one_model(name: str) -> None:
    assert find(KNOWN, name).model.id == "acme/alpha-7b"


def test_a_quant_may_follow() -> None:
    assert find(KNOWN, "acme/alpha-7b@Q4_K_M").quant == "Q4_K_M"
    assert find(KNOWN, "acme/alpha-7b:Q4_K_M").quant == "Q4_K_M"


@given(st.text(max_size=40))
def test_any_text_is_a_model_or_a_usage_error(text: str) -> None:
    try:
        found: object = find(KNOWN, text).model
    except UsageError as error:
        found = (error.code, bool(error.hint))
    assert found in {("unknown-model", True), *KNOWN}


def test_every_model_of_the_catalogue_is_found_by_its_own_name_and_serves_its_profile() -> None:
    known = shipped().models
    for one in known:
        assert find(known, one.id).model is one
        profile = profile_of(one)
        assert one.line in PROFILE_LINES[profile] or not any(one.line in lines for lines in PROFILE_LINES.values())
