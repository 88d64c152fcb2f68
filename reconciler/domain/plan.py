"""The plan as data: it can be printed, saved, compared and refused.

``changes`` holds only what apply will do. What it will not do stands in exactly one of ``held``, ``deferred``,
``blocked`` and ``unfilled``; what stays as it is stands in ``kept``.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from reconciler.domain.adapter import AdapterVerdict
from reconciler.domain.artifact import Artifact
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import KvCache
from reconciler.domain.finding import Finding
from reconciler.domain.observation import Need, Serving
from reconciler.domain.units import Bytes

PLAN_FORMAT_VERSION = "1.0"


class Action(StrEnum):
    """The verb of a row."""

    INSTALL = "install"
    UPDATE = "update"
    KEEP = "keep"
    EVICT = "evict"
    FORGET = "forget"
    ATTACH = "attach"
    DETACH = "detach"

    @property
    def sign(self) -> str:
        signs = {"install": "+", "update": "~", "keep": "=", "evict": "-", "forget": "x", "attach": "+", "detach": "-"}
        return signs[self.value]


class Reason(StrEnum):
    """Why, from a closed list. Reasons explain; no decision is taken by them."""

    # changes and kept
    MISSING = "missing"
    """Desired, not there."""
    DRIFTED = "drifted"
    """What is installed differs from what we recorded, or someone removed it."""
    SERVING = "serving"
    """The target is told to serve it otherwise than the slot asks: its settings change, no file does."""
    ALIAS = "alias"
    """A stable name is made, moved to another model, or removed: no file of a model changes."""
    UPSTREAM_MOVED = "upstream-moved"
    """The source now offers other content under the same name."""
    OUTRANKED = "outranked"
    """A challenger beats the incumbent by the threshold, and the policy or ``--accept`` lets it."""
    INELIGIBLE = "ineligible"
    """The incumbent no longer meets the slot or the policy."""
    NOT_DESIRED = "not-desired"
    """Ours, and nothing in the file asks for it."""
    REPLACED = "replaced"
    """Its slot is filled by another model of this plan."""
    OVER_BUDGET = "over-budget"
    """Evicted because the budget shrank below what is used."""
    GONE = "gone"
    """Recorded, not installed, not desired: only the record changes."""
    IN_SYNC = "in-sync"
    UNMANAGED_MATCH = "unmanaged-match"
    """Fills the slot, was not installed by us, stays foreign until ``adopt``."""
    KEEP_LISTED = "keep-listed"
    """``pool.keep`` names it."""
    PRUNE_OFF = "prune-off"
    """Not desired; ``pool.prune`` leaves it."""
    DISABLED = "disabled"
    """``enabled: false``: observed and reported, never changed."""
    # held
    BELOW_THRESHOLD = "below-threshold"
    APPROVAL_NEEDED = "approval-needed"
    # deferred
    IN_USE = "in-use"
    # blocked
    UNMANAGED_CONFLICT = "unmanaged-conflict"
    """Other content, not ours, stands under the name we want; or settings that are not ours hold what is to go."""
    NO_ROOM = "no-room"
    NO_ROOM_TO_SWAP = "no-room-to-swap"
    NOT_ALLOWED = "not-allowed"
    NO_API = "no-api"
    """The target cannot be driven: the command to copy is in ``command``."""
    TARGET_UNKNOWN = "target-unknown"
    UNAVAILABLE = "unavailable"
    """The source cannot give the files: gone, gated, unauthorised. Of an adapter that is kept: it is unverified."""
    REPLACEMENT_BLOCKED = "replacement-blocked"
    """Its replacement cannot be installed, so it stays."""
    # LoRA adapters
    BASE_CHANGED = "base-changed"
    """Its base is another model now: it is attached there, or detached where it does not belong to it."""
    HELD_BY_ADAPTER = "held-by-adapter"
    """``onBaseChange``: an adapter stands on this base, so neither goes yet."""
    BASE_MISSING = "base-missing"
    """The model an adapter is for is not on this target, and does not come."""
    ADAPTER_REJECTED = "adapter-rejected"
    """What its source holds is not what the file expects, or does not belong to its base."""
    NOT_PROMOTED = "not-promoted"
    """Its promotion gate is not met."""
    # unfilled
    NOTHING_FITS = "nothing-fits"
    NOTHING_ALLOWED = "nothing-allowed"
    # targets that left the file
    ORPHANED = "orphaned"
    """Ours, on a target that left the file: nothing is evicted there; ``destroy`` or ``disown`` settles it."""


class Standing(Frozen):
    """What stands, or will stand, under a name on a target."""

    name: str
    model_id: str | None = None
    quant: str | None = None
    digest: str | None = None
    bytes: Bytes = Bytes(0)


class RowEvidence(Frozen):
    """The numbers a row rests on."""

    score: float | None = None
    low: float | None = None
    high: float | None = None
    incumbent_score: float | None = None
    tokens_per_second: float | None = None
    memory_bytes: Bytes | None = None
    context: int | None = None
    """Tokens of one conversation that ``memory_bytes`` is for; with ``context: max``, what was found to fit."""
    kv_cache: KvCache | None = None
    """Type of the cache that ``memory_bytes`` is for, where the slot names another than f16."""
    parallel: int | None = None
    """Conversations at once that ``memory_bytes`` is for, where the slot names more than one."""
    capacity_bytes: Bytes | None = None
    missing_bytes: Bytes | None = None
    """How much more room would be needed."""
    nearest: str | None = None
    """The nearest miss, for an unfilled slot."""
    notes: tuple[str, ...] = ()
    """What a person should know of the numbers, such as how ``context: max`` came out."""


class AliasMove(Frozen):
    """What becomes of a stable name."""

    name: str
    before: str | None = None
    """Canonical name of the model it stands for now; None: the name is free."""
    after: str | None = None
    """The model it will stand for; None: the name is removed."""
    context: int | None = None
    """Tokens that a request under the name gets, where the name can carry that."""


class AdapterMove(Frozen):
    """What becomes of one adapter on one target."""

    adapter: str
    """Its name in the file, or in the record."""
    name: str
    """Request-model name on the target."""
    base: str
    """Canonical name of the model it is attached to."""
    before: str | None = None
    """Digest of what is attached under the name now; None: nothing."""
    after: str | None = None
    """Digest of what will be; None: it is detached."""
    scale: float = 1.0
    verdict: AdapterVerdict | None = None
    """What its source was found to be; None where it is only detached."""
    findings: tuple[Finding, ...] = ()
    """What a person should know of it as it stands, beside what its verdict says."""
    declared_base: str = ""
    """What the file names as its base; it goes into the record."""
    rebased_from: str | None = None
    """Canonical name of the base it is attached to now, where that is another one."""


class Row(Frozen):
    """One line of a plan."""

    address: str
    """``slot/NAME[i]``, or ``target/NAME/MODEL`` for what no slot asks for."""
    action: Action
    reason: Reason
    target: str
    target_key: str
    name: str
    """Canonical name on the target."""
    slots: tuple[str, ...] = ()
    """Every slot address this one model fills."""
    model_id: str | None = None
    quant: str | None = None
    artifact: Artifact | None = None
    """What to fetch; None where nothing is fetched or it is not resolved."""
    revision: str | None = None
    """The revision the file asks for; None: whatever the source offers."""
    resolved: bool = True
    """False: the size is an estimate (≈) and the row cannot be applied."""
    before: Standing | None = None
    after: Standing | None = None
    bytes_down: Bytes = Bytes(0)
    bytes_freed: Bytes = Bytes(0)
    gap: bool = False
    """The old model goes before the new one is there: ``pool.allowGap``."""
    ours: bool = False
    serving: Serving | None = None
    """What the target is told to serve it with once it is there; None where it cannot be told."""
    alias: AliasMove | None = None
    """Set: this row changes a stable name and nothing else. ``name`` is then the model it ends, or ended, on."""
    adapter: AdapterMove | None = None
    """Set: this row is about a LoRA adapter and nothing else (``attach``, ``detach``, ``update``)."""
    evidence: RowEvidence = RowEvidence()
    message: str = ""
    """One sentence for a person: why, or what is in the way."""
    hint: str | None = None
    """What a person can do about it, where no command says it."""
    command: str | None = None
    """To copy: how a person goes on, where we cannot."""

    @property
    def subject(self) -> tuple[str, str]:
        """What it is about, by its target's key: a model, a stable name, or an adapter."""
        if self.adapter is not None:
            return self.target_key, f"adapter {self.adapter.name}"
        return self.target_key, self.name if self.alias is None else f"name {self.alias.name}"

    @property
    def fetches(self) -> bool:
        """Files come: what it names is not there, or not so, before it is done."""
        changes = self.action in (Action.INSTALL, Action.UPDATE) and not self.only_serves
        return changes and self.alias is None and self.adapter is None

    @property
    def only_serves(self) -> bool:
        """Nothing is fetched: the target is told how to serve what it has."""
        return self.action is Action.UPDATE and self.reason is Reason.SERVING and self.adapter is None


