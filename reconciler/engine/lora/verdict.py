"""Whether a declared adapter may be attached: its files, its base, what the file expects, its contract, its promotion.

The looking is that of ``lora inspect``; what stands here is which findings forbid it. Wrong shapes, missing weights and
pickles always do; what the file says of it does not under ``onMismatch: warn``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.domain.adapter import Adapter, AdapterFormat, AdapterVerdict, Gate, Outtype
from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import Target
from reconciler.domain.finding import Finding
from reconciler.domain.observation import AdapterNeed
from reconciler.domain.units import Bytes
from reconciler.engine.lora.inspect import InspectRequest, inspect
from reconciler.engine.lora.resolve import resolve_base
from reconciler.errors import OutsideError, ReconcilerError, Refused, UsageError
from reconciler.lora.adapter_content import AdapterContent, ContentFile, content_digest
from reconciler.lora.adapter_files import CONFIG, PICKLE, AdapterFile, AdapterPlace
from reconciler.lora.dialect import OURS
from reconciler.lora.expectations import judge_contract, judge_expected
from reconciler.lora.findings import error, note, warning
from reconciler.lora.gate import RECEIPT_LIMIT_BYTES, judge_receipt, read_receipt
from reconciler.lora.inspection import InspectReport
from reconciler.lora.remote_adapter import RemoteAdapter
from reconciler.lora.route_table import RouteTable
from reconciler.lora.routes import NamedBase, Route, route_of
from reconciler.ports import AdapterFiles

_PROVIDERS = {"llama-server": "llamacpp", "store": "llamacpp", "lms": "lm-studio"}
"""Provider by kind of runtime, or by the program behind an advisory one, where they are called otherwise."""
_UNSAID = frozenset(
    {"remote_adapter", "adapter_conversion", "runtime_no_lora", "runtime_no_max_rank", "rank_unknown", "path_invalid",
     "hub_adapter_refused", "revision_not_served", "launch_caveat"}
)  # fmt: skip
"""What the plan says itself, or answers, and what is of a launch command, which no target is given."""
_SOFT = frozenset({"base_mismatch", "base_suffix", "base_unstated", "artifact_differs", "artifact_missing"})
"""What names and papers say against it: ``onMismatch: warn`` lets it pass."""
_SOFT_BEGINNINGS = ("expect_", "contract_")
_BROKEN = {"adapter-invalid": "config_invalid", "manifest-invalid": "manifest_invalid"}
"""Files that can be read and are not what they should be, by what reading them is refused with."""
_UNLESS_LENIENT = "`onMismatch: warn` lets it pass"
_ELEMENT_BYTES: dict[Outtype, float] = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32, "auto": 2}
_GGUF_HEAD_BYTES = 64 * 1024
"""A GGUF's header and padding, generously."""


