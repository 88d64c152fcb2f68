"""What is wrong with a desired state file, in words a person can act on.

Every message says what was found and what is allowed; the hint names the nearest key or the line to write instead.
A value that may be a secret is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.domain import desired_scalars
from reconciler.domain.names import nearest
from reconciler.errors import DesiredStateError, Problem
from reconciler.integrations.files.schema import definition_at, keys_at
from reconciler.integrations.files.yaml_positions import KeyPath, Loaded, show_path

_SECRET_PATHS = ("tokenFrom", "apiKeyFrom", "env", "file", "token")
_SECRET_LOOK = re.compile(r"hf_[A-Za-z0-9]{6,}|sk-[A-Za-z0-9]{6,}|//[^/\s]*@")
_FORM_TAGS = {"hardware": ("wrapped", "plain"), "rank": ("exact", "most")}


class Words:
    """Turns the complaints of the validators into problems of one file."""

    def __init__(self, loaded: Loaded, schema: dict[str, Any], form: str) -> None:
        self._loaded = loaded
        self._schema = schema
        self._form = form

    def of_pydantic(self, error: Mapping[str, Any]) -> Problem:
        path = without_tags(error["loc"])
        kind, context = error["type"], error.get("ctx", {})
        if kind == "extra_forbidden":
            return self.unknown_key(path)
        if kind == "missing":
            return self.missing(path)
        if kind == "needed":
            return self.missing((*path, context["key"]))
        if kind == "twins":
            return self.twins(path, context["first"], context["second"])
        if kind == "not_built":
            return self.at(path, f"'{context['what']}' is not supported yet", context["hint"])
        if kind == "no_keys":
            return self.at(path, f"found an empty mapping; allowed: one of {', '.join(self._keys(path))}")
        return self.wrong_value(path)

    def of_jsonschema(self, error: Any) -> Problem:
        path: KeyPath = tuple(error.absolute_path)
        if error.validator == "not":
            return self.twins(path, *error.validator_value["required"])
        return self.wrong_value(path)

    def culprit_of_jsonschema(self, error: Any) -> KeyPath:
        path: KeyPath = tuple(error.absolute_path)
        if error.validator == "not":
            return (*path, later_key(self._loaded, path, *error.validator_value["required"]))
        return path

    def at(self, path: KeyPath, message: str, hint: str | None = None, *, of_key: bool = False) -> Problem:
        place = self._loaded.place(path, of_key=of_key)
        line, column = (place.line, place.column) if place else (1, 1)
        return Problem(show_path(path), message, line, column, hint)

    def unknown_key(self, path: KeyPath) -> Problem:
        key, allowed = str(path[-1]), self._keys(path[:-1])
        near = nearest(key, allowed, 1)
        hint = f"did you mean '{near[0]}'?" if near else self._home_of(key, path)
        return self.at(path, f"unknown key; allowed here: {', '.join(allowed)}", hint, of_key=True)

    def meant_by(self, error: Mapping[str, Any]) -> list[KeyPath]:
        """The key that an unknown one was most likely meant to be: what it says is not known then."""
        if error["type"] != "extra_forbidden":
            return []
        *outer, key = without_tags(error["loc"])
        return [(*outer, near) for near in nearest(str(key), self._keys(tuple(outer)), 1)]

    def _home_of(self, key: str, path: KeyPath) -> str | None:
        """Where a key that stands in the wrong place belongs."""
        root = ("localModels",) if self._form == "Plain" else ("spec",)
        if len(path) == 1 and key in self._keys(root):
            return f"indent it under '{root[0]}:'"
        for outer in self._keys(root):
            inner: KeyPath = (*root, outer)
            for below in (inner, (*inner, 0)):
                if key in self._keys(below):
                    return f"it belongs under '{show_path(inner)}'"
        return None

    def missing(self, path: KeyPath) -> Problem:
        place = self._loaded.place(path[:-1], of_key=True)
        line, column = (place.line, place.column) if place else (1, 1)
        example = self._allowed(path)
        return Problem(show_path(path), f"the key is missing; allowed: {example}", line, column, f"add '{path[-1]}: …'")

    def twins(self, path: KeyPath, first: str, second: str) -> Problem:
        later = later_key(self._loaded, path, first, second)
        other = second if later == first else first
        message = f"found together with '{other}', which says the same; allowed: one of the two"
        return self.at((*path, later), message, f"remove '{first}' or '{second}'", of_key=True)

    def wrong_value(self, path: KeyPath) -> Problem:
        value = value_at(self._loaded.root, path)
        message = f"found {self._found(path, value)}; allowed: {self._allowed(path)}"
        return self.at(path, message, self._hint(path, value))

    def _found(self, path: KeyPath, value: object) -> str:
        text = str(value)
        if _SECRET_LOOK.search(text) or any(part in _SECRET_PATHS for part in path):
            return "a value that is not repeated here"
        if value is None:
            return "no value"
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, list):
            return f"a list of {len(value)}"
        if isinstance(value, bool):
            return str(value).lower()
        shown = text if len(text) <= 60 else f"{text[:57]}…"
        return repr(shown) if isinstance(value, str) else f"the number {shown}"

    def _allowed(self, path: KeyPath) -> str:
        found = definition_at(self._schema, self._form, path)
        return allowed_words(found, self._keys(path))

    def _keys(self, path: KeyPath) -> tuple[str, ...]:
        return keys_at(self._schema, self._form, path)

    def _hint(self, path: KeyPath, value: object) -> str | None:
        """What a person most likely meant."""
        found = definition_at(self._schema, self._form, path)
        if value is None:
            return "give it a value, or leave the key out to have the default"
        if "enum" in found and isinstance(value, str):
            near = nearest(value, found["enum"], 1)
            return f"did you mean '{near[0]}'?" if near else None
        words = [str(choice["const"]) for choice in found.get("anyOf", ()) if "const" in choice]
        if isinstance(value, str) and (near := nearest(value, words, 1)):
            return f"did you mean '{near[0]}'?"
        if found.get("type") == "array" and _is_of_mappings(found):
            return "write a list, with '- ' before each entry"
        if found.get("type") == "array" and isinstance(value, str | int | float):
            return f"write [{value}]" if not _SECRET_LOOK.search(str(value)) else "write it in [ ]"
        if found.get("type") == "boolean" and str(value).lower() in ("yes", "no", "on", "off"):
            return f"write '{'true' if str(value).lower() in ('yes', 'on') else 'false'}'"
        return _shape_hint(found.get("pattern", ""), path, value)


def _is_of_mappings(part: Mapping[str, Any]) -> bool:
    items = part.get("items", {})
    return "$ref" in items or items.get("type") == "object"


def _shape_hint(pattern: str, path: KeyPath, value: object) -> str | None:
    words = _SHAPES.get(pattern)
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if words is None:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
            return f"write {value} without quotes"
        thousands = re.fullmatch(r"([0-9]{1,6})[kK]", value) if isinstance(value, str) else None
        return f"write {int(thousands[1]) * 1024}" if thousands else None
    if "a number and a unit" in words and plain:
        return f"write {value}h or {value}m" if "24h" in words else f"write {value}GB or {value}GiB"
    if words.startswith("a URL") and isinstance(value, str):
        if "@" in value:
            return "leave user and password out: secrets stand in the environment or in a file"
        if "://" not in value and not _SECRET_LOOK.search(value):
            return f"write http://{value}"
    if words.startswith("a host") and isinstance(value, str) and "://" in value:
        return f"write {value.partition('://')[2]}" + (", with 'insecure: true'" if value.startswith("http:") else "")
    if plain or isinstance(value, bool):
        return f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    if path[-1] in ("env", "token"):
        return "write the name of the variable, and keep the secret out of the file"
    return None


def allowed_words(part: Mapping[str, Any], keys: Iterable[str] = ()) -> str:
    """What a part of the schema allows, in words."""
    kind = part.get("type")
    if "anyOf" in part and not keys:
        return ", or ".join(allowed_words(choice) for choice in part["anyOf"])
    values = [choice for choice in part.get("oneOf", ()) if "type" in choice]
    if values:  # a value, or a mapping that says more
        return ", or ".join([*(allowed_words(choice) for choice in values), f"a mapping with {', '.join(keys)}"])
    if "enum" in part or "const" in part:
        words = [str(value) for value in part.get("enum", [part.get("const")])]
        return ", ".join(word.lower() if kind == "boolean" else word for word in words)
    if "pattern" in part:
        return _SHAPES.get(part["pattern"], "text of another form")
    if kind in ("integer", "number"):
        return _range_words("a whole number" if kind == "integer" else "a number", part)
    if kind == "array":
        least = f" of at least {part['minItems']}" if part.get("minItems") else ""
        return f"a list{least}"
    if kind == "boolean":
        return "true or false"
    if kind == "string":
        return "text"
    named = ", ".join(keys)
    return f"a mapping with {named}" if named else "a mapping"


_NO_BOUND = 10**15
"""A bound that nobody meets by mistake is not told."""


def _range_words(kind: str, part: Mapping[str, Any]) -> str:
    most = f"{part['maximum']:,.0f}".replace(",", " ") if part.get("maximum", _NO_BOUND) < _NO_BOUND else None
    if "exclusiveMinimum" in part:
        return f"{kind} above {part['exclusiveMinimum']:g}" + (f", {most} at most" if most else "")
    if "minimum" not in part:
        return kind
    least = f"{part['minimum']:g}" if part["minimum"] < 10**5 else f"{part['minimum']}"
    return f"{kind} from {least} to {most}" if most else f"{kind}, {least} at least"


def _shapes() -> dict[str, str]:
    """Words for each pattern that the schema may hold."""
    found = {}
    for alias in vars(desired_scalars).values():
        for part in getattr(alias, "__metadata__", ()):
            if isinstance(part, desired_scalars.Shape):
                found[part.pattern] = part.allowed
    return found


_SHAPES = _shapes()


def without_tags(location: Iterable[str | int]) -> KeyPath:
    """A validator's location as a path of the file: the names of alternatives left out."""
    path: list[str | int] = []
    for part in location:
        if not (path and part in _FORM_TAGS.get(str(path[-1]), ())):
            path.append(part)
    return tuple(path)


def later_key(loaded: Loaded, path: KeyPath, first: str, second: str) -> str:
    """Which of two keys of one mapping stands further down in the file."""

    def order(key: str) -> tuple[int, int]:
        place = loaded.keys.get((*path, key))
        return (place.line, place.column) if place else (0, 0)

    return max(second, first, key=order)


def value_at(root: object, path: KeyPath) -> object:
    """What stands at a path; None where nothing does."""
    here = root
    for part in path:
        if isinstance(here, dict):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            return None
    return here


def render_problem(problem: Problem, file: str) -> str:
    """One problem as a line that editors and people can jump to, its hint on a second one."""
    file = problem.file or file
    place = f"{file}:{problem.line}:{problem.column}" if problem.line else file
    text = f"{place}: {problem.path}: {problem.message}" if problem.path else f"{place}: {problem.message}"
    return f"{text}\n    hint: {problem.hint}" if problem.hint else text


def render_problems(error: DesiredStateError) -> str:
    """The whole error as text: every problem in the order of the file."""
    lines = [error.message, *(render_problem(problem, error.file or "") for problem in error.problems)]
    return "\n".join([*lines, *([f"hint: {error.hint}"] if error.hint and not error.problems else [])])