class Drift(Frozen):
    """Something that is not as we recorded it."""

    target: str
    name: str
    kind: Literal["missing", "content-changed"]
    before: str | None = None
    after: str | None = None


class Refusal(Frozen):
    """A fuse or rule that this plan trips: apply does nothing."""

    rule: str
    limit: float | int | bool
    value: float | int | bool
    message: str
    hint: str | None = None


class Budget(Frozen):
    """Disk budget of this host's targets together, or of one target with its own."""

    scope: str
    """``host``, or the target's name."""
    limit_bytes: Bytes
    used_bytes: Bytes
    """By what we own and what is there, and what has arrived of downloads that we began."""
    peak_bytes: Bytes
    """The most that is held at any moment during apply. A download that goes on counts once, with all its bytes."""
    after_bytes: Bytes
    free_disk_bytes: Bytes | None = None
    min_free_bytes: Bytes | None = None
    exact: bool = True
    """False: a size is an estimate."""


class Fingerprint(Frozen):
    """What the plan relied on. Never free memory, load or the catalogue's revision."""

    desired: str
    """Digest of the file."""
    record_generation: int
    targets: tuple[tuple[str, str], ...]
    """(target key, digest over installed names and contents)."""
    hardware: str
    """Digest over devices and total memory."""
    policy: str
    """Digest over accepted slots and overridden fuses."""


