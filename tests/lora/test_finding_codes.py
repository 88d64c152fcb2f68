"""Codes of findings are a promise to scripts: each stands in a table of docs/lora.md, and each there is one of ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("lora", "engine/lora", "planning")
"""Where findings are made; what other parts call a code is that of an error or of a row."""
_MAKERS = {"error": 0, "warning": 0, "note": 0, "make": 0, "_other": 0, "Unconvertible": 0, "BadRow": 1}
"""Who makes a finding, or the row that becomes one; where its code stands."""
_CODE = re.compile(r"[a-z]+(_[a-z0-9]+)+")
_ROW = re.compile(r"\| (?P<codes>`[a-z0-9_…]+`(, `[a-z0-9_…]+`)*) \| (error|warning|note)(, (error|warning|note))* \|")


def documented() -> set[str]:
    """As the tables have them; … stands for one of many words."""
    rows = (_ROW.match(line) for line in (ROOT / "docs/lora.md").read_text(encoding="utf-8").splitlines())
    return {code for row in rows if row for code in re.findall("`([a-z0-9_…]+)`", row["codes"])}


def made() -> set[str]:
    """Read off the source; … stands for what is filled in."""
    files = (path for place in PLACES for path in (ROOT / "reconciler" / place).glob("*.py"))
    return {code for path in files for code in _codes(ast.parse(path.read_text(encoding="utf-8")))}


def _codes(tree: ast.Module) -> Iterator[str]:
    for outer in tree.body:
        for call in ast.walk(outer):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                found = _code_of(call)
                if found is not None:
                    yield from _words(found, outer, tree)


def _code_of(call: ast.Call) -> ast.expr | None:
    assert isinstance(call.func, ast.Name)
    if call.func.id == "Finding":
        return next(word.value for word in call.keywords if word.arg == "code")
    place = _MAKERS.get(call.func.id)
    return call.args[place] if place is not None and len(call.args) > place else None


def _words(found: ast.expr, outer: ast.stmt, tree: ast.Module) -> Iterator[str]:
    if isinstance(found, ast.Constant):
        yield str(found.value)
    elif isinstance(found, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in found.values)
    elif isinstance(found, ast.IfExp):
        yield from _words(found.body, outer, tree)
        yield from _words(found.orelse, outer, tree)
    elif isinstance(found, ast.Subscript) and isinstance(found.value, ast.Name):
        yield from _strings(next(one for one in tree.body if _assigns(one, found.value.id)))
    elif isinstance(found, ast.Name):  # one of those that stand in the same function
        yield from _strings(outer)


def _strings(node: ast.stmt) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and _CODE.fullmatch(one.value):
            yield one.value


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)


def _stands_for(written: str, code: str) -> bool:
    """A documented name stands for a code: it is it, or one of the many that its … stands for."""
    return written == code or bool(re.fullmatch(re.escape(written).replace("…", "[a-z0-9_…]+"), code))


def test_every_code_stands_in_a_table() -> None:
    written = documented()
    assert sorted(code for code in made() if not any(_stands_for(one, code) for one in written)) == []


def test_every_code_of_a_table_is_made_somewhere() -> None:
    codes = made()
    assert sorted(one for one in documented() if not any(_stands_for(one, code) for code in codes)) == []


def test_the_codes_are_found_at_all() -> None:
    assert {"receipt_unread", "contract_unread", "splits_share_records", "row_not_json", "manifest_invalid"} <= made()
    assert {"held_copy", "…_refused", "call_unreadable", "too_few_records"} <= documented()
