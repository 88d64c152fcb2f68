"""The table: served or not, ours or not, the same or not → what becomes of an adapter that the file asks for."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.adapter import AdapterVerdict, RecordAdapter, ServedAdapter, address_of, is_same_scale
from reconciler.domain.advice import quoted
from reconciler.domain.finding import Finding
from reconciler.domain.names import same_stable_name
from reconciler.domain.plan import Action, Reason, Row
from reconciler.planning.adapter_base import Base
from reconciler.planning.adapter_case import Case, Decided, Told
from reconciler.planning.adapter_rows import made_otherwise
from reconciler.planning.adapter_standing import how_it_drifted

_ANOTHER_NAME = "give the adapter another name with `as`"


def compared(case: Case, base: Base, verdict: AdapterVerdict, changes: Sequence[Row]) -> Decided:
    """What is wanted beside what is served.

    Args:
        case: whose source may be attached.
        base: what it is for.
        verdict: what its source is.
        changes: of models and names, which may take the name.
    """
    served, ours = case.served, case.ours
    if served is None and (taken := _taken_by(case, changes)):
        message = f"the name {case.name} is taken by {taken} on {case.target.name}"
        return case.keep(
            "blocked", Reason.UNMANAGED_CONFLICT, Told(message, _ANOTHER_NAME), base=base.name, verdict=verdict
        )
    if served is None and ours is None:
        return Decided("change", case.row(Action.ATTACH, Reason.MISSING, base=base.name, verdict=verdict))
    if served is None:
        message = "it is served no more: somebody removed it, or the server was started anew"
        return Decided(
            "change", case.row(Action.ATTACH, Reason.DRIFTED, Told(message), base=base.name, verdict=verdict)
        )
    if ours is None or served.is_foreign_to(ours):
        return _foreign(case, base, served, verdict)
    return _owned(case, base, served, ours, verdict)


def _taken_by(case: Case, changes: Sequence[Row]) -> str:
    """What answers to the name and is no adapter; empty: it is free."""
    key, name = case.target.key, case.name
    models = case.scene.models_on[case.target.name]
    coming = [row.name for row in changes if row.fetches and row.target_key == key]
    if any(case.is_same_model(one, name) for one in (*(m.name for m in models), *coming)):
        return "a model"
    here = case.scene.alias(case.target, name)
    named = [row.alias for row in changes if row.target_key == key and row.action is Action.UPDATE and row.alias]
    about = [one.after for one in named if same_stable_name(key, one.name, name)]
    return "a stable name" if any(about) or (here is not None and not about) else ""


def _foreign(case: Case, base: Base, served: ServedAdapter, verdict: AdapterVerdict) -> Decided:
    """Somebody else's: a match by its content, by the place it was loaded from, or where nothing tells."""
    known = served.digest == verdict.digest
    from_there = case.adapter.source.path is not None and served.path == case.adapter.source.path
    on_base = served.base is None or case.is_same_model(served.base, base.name)
    takes = case.scene.observed[case.target.name].takes_adapters is not None
    if on_base and (known or from_there or (not takes and served.digest is None)):
        found = () if known else (_unknown_content(case, served if from_there else None, takes=takes),)
        already = f"it is served already, and somebody else attached it{_other_scale(case, served)}"
        message = ": ".join([already, *(one.message for one in found)])
        told = Told(message, found[0].hint if found else None, found)
        row = case.row(Action.KEEP, Reason.UNMANAGED_MATCH, told, base=base.name, verdict=verdict)
        return Decided("kept", row.model_copy(update={"ours": False}))
    where = f" from {served.path}" if served.path else ""
    message = f"another adapter is served as {case.name}{where}, and somebody else attached it: it is left alone"
    hint = f"unload it there, or {_ANOTHER_NAME}"
    told = Told(message, hint)
    row = case.row(Action.KEEP, Reason.UNMANAGED_CONFLICT, told, base=base.name, verdict=verdict, served=served)
    return Decided("blocked", row.model_copy(update={"ours": False}))


