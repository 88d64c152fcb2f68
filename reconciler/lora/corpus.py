"""Rows of a corpus: one line of JSON each, in the shape of the text lanes or with messages that hold tool calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reconciler.lora.bounded_json import read_bounded
from reconciler.lora.call_text import Call, call_of

MOST_BYTES_OF_A_LINE = 16 * 2**20
"""An example of a million tokens has about 4 MiB."""
CONVENTIONAL_NAMES = ("tool-calling-corpus.jsonl", "burin-tool-calling-corpus.jsonl", "corpus.jsonl")
"""What a corpus is called in a folder that is given instead of it; the first that is there."""

Role = Literal["system", "user", "assistant", "tool"]
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_KEPT = ("reasoning_content", "thinking")
"""What chat templates render of an assistant's message beside its content and its calls."""


@dataclass(frozen=True, slots=True)
class CorpusLine:
    """One line of the file as it was read."""

    number: int
    """Counted from 1."""
    content: bytes | None
    """Without its line break; None where it is longer than ``MOST_BYTES_OF_A_LINE``."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is no example, or an example that cannot be converted. The run goes on."""

    line: int
    code: str
    message: str
    id: str | None = None

    @property
    def place(self) -> str:
        """The line, and the example's id where it has one."""
        return f"{clipped(self.id)} (line {self.line})" if self.id else f"line {self.line}"

    @property
    def text(self) -> str:
        """Where and what, in one line."""
        return f"{self.place}: {clipped(self.message, 300)}"


@dataclass(frozen=True, slots=True)
class NoMessages:
    """An example without messages: nothing to learn from, and no error."""

    line: int
    id: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an example."""

    index: int
    """Its place among the messages of the row, those counted too whose role nobody knows."""
    role: Role
    content: str
    calls: tuple[Call, ...] = ()
    """Structured ones; calls as text stand in the content."""
    call_id: str | None = None
    """Of a tool's message: the call it answers, where it says so."""
    name: str | None = None
    """Of a tool's message: the tool, where it says so."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """What else a chat template renders of it."""


@dataclass(frozen=True, slots=True)
class Example:
    """One example of the corpus."""

    line: int
    fields: Mapping[str, Any]
    """The whole row as it is."""
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    """The declared tools as schemas of functions; None where the row has no column of them."""

    @property
    def id(self) -> str:
        return _id_of(self.fields, self.line)

    @property
    def metadata(self) -> Mapping[str, Any]:
        found = self.fields.get("metadata")
        return found if isinstance(found, dict) else {}

    def text(self, key: str) -> str:
        """A column of text, or of whole numbers; empty where it is missing or anything else."""
        return _word(self.fields.get(key))

    def first(self, *keys: str) -> str:
        """The first of these that is not blank, each looked up in the metadata and then in the row itself."""
        for key in keys:
            for where in (self.metadata, self.fields):
                if value := _word(where.get(key)).strip():
                    return value
        return ""

    @property
    def has_answer(self) -> bool:
        """There is something to learn in it."""
        return any(message.role == "assistant" for message in self.messages)

    @property
    def is_structured(self) -> bool:
        """Whether its calls are structured: any call or result that is no text, or a column of tools."""
        return self.tools is not None or any(message.calls or message.role == "tool" for message in self.messages)

    @property
    def source_format(self) -> str:
        """``metadata.tool_format``; else what its shape says: ``native``, or ``json`` for calls as text."""
        named = self.metadata.get("tool_format")
        return named if isinstance(named, str) and named else ("native" if self.is_structured else "json")

    @property
    def system_text(self) -> str:
        return "\n".join(message.content for message in self.messages if message.role == "system")


def clipped(text: str, most: int = 120) -> str:
    """The beginning of a text that somebody else wrote, so that no finding is as long as the corpus."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def read_row(line: CorpusLine, *, every_message: bool = False) -> Example | BadRow | NoMessages | None:
    """What a line holds; None where it is blank. Never raises.

    Args:
        line: as it stands in the file.
        every_message: a role that nobody knows, or a message that is no object, makes the row a bad one; else such
            messages are left out, and where none remains there are no messages.
    """
    if line.content is None:
        return BadRow(line.number, "line_too_long", f"longer than {MOST_BYTES_OF_A_LINE // 2**20} MiB")
    if not line.content.strip():
        return None
    try:
        row = read_bounded(line.content)
    except ValueError as error:
        return BadRow(line.number, "row_not_json", f"not JSON: {error}")
    if not isinstance(row, dict):
        return BadRow(line.number, "row_not_object", "not a JSON object")
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return NoMessages(line.number, _id_of(row, line.number))
    try:
        read = tuple(_messages(messages, row.get("assistant_tool_text")))
        if not read:
            return NoMessages(line.number, _id_of(row, line.number))
        if every_message:
            _refuse_odd(messages)
        return Example(line.number, row, read, _tools(row["tools"]) if row.get("tools") is not None else None)
    except ValueError as error:
        return BadRow(line.number, "message_invalid", str(error), _id_of(row, line.number))


