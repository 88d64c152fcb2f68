"""How a base and its adapter are served, as the tool format asks."""

from __future__ import annotations

from reconciler.domain.document import Frozen
from reconciler.lora.dialect import Dialect
from reconciler.lora.routes import Route
from reconciler.lora.tool_format import dataset_shape


class Serving(Frozen):
    """The ``serving`` section of a plan and of a manifest."""

    request_model: str
    adapter_name: str
    base_model: str
    provider: str
    adapter_binding: str
    lora_module_value_format: str
    tool_format: str
    dataset_format: str
    runtime_notes: tuple[str, ...]
    promotion_gates: tuple[str, ...]


def adapter_binding(route: Route) -> str:
    """Whether the runtime itself takes the adapter."""
    return "runtime_lora_adapter" if route.launches_lora else "external_runtime_or_merged_adapter"


def serving_of(route: Route, tool_format: str, *, request_model: str, adapter_name: str, dialect: Dialect) -> Serving:
    """How a route serves an adapter.

    Args:
        route: base and provider.
        tool_format: the effective one.
        request_model: the name requests pick the adapter by.
        adapter_name: its own.
        dialect: the origin says nothing of what a runtime is like.
    """
    return Serving(
        request_model=request_model,
        adapter_name=adapter_name,
        base_model=route.id,
        provider=route.provider,
        adapter_binding=adapter_binding(route),
        lora_module_value_format=route.value_format,
        tool_format=tool_format,
        dataset_format=dataset_shape(tool_format).name,
        runtime_notes=(*_binding_notes(route, dialect), *_format_notes(route, tool_format)),
        promotion_gates=(
            "before it is launched, the adapter is inspected against the very base that is served",
            "base and adapter are evaluated, each picked by the name that requests use",
            "a way back to the base alone is kept",
        ),
    )


def _binding_notes(route: Route, dialect: Dialect) -> tuple[str, ...]:
    facts = route.runtime.notes if route.runtime is not None and dialect.own_adapter_support else ()
    one_format = "export, serving and evaluation keep one tool format"
    if route.launches_lora:
        by_name = route.runtime is None or route.runtime.names_adapters is not False
        return (
            "serve the base once; a request picks the adapter by its model name"
            if by_name
            else "serve the base with the adapter; requests name the base",
            "keep the adapter's name the same from training to inspection, launch and evaluation",
            *facts,
            one_format,
        )
    return (
        "register the adapter with the runtime that serves it, or merge it into its base once the gates are passed",
        "record in the export's manifest how it is bound",
        *facts,
        one_format,
    )


def _format_notes(route: Route, tool_format: str) -> tuple[str, ...]:
    if tool_format in ("text", "json"):
        return (
            "tools are called in text, and the text parser reads them",
            "native parsers stay off, unless a proxy turns their calls back into text",
        )
    if tool_format != "native":
        return ()
    notes = ["prefer calls that are strict, or held to their schema"]
    if route.provider == "vllm":
        parser = route.capabilities.tool_call_parser
        named = f"--tool-call-parser {parser}" if parser else "the --tool-call-parser of its family"
        notes.append(f"vLLM needs --enable-auto-tool-choice, {named}, and the template of the family")
    name = route.id.lower()
    if "functiongemma" in name:
        notes.append("FunctionGemma is served with its own parser, template and stop")
    elif "gemma-4" in name or "gemma4" in name:
        notes.append("Gemma 4 sees declarations, calls and responses in one template, in training and in serving")
    return tuple(notes)
