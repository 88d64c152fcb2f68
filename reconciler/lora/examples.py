"""One example as ``preflight`` sees it: how long it is, how its calls are written, what is odd about it.

Source:
    section 5.3 of the specification of the origin's commands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from math import ceil

from reconciler.lora.call_text import CLOSE, OPEN, bodies_of, read_block, without_blocks
from reconciler.lora.corpus import Example, Message
from reconciler.lora.dialect import Dialect
from reconciler.lora.tool_schemas import declared_tools, known_names

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 8


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Calls by how they are written."""

    json: int = 0
    text: int = 0
    structured: int = 0
    unknown: int = 0
    """Blocks that are no call, or are not closed."""
    malformed: int = 0
    """Blocks that begin as JSON does and are none."""

    def __add__(self, other: CallCounts) -> CallCounts:
        return CallCounts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def all(self) -> int:
        return self.json + self.text + self.structured + self.unknown + self.malformed


@dataclass(frozen=True, slots=True)
class ExampleCounts:
    """What counts of one example."""

    line: int
    id: str
    eval_name: str
    language: str
    task_type: str
    declared_tool_format: str
    message_count: int
    assistant_message_count: int
    approx_tokens: int
    calls: CallCounts
    unrecognized_tools: tuple[str, ...]
    """Called, and not among the tools that the example declares."""
    lacks_done_marker: bool


def examined(example: Example, dialect: Dialect, done_marker: str | None) -> ExampleCounts:
    """Everything that preflight asks of one example. Never raises."""
    answers = [message for message in example.messages if message.role == "assistant"]
    counts, called = CallCounts(), set[str]()
    for message in answers:
        more, names = _calls_of(message, dialect)
        counts, called = counts + more, called | names
    known = known_names(example, dialect)
    is_declared = bool(known) or example.tools is not None
    last = answers[-1].content if answers else ""
    return ExampleCounts(
        line=example.line,
        id=example.id,
        eval_name=example.text("eval_name"),
        language=example.text("language"),
        task_type=example.text("task_type"),
        declared_tool_format=example.source_format,
        message_count=len(example.messages),
        assistant_message_count=len(answers),
        approx_tokens=estimated_tokens(example, dialect),
        calls=counts,
        unrecognized_tools=tuple(sorted(called - known)) if is_declared else (),
        lacks_done_marker=done_marker is not None and done_marker not in last,
    )


def _calls_of(message: Message, dialect: Dialect) -> tuple[CallCounts, set[str]]:
    names = {call.name for call in message.calls}
    counts = CallCounts(structured=len(message.calls))
    for _, _, body in bodies_of(message.content):
        block = read_block(body)
        names.update(call.name for call in block.calls)
        if block.kind == "json":
            counts += CallCounts(json=len(block.calls))
        elif block.kind == "malformed":
            counts += CallCounts(malformed=1)
        elif block.kind == "text" and (block.problem is None or not dialect.parses_text_calls):
            counts += CallCounts(text=1)
            names.add(block.name or "")
        else:
            counts += CallCounts(unknown=1)
    rest = without_blocks(message.content)
    return counts + CallCounts(unknown=int(OPEN in rest or CLOSE in rest)), names


def estimated_tokens(example: Example, dialect: Dialect) -> int:
    """About how many tokens the example has: a quarter of its bytes, and 8 for each message. An estimate, no count.

    Structured calls and schemas reach the model as text too, so they count; the origin leaves them out.
    """
    size = sum(_bytes(message.role) + _bytes(message.content) for message in example.messages)
    if dialect.counts_whole_prompt:
        size += sum(_bytes(text) for message in example.messages for text in message.kept.values())
        size += sum(
            _bytes(json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False))
            for message in example.messages
            for call in message.calls
        )
        size += _bytes(json.dumps(declared_tools(example, dialect), ensure_ascii=False)) if example.tools else 0
    return ceil(size / _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE * len(example.messages)


def _bytes(text: str) -> int:
    return len(text.encode())
