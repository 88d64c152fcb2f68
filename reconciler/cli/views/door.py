"""The one door between what others wrote and what a person reads: every view takes its subject through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import wraps
from typing import Any, ParamSpec

from pydantic import BaseModel

from reconciler.cli.streams import one_line

P = ParamSpec("P")


def view(render: Callable[P, str]) -> Callable[P, str]:
    """A view whose every text is one line: no name that others chose colours it, ends a line or begins one.

    Colours and line ends are the view's own, put there after this.
    """

    @wraps(render)
    def rendered(*subjects: P.args, **named: P.kwargs) -> str:
        return render(*(tame(one) for one in subjects), **{key: tame(one) for key, one in named.items()})

    return rendered


def tame(value: Any) -> Any:
    """The same with every text in it harmless (``one_line``); itself, where all are."""
    match value:
        case Enum():
            return value
        case str():
            return one_line(value)
        case BaseModel():
            return _model(value)
        case Mapping():
            found = {tame(key): tame(each) for key, each in value.items()}
            return value if _same(found.values(), value.values()) and _same(found, value) else found
        case list() | tuple() | set() | frozenset():
            return _many(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            changed = {
                one.name: new
                for one in fields(value)
                if one.init and (new := tame(getattr(value, one.name))) is not getattr(value, one.name)
            }
            return replace(value, **changed) if changed else value
    return value


def _model(value: BaseModel) -> BaseModel:
    changed = {
        name: new
        for name in type(value).model_fields
        if (new := tame(getattr(value, name))) is not getattr(value, name)
    }
    if not changed:
        return value
    copy = value.model_copy(update=changed)
    for name in set(copy.__dict__) - set(type(value).model_fields):  # what was computed of the old texts
        del copy.__dict__[name]
    return copy


def _many(value: Any) -> Any:
    found = [tame(each) for each in value]
    if _same(found, value):
        return value
    return type(value)(*found) if hasattr(value, "_fields") else type(value)(found)


def _same(found: Any, before: Any) -> bool:
    return all(new is old for new, old in zip(found, before, strict=False))
