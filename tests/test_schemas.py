"""The committed JSON Schema is the generated one, and a good one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from reconciler.integrations.files.schema import generate_schema, keys_at

COMMITTED = Path(__file__).parent.parent / "schemas" / "localmodels.v1.json"


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts(value)


def test_the_committed_schema_is_the_generated_one() -> None:
    text = json.dumps(generate_schema(), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == text, "run 'localmodels schema > schemas/localmodels.v1.json'"


def test_it_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(generate_schema())


def test_no_mapping_takes_unknown_keys() -> None:
    for part in parts(generate_schema()["$defs"]):
        if "properties" in part and part.get("type") == "object":
            assert part["additionalProperties"] is False


def test_every_key_is_described() -> None:
    for name, definition in generate_schema()["$defs"].items():
        assert definition["description"], name
        for key, entry in definition["properties"].items():
            assert entry.get("description"), f"{name}.{key}"


def test_what_is_not_built_is_not_allowed_by_it() -> None:
    schema = generate_schema()
    assert schema["$defs"]["HarnessFit"]["properties"]["enabled"]["const"] is False
    assert "adapters" not in keys_at(schema, "Plain", ("localModels", "slots", 0))
