"""The classes and the JSON Schema accept and refuse the same documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from reconciler.domain.desired_document import form_of
from reconciler.integrations.files.schema import definition_at, generate_schema, keys_at
from tests.integrations.files.documents import FULL, LONG, SEED, mutated

SCHEMA = generate_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def classes_accept(root: dict[str, Any]) -> bool:
    try:
        form_of(root).model_validate(root)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("root", [FULL, LONG, SEED], ids=["full", "long", "seed"])
def test_both_accept_whole_documents(root: dict[str, Any]) -> None:
    assert classes_accept(root)
    assert VALIDATOR.is_valid(root)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
@example({"localModels": {"pool": {"diskBudget": "5GB", "diskBudgetGb": 5}}})
@example({"localModels": {"refresh": {"intervalMs": 3_600_000.0}}})
@example({"localModels": {"refresh": {"intervalMs": True}}})
@example({"localModels": {"name": "a\n"}})
@example({"localModels": {"slots": None}})
@example({"localModels": {"hub": {"tokenFrom": {}}}})
@example({"localModels": {"adapters": [{"name": "a"}]}})
@example({"localModels": {"adapters": [{"name": "a", "absent": True}]}})
@example({"localModels": {"adapters": [{"name": "a", "absent": 1}]}})
@example({"localModels": {"adapters": [{"name": "a", "base": "b", "absent": False}]}})
@example({"localModels": {}, "spec": {}})
@example({})
def test_both_accept_and_refuse_the_same(root: dict[str, Any]) -> None:
    assert classes_accept(root) is VALIDATOR.is_valid(root)


def test_the_schema_is_walked_by_a_documents_path() -> None:
    assert "vramGb" in keys_at(SCHEMA, "Plain", ("localModels", "targets", 3, "hardware"))
    assert "override" in keys_at(SCHEMA, "Long", ("spec", "targets", 0, "hardware"))
    assert definition_at(SCHEMA, "Plain", ("localModels", "slots", 0, "count"))["maximum"] == 64
    assert definition_at(SCHEMA, "Plain", ("localModels", "nowhere", "at", 3)) == {}
