"""Whatever is found of an adapter says what to do: read off the source, so that no finding is forgotten."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

import pytest

MODULES = (
    "engine.lora.adapter_facts", "engine.lora.inspect", "engine.lora.verdict", "lora.adapter_lock", "lora.adapter_name",
    "lora.agreement", "lora.base_match", "lora.config_gaps", "lora.expectations", "lora.gate", "lora.launch", "lora.launch_value",
    "lora.manifest_check", "lora.served_features", "planning.adapter_compare", "planning.adapter_ranks",
    "planning.adapter_source",
)  # fmt: skip
"""Where adapters are judged: findings of ``inspect`` and of plans."""
_MAKERS = {"error": 2, "warning": 2, "make": 2, "_other": 2}
"""Who makes a finding that a person should act on; ``note`` says what is worth knowing. (code, message, hint)."""


def findings(name: str) -> Iterator[tuple[str, str | None]]:
    """(severity and code, hint) as a module has them."""
    module = importlib.import_module(f"reconciler.{name}")
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    for outer in tree.body:
        for call in ast.walk(outer):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in (*_MAKERS, "Finding"):
                found = _finding(call, outer, module)
                if found is not None:
                    yield found


def _finding(call: ast.Call, outer: ast.AST, module: ModuleType) -> tuple[str, str | None] | None:
    assert isinstance(call.func, ast.Name)
    named = {word.arg: word.value for word in call.keywords}
    if call.func.id == "Finding":
        severity, code, hint = ast.unparse(named["severity"]).strip("'"), named["code"], named.get("hint")
        if severity == "note":
            return None
    else:
        if call.func.id == "_other":  # has its own
            return None
        severity, code, hint = call.func.id, call.args[0], call.args[2] if len(call.args) > 2 else named.get("hint")
    return f"{severity.replace('make', 'error or less')} {_words(code, outer, module)}", hint and _words(
        hint, outer, module
    )


def _words(found: ast.expr, outer: ast.AST, module: ModuleType) -> str:
    """As a person would read it; what is filled in when it is known stays as it is written."""
    if isinstance(found, ast.Constant):
        return str(found.value)
    if isinstance(found, ast.Name):
        known = getattr(module, found.id, None)
        if isinstance(known, str):
            return known
        meant = [one for one in ast.walk(outer) if _assigns(one, found.id) and one.lineno < found.lineno]
        last = max(meant, key=lambda one: one.lineno, default=None)
        return _words(last.value, outer, module) if last is not None else f"{{{found.id}}}"
    if isinstance(found, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
            for part in found.values
        )
    return f"{{{ast.unparse(found)}}}"


def _assigns(node: ast.AST, name: str) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)


def test_every_finding_with_its_hint(snapshot: object) -> None:
    lines = sorted({f"{what}\n    {hint}" for name in MODULES for what, hint in findings(name)})
    assert "\n".join(lines) == snapshot


@pytest.mark.parametrize("name", MODULES)
def test_no_finding_to_act_on_is_without_a_hint(name: str) -> None:
    assert [what for what, hint in findings(name) if not hint] == []
