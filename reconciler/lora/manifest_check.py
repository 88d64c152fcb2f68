"""Whether an adapter is the one its contract manifest speaks of, at the route it is to be served on.

Source:
    section 2.4 of the specification of the origin's commands; beyond it the id is computed again, and the hashes of
    ``artifacts`` are compared with the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.formats.foreign_json import read_object
from reconciler.lora import contract as contracts
from reconciler.lora.adapter_config import ALL_LINEAR, AdapterConfig
from reconciler.lora.artifacts import stated_hashes
from reconciler.lora.base_names import Match, match_names, plain_match
from reconciler.lora.dialect import Dialect
from reconciler.lora.findings import error, is_ok, note, warning
from reconciler.lora.routes import Route
from reconciler.lora.tool_format import decide_tool_format

MANIFEST_LIMIT_BYTES = 4 * 2**20
_LINEAR = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
_WITH_MODULES = 3
"""The first version of a contract that says which modules are trained."""
_APART = "give the manifest of this adapter, or the adapter of this manifest"


class ManifestFacts(Frozen):
    """What the manifest says; an empty text counts as missing."""

    base_model: str | None = None
    provider: str | None = None
    harn_tool_format: str | None = None
    dataset_format: str | None = None
    chat_template: str | None = None
    target_modules: tuple[str, ...] | None = None
    modules_to_save: tuple[str, ...] | None = None
    adapter_name: str | None = None
    request_model: str | None = None


class ArtifactCheck(Frozen):
    """One file the manifest has a hash of."""

    name: str
    expected: str
    found: str | None
    """None: no such file among the adapter's."""
    matches: bool


class ContractReport(Frozen):
    """The manifest against adapter and route. None: not compared."""

    manifest_path: str
    contract_id: str | None
    adapter_contract_id: str | None
    status: Literal["pass", "warn", "fail"]
    base_model_match: Match
    provider_matches: bool
    tool_format_matches: bool
    adapter_name_matches: bool | None
    target_modules_match: bool | None
    modules_to_save_matches: bool | None
    require_adapter_contract_id: bool
    manifest: ManifestFacts
    warnings: tuple[str, ...]
    schema_version: int | None
    id_verdict: contracts.Verdict
    """Whether the id is what the manifest's own fields give."""
    computed_id: str | None
    artifacts: tuple[ArtifactCheck, ...]


def read_manifest(raw: bytes) -> Mapping[str, Any]:
    """The manifest of an export or of an adapter.

    Raises:
        ValueError: not JSON, or without an object ``contract``. Nothing else, for any bytes.
    """
    document = read_object(raw, limit_bytes=MANIFEST_LIMIT_BYTES)
    if not isinstance(document.get("contract"), dict):
        is_wrapped = isinstance(_object(document.get("data")).get("contract"), dict)
        told = "; what stands in data is a report of a command, not the manifest it wrote" if is_wrapped else ""
        raise ValueError(f"it has no object named contract{told}")  # noqa: TRY004 - one error for any bytes
    return document


