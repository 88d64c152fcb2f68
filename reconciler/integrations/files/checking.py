"""Whether a document may be used, and every reason why not, in one run.

The classes of ``domain.desired_document`` decide. Where they refuse, the refused parts are taken out of a copy until
the rest is well formed, so that one mistake does not hide another; the JSON Schema is asked as a second opinion.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from reconciler.domain.desired_document import API_VERSION, KIND, Document, Long, Plain, form_of
from reconciler.domain.desired_finding import Finding
from reconciler.domain.desired_reading import settings_of
from reconciler.domain.desired_rules import broken_rules
from reconciler.errors import Problem
from reconciler.integrations.files.yaml_positions import KeyPath, Loaded, show_path

Form = type[Plain] | type[Long]


def checked(loaded: Loaded, *, thorough: bool) -> tuple[Document | None, list[Problem]]:
    """The document where it is well formed, and every problem of its keys, its values and what they mean together."""
    if loaded.root is None:
        return None, []
    form = form_of(loaded.root)
    try:
        document: Document = form.model_validate(loaded.root)
    except ValidationError as error:
        return None, _every_problem(loaded, form, error)
    problems = _rule_problems(loaded, document, loaded.refused)
    return document, problems + (_schema_problems(loaded, form, loaded.refused) if thorough else [])


def settings_path(document: Document | Form) -> KeyPath:
    """Where the settings stand in a document."""
    is_long = isinstance(document, Long) or document is Long
    return ("spec",) if is_long else ("localModels",)


def _every_problem(loaded: Loaded, form: Form, error: ValidationError) -> list[Problem]:
    from reconciler.integrations.files.problems import Words
    from reconciler.integrations.files.schema import generate_schema

    words = Words(loaded, generate_schema(), form.__name__)
    problems: list[Problem] = []
    refused: list[KeyPath] = list(loaded.refused)
    misspelt: list[KeyPath] = []
    root, left, document = copy.deepcopy(loaded.root), error, None
    while document is None:
        before = len(refused)
        for complaint in left.errors(include_url=False):
            path = _culprit(loaded, complaint)
            known = any(_within(path, other) for other in refused[:before])
            if not known and not _has_broken_switch(complaint, [*refused[:before], *misspelt]):
                problems.append(words.of_pydantic(complaint))
            refused.append(path)
            misspelt += words.meant_by(complaint)
            _take_out(root, path, is_missing=complaint["type"] in ("missing", "needed"), number=len(refused))
        try:
            document = form.model_validate(root)
        except ValidationError as again:
            left = again
            if len(refused) > 10_000:
                return problems
    problems = _without_echoes(problems)
    problems += _rule_problems(loaded, document, [*refused, *misspelt])
    return problems + _schema_problems(loaded, form, refused)


def _without_echoes(problems: list[Problem]) -> list[Problem]:
    """A mapping that is complained of because of what stands in it: the complaint about that is enough."""
    echoes = ("found an empty mapping; ", "found a mapping; allowed: a mapping")
    return [
        one
        for one in problems
        if not one.message.startswith(echoes) or not any(each.path.startswith(f"{one.path}.") for each in problems)
    ]


def _culprit(loaded: Loaded, complaint: Mapping[str, Any]) -> KeyPath:
    """The path that has to change: of two twins, the one further down."""
    from reconciler.integrations.files.problems import later_key, without_tags

    path = without_tags(complaint["loc"])
    if complaint["type"] == "needed":
        return (*path, str(complaint["ctx"]["key"]))
    if complaint["type"] != "twins":
        return path
    return (*path, later_key(loaded, path, complaint["ctx"]["first"], complaint["ctx"]["second"]))


def _has_broken_switch(complaint: Mapping[str, Any], broken: Iterable[KeyPath]) -> bool:
    """What is missing may be rightly so: the key that says so was refused."""
    from reconciler.integrations.files.problems import without_tags

    if complaint["type"] != "needed":
        return False
    return (*without_tags(complaint["loc"]), complaint["ctx"]["switch"]) in broken


def _within(path: KeyPath, outer: KeyPath) -> bool:
    return path[: len(outer)] == outer


def _related(path: KeyPath, other: KeyPath) -> bool:
    return _within(path, other) or _within(other, path)


def _rule_problems(loaded: Loaded, document: Document, refused: Iterable[KeyPath]) -> list[Problem]:
    """The rules that are broken, less those that may be broken only because a part was taken out."""
    top, known = settings_path(document), tuple(refused)
    findings = broken_rules(settings_of(document))
    return [_told(loaded, top, finding) for finding in findings if not _is_doubtful(finding, top, known)]


def _is_doubtful(finding: Finding, top: KeyPath, refused: tuple[KeyPath, ...]) -> bool:
    places = [(*top, *place) for place in (finding.path, finding.first) if place is not None]
    grounds = [(*top, *ground) for ground in (*finding.rests_on, *finding.elsewhere)]
    return any(
        any(_within(place, path) for place in places) or any(_related(ground, path) for ground in grounds)
        for path in refused
    )


def _told(loaded: Loaded, top: KeyPath, finding: Finding) -> Problem:
    path = (*top, *finding.path)
    place = loaded.place(path)
    message = finding.message
    first = loaded.place((*top, *finding.first)) if finding.first else None
    if first:
        message += f" (the other is on line {first.line})"
    line, column = (place.line, place.column) if place else (1, 1)
    return Problem(show_path(path), message, line, column, finding.hint)


def _schema_problems(loaded: Loaded, form: Form, refused: Iterable[KeyPath]) -> list[Problem]:
    """What the JSON Schema refuses and the classes did not get to. Loaded here: it costs 70 ms."""
    from jsonschema import Draft202012Validator

    from reconciler.integrations.files.problems import Words
    from reconciler.integrations.files.schema import generate_schema

    schema = generate_schema()
    words = Words(loaded, schema, form.__name__)
    validator = Draft202012Validator({"$ref": f"#/$defs/{form.__name__}", "$defs": schema["$defs"]})
    problems = []
    for error in validator.iter_errors(loaded.root):
        path = words.culprit_of_jsonschema(error)
        if not any(_related(path, other) for other in refused):
            problems.append(words.of_jsonschema(error))
    return problems


# --- taking out what was refused


def _take_out(root: Any, path: KeyPath, *, is_missing: bool, number: int) -> None:
    """Removes what stands at ``path``, or puts something harmless where the form needs something."""
    if not path:
        return
    parent = root
    for part in path[:-1]:
        parent = parent[part] if _has(parent, part) else None
    last = path[-1]
    if isinstance(parent, dict) and is_missing:
        parent[last] = _stand_in(str(last), number)
    elif isinstance(parent, dict):
        parent.pop(last, None)
    elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        parent[last] = _stand_in_item(str(path[-2]), number)


def _has(parent: Any, part: str | int) -> bool:
    if isinstance(parent, dict):
        return part in parent
    return isinstance(parent, list) and isinstance(part, int) and part < len(parent)


def _stand_in(key: str, number: int) -> Any:
    stands: dict[str, Any] = {
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "unnamed"}, "spec": {}, "localModels": {},
        "platform": "cpu", "override": {"platform": "cpu"}, "source": {"path": "unnamed"}, "max": 1, "sha256": "0" * 64,
        "hub": {"repo": "unnamed/unnamed", "revision": "unnamed"}, "repo": "unnamed/unnamed",
    }  # fmt: skip
    return stands.get(key, f"unnamed-{number}")


def _stand_in_item(collection: str, number: int) -> Any:
    if collection in ("slots", "targets"):
        return {"name": f"unnamed-{number}"}
    if collection == "adapters":
        return {"name": f"unnamed-{number}", "base": f"unnamed-{number}", "source": {"path": "unnamed"}}
    if collection == "serve":
        return {"target": f"unnamed-{number}"}
    return "tools" if collection == "capabilities" else f"unnamed-{number}"
