"""What ``lora inspect`` reports: the origin's fields in their order, then what the weights say."""

from __future__ import annotations

from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.lora.adapter_lock import LockedAdapter, LockedFile
from reconciler.lora.base_names import Match, NameMatch
from reconciler.lora.base_shapes import BaseFacts, Fit, ShapeFit
from reconciler.lora.dialect import Dialect
from reconciler.lora.manifest_check import ContractReport
from reconciler.lora.routes import BaseReport, Route, ToolCallingReport
from reconciler.lora.weights import AdapterFacts


class FileReport(Frozen):
    """One file of the adapter."""

    name: str
    bytes: int
    sha256: str | None
    """None: not hashed, for not even its header can be read."""


class AdapterReport(Frozen):
    """What was found of the adapter. None: not stated."""

    input: str
    name: str
    local_path: str | None
    exists: bool
    config_found: bool
    config_path: str | None
    weights_found: tuple[str, ...]
    peft_type: str | None
    task_type: str | None
    base_model_name_or_path: str | None
    rank: int | None
    lora_alpha: float | None
    target_modules: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    contract_id: str | None
    features: tuple[str, ...]
    """What it uses beyond pairs of one rank, by the words of its configuration."""
    files: tuple[FileReport, ...]


class WeightsReport(Frozen):
    """What the headers of the weights say."""

    format: str
    """``safetensors`` as peft saves it, ``gguf``, or ``mlx``: MLX's own."""
    ranks: tuple[int, ...]
    modules: int
    targets: tuple[str, ...]
    layers: tuple[int, ...]
    dtypes: tuple[str, ...]
    parameters: int
    bytes: int
    alpha: float | None
    architecture: str | None
    dora: bool
    saved: tuple[str, ...]
    biases: int
    files: int = 1
    """More than one: shards."""

    @classmethod
    def of(cls, facts: AdapterFacts) -> WeightsReport:
        return cls(
            format=facts.format,
            ranks=facts.ranks,
            modules=len(facts.modules),
            targets=facts.targets,
            layers=facts.layers,
            dtypes=facts.dtypes,
            parameters=facts.parameters,
            bytes=facts.bytes,
            alpha=facts.alpha,
            architecture=facts.architecture,
            dora=facts.has_dora,
            saved=facts.saved,
            biases=len(facts.biases),
            files=facts.files,
        )


class ShapeReport(Frozen):
    """How the weights fit the base's architecture."""

    verdict: Fit
    source: str | None
    """What the base was known by: ``config.json``, ``gguf`` or ``catalogue``; None: by its name alone."""
    architecture: str | None
    compared: int
    unknown: int
    differences: tuple[str, ...]
    reason: str | None = None
    """Why some modules, or all, could not be compared."""

    @classmethod
    def of(cls, fit: ShapeFit, base: BaseFacts | None) -> ShapeReport:
        return cls(
            verdict=fit.verdict,
            source=base.source if base else None,
            architecture=base.architecture if base else None,
            compared=fit.compared,
            unknown=fit.unknown,
            differences=fit.differences,
            reason=fit.reason,
        )


class CompatibilityReport(Frozen):
    """Adapter, base and provider together."""

    base_model_match: Match
    provider_supports_lora_launch: bool | None
    """None, also below: nothing is known of this provider."""
    provider_supports_lora_max_rank: bool | None
    provider_lora_module_value_format: str | None
    base_shape: ShapeReport

    @classmethod
    def of(cls, route: Route, names: NameMatch, shape: ShapeReport, dialect: Dialect) -> CompatibilityReport:
        is_known = route.runtime is not None or not dialect.knows_unknown
        return cls(
            base_model_match=names.verdict,
            provider_supports_lora_launch=route.launches_lora if is_known else None,
            provider_supports_lora_max_rank=route.limits_rank if is_known else None,
            provider_lora_module_value_format=route.value_format if is_known else None,
            base_shape=shape,
        )


class LaunchReport(Frozen):
    """How to serve it."""

    request_model: str
    max_lora_rank: int | None
    command: tuple[str, ...]
    """Arguments, the program first; empty where the provider cannot be started with adapters."""
    harn_local_launch: tuple[str, ...]
    """The same where it is the origin's launcher."""


class InspectReport(Frozen):
    """Everything."""

    ok: bool
    base: BaseReport
    adapter: AdapterReport
    contract: ContractReport | None
    compatibility: CompatibilityReport
    tool_calling: ToolCallingReport
    launch: LaunchReport
    warnings: tuple[str, ...]
    weights: WeightsReport | None
    """None: they were not read."""
    findings: tuple[Finding, ...]

    @property
    def as_locked(self) -> LockedAdapter:
        """What a lockfile keeps of it."""
        kept = (one for one in self.adapter.files if one.sha256 is not None)
        files = (LockedFile(name=one.name, bytes=one.bytes, sha256=one.sha256 or "") for one in kept)
        contract = self.contract.contract_id if self.contract else self.adapter.contract_id
        ordered = tuple(sorted(files, key=lambda one: one.name))
        return LockedAdapter(base=self.base.id, contract_id=contract or None, files=ordered)
