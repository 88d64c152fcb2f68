"""A runtime that is never there, for tests of everything that must survive that."""

from __future__ import annotations

from typing import NoReturn

from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed, UnknownTarget
from reconciler.domain.plan import Row
from reconciler.domain.units import Bytes
from reconciler.errors import Unreachable
from reconciler.ports import Progress


class Null:
    """Every question is answered with "unreachable".

    Source: the origin's null adapter, at 0.2.0.
    """

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def target(self) -> Target:
        return self._target

    async def observe(self) -> UnknownTarget:
        return UnknownTarget(name=self._target.name, key=self._target.key, reason=self._message)

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:  # noqa: ARG002 - the port's
        self._fail(name)

    async def install(self, row: Row, progress: Progress) -> Installed:  # noqa: ARG002 - the port's
        self._fail(row.name)

    async def remove(self, name: str) -> Bytes:
        self._fail(name)

    async def clean_partials(self, names: frozenset[str]) -> Bytes:  # noqa: ARG002 - the port's
        self._fail(None)

    async def close(self) -> None:
        return

    @property
    def _message(self) -> str:
        return f"{self._target.name} is the null target: nothing is there"

    def _fail(self, name: str | None) -> NoReturn:
        raise Unreachable(self._message, details={"target": self._target.name, "name": name})