@dataclass(frozen=True, slots=True)
class FoundSource:
    """Where an adapter's files are, and which of them count."""

    given: str
    """As ``files`` finds it."""
    files: AdapterFiles
    content: AdapterContent


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a verdict depends on beside the adapter."""

    now: datetime
    catalogue: Catalogue
    routes: RouteTable
    target: Target | None
    takes: AdapterFormat | None
    """The form that the target says it takes."""
    base_file: str | None
    """The installed base, where it can be read."""
    no_converter: str | None
    """Why PEFT weights cannot become GGUF here."""
    met: bool = False
    """This very content has met the same terms here: papers that cannot be read now are told of, and forbid nothing."""
    base_folder: str | None = None
    """Where the server reads its base, as it says."""
    version: str | None = None
    """Of the server."""


def local_source(adapter: Adapter, files: AdapterFiles) -> FoundSource:
    """An adapter of this host. Reads its files whole, for their hashes.

    Raises:
        Refused: ``not-found``: there is nothing; or it cannot be read.
    """
    given = adapter.source.path or ""
    place = files.find(given)
    if not place.exists or place.folder is None:
        hint = f"put it back, or correct source.path of adapter {adapter.name}"
        raise Refused(f"{given} is not there", code="not-found", hint=hint)
    chosen = tuple(_chosen(place))
    held = tuple(ContentFile(name=one.name, bytes=one.bytes, sha256=files.digest(one.path)) for one in chosen)
    return FoundSource(given, files, AdapterContent(digest=content_digest(held), files=held, folder=place.folder))


def _chosen(place: AdapterPlace) -> Iterator[AdapterFile]:
    """The files that are held: the configuration and one file of weights, or one GGUF."""
    if place.config is not None and not place.holds_gguf:
        yield place.config
    yield from place.weights[:1]


def remote_source(adapter: Adapter, found: RemoteAdapter, files: AdapterFiles) -> FoundSource:
    """An adapter of a Hub, by what it says of it."""
    given = f"hub:{adapter.source.repo}"
    held = tuple(ContentFile(name=one.path, bytes=one.bytes, sha256=one.sha256.lower()) for one in found.artifact.files)
    content = AdapterContent(digest=content_digest(held), files=held, artifact=found.artifact)
    return FoundSource(given, _RemoteFiles(given, found, files), content)


def judged(
    adapter: Adapter, need: AdapterNeed, source: FoundSource, seen: Circumstances, files: AdapterFiles
) -> AdapterVerdict:
    """The verdict. Blocks while it reads. A file that can be read and is not what it should be speaks against it.

    Raises:
        OutsideError: a file of the adapter, or its manifest, cannot be read now.
        ReconcilerError: the base cannot be read as what it is.
    """
    kind = _kind(source.content)
    unread: tuple[Finding, ...] = ()
    try:
        adapter, report, unread = _report_with_papers(adapter, need, source, seen)
    except ReconcilerError as flaw:
        if flaw.code not in _BROKEN:
            raise
        return AdapterVerdict(
            digest=source.content.digest,
            format=kind,
            bytes=source.content.bytes,
            artifact=source.content.artifact,
            findings=(error(_BROKEN[flaw.code], flaw.message, flaw.hint),),
        )
    found = [
        *(one for one in report.findings if one.code not in _UNSAID and one.code != "weights_pickle"),
        *_pickled(adapter, source.content, report),
        *judge_expected(adapter.expect, report, source.content.files),
        *(judge_contract(adapter.contract, report) if adapter.contract else ()),
        *_form(adapter, source.content, seen, report),
        *unread,
    ]
    contract_id = report.as_locked.contract_id or (adapter.contract.id if adapter.contract else None)
    unpromoted = _unpromoted(adapter, source.content, contract_id, seen, files)
    if seen.met and adapter.gate is not None:
        away = receipts_away(unpromoted, adapter.gate, files)
        texts = [(_met_before("its promotion receipt", one.message), one.hint) for one in away]
        found += [warning("receipt_unread", text, hint) for text, hint in texts]
        unpromoted = tuple(one for one in unpromoted if one not in away)
    size = source.content.bytes + (_converted_bytes(adapter, report) if kind == "peft" and seen.takes == "gguf" else 0)
    return AdapterVerdict(
        digest=source.content.digest,
        format=kind,
        bytes=Bytes(size),
        rank=max(report.weights.ranks, default=report.adapter.rank) if report.weights else report.adapter.rank,
        contract_id=contract_id,
        artifact=source.content.artifact,
        findings=tuple(_weighed(found, lenient=adapter.on_mismatch == "warn")),
        unpromoted=unpromoted,
    )


def _report_with_papers(
    adapter: Adapter, need: AdapterNeed, source: FoundSource, seen: Circumstances
) -> tuple[Adapter, InspectReport, tuple[Finding, ...]]:
    """The report; without the contract where its manifest cannot be read now and the content has met it before."""
    try:
        return adapter, _report(adapter, need, source, seen), ()
    except OutsideError as flaw:
        if not seen.met or adapter.contract is None or adapter.contract.manifest is None:
            raise
        without = adapter.model_copy(update={"contract": None})
        report = _report(without, need, source, seen)
        hint = flaw.hint or "see who may read it"
        return without, report, (warning("contract_unread", _met_before("its contract", flaw.message), hint),)


def _met_before(paper: str, why: str) -> str:
    return f"{paper} cannot be read now, and this content met it when it was attached: {why}"


def receipts_away(unpromoted: Iterable[Finding], gate: Gate, files: AdapterFiles) -> tuple[Finding, ...]:
    """Those of what a gate misses that only say that its receipt cannot be read; any other forbids on.

    It cannot be read, or its folder is not there either; one that was taken out alone is a word said. Where it may have
    grown too old meanwhile, nobody can tell without it.
    """
    if gate.max_age_seconds is not None:
        return ()
    codes = {"receipt_unreadable"}
    found = tuple(unpromoted)
    if any(one.code == "receipt_missing" for one in found) and not _has_folder(gate.receipt, files):
        codes.add("receipt_missing")
    return tuple(one for one in found if one.code in codes)


def _has_folder(path: str, files: AdapterFiles) -> bool:
    try:
        return files.find(path.rpartition("/")[0] or "/").exists
    except OutsideError:
        return False


def _report(adapter: Adapter, need: AdapterNeed, source: FoundSource, seen: Circumstances) -> InspectReport:
    contract = adapter.contract
    request = InspectRequest(
        adapter=source.given,
        name=next((one.name for one in adapter.serve if one.target == need.target), adapter.name),
        manifest=contract.manifest if contract else None,
        require_contract_id=bool(contract and contract.manifest and contract.require_in_adapter),
        tool_format=contract.tool_format if contract else None,
        base_gguf=seen.base_file,
        base_config=_base_config(seen, source.files) if seen.base_file is None else None,
        base_folder=seen.base_folder,
        version=seen.version,
    )
    try:
        return _inspected(request, _route(need, seen), source)
    except Refused as flaw:
        if request.manifest is None or flaw.details.get("path") != request.manifest:
            raise
        hint = f"put it back, or correct contract.manifest of adapter {adapter.name}"
        text = f"its contract manifest {flaw.message}"
        raise Refused(text, code=flaw.code, hint=hint, details=flaw.details) from flaw


def _base_config(seen: Circumstances, files: AdapterFiles) -> str | None:
    """The ``config.json`` of a base that a server of this host reads from a folder of this host."""
    folder, target = seen.base_folder, seen.target
    if folder is None or not folder.startswith("/") or target is None or not target.is_local:
        return None
    path = f"{folder.rstrip('/')}/config.json"
    try:
        return path if files.find(path).exists else None
    except OutsideError:
        return None


def _inspected(request: InspectRequest, route: Route, source: FoundSource) -> InspectReport:
    """With the base's own file, where that can be read as what it is."""
    try:
        return inspect(request, route, source.files, OURS)
    except (ReconcilerError, OutsideError) as flaw:
        described = request.base_gguf is not None or request.base_config is not None
        if not described or (flaw.code != "base-invalid" and not isinstance(flaw, OutsideError)):
            raise
    return inspect(replace(request, base_gguf=None, base_config=None), route, source.files, OURS)


