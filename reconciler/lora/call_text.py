"""Tool calls and their results as text inside messages: the grammars of the text lanes.

A call stands between ``<tool_call>`` and ``</tool_call>``, as JSON or as ``name({ … })``; results come back as a user
message of nothing but ``[result of NAME] … [end of NAME result]`` blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reconciler.lora.bounded_json import read_bounded
from reconciler.lora.text_values import NAME, TextValueReader

OPEN, CLOSE = "<tool_call>", "</tool_call>"

_NAME = re.compile(NAME)
_TEXT_CALL = re.compile(rf"({NAME})\s{{0,20}}\(")
_RESULT_MARK = re.compile(r"\[(?:result of ([^\]\n]{1,200})|end of ([^\]\n]{1,200}?) result)\]\s*")
_BLANK_LINES = re.compile(r"\n{3,}")
_DECLARED = re.compile(rf"\bdeclare\s{{1,20}}function\s{{1,20}}({NAME})\s{{0,20}}\(")
_AVAILABLE = re.compile(r"^Available tools:\s{0,50}(.+)$", re.IGNORECASE | re.MULTILINE)
_BULLET = re.compile(rf"^[^\S\n]*-\s{{0,20}}({NAME})\b", re.MULTILINE | re.ASCII)
_HEADING = re.compile(r"\b(?:tools?|functions?)\b[^\n]{0,80}:[ \t*_]*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool called with its arguments."""

    name: str
    arguments: Mapping[str, Any]
    source_id: str | None = None
    """What the source calls this call, where it does."""


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between the two tags of a call."""

    kind: Literal["json", "text", "malformed", "unknown"]
    """``malformed`` begins as JSON does and is none; ``unknown`` is neither JSON nor ``name(``."""
    calls: tuple[Call, ...] = ()
    problem: str | None = None
    """Why there are no calls."""
    name: str | None = None
    """Of a call as text, also where its arguments cannot be read."""


@dataclass(frozen=True, slots=True)
class ResultBlock:
    """What one tool answered."""

    name: str
    content: str


def bodies_of(content: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and trimmed body of every call block; one that is not closed is none."""
    position = 0
    while (start := content.find(OPEN, position)) >= 0:
        end = content.find(CLOSE, start + len(OPEN))
        if end < 0:
            return
        position = end + len(CLOSE)
        yield start, position, content[start + len(OPEN) : end].strip()


def without_blocks(content: str) -> str:
    """The message with a line break for each call block, blank lines collapsed."""
    parts, position = [], 0
    for start, end, _ in bodies_of(content):
        parts.append(content[position:start])
        position = end
    parts.append(content[position:])
    return collapsed("\n".join(parts))


def collapsed(text: str) -> str:
    """At most one blank line in a row, and none around."""
    return _BLANK_LINES.sub("\n\n", text).strip()


def read_block(body: str) -> Block:
    """What a block holds. Never raises."""
    begins_as_json = body.startswith(("{", "["))
    try:
        if begins_as_json:
            return Block("json", json_calls(body))
    except ValueError as error:
        return Block("malformed", problem=str(error))
    called = _TEXT_CALL.match(body)
    if called is None:
        return Block("unknown", problem="neither JSON nor name({ … })" if body else "an empty call")
    try:
        return Block("text", tuple(_text_calls(body)), name=called[1])
    except ValueError as error:
        return Block("text", problem=f"{called[1]}: {error}", name=called[1])


def json_calls(body: str) -> tuple[Call, ...]:
    """The calls of a JSON body: an object, or a list of objects.

    Raises:
        ValueError: it is no JSON, or no call.
    """
    try:
        document = read_bounded(body)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    return tuple(call_of(item) for item in (document if isinstance(document, list) else [document]))


def call_of(item: Any) -> Call:
    """One call, in any of the spellings that are about.

    The name is ``name``, ``tool_name`` or ``function.name``; the arguments are ``arguments``, ``parameters``, ``args``
    or ``function.arguments``, an object or JSON text of one.

    Raises:
        ValueError: it has no name, or its arguments are no object.
    """
    if not isinstance(item, dict):
        raise ValueError("a call is an object, or a list of objects")  # noqa: TRY004 - one error for any body
    nested = item.get("function")
    function: Mapping[str, Any] = nested if isinstance(nested, dict) else {}
    name = next((item[key] for key in ("name", "tool_name") if key in item), None)
    name = name if isinstance(name, str) else function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a call without a name")
    given = [item[key] for key in ("arguments", "parameters", "args") if key in item]
    arguments = given[0] if given else function.get("arguments", {})
    source_id = item.get("id")
    return Call(name, _arguments(name, arguments), source_id if isinstance(source_id, str) and source_id else None)


def _arguments(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = read_bounded(value) if value.strip() else {}
        except ValueError as error:
            raise ValueError(f"the arguments of {name} are text that is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"the arguments of {name} are no object")  # noqa: TRY004 - one error for any body
    return value


def _text_calls(body: str) -> Iterator[Call]:
    """One call or several, each ``name({ … })`` or ``name()``.

    Raises:
        ValueError: it does not read as that.
    """
    position = 0
    while position < len(body):
        called = _TEXT_CALL.match(body, position)
        if called is None:
            raise ValueError(f"after a call stands {body[position : position + 20]!r}")
        reader = TextValueReader(body, called.end())
        arguments: Any = {}
        if not reader.taken(")"):
            arguments = reader.value()
            reader.taken(",")
            reader.expect(")")
        if not isinstance(arguments, dict):
            raise ValueError("the arguments are no object")  # noqa: TRY004 - one error for any body
        yield Call(called[1], arguments)
        reader.taken(";")
        reader.skip_blanks()
        position = reader.position


def results_of(content: str) -> tuple[ResultBlock, ...]:
    """The result blocks of a message that holds nothing else; none where it holds anything else."""
    text = content.strip()
    marks = list(_RESULT_MARK.finditer(text))
    found: list[ResultBlock] = []
    cursor = 0
    for index, mark in enumerate(marks):
        if mark.start() < cursor:
            continue
        words = (mark[1] or "").split()
        if mark.start() != cursor or not words or not _NAME.fullmatch(words[0]):
            return ()
        following = marks[index + 1] if index + 1 < len(marks) else None
        end = following.start() if following else len(text)
        found.append(ResultBlock(words[0], collapsed(text[mark.end() : end])))
        cursor = following.end() if following and following[1] is None else end
    return tuple(found) if cursor == len(text) else ()


def declared_names(system_text: str, *, any_bullet: bool) -> frozenset[str]:
    """The tools that the system's text names.

    ``declare function NAME(``, a line ``Available tools: a, b``, and bullets ``- NAME``.

    Args:
        system_text: all of it.
        any_bullet: every bullet names a tool; else only those under a heading that says so. A prompt's list of rules
            is no list of tools.
    """
    names = set(_DECLARED.findall(system_text))
    for line in _AVAILABLE.findall(system_text):
        names.update(word for word in re.split(r"[,\s]+", line) if _NAME.fullmatch(word))
    names.update(_BULLET.findall(system_text) if any_bullet else _tool_bullets(system_text))
    return frozenset(names)


def _tool_bullets(text: str) -> Iterator[str]:
    under_heading = False
    for line in text.splitlines():
        bullet = _BULLET.match(line)
        if bullet and under_heading:
            yield bullet[1]
        elif line.strip():
            under_heading = bool(_HEADING.search(line)) or (under_heading and line[:1] in " \t")
