"""What all ``lora`` commands do alike: the catalogue and the table they read, and how their reports are printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property

from reconciler.cli.outcome import EXIT_FAILED, print_json
from reconciler.cli.wiring import Wiring
from reconciler.domain.catalog import Catalogue
from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.engine.lora.resolve import resolve_route
from reconciler.errors import ReconcilerError
from reconciler.lora.dialect import DIALECTS, Dialect, DialectName
from reconciler.lora.findings import messages
from reconciler.lora.route_table import RouteTable
from reconciler.lora.routes import Route


class Facts:
    """What ``lora`` commands know before they look at anything."""

    def __init__(self, dialect: DialectName, wiring: Wiring | None = None) -> None:
        self.dialect: Dialect = DIALECTS[dialect]
        self._wiring = wiring or Wiring()

    @cached_property
    def catalogue(self) -> Catalogue:
        """The shipped one: no command of this group asks anybody."""
        return self._wiring.bundled

    @cached_property
    def table(self) -> RouteTable:
        from reconciler.integrations.lora_routes import load_routes

        return load_routes()

    def route(self, base: str, provider: str | None) -> Route:
        return resolve_route(base, provider, self.catalogue, self.table, self.dialect)


def failure_of(findings: Sequence[Finding], *, code: str, what: str) -> ReconcilerError | None:
    """The error of a report that is not ok: its first reason, how many more there are, and what to do.

    Args:
        findings: of the report.
        code: of the error.
        what: failed, in a few words.

    Returns:
        None where nothing in the report is an error.
    """
    wrong = [one for one in findings if one.severity == "error"]
    if not wrong:
        return None
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    first = next((one.hint for one in wrong if one.hint), None)
    hint = first or next((one.hint for one in findings if one.hint and one.severity == "warning"), None)
    return ReconcilerError(f"{what}: {wrong[0].message}{more}", code=code, hint=hint)


def print_report(
    report: Frozen,
    findings: Sequence[Finding],
    text: str,
    failure: ReconcilerError | None,
    dialect: Dialect,
    *,
    as_json: bool,
    fails: bool = True,
) -> int:
    """A report as an envelope, or as text.

    Args:
        report: what was found; the ``data`` of the envelope, or where it failed ``error.details``.
        findings: its own, for the envelope's ``warnings``.
        text: the same for a person.
        failure: what to call it where the report is not ok; None: it is.
        dialect: how its keys are spelled.
        as_json: whether ``--json`` was given.
        fails: whether a report that is not ok ends the run with 1.

    Returns:
        The exit code.
    """
    if as_json:
        document = report.model_dump(mode="json", by_alias=dialect.camel_case)
        told = list(messages(findings))
        if failure is None:
            print_json(document, warnings=told)
        else:
            failure.details = document
            print_json(None, error=failure, warnings=told)
    else:
        sys.stdout.write(text + "\n")
    return EXIT_FAILED if fails and failure is not None else 0
