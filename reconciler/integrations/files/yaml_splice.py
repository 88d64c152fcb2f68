"""Small cuts in a YAML text: everything that is not cut stays as it is, to the byte.

A round-trip through ruamel.yaml was tried first: it files the comment above a section with the last entry of the
section before, so an entry that is appended lands below a comment that is not its own, and it re-wraps flow lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from reconciler.integrations.files.yaml_positions import KeyPath, plain_value

_COMMENT_LINE = re.compile(r"\r?\n( *)#[^\r\n]*")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")


class YamlText:
    """A text and the places of its parts, for one cut."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = yaml.compose(text, Loader=yaml.SafeLoader)
        self.line_break = "\r\n" if "\r\n" in text else "\n"

    def node(self, path: KeyPath) -> yaml.Node | None:
        """The value at a path, or None where there is none."""
        here = self.root
        for part in path:
            if isinstance(here, yaml.MappingNode):
                here = next((value for key, value in here.value if key.value == part), None)
            elif isinstance(here, yaml.SequenceNode) and isinstance(part, int) and part < len(here.value):
                here = here.value[part]
            else:
                return None
        return here

    def with_scalar(self, path: KeyPath, value: str) -> str:
        """The text with one scalar replaced."""
        node = self._needed(path)
        quoted = {"'": "'" + value.replace("'", "''") + "'", '"': json.dumps(value, ensure_ascii=False)}
        written = quoted.get(node.style) or scalar_text(value)
        return self._spliced(node.start_mark.index, node.end_mark.index, written)

    def with_entry_replaced(self, path: KeyPath, key: str, value: str) -> str:
        """The text with the key and the scalar at ``path`` replaced by another entry."""
        parent = self._needed(path[:-1])
        found, node = next((found, value) for found, value in parent.value if found.value == path[-1])
        return self._spliced(found.start_mark.index, node.end_mark.index, f"{key}: {scalar_text(value)}")

    def with_key(self, path: KeyPath, key: str, value: Any) -> str:
        """The text with one more key at the end of the mapping at ``path``."""
        node = self._needed(path)
        if node.flow_style:
            return self._into_flow(node, [value for _, value in node.value], f"{key}: {flow_text(value)}")
        lines = block_lines(key, value, node.start_mark.column, self._step(path))
        return self._after(node, lines)

    def with_item(self, path: KeyPath, value: Any) -> str:
        """The text with one more item at the end of the list at ``path``."""
        node = self._needed(path)
        if node.flow_style:
            return self._into_flow(node, node.value, flow_text(value))
        return self._after(node, [f"{' ' * node.start_mark.column}- {flow_text(value)}"])

    def without_item(self, path: KeyPath) -> str:
        """The text without one item of a list; a list that had no other is left empty."""
        parent, index = self._needed(path[:-1]), int(path[-1])
        if parent.flow_style:
            return self._out_of_flow(parent, index)
        if len(parent.value) == 1:
            return self._emptied(parent)
        dash = self.text.rindex("-", 0, parent.value[index].start_mark.index + 1)
        start = self.text.rfind("\n", 0, dash) + 1
        stop = self._line_end(self._end(parent.value[index]))
        return self._spliced(start, min(stop + len(self.line_break), len(self.text)), "")

    def _needed(self, path: KeyPath) -> Any:
        node = self.node(path)
        if node is None:
            raise ValueError("the file has no such place")
        return node

    def _spliced(self, start: int, stop: int, new: str) -> str:
        return self.text[:start] + new + self.text[stop:]

    def _step(self, path: KeyPath) -> int:
        """Columns by which the file indents."""
        node, outer = self.node(path), self.node(path[:-1]) if path else None
        columns = node.start_mark.column - outer.start_mark.column if node and outer else 2
        return columns if columns > 0 else 2

    def _end(self, node: yaml.Node) -> int:
        """Where the last visible part of a value ends; a block's own end mark lies behind the comments after it."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        end: int = node.end_mark.index
        while end > node.start_mark.index and self.text[end - 1] in "\r\n":
            end -= 1
        return end

    def _line_end(self, at: int) -> int:
        end = self.text.find("\n", at)
        end = len(self.text) if end < 0 else end
        return end - 1 if self.text[end - 1 : end] == "\r" else end

    def _after(self, node: yaml.Node, lines: list[str]) -> str:
        at = self._line_end(self._end(node))
        while (comment := _COMMENT_LINE.match(self.text, at)) and len(comment[1]) > node.start_mark.column:
            at = comment.end()  # a comment indented deeper belongs to the last entry
        return self._spliced(at, at, "".join(self.line_break + line for line in lines))

    def _into_flow(self, node: yaml.Node, values: list[yaml.Node], new: str) -> str:
        if not values:
            at = node.start_mark.index + 1
            return self._spliced(at, at, new)
        at = self._end(values[-1])
        return self._spliced(at, at, f", {new}")

    def _emptied(self, parent: yaml.Node) -> str:
        """A block list that loses its only item becomes ``[]`` behind its key."""
        before = self.text.rindex(":", 0, parent.start_mark.index) + 1
        start = self.text.rfind("\n", 0, parent.start_mark.index) + 1
        stop = min(self._line_end(self._end(parent)) + len(self.line_break), len(self.text))
        return self.text[:before] + " []" + self.text[before:start] + self.text[stop:]

    def _out_of_flow(self, parent: yaml.Node, index: int) -> str:
        start, stop = parent.value[index].start_mark.index, self._end(parent.value[index])
        comma = re.compile(r"[ \t]*,[ \t]*").match(self.text, stop)
        stop = comma.end() if comma else stop
        line, end = self.text.rfind("\n", 0, start) + 1, self._line_end(stop)
        rest = self.text[stop:end].strip()
        if not self.text[line:start].strip() and (not rest or rest.startswith("#")):
            return self._spliced(line, min(end + len(self.line_break), len(self.text)), "")
        if index > 0 and not comma:
            previous = self._end(parent.value[index - 1])
            start = previous if "\n" not in self.text[previous:start] else start
        return self._spliced(start, stop, "")


def scalar_text(value: object) -> str:
    """A scalar as it may stand anywhere, in quotes where YAML would take it for something else.

    >>> scalar_text("Qwen"), scalar_text("*-uncensored*"), scalar_text("no"), scalar_text("8")
    ('Qwen', '"*-uncensored*"', 'no', '"8"')
    """
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and isinstance(plain_value(value), str):
        return value
    return json.dumps(value, ensure_ascii=False)


def flow_text(value: object) -> str:
    """A value on one line.

    >>> flow_text([{"name": "a", "tags": []}])
    '[{name: a, tags: []}]'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow_text(inner) for inner in value) + "]"
    return scalar_text(value)


def block_lines(key: str, value: object, column: int, step: int) -> list[str]:
    """A new entry: mappings and lists of mappings one entry a line, everything else behind its key."""
    return [" " * column + line for line in _entry_lines(key, value, " " * step)]


def _entry_lines(key: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{key}:"
        for inner_key, inner in value.items():
            yield from (indent + line for line in _entry_lines(inner_key, inner, indent))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        yield f"{key}:"
        yield from (f"{indent}- {flow_text(item)}" for item in value)
    else:
        yield f"{key}: {flow_text(value)}"
