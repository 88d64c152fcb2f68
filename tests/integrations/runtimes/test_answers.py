"""Any answer is read whole, or is one of our errors with the server's own words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.http import Reply
from reconciler.integrations.runtimes.answers import count, failed, items, mapping, server_words


def reply(body: bytes, status: int = 200) -> Reply:
    return Reply(status, {}, body, "http://gpu.test/a")


@given(st.binary(max_size=60) | st.sampled_from([b"{}", b"[]", b"null", b"[" * 5000]))
def test_any_bytes_are_an_object_or_a_bad_answer(body: bytes) -> None:
    try:
        found: object = mapping(reply(body))
    except Corrupt as error:
        found = {"error": error.code}
    assert isinstance(found, dict)
    assert found.get("error", "bad-answer") == "bad-answer"


@pytest.mark.parametrize("document", [[], {}, {"models": None}, {"models": {}}, {"models": [{}, 1]}])
def test_a_list_with_a_hole_is_no_list(document: object) -> None:
    with pytest.raises(Corrupt):
        items(reply(json.dumps(document).encode()), "models")


def test_a_whole_list_may_be_empty() -> None:
    assert items(reply(b'{"models": []}'), "models") == []


@pytest.mark.parametrize(("value", "whole"), [(0, 0), (7, 7), (-1, None), (True, None), (1.0, None), ("7", None)])
def test_a_count_is_a_whole_number_and_nothing_else(value: object, whole: int | None) -> None:
    assert count(value) == whole


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": "no room"}', "no room"),
        (b'{"error": {"message": "no room", "code": 500}}', "no room"),
        (b'{"error": {"code": 500}}', '{"error": {"code": 500}}'),
        (b" plain words ", "plain words"),
        (b"x" * 300, "x" * 200),
        (b"", ""),
    ],
)
def test_the_servers_own_words_are_found_and_short(body: bytes, words: str) -> None:
    assert server_words(body) == words


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (500, Unreachable, "unreachable"),
        (429, Unreachable, "unreachable"),
        (401, Refused, "unauthorised"),
        (404, Refused, "not-found"),
        (400, Refused, "refused"),
    ],
)
def test_a_no_says_whether_to_try_again(status: int, kind: type[OutsideError], code: str) -> None:
    error = failed(reply(b'{"error": "why"}', status), "cannot look")
    assert type(error) is kind
    assert (error.message, error.code) == (f"cannot look: http://gpu.test/a answered {status}: why", code)
