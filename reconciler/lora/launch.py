"""The command that serves a base with an adapter: the runtime's own, or the origin's launcher."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.finding import Finding
from reconciler.lora.dialect import Dialect
from reconciler.lora.findings import error, is_ok, note, warning
from reconciler.lora.hub_reference import HubReference
from reconciler.lora.launch_value import adapter_value, hub_value, judge_value
from reconciler.lora.route_table import Provider
from reconciler.lora.routes import Route

BASE_FILE = "BASE.gguf"
"""Stands for a base's file, where the runtime takes files and nobody named a repository of them."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to serve a base with one adapter."""

    argv: tuple[str, ...]
    """Empty: this provider cannot be started with an adapter, or not with this one."""
    max_rank: int | None
    """The limit to start it with; None: it takes none, or the rank is not known."""
    findings: tuple[Finding, ...] = ()
    """Where the limit is not the rank, where something cannot be written, and what else keeps it from serving."""
    called: str | None = None
    """What requests call the adapter; None: as it was named."""


def launch(
    route: Route,
    name: str,
    reference: str,
    rank: int | None,
    dialect: Dialect,
    *,
    source: str | None = None,
    parser: bool = False,
    hub: HubReference | None = None,
) -> Launch:
    """How to serve the base of a route with one adapter.

    Args:
        route: base and provider.
        name: what requests call the adapter.
        reference: its folder, file, or Hub name.
        rank: of the adapter, or the largest of all that are served together; None: not known.
        dialect: whose command.
        source: what the server loads as the base; None: what the route says.
        parser: tools are called natively, so the server must be told how to read them.
        hub: the repository that stands for the reference.
    """
    runtime = route.runtime
    if runtime is None or not runtime.launches_lora:
        return Launch((), None)
    limit, findings = _limit(runtime, rank, dialect)
    if dialect.launch == "harn-local":
        return Launch(_harn(route, name, reference, limit, source), limit, findings)
    flaws = tuple(judge_value(runtime, name, reference, hub))
    if not is_ok(flaws):
        return Launch((), limit, (*findings, *flaws))
    served = source or route.id
    value = hub_value(runtime, name, hub, served) if hub else adapter_value(runtime, name, reference, served)
    argv = (
        *runtime.command,
        *_base(route, runtime, source),
        *([runtime.enable_lora_arg] if runtime.enable_lora_arg else []),
        *_flag(runtime.max_lora_rank_arg, limit),
        *_flag(runtime.lora_modules_arg, value),
        *_parser(route, runtime, wanted=parser),
    )
    caveats = (note("launch_caveat", text) for text in runtime.launch_caveats)
    called = hub.repository if hub and runtime.hub_adapters_alone else None
    return Launch(argv, limit, (*findings, *flaws, *caveats), called)


def _limit(runtime: Provider, rank: int | None, dialect: Dialect) -> tuple[int | None, tuple[Finding, ...]]:
    if not runtime.limits_rank:
        return None, ()
    if not dialect.rounds_rank:
        return rank, ()
    if rank is None:
        return None, _unknown_rank(runtime)
    allowed = runtime.rank_for(rank)
    words = ", ".join(str(one) for one in runtime.allowed_ranks or ())
    if allowed is None:
        hint = f"its limits are {words}: train the adapter with a smaller rank, or merge it into its base"
        found = error("rank_too_large", f"{runtime.title} serves no adapter of rank {rank}", hint)
        return None, (found,)
    if allowed == rank:
        return rank, ()
    return allowed, (
        note(
            "rank_rounded",
            f"{runtime.title} has no limit of rank {rank}: it is started with {allowed}, which holds it",
            f"its limits are {words}",
        ),
    )


def _unknown_rank(runtime: Provider) -> tuple[Finding, ...]:
    if runtime.default_max_rank is None:
        return ()
    text = f"its rank is not known, and {runtime.title} serves none above {runtime.default_max_rank} without a flag"
    hint = f"see r in its adapter_config.json; a larger one needs {runtime.max_lora_rank_arg} (--beside-rank N sets it)"
    return (warning("rank_unknown", text, hint),)


def _base(route: Route, runtime: Provider, source: str | None) -> tuple[str, ...]:
    if runtime.adapter_formats == ("gguf",) and source is None:
        if route.repository is not None and runtime.repository_arg is not None:
            return (runtime.repository_arg, route.repository)
        return _flag(runtime.model_arg, BASE_FILE)
    named = source or route.repository or route.id
    return (runtime.model_arg, named) if runtime.model_arg else (named,)


def _parser(route: Route, runtime: Provider, *, wanted: bool) -> tuple[str, ...]:
    if not wanted:
        return ()
    name = route.capabilities.tool_call_parser
    parser = (*runtime.tool_call_parser_args, name) if name and runtime.tool_call_parser_args else ()
    return (*runtime.native_tools_args, *parser)


def _flag(flag: str | None, value: object) -> tuple[str, ...]:
    return (flag, str(value)) if flag is not None and value is not None else ()


def _harn(route: Route, name: str, reference: str, limit: int | None, source: str | None) -> tuple[str, ...]:
    return (
        "harn", "local", "launch", route.selector, "--provider", route.provider,
        "--model-source", source or route.id,
        "--lora-adapter", f"{name}={reference}",
        *_flag("--max-lora-rank", limit),
    )  # fmt: skip
