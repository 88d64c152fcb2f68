"""Rows of a training set: native messages with tool calls, or the text lanes of one row for each calling turn.

Source:
    section 4.2 of the specification of the origin's commands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reconciler.lora.bounded_json import canonical_digest
from reconciler.lora.call_text import CLOSE, OPEN, Call, bodies_of, read_block, without_blocks
from reconciler.lora.contract import Contract
from reconciler.lora.conversation import (
    Answered,
    Calling,
    Result,
    Said,
    Turn,
    Unconvertible,
    conversation_of,
    written_calls,
)
from reconciler.lora.corpus import Example
from reconciler.lora.dialect import Dialect
from reconciler.lora.tool_format import DatasetShape
from reconciler.lora.tool_schemas import tools_of

Row = dict[str, Any]

_PROVENANCE = (
    ("source_record_id", ("source_record_id", "source_id", "id")),
    (
        "source_transcript_id",
        ("source_transcript_id", "transcript_id", "conversation_id", "session_id", "id"),
    ),
    ("teacher_model", ("teacher_model", "model", "source_model")),
    ("teacher_provider", ("teacher_provider", "provider", "source_provider")),
)
"""Where an example comes from, and the columns that may say so."""


@dataclass(frozen=True)
class ExportTarget:
    """What the rows are written for."""

    contract: Contract
    shape: DatasetShape
    dialect: Dialect
    adapter_name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What was given with ``--target-metadata``."""
    default_split: str = "train"
    default_license: str = "unknown"

    @property
    def is_native(self) -> bool:
        return self.shape.name == "messages_with_tool_calls"

    @cached_property
    def contract_id(self) -> str:
        return self.contract.id

    @cached_property
    def document(self) -> dict[str, Any]:
        """As rows and manifests show it; what was not given is left out."""
        contract, catalog = self.contract, self.contract.tool_catalog
        found = {
            "base_model": contract.base_model,
            "provider": contract.provider,
            "harn_tool_format": contract.harn_tool_format,
            "adapter_name": self.adapter_name,
            "chat_template": contract.chat_template,
            "contract_id": self.contract_id,
            "tool_catalog": {"policy": catalog.policy, "catalog_id": catalog.id, "catalog_hash": catalog.hash},
            "metadata": dict(self.metadata) or None,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Converted:
    """The rows of one example; without any it holds nothing to learn."""

    rows: tuple[Row, ...]
    tool_calls: int
    tool_results: int


def row_text(row: Row) -> str:
    """One line of the file, its line break included."""
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def rows_of(example: Example, target: ExportTarget) -> Converted:
    """The rows that an example gives.

    Raises:
        Unconvertible: it cannot be written in this shape.
    """
    return _native(example, target) if target.is_native else _text_lane(example, target)


def _native(example: Example, target: ExportTarget) -> Converted:
    dialect = target.dialect
    turns = conversation_of(example, text_calls=dialect.parses_text_calls)
    if dialect.takes_plain_chat and not any(isinstance(turn, Answered) for turn in turns):
        return Converted((), 0, 0)
    calls = [calling.call for turn in turns if isinstance(turn, Answered) for calling in turn.calls]
    tools = tools_of(example, calls, dialect)
    if not tools and not (dialect.takes_plain_chat and example.tools is not None):
        raise Unconvertible("no_tools", "the record names no tools and calls none")
    row = {
        **_columns(example),
        "messages": [message_of(turn) for turn in turns],
        "tools": tools,
        "metadata": _metadata(example, target, tools),
    }
    return Converted((row,), len(calls), sum(isinstance(turn, Result) for turn in turns))


def message_of(turn: Turn) -> Row:
    """A turn as a message of the shape that chat templates take."""
    if isinstance(turn, Said):
        return {"role": turn.role, "content": turn.text}
    if isinstance(turn, Result):
        return {"role": "tool", "tool_call_id": turn.call_id, "name": turn.name, "content": turn.content}
    calls = [_call(calling) for calling in turn.calls]
    return {"role": "assistant", "content": turn.text, **turn.kept, **({"tool_calls": calls} if calls else {})}


def _call(calling: Calling) -> Row:
    call = calling.call
    return {"id": calling.id, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}


def _text_lane(example: Example, target: ExportTarget) -> Converted:
    """One row for each turn of the assistant that calls: what came before as messages, the turn itself as text."""
    context: list[Row] = []
    seen: list[Call] = []
    rows: list[Row] = []
    count = 0
    for index, role, content in _spoken(example):
        calls = _calls_of_turn(content, example, target) if role == "assistant" else None
        if calls is not None:
            seen += calls.read
            count += calls.count
            tools = tools_of(example, seen, target.dialect)
            rows.append(
                {
                    "id": f"{example.id}#turn-{index}",
                    "source_id": example.text("id"),
                    **{key: value for key, value in _columns(example).items() if key != "id"},
                    "messages": list(context),
                    "tools": tools,
                    "assistant_tool_text": content,
                    "metadata": _metadata(example, target, tools),
                }
            )
        context.append({"role": role, "content": content})
    return Converted(tuple(rows), count, 0)


@dataclass(frozen=True, slots=True)
class _CallsOfTurn:
    count: int
    read: Sequence[Call]


def _calls_of_turn(content: str, example: Example, target: ExportTarget) -> _CallsOfTurn | None:
    """The calls of one answer; None where it makes none.

    Raises:
        Unconvertible: it cannot stand in this lane.
    """
    bodies = [body for _, _, body in bodies_of(content)]
    rest = without_blocks(content)
    if OPEN in rest or CLOSE in rest:
        raise Unconvertible("call_not_closed", f"a call that is not closed: {OPEN} and {CLOSE} go in pairs")
    if not bodies:
        return None
    if target.contract.harn_tool_format == "json":
        read = list(written_calls(content, text_calls=False))
        return _CallsOfTurn(len(read), read)
    source = example.source_format
    if source != "text":
        raise Unconvertible(
            "source_not_text",
            f"calls of tool_format {source} cannot become {target.shape.name}, which takes calls as text",
        )
    return _CallsOfTurn(len(bodies), list(_text_calls(bodies)) if target.dialect.parses_text_calls else [])


def _text_calls(bodies: Iterable[str]) -> Iterable[Call]:
    for body in bodies:
        block = read_block(body)
        if block.kind != "text" or block.problem is not None:
            raise Unconvertible("call_not_text", f"a call is not name({{ … }}): {block.problem or 'it is JSON'}")
        yield from block.calls


def _spoken(example: Example) -> Iterable[tuple[int, str, str]]:
    """Place, role and text of every message, structured calls and results written out as the text lanes have them."""
    if example.is_structured:
        written = _written_out(conversation_of(example, text_calls=False))
        return ((index, role, text) for index, (role, text) in enumerate(written))
    return ((message.index, message.role, message.content) for message in example.messages)


def _written_out(turns: Iterable[Turn]) -> Iterable[tuple[str, str]]:
    results: list[str] = []
    for turn in turns:
        if isinstance(turn, Result):
            results.append(f"[result of {turn.name}]\n{turn.content}\n[end of {turn.name} result]")
            continue
        if results:
            yield "user", "\n".join(results)
            results = []
        if isinstance(turn, Said):
            yield turn.role, turn.text
        else:
            yield "assistant", _with_calls(turn)
    if results:
        yield "user", "\n".join(results)


def _with_calls(turn: Answered) -> str:
    bodies = (
        json.dumps({"name": each.call.name, "arguments": dict(each.call.arguments)}, ensure_ascii=False)
        for each in turn.calls
    )
    return "\n".join([*([turn.text] if turn.text else []), *(f"{OPEN}\n{body}\n{CLOSE}" for body in bodies)])


def _columns(example: Example) -> Row:
    return {key: example.text(key) for key in ("id", "eval_name", "language", "task_type")}


def _metadata(example: Example, target: ExportTarget, tools: Sequence[Mapping[str, Any]]) -> Row:
    contract, catalog = target.contract, target.contract.tool_catalog
    named = {"tool_catalog_id": catalog.id, "tool_catalog_hash": catalog.hash}
    return {
        **example.metadata,
        "lora_exporter": target.shape.exporter,
        "dataset_format": target.shape.name,
        "source_tool_format": example.source_format,
        **{key: example.first(*columns) for key, columns in _PROVENANCE},
        "target_base_model": contract.base_model,
        "target_tool_format": contract.harn_tool_format,
        "tool_catalog_policy": catalog.policy,
        **{key: value for key, value in named.items() if value is not None},
        "tool_schema_hash": canonical_digest(tools),
        "prompt_template_hash": prompt_template_hash(example.system_text, target),
        "split": example.first("split") or target.default_split,
        "license": example.first("license") or target.default_license,
        "lora_target": target.document,
        "lora_contract_id": target.contract_id,
    }


def prompt_template_hash(system_text: str, target: ExportTarget) -> str:
    """Of everything around the messages that the model will see."""
    contract, catalog = target.contract, target.contract.tool_catalog
    return canonical_digest(
        {
            "chat_template": contract.chat_template or "",
            "dataset_format": target.shape.name,
            "harn_tool_format": contract.harn_tool_format,
            "tool_catalog_policy": catalog.policy,
            "tool_catalog_id": catalog.id or "",
            "tool_catalog_hash": catalog.hash or "",
            "system": system_text,
        }
    )
