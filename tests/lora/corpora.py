"""Rows of corpora, and what a test exports them for."""

from __future__ import annotations

import json
from typing import Any

from reconciler.lora.contract import Contract
from reconciler.lora.corpus import CorpusLine, Example, read_row
from reconciler.lora.dataset import ExportTarget
from reconciler.lora.dialect import HARN, OURS, Dialect
from reconciler.lora.tool_format import dataset_shape

SYSTEM = "You edit files.\nAvailable tools: read, edit\n"


def call(name: str = "read", **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def result(name: str, content: str = "done") -> str:
    return f"[result of {name}]\n{content}\n[end of {name} result]"


def text_row(name: str = "a", **more: Any) -> dict[str, Any]:
    """A row of the text lanes: one call, its result, an answer."""
    return {
        "id": name,
        "eval_name": "basics",
        "language": "python",
        "task_type": "edit",
        "metadata": {"tool_format": "json"},
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"show {name}"},
            {"role": "assistant", "content": f"I look.\n{call(path=name)}"},
            {"role": "user", "content": result("read", "x = 1")},
            {"role": "assistant", "content": "It says x = 1."},
        ],
        **more,
    }


def heredoc_row(name: str = "h", **more: Any) -> dict[str, Any]:
    body = '<tool_call>\nedit({ path: "a.py", content: <<EOF\nprint("hi")\nEOF\n})\n</tool_call>'
    return text_row(
        name,
        metadata={"tool_format": "text"},
        messages=[
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"write {name}"},
            {"role": "assistant", "content": body},
        ],
        **more,
    )


READ_TOOL = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Reads a file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "limit": {"type": ["integer", "null"]}},
            "required": ["path"],
        },
    },
}


def native_row(name: str = "n", **more: Any) -> dict[str, Any]:
    """The same as a row of the shape that TRL and the Hub have."""
    called = {"id": "abc", "type": "function", "function": {"name": "read", "arguments": json.dumps({"path": name})}}
    return {
        "messages": [
            {"role": "system", "content": "You read files."},
            {"role": "user", "content": f"show {name}"},
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "abc", "content": "x = 1"},
            {"role": "assistant", "content": "It says\n\n\n\nx = 1."},
        ],
        "tools": [READ_TOOL],
        **more,
    }


def line(row: Any, number: int = 1) -> CorpusLine:
    return CorpusLine(number, row if isinstance(row, bytes) else json.dumps(row).encode())


def record(row: Any, number: int = 1) -> Example:
    found = read_row(line(row, number))
    assert isinstance(found, Example), found
    return found


def target(tool_format: str = "native", dialect: Dialect = OURS, **more: Any) -> ExportTarget:
    shape = dataset_shape(tool_format)
    contract = Contract("acme/alpha", "vllm", tool_format, shape.name, None)
    return ExportTarget(contract=contract, shape=shape, dialect=dialect, **more)


def harn(tool_format: str = "native", **more: Any) -> ExportTarget:
    return target(tool_format, HARN, **more)