def _other_scale(case: Case, served: ServedAdapter) -> str:
    """That it is not served at the scale that the file asks for; empty: it is, or nobody can tell."""
    if served.scale is None or is_same_scale(served.scale, case.serving.scale):
        return ""
    return f" at scale {served.scale:g}, and the file asks for {case.serving.scale:g}"


def _unknown_content(case: Case, served: ServedAdapter | None, *, takes: bool) -> Finding:
    """A server keeps what it loaded, whatever becomes of the place it read it from; nobody can ask it for that.

    Args:
        case: that it matches.
        served: from the adapter's own source; None: nothing tells from where.
        takes: the target can be given adapters.
    """
    adopt = f"`localmodels adopt {quoted(f'adapter/{case.adapter.name}')}` takes it up, and the next apply serves"
    again = adopt if takes else "start the server anew to serve"
    if served is None:
        return Finding(code="content_unknown", severity="note", message="what it holds cannot be told")
    if served.foreign and takes:
        again = "take its section out there, and the next apply attaches"
    return Finding(
        code="content_unknown",
        severity="note",
        message=f"it serves what stood at {served.path} when it was loaded, which need not be what stands there now",
        hint=f"{again} what stands there now",
    )


def _owned(case: Case, base: Base, served: ServedAdapter, ours: RecordAdapter, verdict: AdapterVerdict) -> Decided:
    reason, message = _why_changed(case, base, served, ours, verdict)
    if (moved := _moved(case, ours, verdict)) is not None and reason in (None, Reason.UPSTREAM_MOVED):
        return case.keep("held", Reason.UPSTREAM_MOVED, moved, base=base.name, verdict=verdict, served=served)
    if reason is None:
        return case.keep("kept", Reason.IN_SYNC, base=base.name, verdict=verdict, served=served)
    row = case.row(Action.UPDATE, reason, Told(message), base=base.name, verdict=verdict, served=served)
    waits = reason is not Reason.SERVING or made_otherwise(case.adapter, ours, verdict)
    if served.loaded and waits and not served.damaged:  # a copy that is gone is put back before its server needs it
        update = {"action": Action.KEEP, "reason": Reason.IN_USE, "message": f"{message}; in use now, so it waits"}
        return Decided("deferred", row.model_copy(update=update))
    return Decided("change", row)


def _moved(case: Case, ours: RecordAdapter, verdict: AdapterVerdict) -> Told | None:
    """A tag of a Hub means other content than it did, which a person takes or leaves; None: it does not."""
    source, address = case.adapter.source, address_of(case.adapter.name)
    if source.repo is None or ours.source not in (None, source) or address in case.scene.overrides.accept:
        return None
    if verdict.moved_to is None and verdict.digest == ours.digest:
        return None
    commit = verdict.moved_to or (verdict.artifact.commit if verdict.artifact is not None else "another commit")
    message = f"{source.repo} offers other content as {source.revision} now ({commit[:12]}); what is attached stays"
    return Told(message, f"`localmodels apply --accept {quoted(address)}` takes it")


def _why_changed(
    case: Case, base: Base, served: ServedAdapter, ours: RecordAdapter, verdict: AdapterVerdict
) -> tuple[Reason | None, str]:
    if not case.is_same_model(ours.base, base.name):
        return Reason.BASE_CHANGED, f"its base is {base.name} now; it stood on {ours.base}"
    if drifted := how_it_drifted(case.scene, case.target, served, ours):
        return Reason.DRIFTED, drifted + _what_follows(served, ours, verdict)
    if verdict.digest != ours.digest:
        return Reason.UPSTREAM_MOVED, "its source holds other content than is attached"
    if other := made_otherwise(case.adapter, ours, verdict):
        return Reason.SERVING, other
    if case.serving.scale != ours.scale:
        return Reason.SERVING, f"scale {case.serving.scale:g} instead of {ours.scale:g}"
    return None, ""


def _what_follows(served: ServedAdapter, ours: RecordAdapter, verdict: AdapterVerdict) -> str:
    """What else a person should know of a drift's mending; empty: it is attached as it was."""
    if verdict.digest != ours.digest:
        return "; and its source holds other content than was attached, which takes its place"
    return ": it is made again" if served.damaged else ""