def _route(need: AdapterNeed, seen: Circumstances) -> Route:
    try:
        base = resolve_base(need.base_id, seen.catalogue, seen.routes, OURS)
    except UsageError:
        base = NamedBase(need.base_id, need.base_id)
    target = seen.target
    kind = (target.program or target.runtime) if target is not None and target.runtime == "advisory" else (
        target.runtime if target is not None else None
    )  # fmt: skip
    return route_of(base, _PROVIDERS.get(kind or "", kind), seen.routes, OURS)


def _pickled(adapter: Adapter, content: AdapterContent, report: InspectReport) -> Iterator[Finding]:
    """Weights that only a pickle holds: nobody opens it, so nothing of them is verified."""
    if report.weights is not None or not any(file.name == PICKLE for file in content.files):
        return
    if adapter.allow_pickle:
        text = f"{PICKLE} is a pickle: it was not opened, so nothing of its weights is verified"
        yield warning("weights_pickle", text, "ask for adapter_model.safetensors")
    else:
        text = f"{PICKLE} is a pickle, which runs code when a server loads it"
        hint = "ask for adapter_model.safetensors; `allowPickle: true` serves it all the same"
        yield error("weights_pickle", text, hint)


def _kind(content: AdapterContent) -> AdapterFormat:
    """By its files' names: weights that are damaged tell nothing of themselves."""
    return "gguf" if any(file.name.lower().endswith(".gguf") for file in content.files) else "peft"


