"""YAML read safely, with the place of every key and value.

Scalars mean what they mean in YAML 1.2 (``no`` is text), so the edits, which keep comments, read the same file the
same way. Nothing is constructed but mappings, lists, text, numbers, booleans and null.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import yaml

from reconciler.errors import Problem

KeyPath = tuple[str | int, ...]

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_VALUES = 100_000
"""Values after aliases are written out: far more than any file has, far fewer than hurt."""

_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = {"", "~", "null", "Null", "NULL"}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, counted from 1."""

    line: int
    column: int
    text: str | None = None
    """The scalar as it is written; None for mappings and lists."""


@dataclass(slots=True)
class Loaded:
    """A document, where its parts stand, and what was wrong with its YAML."""

    root: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    """Place of the key of each mapping entry."""
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: list[KeyPath] = field(default_factory=list)
    """Paths whose value was refused here already, so that it is not judged a second time."""

    def place(self, path: KeyPath, *, of_key: bool = False) -> Place | None:
        """Place of a key or value, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            part = path[:end]
            first, second = (self.keys, self.values) if of_key or end < len(path) else (self.values, self.keys)
            found = first.get(part) or second.get(part)
            if found:
                return found
        return None

    def refuse(self, path: KeyPath, place: Place, message: str, hint: str | None = None) -> None:
        """Reports a value that has no meaning; the path is not judged again."""
        self.refused.append(path)
        self.report(path, place, message, hint)

    def report(self, path: KeyPath, place: Place, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(show_path(path), message, place.line, place.column, hint))


def show_path(path: KeyPath) -> str:
    """``localModels.slots[2].context``.

    >>> show_path(("localModels", "slots", 2, "context"))
    'localModels.slots[2].context'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def load_yaml(content: str | bytes) -> Loaded:
    """The document and everything that is wrong with it as YAML. Raises nothing."""
    loaded = Loaded()
    text = _text_of(content, loaded)
    if text is None:
        return loaded
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        _Reader(loaded, events).read()
    except yaml.YAMLError as error:
        loaded.root = None
        loaded.problems.append(_syntax_problem(text, error))
    except _Stop:
        loaded.root = None
    return loaded


def _text_of(content: str | bytes, loaded: Loaded) -> str | None:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(raw) > MAX_BYTES:
        loaded.problems.append(
            Problem("", f"the file has {len(raw):,} bytes; allowed: at most {MAX_BYTES:,} (1 MiB)", 1, 1)
        )
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        loaded.problems.append(Problem("", "not UTF-8 text; save the file as UTF-8", line, column))
        return None