class Overrides(Frozen):
    """What a person allowed for this one plan."""

    accept: tuple[str, ...] = ()
    """Slots whose held swap may run."""
    allow_evictions: int | None = None


class Summary(Frozen):
    """Counts and bytes of a plan, for its last line."""

    install: int = 0
    update: int = 0
    evict: int = 0
    forget: int = 0
    named: int = 0
    """Stable names that are made, moved or removed; no ``update`` counts them."""
    attach: int = 0
    """LoRA adapters that are attached; one that is attached otherwise than now is an ``update``."""
    detach: int = 0
    kept: int = 0
    held: int = 0
    deferred: int = 0
    blocked: int = 0
    unfilled: int = 0
    bytes_down: Bytes = Bytes(0)
    bytes_freed: Bytes = Bytes(0)


class Plan(Frozen):
    """What would change and why."""

    format_version: str = PLAN_FORMAT_VERSION
    name: str
    made_at: datetime
    """``observation.now``."""
    fingerprint: Fingerprint
    applicable: bool
    """Every change is resolved and nothing is refused."""
    drift: tuple[Drift, ...] = ()
    changes: tuple[Row, ...] = ()
    """In the order apply runs them."""
    kept: tuple[Row, ...] = ()
    held: tuple[Row, ...] = ()
    deferred: tuple[Row, ...] = ()
    blocked: tuple[Row, ...] = ()
    unfilled: tuple[Row, ...] = ()
    refused: tuple[Refusal, ...] = ()
    needs: tuple[Need, ...] = ()
    """What must be asked before this plan can be applied; empty once nothing is open or nobody can be asked."""
    budgets: tuple[Budget, ...] = ()
    overrides: Overrides = Overrides()
    warnings: tuple[str, ...] = ()
    summary: Summary = Summary()

    @property
    def in_sync(self) -> bool:
        return not (self.changes or self.blocked or self.unfilled)
