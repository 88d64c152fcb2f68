"""One adapter of the file as a person reads it: where it stands, what it is, what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.views.door import view
from reconciler.cli.views.table import paint
from reconciler.domain.adapter import ADDRESS, Adapter, AdapterVerdict
from reconciler.domain.finding import Finding
from reconciler.domain.plan import Action, Reason
from reconciler.domain.units import show_bytes
from reconciler.engine.explain_adapter import AdapterExplanation, ExplainedAdapter

_COLOUR = {"error": "red", "warning": "yellow", "note": "dim"}


@view
def adapter_explanation_text(found: AdapterExplanation) -> str:
    """The whole explanation; one block for each target."""
    lines = [paint(f"Adapter {found.address.removeprefix(ADDRESS)}", "bold"), *_declared(found.adapter)]
    for place in found.places:
        lines += ["", *_place(place)]
    if not found.places:
        lines += ["", "nothing of it is on any target"]
    return "\n".join(lines)


def _declared(adapter: Adapter | None) -> Iterator[str]:
    if adapter is None:
        yield "  not in the file any more"
        return
    source = adapter.source
    if source.path or source.repo:
        where = f"{source.path} (of this host)" if source.path else f"{source.repo} at {source.revision}"
        yield f"  source  {where}"
    if adapter.base:
        yield f"  base    {adapter.base}, onBaseChange: {adapter.on_base_change}"
    if adapter.absent:
        yield "  absent: true"


def _place(place: ExplainedAdapter) -> Iterator[str]:
    base = f" → {place.base}" if place.base else ""
    word = place.action.value if place.action is not Action.KEEP else place.standing
    yield f"{place.target}: {place.name}{base}: {word} ({place.reason.value})"
    if place.message:
        yield f"  {place.message}"
    if place.served is not None:
        scale = f" at scale {place.served.scale:g}" if place.served.scale is not None else ""
        yield f"  served now{scale}{f' from {place.served.path}' if place.served.path else ''}, {_whose(place)}"
    elif place.recorded is not None:
        now = "whether it is served now is not known" if place.reason is Reason.TARGET_UNKNOWN else "not served now"
        yield f"  {now}; we attached it on {place.recorded.attached_at:%Y-%m-%d}"
    if place.verdict is not None:
        yield from _verdict(place.verdict)
    if place.hint:
        yield f"  hint: {place.hint}"
    if place.command:
        yield f"  run: {place.command}"


def _whose(place: ExplainedAdapter) -> str:
    return "attached by us" if place.recorded is not None else "attached by somebody else"


def _verdict(verdict: AdapterVerdict) -> Iterator[str]:
    parts = [verdict.format, show_bytes(verdict.bytes)]
    parts += [f"rank {verdict.rank}"] if verdict.rank is not None else []
    parts += [f"contract {verdict.contract_id}"] if verdict.contract_id else []
    parts += [f"commit {verdict.artifact.commit}"] if verdict.artifact is not None else []
    yield f"  content {verdict.digest[:12]}: {', '.join(parts)}"
    for finding in verdict.findings:
        yield from _finding(finding)
    for finding in verdict.unpromoted:
        yield f"    not promoted: {finding.message}"
        yield from _hint(finding)


def _finding(finding: Finding) -> Iterator[str]:
    yield "    " + paint(f"{finding.severity}: {finding.message} ({finding.code})", _COLOUR[finding.severity])
    yield from _hint(finding)


def _hint(finding: Finding) -> Iterator[str]:
    if finding.hint:
        yield f"      hint: {finding.hint}"
