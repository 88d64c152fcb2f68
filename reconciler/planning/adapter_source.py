"""What the source of an adapter lets be done: may it be asked, could it be read, does it fit, is it promoted.

What is attached stays in every one of these cases; that nobody can say what it is now is told, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.domain.adapter import CANDIDATE_SUFFIX, Adapter, AdapterVerdict, address_of
from reconciler.domain.finding import Finding
from reconciler.domain.observation import AdapterNeed, Unavailable
from reconciler.domain.plan import Action, Reason
from reconciler.planning.adapter_base import Base
from reconciler.planning.adapter_case import Case, Decided, Told
from reconciler.planning.adapter_grounds import Grounds
from reconciler.planning.adapter_rows import made_otherwise, promotion_words, rejection_words, what_to_do
from reconciler.planning.adapter_standing import how_it_drifted
from reconciler.planning.trust import distrust_of_adapter

_AGAIN = "plan again once it answers"


def need_of(case: Case, base: Base) -> AdapterNeed:
    """The question what its source is now."""
    return AdapterNeed(adapter=case.adapter.name, target=case.target.name, base_id=base.model_id, base_name=base.name)


def distrusted(case: Case, base: Base) -> Decided | None:
    """Blocked where the file does not allow its source; a path of this host is the operator's own."""
    found = distrust_of_adapter(case.scene.desired.pool, case.adapter)
    if found is None:
        return None
    message, hint = found
    return case.keep("blocked", Reason.NOT_ALLOWED, Told(message, hint), base=base.name)


def not_asked(case: Case, base: Base) -> Decided:
    """A question is open: what stands is shown as it is, what does not as a change that cannot be applied yet."""
    if case.ours is not None and case.served is not None:
        return case.keep("kept", Reason.IN_SYNC, base=case.ours.base)
    row = case.row(Action.ATTACH, Reason.MISSING, base=base.name)
    return Decided("change", row.model_copy(update={"resolved": False}))


def not_read(case: Case, base: Base, answer: Unavailable | None) -> Decided:
    """It cannot be read now: what is attached as it was stays and is told of, and nothing else begins."""
    why, hint = _why_not_read(case, answer)
    if not _stands(case, base):
        held = answer.held if answer is not None else None
        if held is not None and held.errors:
            why += f"; the copy that we hold does not stand in for it: {rejection_words(held)}"
        return case.keep("blocked", Reason.UNAVAILABLE, Told(why, hint), base=base.name)
    if answer is not None and answer.code == "offline":
        message = f"as it was attached; its source was not asked: {why}"
        return case.keep("kept", Reason.IN_SYNC, Told(message), base=base.name)
    message = f"it stays as it was attached, unverified: {why}"
    unverified = Finding(code="served_unverified", severity="warning", message=message, hint=hint)
    return case.keep("kept", Reason.UNAVAILABLE, Told(message, hint, (unverified,)), base=base.name)


def from_held_copy(case: Case, base: Base, answer: Unavailable | None) -> AdapterVerdict | None:
    """What stands in for a source that cannot be read now, with that said; None: nothing may, or nothing has to.

    What is attached as the file asks just stays.
    """
    held = answer.held if answer is not None else None
    if answer is None or held is None or not held.fits:
        return None
    if all(one.digest != held.digest for one in case.scene.record.adapters):
        return None  # an observation that somebody wrote: never what we did not attach
    if _stands(case, base) and not _asks_otherwise(case, held):
        return None
    why, hint = _why_not_read(case, answer)
    message = f"the copy that we hold of it stands in for its source: {why}"
    told = Finding(code="held_copy", severity="warning", message=message, hint=hint)
    if answer.code == "offline":  # as it was asked for
        told = told.model_copy(update={"severity": "note"})
    return held.model_copy(update={"findings": (*held.findings, told)})


