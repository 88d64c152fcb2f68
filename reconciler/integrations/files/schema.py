"""The JSON Schema of the desired state file, made from the classes that read it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from reconciler.domain import desired_document, written_adapter
from reconciler.domain.desired_document import Long, Plain
from reconciler.domain.written import Written

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "localmodels: the desired state of one machine's language models"


def generate_schema() -> dict[str, Any]:
    """Draft 2020-12, without unknown keys, described by the strings under the fields. Needs no file but the package."""
    _, made = models_json_schema([(Plain, "validation"), (Long, "validation")])
    definitions = made["$defs"]
    texts = _field_texts()
    for kind in _classes():
        if kind.__name__ in definitions:
            _finish(definitions[kind.__name__], kind, texts)
    forms = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in (Plain, Long)]
    return {"$schema": DIALECT, "title": TITLE, "type": "object", "oneOf": forms, "$defs": definitions}


def _classes() -> Iterator[type[Written]]:
    waiting = list(Written.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        yield kind


def _finish(definition: dict[str, Any], kind: type[Written], texts: dict[str, dict[str, str]]) -> None:
    described = {name: text for base in reversed(kind.__mro__) for name, text in texts.get(base.__name__, {}).items()}
    definition.pop("title", None)
    for name, field in kind.model_fields.items():
        key = field.alias or name
        entry = definition["properties"][key]
        entry.pop("title", None)
        if entry.get("default", ...) is None:
            del entry["default"]
        if name in described:
            definition["properties"][key] = {"description": described[name], **entry}
    if kind.twins:
        definition["allOf"] = [{"not": {"required": list(pair)}} for pair in kind.twins]
    if kind.needs_a_key:
        definition["minProperties"] = 1
    if kind.needed_unless:
        switch, needed = kind.needed_unless
        definition["if"] = {"properties": {switch: {"const": True}}, "required": [switch]}
        definition["else"] = {"required": list(needed)}


def _field_texts() -> dict[str, dict[str, str]]:
    """The string under each field, by class: pydantic's own way would read the source at every start."""
    try:
        sources = [inspect.getsource(module) for module in (desired_document, written_adapter)]
    except OSError:
        return {}
    nodes = [node for source in sources for node in ast.parse(source).body]
    return {node.name: dict(_texts_of(node)) for node in nodes if isinstance(node, ast.ClassDef)}


def _texts_of(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            yield field.target.id, inspect.cleandoc(below.value.value)


def definition_at(schema: dict[str, Any], form: str, path: tuple[str | int, ...]) -> dict[str, Any]:
    """The part of the schema that a value at ``path`` is held against; empty where the schema has none."""
    here = schema["$defs"][form]
    for step in path:
        here = _resolved(schema, here)
        if isinstance(step, int):
            here = here.get("items", {})
        else:
            here = next(
                (
                    choice["properties"][step]
                    for choice in _choices(schema, here)
                    if step in choice.get("properties", {})
                ),
                _of_any_key(here),
            )
    return _resolved(schema, here)


def _of_any_key(part: dict[str, Any]) -> dict[str, Any]:
    """What the values of a mapping are held against whose keys are free."""
    found = part.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def keys_at(schema: dict[str, Any], form: str, path: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys that a mapping at ``path`` may have."""
    found = definition_at(schema, form, path)
    return tuple(dict.fromkeys(key for choice in _choices(schema, found) for key in choice.get("properties", {})))


def _resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    name = part.get("$ref", "").rpartition("/")[2]
    return schema["$defs"][name] if name else part


def _choices(schema: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    choices = part.get("oneOf") or part.get("anyOf") or [part]
    return [_resolved(schema, choice) for choice in choices]
