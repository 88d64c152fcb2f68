"""What is found of a plan before anything is trained: what the origin warns of too, and what it does not look at."""

from __future__ import annotations

from reconciler.domain.finding import Finding
from reconciler.lora.dialect import Dialect
from reconciler.lora.evaluation import Teacher
from reconciler.lora.findings import error, note, warning
from reconciler.lora.route_table import Provider
from reconciler.lora.routes import Route
from reconciler.lora.tool_format import ToolFormatDecision


def origin_findings(
    route: Route,
    decision: ToolFormatDecision,
    requested: str,
    strategy: str,
    teacher: Teacher | None,
    dialect: Dialect,
) -> list[Finding]:
    """What the origin says too, in its order."""
    found = []
    if decision.correction is not None:
        found.append(warning("tool_format_corrected", decision.correction))
    if decision.requested == "native" and decision.effective != "native":
        found.append(
            warning("native_steered", f"native calls were asked for, and the route is steered to {decision.effective}")
        )
    if decision.effective == "native" and route.capabilities.native_tools is False:
        found.append(
            warning(
                "native_unsupported",
                f"nobody lists native tool calls for {route.id} at {route.provider}",
                "try one call before anything is trained",
            )
        )
    if not route.launches_lora:
        found.append(
            warning(
                "runtime_no_lora",
                f"no flags are known that start {route.provider} with an adapter",
                next(iter(route.runtime.notes), None) if route.runtime and dialect.own_adapter_support else None,
            )
        )
    if strategy in ("refresh", "distill") and teacher is None:
        found.append(
            warning("teacher_missing", f"--corpus-strategy {strategy} needs a teacher", "name one with --teacher")
        )
    if requested == "audit-only" and teacher is not None:
        found.append(warning("teacher_idle", "the teacher is recorded and makes nothing: the strategy is audit-only"))
    return found


def provider_findings(route: Route) -> list[Finding]:
    """What every command says of who serves a base: that nobody knows it, or that nobody named it."""
    if route.runtime is None:
        hint = f"did you mean {' or '.join(route.alike)}?" if route.alike else None
        return [warning("provider_unknown", f"nothing is known of a provider {route.provider}", hint)]
    if not route.is_inferred:
        return []
    text = f"nobody said who serves it: {route.runtime.title} is taken"
    return [note("provider_inferred", text, "say it with --provider")]


def own_findings(route: Route, effective: str, modules_to_save: tuple[str, ...]) -> list[Finding]:
    """What the origin does not look at."""
    found = []
    runtime = route.runtime
    if route.model is None:
        found.append(
            note("base_unknown", f"the catalogue does not know {route.id}: its family and its context are not known")
        )
    found += provider_findings(route)
    if runtime is not None and modules_to_save and runtime.supports_modules_to_save is False:
        found.append(
            error(
                "modules_to_save_refused",
                f"{runtime.title} takes no adapter with modules_to_save",
                "train without them, or merge the adapter into its base",
            )
        )
    if effective == "native" and route.capabilities.native_tools is None:
        found.append(
            note(
                "native_unknown",
                f"no source says whether {route.provider} hands out native tool calls of {route.id}",
                "try one call before anything is trained",
            )
        )
    return [*found, *_format_findings(runtime)]


def _format_findings(runtime: Provider | None) -> list[Finding]:
    """What is to be done before a runtime takes what PEFT saves."""
    if runtime is None or not runtime.launches_lora or "peft" in (runtime.adapter_formats or ("peft",)):
        return []
    if runtime.adapter_formats == ("gguf",):
        return [
            note(
                "adapter_conversion",
                f"{runtime.title} takes adapters as GGUF files",
                "convert_lora_to_gguf.py of llama.cpp makes one from what PEFT saves",
            )
        ]
    return [
        warning(
            "adapter_format_differs",
            f"{runtime.title} does not take what PEFT saves",
            next(iter(runtime.notes), None),
        )
    ]