def with_held_copy(decided: Decided, verdict: AdapterVerdict) -> Decided:
    """The row with what a person should know of it: its source stands nowhere now."""
    move = decided.row.adapter
    told = tuple(one for one in verdict.findings if one.code == "held_copy")
    if move is None or not told:
        return decided
    message = "; ".join(part for part in (decided.row.message, told[0].message) if part)
    update = {
        "message": message,
        "hint": decided.row.hint or told[0].hint,
        "adapter": move.model_copy(update={"findings": (*move.findings, *told)}),
    }
    return Decided(decided.part, decided.row.model_copy(update=update))


def _stands(case: Case, base: Base) -> bool:
    """It is served as we attached it, on the base that it is for now."""
    ours, served = case.ours, case.served
    if ours is None or served is None or how_it_drifted(case.scene, case.target, served, ours):
        return False
    return case.is_same_model(ours.base, base.name)


def _asks_otherwise(case: Case, held: AdapterVerdict) -> bool:
    """The file wants the same content served in another way than it was attached."""
    ours = case.ours
    return ours is not None and (case.serving.scale != ours.scale or bool(made_otherwise(case.adapter, ours, held)))


def _why_not_read(case: Case, answer: Unavailable | None) -> tuple[str, str]:
    """Why, and where the source was expected or what else to do."""
    why = answer.message if answer is not None else "nothing is known of it"
    return why, (answer.hint if answer is not None else None) or _default_hint(case.adapter, answer)


def _default_hint(adapter: Adapter, answer: Unavailable | None) -> str:
    if answer is not None and answer.code == "unreachable":
        return _AGAIN
    if answer is not None and answer.code in ("unauthorised", "gated"):
        return "see hub.tokenFrom, and ask its owner for access"
    return f"see `source` of adapter {adapter.name}"


def rejected(case: Case, base: Base, verdict: AdapterVerdict, grounds: Grounds) -> tuple[Decided, bool]:
    """What does not belong to its base is not attached; and whether it is detached from the one it stands on."""
    message, hint = rejection_words(verdict), what_to_do(verdict.errors, case.adapter)
    ours, stays = case.ours, grounds.stays_on(case, base)
    if ours is not None and stays and case.adapter.on_base_change != "drop":
        message = f"it does not belong to {base.name} ({message}), so it stays on {ours.base}"
        return case.keep("held", Reason.HELD_BY_ADAPTER, Told(message, hint), base=ours.base, verdict=verdict), False
    if not stays:
        message += _what_is_attached(case, grounds)
    blocked = case.keep("blocked", Reason.ADAPTER_REJECTED, Told(message, hint), base=base.name, verdict=verdict)
    return blocked, ours is not None and stays


def _what_is_attached(case: Case, grounds: Grounds) -> str:
    """What becomes of it, as the end of a sentence; empty: nothing is."""
    if case.ours is None or case.served is None:
        return ""
    return f"; what is attached {'goes with its base' if grounds.leaves(case.target, case.ours.base) else 'stays'}"


def not_promoted(case: Case, base: Base, verdict: AdapterVerdict, grounds: Grounds) -> Decided:
    """Its gate is not met, and until it is, nothing is attached under its name."""
    message = promotion_words(verdict) + _what_is_attached(case, grounds)
    hint = what_to_do(verdict.unpromoted, case.adapter)
    return case.keep("blocked", Reason.NOT_PROMOTED, Told(message, hint), base=base.name, verdict=verdict)


def beside_candidate(case: Case, verdict: AdapterVerdict, grounds: Grounds) -> Decided | None:
    """The promoted one that is served stays while what is new is tried as a candidate; None: none is, or it goes."""
    if case.ours is None or grounds.leaves(case.target, case.ours.base):
        return None
    missing = promotion_words(verdict)
    message = f"the promoted one stays; what is new is served as {case.name}{CANDIDATE_SUFFIX}: {missing}"
    hint = what_to_do(verdict.unpromoted, case.adapter)
    return case.keep("kept", Reason.NOT_PROMOTED, Told(message, hint), base=case.ours.base)


def told(adapter: Adapter, findings: Iterable[Finding]) -> list[str]:
    """Warnings of an adapter as lines of the plan."""
    return [
        f"{address_of(adapter.name)}: {one.message}{f'; {one.hint}' if one.hint else ''}"
        for one in findings
        if one.severity == "warning"
    ]
