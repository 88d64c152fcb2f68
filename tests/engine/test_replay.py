from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.observation import Installed
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.record import Record, RecordAlias
from reconciler.domain.units import Bytes
from reconciler.engine.bookkeeping import Books
from reconciler.engine.replay import replay
from reconciler.errors import RecordError
from reconciler.integrations.journal import Journal
from tests.builders import artifact, entry
from tests.fakes import FAKE_NOW, FixedClock, MemoryRecordStore

NAMES = ("a", "b", "c")
TARGETS = ("store|/one", "ollama|http://127.0.0.1:11434")
SOURCE = "/home/someone/localmodels.yaml"
EMPTY = Record(name="default", source=SOURCE)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["install", "update", "evict", "finish", "fail", "forget", "disown", "adopt", "note", "alias", "unname",
             "lost save"]
        ),
        st.sampled_from(NAMES),
        st.sampled_from(TARGETS),
    ),
    max_size=25,
)  # fmt: skip


def row(action: Action, name: str, target_key: str) -> Row:
    found = artifact(f"acme/{name}-GGUF")
    return Row(
        address=f"slot/{name}[0]", action=action, reason=Reason.MISSING, target="t", target_key=target_key, name=name,
        artifact=found, bytes_down=found.bytes,
    )  # fmt: skip


async def one_operation(books: Books, store: MemoryRecordStore, kind: str, name: str, target: str) -> None:
    key = (target, name)
    open_steps = [intent for intent in books.record.intents if (intent.target_key, intent.name) == key]
    if kind in ("install", "update", "evict"):
        await books.begin(row(Action(kind), name, target), kind, existed=name == "c")  # type: ignore[arg-type]
    elif kind == "finish" and open_steps:
        step = open_steps[0]
        if step.action == "evict":
            await books.evicted(step)
        else:
            await books.installed(step, Installed(name=name, bytes=Bytes(5), stamp="s", digest="d"))
    elif kind == "fail" and open_steps:
        await books.ended(open_steps[0], "failed", "unreachable")
    elif kind in ("forget", "disown"):
        await books.forget(target, name, event={"forget": "forgotten", "disown": "disowned"}[kind])
    elif kind == "adopt":
        fresh = entry(artifact(f"acme/{name}-GGUF"), model_id=name, name=name, target_key=target, adopted=True)
        await books.enter(fresh, event="adopted")
    elif kind == "note":
        await books.replace(books.record.model_copy(update={"applied_digest": name}), event="noted")
    elif kind == "alias":
        spelling = name.upper() if target.startswith("ollama") and len(store.lines) % 2 else name
        alias = RecordAlias(target_key=target, target_name="t", name=spelling, model="m", made_at=FAKE_NOW)
        await books.enter_alias(alias, event="restored")
    elif kind == "unname" and any((one.target_key, one.name.lower()) == key for one in books.record.aliases):
        await books.forget_alias(target, name)
    elif kind == "lost save":
        store.fail_saves = [RecordError("the disk is full")]
        with pytest.raises(RecordError):
            await books.forget(target, name)


async def played(operations: Iterable[tuple[str, str, str]]) -> MemoryRecordStore:
    store = MemoryRecordStore(EMPTY)
    for number, (kind, name, target) in enumerate(operations):
        books = Books(store.record, store, FixedClock())  # another run each time: nothing but the store remembers
        await one_operation(books, store, kind, name, target)
        assert number < 100
    return store


def as_read(lines: Iterable[dict[str, object]]) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(line, default=str)) for line in lines]


@given(OPERATIONS)
@settings(max_examples=60, deadline=None)
def test_what_is_replayed_is_what_was_saved(operations: list[tuple[str, str, str]]) -> None:
    store = asyncio.run(played(operations))
    saved = store.record
    again = replay("default", as_read(store.lines))
    assert again.notes == ()
    if again.record.generation == saved.generation:
        assert again.record.model_copy(update={"source": SOURCE}) == saved
    else:
        assert ("lost save" in {kind for kind, _, _ in operations}) or not again.lines


@given(OPERATIONS, st.data())
@settings(max_examples=40, deadline=None)
def test_a_journal_cut_anywhere_leads_to_a_state_that_was(operations: list[tuple[str, str, str]], data: Any) -> None:
    store = asyncio.run(played(operations))
    lines = as_read(store.lines)
    states = [replay("default", lines[:count]).record for count in range(len(lines) + 1)]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(text[: data.draw(st.integers(0, len(text)))])
        assert replay("default", Journal(path).lines()).record in states


@given(OPERATIONS, st.integers(400, 6000))
@settings(max_examples=30, deadline=None)
def test_however_often_the_journal_is_set_beside_nothing_is_lost(
    operations: list[tuple[str, str, str]], rotate_bytes: int
) -> None:
    """Of all the files there ever were the last two are kept; they lead to the same record."""
    store = asyncio.run(played([one for one in operations if one[0] != "lost save"]))
    saved = {record.generation: record for record in store.saved}
    with TemporaryDirectory() as folder:
        state = [EMPTY]

        def opening() -> dict[str, object]:
            record = state[-1]
            return {"event": "opened", "document": record.name, "source": record.source, "after": record.generation,
                    "generation": record.generation, "whole": record.model_dump(mode="json", by_alias=True)}  # fmt: skip

        journal = Journal(Path(folder) / "journal.jsonl", opening=opening, rotate_bytes=rotate_bytes)
        for line in store.lines:
            journal.append(line)
            generation = line.get("generation")
            if isinstance(generation, int):
                state.append(saved[generation])
        again = replay("default", journal.lines())
    assert again.record.entries == store.record.entries
    assert again.record.intents == store.record.intents
    assert again.record.aliases == store.record.aliases
    assert again.notes == ()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["event", "document", "source", "after", "generation", "closes", "whole", "intent", "entry", "alias", "targetKey",
     "name"]
)  # fmt: skip


@given(st.lists(st.dictionaries(KEYS, JUNK | st.just("default"), max_size=8), max_size=8))
def test_no_line_is_too_odd(lines: list[dict[str, Any]]) -> None:
    assert replay("default", lines).record.name == "default"


async def test_lines_of_another_document_and_nonsense_are_left_out_and_said() -> None:
    store = await played([("adopt", "a", TARGETS[0])])
    odd: list[dict[str, Any]] = [
        {"event": "adopted", "document": "other", "after": 1, "generation": 2, "entry": {}},
        {"event": "adopted", "document": "default", "after": 1, "generation": 2, "entry": {"name": 3}},
        {"what": "is this"},
    ]
    again = replay("default", [*as_read(store.lines), *odd])
    assert [one.name for one in again.record.entries] == ["a"]
    assert again.lines == 1
    assert again.notes == (
        "lines of the journal left out because they are another document's: 1",
        "lines of the journal left out because they make no sense: 2",
    )


async def test_a_record_that_was_begun_anew_on_purpose_forgets_what_was_before() -> None:
    first, second = await played([("adopt", "a", TARGETS[0])]), await played([("adopt", "b", TARGETS[0])])
    again = replay("default", as_read([*first.lines, *second.lines]))
    assert [one.name for one in again.record.entries] == ["b"]


async def test_a_journal_without_its_beginning_says_so() -> None:
    store = await played([("adopt", "a", TARGETS[0]), ("adopt", "b", TARGETS[0])])
    again = replay("default", as_read(store.lines[1:]))
    assert [one.name for one in again.record.entries] == ["b"]
    assert again.notes == ("lines of the journal are missing: what only they said is not known any more",)
