"""What was found of an adapter, as a person reads it."""

from __future__ import annotations

from reconciler.cli.streams import harmless_line
from reconciler.cli.views.door import view
from reconciler.cli.views.lora_text import command, finding_lines, line, yes_or_no
from reconciler.cli.views.words import counted
from reconciler.domain.units import show_bytes
from reconciler.lora.inspection import InspectReport, WeightsReport

_MATCHES = {"suffix": "same basename"}


@view
def inspect_text(report: InspectReport) -> str:
    """Headline, the adapter, how it fits, its contract, what was found, and how to launch it."""
    adapter, fit = report.adapter, report.compatibility
    match = fit.base_model_match
    lines = [
        harmless_line(f"{adapter.name} -> {report.base.id} via {report.base.provider}"),
        line("adapter", adapter.local_path or f"{adapter.input} (not on this machine)"),
        line("base match", _MATCHES.get(match, match)),
        *_shape(report),
        *(_weights(report.weights, adapter.rank, adapter.lora_alpha) if report.weights else ()),
        *([line("features", ", ".join(adapter.features))] if adapter.features else []),
        line("tool format", report.base.tool_format),
        line("request model", report.launch.request_model),
        line(
            "native tools",
            f"{yes_or_no(report.tool_calling.native_tools)}, "
            f"preferred: {report.tool_calling.preferred_tool_format or 'unset'}",
        ),
        line("catalog LoRA launch flags", yes_or_no(fit.provider_supports_lora_launch)),
        line("LoRA module format", fit.provider_lora_module_value_format or "unknown"),
        line("catalog LoRA rank flag", yes_or_no(fit.provider_supports_lora_max_rank)),
        *([line("max LoRA rank", report.launch.max_lora_rank)] if report.launch.max_lora_rank is not None else []),
        *_contract(report),
        *finding_lines(report.findings),
        *command("launch", report.launch.harn_local_launch or report.launch.command),
    ]
    return "\n".join(lines)


def _shape(report: InspectReport) -> list[str]:
    shape = report.compatibility.base_shape
    if shape.source is None or report.weights is None:
        return [line("base shape", "not compared")]
    if shape.verdict == "unknown" and shape.reason is not None:
        return [line("base shape", f"{shape.verdict} ({shape.reason})")]
    told = f"{shape.verdict} ({counted(shape.compared, 'module')} compared with {shape.source}"
    return [line("base shape", f"{told}, {shape.unknown} unknown)" if shape.unknown else f"{told})")]


def _weights(weights: WeightsReport, stated: int | None, alpha: float | None) -> list[str]:
    ranks = ", ".join(str(rank) for rank in weights.ranks) or (f"{stated} by its configuration" if stated else "none")
    size = show_bytes(weights.bytes)
    return [
        line("weights", f"{weights.format}, {', '.join(weights.dtypes)}, {weights.parameters} parameters, {size}"),
        line("rank", f"{ranks}, alpha {alpha:g}" if alpha is not None else ranks),
        line("modules", f"{', '.join(weights.targets) or 'none'} in {counted(len(weights.layers), 'layer')}"),
    ]


def _contract(report: InspectReport) -> list[str]:
    found = report.contract
    if found is None:
        return [line("contract", report.adapter.contract_id)] if report.adapter.contract_id else []
    name = found.adapter_name_matches
    route = (
        f"base={found.base_model_match} provider={_word(found.provider_matches)} "
        f"tool_format={_word(found.tool_format_matches)} "
        f"adapter={'not_checked' if name is None else _word(name)}"
    )
    return [
        line("contract", found.contract_id or "<missing>"),
        line("contract manifest", found.manifest_path),
        line("contract status", found.status),
        line("contract id", found.id_verdict),
        line("adapter contract id", found.adapter_contract_id or "<missing>"),
        line("contract route", route),
        *[line("artifact", f"{one.name} {_word(one.matches)}") for one in found.artifacts],
    ]


def _word(is_same: bool) -> str:
    return "match" if is_same else "mismatch"