def _id_of(row: Mapping[str, Any], line: int) -> str:
    return _word(row.get("id")) or f"line-{line}"


def _word(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _refuse_odd(found: Iterable[Any]) -> None:
    """Nothing that somebody wrote is left out without a word.

    Raises:
        ValueError: a message is no object, or nobody knows its role.
    """
    for number, item in enumerate(found, 1):
        if not isinstance(item, dict):
            raise ValueError(f"message {number} is no object")  # noqa: TRY004 - one error for any row
        if _text(item.get("role")) not in _ROLES:
            role = item.get("role")
            said = f"has the role {json.dumps(clipped(role))}" if isinstance(role, str) else "has no role"
            raise ValueError(f"message {number} {said}; known are {', '.join(_ROLES)}")


def _messages(found: Iterable[Any], spoken: Any) -> Iterable[Message]:
    """The messages, and behind them the answer that a row of a text lane keeps in a column of its own."""
    objects = [item for item in found if isinstance(item, dict)]
    for index, item in enumerate(objects):
        role = _ROLES.get(_text(item.get("role")))
        if role is not None:
            yield _message(index, role, item)
    if isinstance(spoken, str) and spoken:
        yield Message(len(objects), "assistant", spoken)


def _message(index: int, role: Role, item: Mapping[str, Any]) -> Message:
    calls = tuple(_calls(item)) if role == "assistant" else ()
    content = _content(item.get("content"))
    if role == "tool":
        call_id, name = _text(item.get("tool_call_id")), _text(item.get("name"))
        return Message(index, role, content, call_id=call_id or None, name=name or None)
    kept = {key: item[key] for key in _KEPT if role == "assistant" and _text(item.get(key))}
    return Message(index, role, content, calls, kept=kept)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _content(value: Any) -> str:
    """Text, or parts of text; JSON where a tool answered with an object.

    Raises:
        ValueError: it holds a part that is no text.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        return "".join(_text(part.get("text")) for part in value)
    if isinstance(value, list) and any(isinstance(part, dict) and "type" in part for part in value):
        raise ValueError("a message holds a part that is no text")
    return json.dumps(value, ensure_ascii=False)


def _calls(item: Mapping[str, Any]) -> Iterable[Call]:
    listed = item.get("tool_calls")
    if listed is None and isinstance(item.get("function_call"), dict):
        listed = [item["function_call"]]
    if listed is None:
        return
    if not isinstance(listed, list):
        raise ValueError("tool_calls is no list")  # noqa: TRY004 - one error for any row
    for call in listed:
        yield call_of(call)


def _tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Declared tools, in the shape of functions with a schema; also where the column holds JSON text of them.

    Raises:
        ValueError: it is no list of tools with names.
    """
    found = read_bounded(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError("tools is no list")  # noqa: TRY004 - one error for any row
    return tuple(tool_of(item) for item in found)


def tool_of(item: Any) -> Mapping[str, Any]:
    """A tool as ``{type: function, function: {name, …}}``, also where it is given without the frame.

    Raises:
        ValueError: it has no name.
    """
    if isinstance(item, str):
        item = read_bounded(item)
    function = item.get("function", item) if isinstance(item, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a declared tool has no name")
    if "function" in item:
        return dict(item)
    bare = {key: value for key, value in item.items() if key != "type"}
    return {"type": "function", "function": bare}
