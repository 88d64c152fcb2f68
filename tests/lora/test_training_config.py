"""Two settings of a training configuration."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.lora.dialect import HARN, OURS, Dialect
from reconciler.lora.training_config import TrainingConfig, read_training_config


def read(text: str, dialect: Dialect = OURS) -> TrainingConfig:
    return read_training_config(text.encode(), "train.yaml", dialect)


@pytest.mark.parametrize("dialect", [OURS, HARN], ids=["ours", "harn"])
def test_both_settings_wherever_they_stand(dialect: Dialect) -> None:
    text = 'model: x\ntraining:\n  max_seq_length: "4096"  # tokens\n  min_fit_ratio: 0.8\n'
    assert read(text, dialect) == TrainingConfig(4096, 0.8)
    assert read("model: x\n", dialect) == TrainingConfig()
    assert read("", dialect) == TrainingConfig()


def test_the_origin_scans_lines_and_the_last_one_counts() -> None:
    text = "max_seq_length: 1\n- not: [yaml\n  max_seq_length: 'two' \n"
    with pytest.raises(UsageError, match="'two'"):
        read(text, HARN)
    assert read("max_seq_length: 1\n}{\nmax_seq_length: 2", HARN) == TrainingConfig(2)
    assert read('note: |\n  max_seq_length: 9\n"max_seq_length": 5', HARN) == TrainingConfig(9)


def test_ours_reads_yaml() -> None:
    assert read('note: |\n  max_seq_length: 9\n"max_seq_length": 5') == TrainingConfig(5)
    assert read('{"args": {"max_seq_length": 7, "min_fit_ratio": 1}}') == TrainingConfig(7, 1.0)
    assert read("max_length: 8") == TrainingConfig(8)
    assert read("a: &x {max_seq_length: 3}\nb: *x\nc: [*x, *x]") == TrainingConfig(3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "not YAML, line 1"),
        ("max_seq_length: 5\nb:\n  max_seq_length: 6", "twice"),
        ("max_seq_length: 0", "above 0"),
        ("max_seq_length: -1", "above 0"),
        ("max_seq_length: many", "above 0"),
        ("max_seq_length: true", "above 0"),
        ("max_seq_length: 1.5", "above 0"),
        ("max_seq_length: [1]", "above 0"),
        ("min_fit_ratio: 1.1", "from 0 to 1"),
        ("min_fit_ratio: .nan", "from 0 to 1"),
        ("min_fit_ratio: yes", "from 0 to 1"),
        ("min_fit_ratio: {}", "from 0 to 1"),
        ("[" * 3000, "not YAML"),
        ("!!python/object:os.system x", "not YAML"),
        ("a: 2001-99-99", "not YAML"),
    ],
)
def test_a_bad_configuration_says_what_and_where(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as found:
        read(text)
    assert found.value.code == "training-config-invalid"


@pytest.mark.parametrize("last", ["max_seq_length: *a9", "max_seq_length: *a9\nb: {max_seq_length: *b9}"])
def test_aliases_of_aliases_are_not_written_out(last: str) -> None:
    rows = [
        f"{name}{row}: &{name}{row} [{', '.join([f'*{name}{row - 1}'] * 99)}]" for name in "ab" for row in range(1, 10)
    ]
    with pytest.raises(UsageError, match="a list"):
        read("\n".join(["a0: &a0 [1]", "b0: &b0 [1]", *rows, last]))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        read_training_config(b"\xff", "x", OURS)


@given(
    st.text(max_size=60)
    | st.sampled_from(["max_seq_length: ", "min_fit_ratio: "]).flatmap(lambda key: st.text(max_size=9).map(key.__add__))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    for dialect in (OURS, HARN):
        with suppress(UsageError):
            read(text.encode("utf-8", "replace").decode(), dialect)
