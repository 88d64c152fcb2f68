"""Splits are disjoint, or the finding says where they are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lora.splits import SplitLedger, fingerprint_of
from tests.lora.corpora import call, native_row, record, result, text_row
from tests.lora.test_corpus import ROWS


def ledger(*rows: tuple[dict[str, Any], str]) -> SplitLedger:
    made = SplitLedger()
    for number, (row, split) in enumerate(rows, start=1):
        made.add(record(row, number), split)
    return made


def codes(made: SplitLedger) -> list[str]:
    return [one.code for one in made.findings()]


def test_an_example_in_two_splits_is_an_error_that_names_both() -> None:
    made = ledger((text_row("a"), "train"), (text_row("b"), "train"), ({**text_row("a"), "id": "z"}, "holdout"))
    found = made.findings()
    assert codes(made) == ["splits_share_records", "splits_share_prompts"]
    assert "a (train)" in found[0].message
    assert "z (holdout)" in found[0].message
    assert {one.severity for one in found} == {"error"}
    assert made.sizes == {"train": 2, "holdout": 1}


def test_the_same_prompt_with_another_answer_is_one_too() -> None:
    other = text_row("a")
    other["messages"][-1] = {"role": "assistant", "content": "Nothing."}
    assert codes(ledger((text_row("a"), "train"), (other, "tune"))) == ["splits_share_prompts"]
    assert codes(ledger((text_row("a"), "train"), (other, "train"))) == []


def test_an_example_twice_in_its_split_is_only_a_warning() -> None:
    made = ledger((text_row("a"), "train"), (text_row("a"), "train"))
    assert [(one.code, one.severity) for one in made.findings()] == [("records_repeated", "warning")]


def test_blanks_ids_and_shapes_make_no_difference() -> None:
    row = native_row("a", id="one")
    written = {
        "id": "two",
        "messages": [
            row["messages"][0],
            {"role": "user", "content": " show  a\n"},
            {"role": "assistant", "content": call(path="a")},
            {"role": "user", "content": result("read", "x  = 1")},
            {"role": "assistant", "content": "It says x = 1."},
        ],
    }
    assert fingerprint_of(record(row)) == fingerprint_of(record(written))


def test_a_letter_in_two_spellings_of_unicode_is_one() -> None:
    first, second = ([{"role": "user", "content": word}] for word in ("caf\u00e9", "cafe\u0301"))
    assert fingerprint_of(record({"messages": first})) == fingerprint_of(record({"messages": second}))


def test_an_exported_row_is_recognised() -> None:
    from reconciler.lora.dataset import rows_of
    from tests.lora.corpora import target

    (exported,) = rows_of(record(text_row("a")), target()).rows
    assert fingerprint_of(record(json.loads(json.dumps(exported)))) == fingerprint_of(record(text_row("a")))


def test_other_files_count_only_against_the_corpus() -> None:
    made = ledger((text_row("a"), "train"))
    made.add_foreign(record(text_row("b")), "eval.jsonl")
    made.add_foreign(record(text_row("b")), "other.jsonl")
    assert codes(made) == []
    made.add_foreign(record(text_row("a")), "eval.jsonl")
    assert codes(made) == ["splits_share_records", "splits_share_prompts"]
    assert "file eval.jsonl" in made.findings()[0].message
    assert made.sizes == {"train": 1}


def test_many_are_counted_and_eight_are_named() -> None:
    rows = [(text_row(str(number)), split) for number in range(10) for split in ("train", "tune")]
    found = ledger(*rows).findings()[0]
    assert found.message.startswith("10 example(s)")
    assert found.message.endswith("and 2 more")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["train", "tune", "holdout"])), max_size=8), st.randoms()
)
def test_the_verdict_is_the_same_in_any_order(pairs: list[tuple[str, str]], shuffled: Any) -> None:
    turned = list(pairs)
    shuffled.shuffle(turned)
    one, other = (ledger(*((text_row(name), split) for name, split in rows)) for rows in (pairs, turned))
    assert codes(one) == codes(other)
    assert [found.message.split(" ")[0] for found in one.findings()] == [
        found.message.split(" ")[0] for found in other.findings()
    ]
    shared = {name for name, split in pairs for again, other_split in pairs if name == again and split != other_split}
    assert ("splits_share_records" in codes(one)) is bool(shared)


@given(ROWS)
def test_any_record_has_a_fingerprint(row: Any) -> None:
    from reconciler.lora.corpus import Example, read_row
    from tests.lora.corpora import line

    found = read_row(line(row))
    if isinstance(found, Example):
        assert len(fingerprint_of(found).record) == 16


@pytest.mark.parametrize("messages", [[{"role": "system", "content": "x"}], [{"role": "assistant", "content": "x"}]])
def test_without_a_question_there_is_no_prompt(messages: Any) -> None:
    assert fingerprint_of(record({"messages": messages})).prompt is None