def _syntax_problem(text: str, error: yaml.YAMLError) -> Problem:
    """What the parser stumbled over, in our words where a person would not understand the parser's."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Problem("", "not YAML text: it holds a character that YAML does not allow", *_odd_character(text))
    line, column = mark.line + 1, mark.column + 1
    lines = text.splitlines() or [""]
    near = lines[max(0, mark.line - 1) : mark.line + 1]
    for number, content in enumerate(near, start=max(1, mark.line)):
        if "\t" in content[: len(content) - len(content.lstrip())]:
            place = content.index("\t") + 1
            return Problem(
                "", "found a tab; YAML indents with spaces only", number, place, "replace the tab with spaces"
            )
    said = str(getattr(error, "problem", "") or "broken syntax").strip()
    return Problem("", f"not valid YAML: {said}", line, column, _syntax_hint(said))


def _syntax_hint(said: str) -> str:
    if "mapping values" in said:
        return "put text that holds ': ' in quotes"
    if "cannot start any token" in said:
        return "put text that starts with one of @ ` % * & ! | > in quotes"
    return "check the indentation, the quotes and the brackets of this line and the one before"


def _odd_character(text: str) -> tuple[int, int]:
    for number, line in enumerate(text.split("\n"), start=1):
        for column, letter in enumerate(line, start=1):
            if (ord(letter) < 32 and letter not in "\t\r") or ord(letter) in (0x7F, 0xFFFE, 0xFFFF):
                return number, column
    return 1, 1


class _Stop(Exception):
    """Reading on would give nothing that a person can use; the problem is already reported."""


class _Reader:
    """Builds values from parser events. Recursive, and bounded by ``MAX_DEPTH``."""

    def __init__(self, loaded: Loaded, events: Iterator[Any]) -> None:
        self._loaded = loaded
        self._events = events
        self._anchors: dict[str, tuple[Any, int, bool]] = {}
        self._nested_told: set[str] = set()
        self._holds_refused = False
        self._count = 0
        self._holds_alias = False

    def read(self) -> None:
        documents = 0
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                place = _place(event)
                self._loaded.report(
                    (), place, "a second document starts here; allowed: one", "put it in a file of its own"
                )
                raise _Stop
            self._loaded.root = self._value(next(self._events), ())
        if documents == 0:
            self._loaded.problems.append(
                Problem("", "the file is empty", 1, 1, "write 'localModels: {}' for every default")
            )
        elif not isinstance(self._loaded.root, dict):
            place = self._loaded.values.get((), Place(1, 1))
            found = describe(self._loaded.root)
            self._loaded.report((), place, f"found {found}; allowed: a mapping with the key localModels")
            raise _Stop

    def _value(self, event: Any, path: KeyPath) -> Any:
        self._refuse_tag(event, path)
        self._bound(event, path, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        before = self._count
        outer, self._holds_alias = self._holds_alias, False
        outer_refused, self._holds_refused = self._holds_refused, False
        place = _place(event)
        if isinstance(event, yaml.ScalarEvent):
            self._loaded.values[path] = Place(place.line, place.column, event.value)
            value = self._scalar(event, path)
        else:
            self._loaded.values[path] = place
            value = self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before + 1, self._holds_alias)
            self._nested_told.discard(event.anchor)
            if self._holds_refused:
                self._nested_told.add(event.anchor)
        self._holds_alias = self._holds_alias or outer
        self._holds_refused = self._holds_refused or outer_refused
        return value

    def _bound(self, event: Any, path: KeyPath, more: int) -> None:
        self._count += more
        if len(path) > MAX_DEPTH:
            self._loaded.report(path[:3], _place(event), f"nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        if self._count > MAX_VALUES:
            self._loaded.report(path[:3], _place(event), f"more than {MAX_VALUES:,} values, aliases written out")
            raise _Stop

    def _refuse_tag(self, event: Any, path: KeyPath) -> None:
        tag = getattr(event, "tag", None)
        if tag:
            self._loaded.report(
                path, _place(event), f"found the tag {tag}; tags are not allowed", "write the plain value"
            )

    def _alias(self, event: Any, path: KeyPath) -> Any:
        place = _place(event)
        self._loaded.values[path] = place
        self._holds_alias = True
        if event.anchor not in self._anchors:
            self._loaded.refuse(path, place, f"found *{event.anchor}, but nothing before it is marked &{event.anchor}")
            return None
        value, size, nested = self._anchors[event.anchor]
        if nested:
            self._refuse_nested(event.anchor, path, place)
            return None
        self._bound(event, path, size)
        return value

    def _refuse_nested(self, anchor: str, path: KeyPath, place: Place) -> None:
        """Told once for a chain of anchors: what is built on a refused one goes with it."""
        self._holds_refused = True
        if anchor in self._nested_told:
            self._loaded.refused.append(path)
            return
        self._nested_told.add(anchor)
        message = f"found *{anchor}, which holds an alias itself; an alias may stand for plain values only"
        self._loaded.refuse(path, place, message, "write the values out")

    def _scalar(self, event: Any, path: KeyPath) -> Any:
        if event.tag or event.style:
            return event.value
        value = plain_value(event.value)
        if _NO_NUMBER.fullmatch(event.value) or (isinstance(value, float) and not isfinite(value)):
            self._loaded.refuse(path, _place(event), f"found {event.value}; allowed: an ordinary number")
            return 0
        return value

    def _sequence(self, path: KeyPath) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            following = next(self._events)
            if key is None:
                self._value(following, (*path, "?"))
            elif key in entries:
                first = self._loaded.keys[*path, key].line
                message = f"the key is here a second time; the first is on line {first}"
                self._loaded.report((*path, key), _place(event), message, "keep one of the two")
                self._skip(following, (*path, key))
            else:
                self._loaded.keys[*path, key] = _place(event)
                entries[key] = self._value(following, (*path, key))
        return entries

    def _skip(self, event: Any, path: KeyPath) -> None:
        """Reads a value and forgets it, the places of the first one kept."""
        keys, values = self._loaded.keys, self._loaded.values
        self._loaded.keys, self._loaded.values = dict(keys), dict(values)
        self._value(event, path)
        self._loaded.keys, self._loaded.values = keys, values

    def _key(self, event: Any, path: KeyPath) -> str | None:
        """The key as text, or None where it was refused; the events of a refused key are read."""
        place = _place(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._value(event, (*path, "?"))
            self._loaded.report(path, place, "a key must be one word of text")
            return None
        self._refuse_tag(event, path)
        self._count += 1
        if event.value == "<<" and not event.style:
            self._loaded.report((*path, "<<"), place, "merging with << is not allowed", "write the keys out")
            return None
        if not event.style and not isinstance(plain_value(event.value), str):
            found = describe(plain_value(event.value))
            self._loaded.report(path, place, f"found the key {event.value} ({found}); a key must be text")
            return None
        return str(event.value)


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def plain_value(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means in the core schema of YAML 1.2.

    >>> plain_value("no"), plain_value("010"), plain_value("1e3"), plain_value("~")
    ('no', 10, 1000.0, None)
    """
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 100:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def describe(value: object) -> str:
    """What kind of thing a value is, for a message."""
    if value is None:
        return "nothing"
    return _KINDS.get(type(value), "something else")


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}
