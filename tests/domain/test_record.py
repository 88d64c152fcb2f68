"""The record as a value."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.builders import artifact, entry, record, target

ENTRY = entry(artifact("acme/alpha-GGUF"), "slot/a[0]", model_id="acme/alpha")


def test_a_record_does_not_change() -> None:
    before = record(ENTRY)
    after = before.without(target().key, ENTRY.name)
    assert (before.entries, after.entries) == ((ENTRY,), ())
    with pytest.raises(ValidationError, match="frozen"):
        before.generation = 9


def test_every_change_is_a_new_generation() -> None:
    empty = record()
    one = empty.with_entry(ENTRY)
    assert empty.generation < one.generation < one.without(target().key, ENTRY.name).generation


def test_an_entry_is_known_by_target_and_name() -> None:
    known = record(ENTRY)
    assert known.entry(target().key, ENTRY.name) == ENTRY
    assert known.entry(target("other", path="/other").key, ENTRY.name) is None
    assert len(known.with_entry(ENTRY.model_copy(update={"score": 5.0})).entries) == 1