def _form(adapter: Adapter, content: AdapterContent, seen: Circumstances, report: InspectReport) -> Iterator[Finding]:
    """What stands between the adapter's form and the one its target takes; a folder without any file has none."""
    said = {one.code for one in report.findings}
    if report.weights is not None and report.weights.files > 1 and "shards_refused" not in said:
        text = f"its weights are in {report.weights.files} files, of which one would be held"
        yield error("shards_refused", text, "load it with peft and save it again, as one file")
    if report.weights is not None and (report.weights.files > 1 or report.weights.format == "mlx"):
        return
    kind = _kind(content)
    if not content.files or seen.takes is None or seen.takes == kind:
        return
    if seen.takes == "peft":
        hint = "name the folder that it was converted from in source.path, or serve it with a llama-server"
        yield error("adapter_format_differs", "its target takes adapters as peft saves them, and this is GGUF", hint)
    elif seen.no_converter is not None:
        hint = "convert it with llama.cpp's convert_lora_to_gguf.py and name the GGUF file in source.path"
        yield error("converter_missing", f"its target takes GGUF: {seen.no_converter}", hint)
    else:
        yield note("adapter_conversion", f"it is converted to GGUF ({adapter.convert}) for its target")


def _converted_bytes(adapter: Adapter, report: InspectReport) -> int:
    parameters = report.weights.parameters if report.weights else 0
    return int(parameters * _ELEMENT_BYTES[adapter.convert]) + _GGUF_HEAD_BYTES


def _is_soft(one: Finding) -> bool:
    return one.code in _SOFT or one.code.startswith(_SOFT_BEGINNINGS)


def _weighed(found: Sequence[Finding], *, lenient: bool) -> Iterator[Finding]:
    """What is told: of weights that nobody can read, no more than that; a way out only where it is one."""
    unread = any(one.code == "weights_unreadable" for one in found)
    passes = all(_is_soft(one) for one in found if one.severity == "error")
    for one in found:
        if unread and one.code.startswith("expect_") and one.code != "expect_sha256":
            continue
        soft = _is_soft(one)
        if lenient and soft and one.severity == "error":
            yield one.model_copy(update={"severity": "warning"})
        elif soft and passes and one.severity == "error":
            yield one.model_copy(update={"hint": f"{one.hint}; {_UNLESS_LENIENT}" if one.hint else _UNLESS_LENIENT})
        else:
            yield one


def _unpromoted(
    adapter: Adapter, content: AdapterContent, contract_id: str | None, seen: Circumstances, files: AdapterFiles
) -> tuple[Finding, ...]:
    gate = adapter.gate
    if gate is None:
        return ()
    try:
        if not files.find(gate.receipt).exists:
            hint = f"try the adapter and put its receipt there, or correct gate.receipt of adapter {adapter.name}"
            return (error("receipt_missing", f"there is no promotion receipt at {gate.receipt}", hint),)
        receipt = read_receipt(files.beginning(gate.receipt, RECEIPT_LIMIT_BYTES + 1))
    except OutsideError as flaw:
        return (error("receipt_unreadable", flaw.message, flaw.hint or "see who may read it"),)
    except ValueError as flaw:
        hint = "write it again with what tried the adapter: JSON, as docs/lora.md says"
        return (error("receipt_invalid", f"{gate.receipt} is no promotion receipt: {flaw}", hint),)
    weights = [file.sha256 for file in content.files if file.name != CONFIG]
    return judge_receipt(receipt, gate, contract_id=contract_id, weights=weights, now=seen.now)


@dataclass(frozen=True, slots=True)
class _RemoteFiles:
    """``AdapterFiles`` over what a Hub told; everything else lies on this host."""

    given: str
    found: RemoteAdapter
    local: AdapterFiles

    def find(self, given: str) -> AdapterPlace:
        if given != self.given:
            return self.local.find(given)
        files = {one.path: AdapterFile(one.path, f"{given}/{one.path}", one.bytes) for one in self._artifact.files}
        config = files.pop(CONFIG, None)
        return AdapterPlace(given, exists=True, folder=given, config=config, weights=tuple(files.values()))

    def size(self, path: str) -> Bytes:
        name = self._name(path)
        return self.local.size(path) if name is None else self._file(name).bytes

    def beginning(self, path: str, count: int) -> bytes:
        name = self._name(path)
        return self.local.beginning(path, count) if name is None else self.found.heads[name][:count]

    def digest(self, path: str) -> str:
        name = self._name(path)
        return self.local.digest(path) if name is None else self._file(name).sha256

    @property
    def _artifact(self) -> HubArtifact:
        return self.found.artifact

    def _file(self, name: str) -> ArtifactFile:
        return next(one for one in self._artifact.files if one.path == name)

    def _name(self, path: str) -> str | None:
        prefix = f"{self.given}/"
        return path.removeprefix(prefix) if path.startswith(prefix) else None
