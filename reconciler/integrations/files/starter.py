"""The file that ``init`` writes: commented, fitted to the machine, valid as it is."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.domain.desired import Pool
from reconciler.domain.hardware import Hardware, HardwareReading
from reconciler.domain.names import OLLAMA_LIBRARY
from reconciler.domain.units import GB, GIB, Bytes, show_bytes

PUBLISHERS = ("Qwen", "google", "mistralai", "ibm-granite", "nomic-ai")
PACKAGERS = ("ggml-org", "unsloth", "bartowski", "lmstudio-community", OLLAMA_LIBRARY)
CHOSEN_PACKAGERS = ("ggml-org", OLLAMA_LIBRARY)

_SLOTS = (
    (0, "{name: chat, profile: general}"),
    (8 * GIB, "{name: coder, profile: coding, context: 16384, capabilities: [tools]}"),
    (0, "{name: embed, profile: embedding}"),
    (20 * GIB, "{name: thinker, profile: reasoning, context: 16384}"),
    (40 * GIB, "{name: eyes, profile: vision}"),
)


def starter_text(
    reading: HardwareReading, *, catalogue: Catalogue | None, free_disk: Bytes | None = None, name: str = "default"
) -> str:
    """A desired state file for this machine.

    Args:
        reading: the machine, as detected.
        catalogue: says what each packager would open; None leaves those numbers out.
        free_disk: bytes free where models would go; None when nobody could tell.
        name: whose record it is.
    """
    hardware = reading.hardware
    budget = budget_for(free_disk)
    room = f" # {show_bytes(free_disk)} are free" if free_disk is not None else ""
    return "\n".join(
        [
            "# What language models this machine should hold. 'localmodels plan' shows what would change and why;",
            "# 'localmodels apply' does it; 'localmodels schema' prints what may stand here.",
            f"# {_machine_line(hardware)}",
            "localModels:",
            f"  name: {name}",
            "  pool:",
            f"    diskBudget: {budget // GB}GB{' ' if room else ''}{room}",
            "    allowedOrgs: " + _list(PUBLISHERS) + " # publishers you trust; nothing else is installed",
            *_packager_lines(catalogue),
            "    # allowedFamilies: [qwen3, gemma3] # only these families of the publishers above",
            "    # allowedLicenses: [apache-2.0, mit] # only these licences",
            "    # keep: [my-finetune:latest] # never evicted",
            '    # never: ["*-uncensored*"] # never installed',
            "    prune: always # evict our own models that nothing asks for: always, pressure (only for room), never",
            "  slots: # what you need models for; first things first",
            *(f"    - {slot}" for slot in slots_for(hardware)),
            "    # a pin names its model exactly:",
            "    # - {name: small, model: Qwen/Qwen3-0.6B-GGUF, quant: Q8_0}",
            "  targets: # where models go: a folder of ours (store), or a server",
            "    - {name: store, runtime: store}",
            '    # - {name: ollama, runtime: ollama, endpoint: "http://127.0.0.1:11434"}',
            "  approval: manual # a better-ranked model replaces one that works only when accepted; or auto",
            "",
        ]
    )


def budget_for(free_disk: Bytes | None) -> Bytes:
    """Half of what is free, in round numbers; 100 GB where nobody can tell, 500 GB at most."""
    if free_disk is None:
        return Bytes(100 * GB)
    half = min(free_disk // 2, 500 * GB)
    step = 10 * GB if half >= 20 * GB else GB
    return Bytes(max(GB, half // step * step))


def slots_for(hardware: Hardware) -> tuple[str, ...]:
    """The purposes that a machine of this capacity meets well, one flow mapping each.

    Without an accelerator the large ones are left out however much memory there is: they would answer too slowly.
    """
    room = hardware.capacity_bytes if hardware.devices else min(hardware.capacity_bytes, 16 * GIB)
    return tuple(slot for least, slot in _SLOTS if room >= least)


def opened_by(catalogue: Catalogue, packager: str, publishers: Iterable[str]) -> int:
    """How many models of these publishers the packager has files of."""
    wanted = frozenset(publishers)
    return sum(model.publisher in wanted and _has_files_of(model, packager) for model in catalogue.models)


def _has_files_of(model: CatalogModel, packager: str) -> bool:
    if packager == OLLAMA_LIBRARY and model.ollama_tag:
        return True
    return any(repository.organisation == packager for repository in model.repositories)


def _packager_lines(catalogue: Catalogue | None) -> list[str]:
    chosen = CHOSEN_PACKAGERS if catalogue is not None else Pool().packagers
    lines = [f"    packagers: {_list(chosen)} # who may re-package the models of these publishers"]
    if catalogue is None:
        return lines
    total = sum(model.publisher in PUBLISHERS for model in catalogue.models)
    own = sum(model.publisher in PUBLISHERS and _has_files_of(model, model.publisher) for model in catalogue.models)
    opens = ", ".join(f"{packager} {opened_by(catalogue, packager, PUBLISHERS)}" for packager in PACKAGERS)
    return [
        *lines,
        f"    # of their {total} models they package {own} themselves; each packager would open: {opens} (on Ollama)",
    ]


def _machine_line(hardware: Hardware) -> str:
    if not hardware.devices:
        return f"Fitted to: {_plain(hardware.cpu_name)}, {show_bytes(hardware.ram_bytes)} of memory, no accelerator."
    names = " + ".join(_plain(device.name) for device in hardware.devices)
    kind = "shared memory" if hardware.is_unified else "of its own memory"
    return f"Fitted to: {names}, {show_bytes(hardware.vram_bytes)} {kind}, {show_bytes(hardware.ram_bytes)} of RAM."


def _plain(name: str) -> str:
    """A device's name on one line: it comes from a driver and stands in a comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split()) or "unknown"


def _list(words: Iterable[str]) -> str:
    return f"[{', '.join(words)}]"