@dataclass(frozen=True, slots=True)
class AdapterAtRoute:
    """An adapter as it is to be served: what a manifest is held against."""

    route: Route
    """Base and provider it is to be served on."""
    dialect: Dialect
    """How strict names and tool formats are."""
    name: str
    config: AdapterConfig | None
    targets: tuple[str, ...]
    """Last names of the modules in its weights."""
    digests: Mapping[str, str]
    """Hex SHA-256 of its files by name."""
    known_names: tuple[str, ...]
    """What the base is called, its id first."""
    tool_format: str | None
    """Declared by the person; None: what the route can really serve is fine."""
    requires_id: bool
    """The adapter itself must carry the contract's id."""

    @property
    def contract_id(self) -> str | None:
        """That the adapter carries."""
        return self.config.contract_id if self.config else None


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Field by field, whether the two agree. None: not compared."""

    base: Match
    provider: bool
    tool_format: bool
    name: bool | None
    modules: bool | None
    saved: bool | None


def check_manifest(
    document: Mapping[str, Any], path: str, adapter: AdapterAtRoute
) -> tuple[ContractReport, tuple[Finding, ...]]:
    """Compares every field.

    Args:
        document: of ``read_manifest``.
        path: of the manifest, for the report.
        adapter: that it should be of.
    """
    said = _facts(document)
    checked = contracts.verify(document["contract"])
    artifacts = tuple(_artifacts(document, adapter.digests))
    compared = _compared(said, document["contract"], checked.schema_version, adapter)
    findings = (
        *_route_findings(said, adapter, compared),
        *_id_findings(checked, adapter.contract_id, requires_id=adapter.requires_id),
        *_artifact_findings(artifacts),
    )
    report = ContractReport(
        manifest_path=path,
        contract_id=checked.claimed,
        adapter_contract_id=adapter.contract_id,
        status=_status(findings),
        base_model_match=compared.base,
        provider_matches=compared.provider,
        tool_format_matches=compared.tool_format,
        adapter_name_matches=compared.name,
        target_modules_match=compared.modules,
        modules_to_save_matches=compared.saved,
        require_adapter_contract_id=adapter.requires_id,
        manifest=said,
        warnings=tuple(each.message for each in findings if each.severity != "note"),
        schema_version=checked.schema_version,
        id_verdict=checked.verdict,
        computed_id=checked.computed,
        artifacts=artifacts,
    )
    return report, findings


def _compared(
    said: ManifestFacts, contract: Mapping[str, Any], version: int | None, adapter: AdapterAtRoute
) -> _Comparison:
    route, dialect, config = adapter.route, adapter.dialect, adapter.config
    named = [each for each in (said.adapter_name, said.request_model) if each]
    if dialect.understands_base_names:
        base = match_names(said.base_model, *adapter.known_names).verdict
    else:
        base = plain_match(said.base_model, route.id)
    return _Comparison(
        base=base,
        provider=said.provider == route.provider,
        tool_format=_format_fits(said.harn_tool_format, route, dialect, adapter.tool_format),
        name=all(each == adapter.name for each in named) if named else None,
        modules=_modules_match(said, contract, version, config, adapter.targets),
        saved=_saved_match(said, config, version),
    )


def _artifact_findings(artifacts: Iterable[ArtifactCheck]) -> Iterator[Finding]:
    for each in (one for one in artifacts if not one.matches):
        if each.found:
            yield error("artifact_differs", f"{each.name} is not the file the manifest was written for", _APART)
        else:
            missing = f"{each.name} stands in the manifest, and no such file could be read beside it"
            yield error("artifact_missing", missing, "copy the file again, or give the manifest of these weights")


def _status(findings: tuple[Finding, ...]) -> Literal["pass", "warn", "fail"]:
    if not is_ok(findings):
        return "fail"
    return "warn" if any(each.severity == "warning" for each in findings) else "pass"


def _facts(document: Mapping[str, Any]) -> ManifestFacts:
    contract = document["contract"]
    training = _object(contract.get("training_contract"))
    return ManifestFacts(
        **{key: _text(contract.get(key)) for key in
           ("base_model", "provider", "harn_tool_format", "dataset_format", "chat_template")},
        target_modules=_names(_object(contract.get("target_modules")).get("modules")),
        modules_to_save=_names(_object(training.get("peft_save_policy")).get("modules_to_save")),
        adapter_name=_text(_object(document.get("target")).get("adapter_name")),
        request_model=_text(_object(document.get("serving")).get("request_model")),
    )  # fmt: skip


def _format_fits(found: str | None, route: Route, dialect: Dialect, declared: str | None) -> bool:
    """The declared one; else in the origin's dialect the route's default, with us any that the route can serve."""
    if found is None:
        return False
    if declared is not None:
        return found == declared
    if found == route.tool_format:
        return True
    return dialect.takes_any_servable_format and decide_tool_format(found, route, dialect).correction is None


def _modules_match(
    said: ManifestFacts,
    contract: Mapping[str, Any],
    version: int | None,
    config: AdapterConfig | None,
    targets: Iterable[str],
) -> bool | None:
    """None: the manifest does not say, or cannot be held to it: a library writes *all linear* out by names."""
    if said.target_modules is None:
        return False if version is not None and version >= _WITH_MODULES else None
    if config is None:
        return None
    mine = set(config.target_modules)
    if set(said.target_modules) == mine:
        return True
    if _object(contract.get("target_modules")).get("policy") == "all_linear" and ALL_LINEAR not in mine:
        return True if set(targets) >= _LINEAR else None
    return False


def _saved_match(said: ManifestFacts, config: AdapterConfig | None, version: int | None) -> bool | None:
    if said.modules_to_save is None:
        return False if version is not None and version >= _WITH_MODULES else None
    return set(said.modules_to_save) == set(config.modules_to_save) if config else None


def _route_findings(said: ManifestFacts, adapter: AdapterAtRoute, compared: _Comparison) -> Iterator[Finding]:
    route = adapter.route
    if compared.base in ("mismatch", "unknown"):
        yield error(
            "contract_base_mismatch",
            f"the contract is for base {said.base_model or '(none stated)'}, not {route.id}",
            "name the base of the contract, or give the manifest of this adapter",
        )
    if compared.base == "suffix":
        yield note("contract_base_suffix", f"the contract names {said.base_model}: the same last name as {route.id}")
    if not compared.provider:
        provider = said.provider or "a provider that it does not state"
        yield error(
            "contract_provider_mismatch",
            f"the contract is for {provider}, not {route.provider}",
            "serve it there, or export and train for this provider",
        )
    if not compared.tool_format:
        yield error(
            "contract_tool_format_mismatch",
            f"the contract is for tool format {said.harn_tool_format}, which this route does not serve",
            "declare the one it is served with (`--tool-format`, in a file `contract.toolFormat`)",
        )
    elif said.harn_tool_format != route.tool_format:
        yield note("contract_tool_format_declared", f"{said.harn_tool_format} is not the route's default format")
    if compared.name is False:
        text = f"the contract names the adapter otherwise than {adapter.name}"
        yield error("contract_name_mismatch", text, "serve it under the name that it was exported with")
    if compared.modules is False:
        text = "the contract has other target_modules than the adapter"
        yield error("contract_target_modules_mismatch", text, _APART)
    if compared.saved is False:
        text = "the contract has other modules_to_save than the adapter"
        yield error("contract_modules_to_save_mismatch", text, _APART)


def _id_findings(checked: contracts.Verification, mine: str | None, *, requires_id: bool) -> Iterator[Finding]:
    if checked.claimed is None:
        yield error(
            "contract_id_missing", "the manifest's contract has no id", "give a manifest that lora export wrote"
        )
    elif checked.verdict == "mismatch":
        text = f"the contract's id is not what its fields give: {checked.computed}"
        yield error("contract_id_wrong", text, "somebody changed it since: give the manifest that lora export wrote")
    elif checked.verdict == "unverifiable":
        make = note if checked.schema_version == 1 else warning
        text = f"the contract's id was not computed again: {checked.reason}"
        yield make("contract_id_unverifiable", text, "export again: ids are written as version 3")
    if mine and checked.claimed and mine != checked.claimed:
        yield error("contract_id_mismatch", f"the adapter carries {mine}, the manifest {checked.claimed}", _APART)
    if not mine:
        make = error if requires_id else warning
        text = "the contract id is missing in adapter_config.json"
        yield make("adapter_contract_id_missing", text, "add it there as lora_contract_id")


def _artifacts(document: Mapping[str, Any], digests: Mapping[str, str]) -> Iterator[ArtifactCheck]:
    """The hashes of adapter files that the manifest lists."""
    for name, wanted in stated_hashes(document):
        if name is not None and (name in digests or name.startswith("adapter_")):
            found = digests.get(name)
            yield ArtifactCheck(name=name, expected=wanted, found=found, matches=found == wanted)


def _object(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _text(found: object) -> str | None:
    return found if isinstance(found, str) and found else None


def _names(found: object) -> tuple[str, ...] | None:
    if not isinstance(found, list):
        return None
    return tuple(sorted({each for each in found if isinstance(each, str)}))
