"""Names and patterns of modules; a pattern that could run for ever is never run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.lora.module_pattern import Pattern, has_name

PATHS = [f"model.layers.{layer}.self_attn.{name}" for layer in range(40) for name in ("q_proj", "k_proj", "v_proj")]


def test_a_name_means_a_path_or_its_end() -> None:
    assert has_name("model.layers.0.self_attn.q_proj", ["q_proj"])
    assert has_name("q_proj", ["q_proj"])
    assert not has_name("model.layers.0.self_attn.wq_proj", ["q_proj"])


@pytest.mark.parametrize(
    "text",
    [
        r".*\.(q|k)_proj", r".*(q_proj|v_proj)$", r"model\.layers\.\d+\.self_attn\.[qv]_proj", r"^(?!.*visual).*(?:q_proj|k_proj).*$",
        r"(?:.*?(?:language|text).*?(?:self_attn|attention|mlp).*?(?:q_proj|v_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn)\.(?:(?:q_proj|k_proj)))",
    ],
)  # fmt: skip
def test_patterns_that_trainers_write_are_tried(text: str) -> None:
    pattern = Pattern(text)
    assert pattern.can_be_tried(PATHS)
    assert [path for path in PATHS if pattern.fits(path)] == [path for path in PATHS if re.fullmatch(text, path)]


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+b", "(a|a)*b", "(?:a*)*b", "(a{1,50}){1,50}b", "a?" * 40 + "a" * 40, ".*" * 12 + "=", r"(a*)\1b", "(?P<x>a*)(?P=x)",
        "[", "(", "x{99999999999}", "a" * 5000, "(?:(?:(?:a|b)+)*)+",
        "(ab|a.)" * 30, "(?:ab|ac|a)" * 30, "(?i)" + "(Aa|aa)" * 30, "(?x)" + "( a|a )" * 30, "(|a)" * 40, "(a?a|aa)" * 30,
    ],
)  # fmt: skip
def test_patterns_that_could_take_for_ever_are_not(text: str) -> None:
    assert not Pattern(text).can_be_tried(["a" * 60])


def test_many_alternatives_that_exclude_each_other_are_tried() -> None:
    names = "|".join(f"{letter}_proj" for letter in "abcdefghijklmnopqrstuvwxyz")
    assert Pattern(rf"model\.layers\.\d+\.({names})\.({names})\.({names})").can_be_tried(PATHS)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab(|)*+?.[]{}1,^$\\", max_size=14))
def test_whatever_is_tried_ends(text: str) -> None:
    pattern, name = Pattern(text), "ab" * 12
    if pattern.can_be_tried([name]):
        pattern.fits(name)
