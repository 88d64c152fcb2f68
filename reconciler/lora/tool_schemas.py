"""The tools of an example as schemas: those it declares, and for the rest what its calls show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.lora.bounded_json import read_bounded
from reconciler.lora.call_text import Call, declared_names
from reconciler.lora.corpus import Example, tool_of
from reconciler.lora.dialect import Dialect

Schema = Mapping[str, Any]
_OPEN, _CLOSE = "<tools>", "</tools>"


def declared_tools(example: Example, dialect: Dialect) -> tuple[Schema, ...]:
    """Schemas that the example brings: its column of tools, else a ``<tools>`` list in the system's text."""
    if example.tools is not None:
        return example.tools
    return () if dialect.any_bullet_names_a_tool else _listed(example.system_text)


def names_of(schemas: Iterable[Schema]) -> frozenset[str]:
    return frozenset(name_of(schema) for schema in schemas)


def name_of(schema: Schema) -> str:
    return str(schema["function"]["name"])


def known_names(example: Example, dialect: Dialect) -> frozenset[str]:
    """Every tool that the example says there is. Empty: it says nothing."""
    declared = declared_tools(example, dialect)
    if declared or example.tools is not None:
        return names_of(declared)
    return declared_names(example.system_text, any_bullet=dialect.any_bullet_names_a_tool)


def tools_of(example: Example, calls: Iterable[Call], dialect: Dialect) -> list[Schema]:
    """Declared schemas as they are, in their order; behind them, by name, one for every other tool.

    Args:
        example: whose declarations count.
        calls: the calls seen so far; what they show of a tool that nobody declared is its schema.
        dialect: which texts count as declarations.
    """
    declared: dict[str, Schema] = {}
    for schema in declared_tools(example, dialect):
        declared.setdefault(name_of(schema), schema)
    seen: dict[str, list[Call]] = {name: [] for name in known_names(example, dialect)}
    for call in calls:
        seen.setdefault(call.name, []).append(call)
    return [
        *declared.values(),
        *(inferred_schema(name, seen[name], dialect) for name in sorted(seen.keys() - declared.keys())),
    ]


def inferred_schema(name: str, calls: Iterable[Call], dialect: Dialect) -> Schema:
    """What calls show of a tool: the type of each argument where it was first seen, required where never missing."""
    properties: dict[str, Any] = {}
    required: set[str] | None = None
    for call in calls:
        required = set(call.arguments) if required is None else required & set(call.arguments)
        for key, value in call.arguments.items():
            properties.setdefault(key, {"type": _type_of(value)})
    parameters: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": True}
    if required:
        parameters["required"] = sorted(required)
    described = dialect.tool_description.format(name=name)
    return {"type": "function", "function": {"name": name, "description": described, "parameters": parameters}}


def _type_of(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "boolean"), (int, "integer"), (float, "number"), (list, "array"), (dict, "object"),
    )  # fmt: skip
    return next((word for kind, word in kinds if isinstance(value, kind)), "string")


def _listed(system_text: str) -> tuple[Schema, ...]:
    """The first ``<tools>`` list that holds schemas, one JSON document a line or a list of them."""
    for body in _tool_lists(system_text):
        try:
            texts = [body] if body.strip().startswith("[") else [line for line in body.splitlines() if line.strip()]
            found = [read_bounded(text) for text in texts]
            listed = found[0] if len(found) == 1 and isinstance(found[0], list) else found
            if listed:
                return tuple(tool_of(item) for item in listed)
        except ValueError:
            continue
    return ()


def _tool_lists(text: str) -> Iterator[str]:
    start = text.find(_OPEN)
    while start >= 0 and (end := text.find(_CLOSE, start)) >= 0:
        yield text[start + len(_OPEN) : end]
        start = text.find(_OPEN, end)
