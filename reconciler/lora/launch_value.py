"""An adapter behind a runtime's flag: how it is written there, and what cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator

from reconciler.domain.finding import Finding
from reconciler.lora.findings import error, note, warning
from reconciler.lora.hub_reference import HubReference
from reconciler.lora.route_table import Provider


def adapter_value(runtime: Provider, name: str, reference: str, base: str) -> str:
    """One adapter as it stands behind the runtime's flag.

    >>> facts = {"id": "v", "title": "v", "kind": "external", "source": "s", "verified": "2026-01-01"}
    >>> adapter_value(Provider.model_validate(facts), "sql", "./sql", "Qwen/Qwen3-8B")
    'sql=./sql'
    """
    if runtime.value_format == "json_with_base_model":
        value = {"name": name, "path": reference, "base_model_name": base}
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return reference if runtime.value_format == "path" else f"{name}={reference}"


def hub_value(runtime: Provider, name: str, hub: HubReference, base: str) -> str:
    """One of the Hub: a runtime that fetches it by its id alone takes the revision with it."""
    if runtime.hub_adapters_alone:
        return f"{hub.repository}@{hub.revision}" if hub.revision else hub.repository
    return adapter_value(runtime, name, hub.repository, base)


def judge_value(runtime: Provider, name: str, reference: str, hub: HubReference | None) -> Iterator[Finding]:
    """What cannot be written behind the flag, or would mean something else there.

    Args:
        runtime: whose flag.
        name: what requests call the adapter.
        reference: its folder or file.
        hub: the repository it is named by instead.
    """
    if hub is not None:
        yield from _judge_hub(runtime, name, hub)
        return
    for code, what, text, hint in (
        ("name_invalid", "name", name if runtime.value_format != "path" else "", "give another with --name"),
        ("path_invalid", "path", reference, "move it, or name it through a link that has none of them"),
    ):
        odd = "".join(sorted(set(runtime.value_refuses) & set(text)))
        if odd:
            told = f"{runtime.title} reads {' '.join(odd)} in {runtime.lora_modules_arg} as something else"
            yield error(code, f"{told}, and the {what} {text!r} holds it", hint)


def _judge_hub(runtime: Provider, name: str, hub: HubReference) -> Iterator[Finding]:
    if runtime.takes_hub_adapters is False:
        text = f"{runtime.title} loads adapters from its own disk, and {hub.repository} is a repository"
        yield error("hub_adapter_refused", text, f"first `{hub.download}`, then name that folder")
    elif runtime.hub_adapters_alone:
        if name != hub.repository:
            text = f"{runtime.title} calls an adapter of the Hub by its id: requests name {hub.repository}"
            yield note("name_by_id", text, f"for a name of its own first `{hub.download}`, then name that folder")
    elif hub.revision:
        text = f"{runtime.title} has no flag for a revision: it would load the newest of {hub.repository}"
        yield warning("revision_not_served", f"{text}, not {hub.revision}", f"`{hub.download}`, and name that folder")
