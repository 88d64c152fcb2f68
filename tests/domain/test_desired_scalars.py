"""What a context may be, in a file and on a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reconciler.domain.desired_document import Slot
from reconciler.domain.units import MOST_TOKENS, parse_context

TEXTS = st.one_of(
    st.text(max_size=10), st.integers(-(10**12), 10**12).map(str), st.sampled_from(["max", " max ", "MAX", "32k"])
)


def in_a_file(value: object) -> object:
    return Slot.model_validate({"name": "a", "context": value}).context


@pytest.mark.parametrize("value", [1, 4096, MOST_TOKENS, 5.0, "max"])
def test_a_context_is_a_number_of_tokens_or_max(value: object) -> None:
    assert in_a_file(value) == value
    assert isinstance(in_a_file(value), int | str)


@pytest.mark.parametrize("value", [0, -1, MOST_TOKENS + 1, 5.5, True, "Max", "4096", "", None, [], float("nan")])
def test_a_wrong_context_is_one_problem(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        in_a_file(value)
    assert caught.value.error_count() == 1


@given(TEXTS)
def test_a_command_line_takes_what_a_file_takes(text: str) -> None:
    try:
        parsed = parse_context(text)
    except ValueError:
        return
    assert in_a_file(parsed) == parsed
    assert parsed == "max" or parsed == int(text)
