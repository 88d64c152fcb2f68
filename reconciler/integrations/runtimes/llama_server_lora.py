"""Sections of a router's preset file that serve a LoRA adapter: how they are written, and what they say.

An adapter is a section of its own, ``hf-repo = BASE`` with ``lora-scaled = FILE:SCALE``, and not a key in its base's
section: so clients ask for it by its name, its scale is its own, and one that does not load takes nothing down with it.
The price is a process of its own, with the base's weights in it a second time where they are not mapped from the file;
so it is loaded by the first who asks, as every model of a router, and stays loaded through a change if it was. Where
its base is loaded at once, so is it: a router with ``--no-models-autoload`` loads nothing for who asks.

Source:
    llama.cpp b10434, tried on the real server: several files stand in one comma-separated value (of a key that is
    repeated the last one counts); ``lora-scaled`` is split at every colon; ``lora-init-without-apply`` is accepted and
    changes nothing; of ``;`` and ``#`` on, a value is a comment.
"""

from __future__ import annotations

import csv
import math
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.domain.adapter import HeldAdapter, ServedAdapter, digest_of_place, is_same_scale
from reconciler.errors import Refused
from reconciler.integrations.runtimes.llama_server_aliases import (
    LOAD,
    adapted,
    has_adapters,
    stands_for,
    starts_loaded,
    told,
)
from reconciler.integrations.runtimes.llama_server_api import Listed, LoadedAdapter
from reconciler.integrations.runtimes.llama_server_preset import LORA_KEYS, Preset, Section

SCALED = "lora-scaled"
_PROBE = re.compile(r"(?P<name>.+)@[0-9a-f]{8}")
_NOT_IN_A_VALUE = re.compile(r"[:,;#\"\x00-\x1f\x7f]|^\s|\s$")
_OF_THE_BASE_ALONE = frozenset({"model", "hf-repo", "hf-file", "alias", "tags", LOAD, *LORA_KEYS})


def settings_for(
    adapter: HeldAdapter, base: Listed, sections: Mapping[str, Section], most: int | None = None
) -> dict[str, str]:
    """What the section of an adapter says: its base, served as the base is, and the adapter.

    Args:
        adapter: to serve.
        base: as the router lists it.
        sections: of the preset file.
        most: how many models the router runs at once, as it tells.

    Raises:
        Refused: its path cannot be written there.
    """
    check_path(adapter.path)
    repo, section = base.settings.get("hf-repo"), sections.get(base.name)
    weights = {"hf-repo": repo, "offline": "true"} if repo else {"model": base.settings.get("model", "")}
    served = section.settings if section is not None else {}
    kept = {key: value for key, value in served.items() if key not in _OF_THE_BASE_ALONE}
    at_start = {LOAD: "true"} if starts_loaded(adapter.name, base.name, sections, most) else {}
    return {**weights, **kept, **at_start, SCALED: f"{adapter.path}:{adapter.scale!r}"}


def check_path(path: str) -> None:
    """Nothing where a preset file can name it.

    Raises:
        Refused: ``not-installable``: it cannot.
    """
    if _NOT_IN_A_VALUE.search(path):
        raise Refused(
            f"a llama-server cannot be given {path}: one of : , ; # or a quotation mark is in it",
            code="not-installable",
            hint="keep adapters in a data directory without them: LOCALMODELS_DATA_DIR says where",
        )


def probe_name(adapter: HeldAdapter) -> str:
    """What new weights are tried as; no adapter or alias of ours can be called so."""
    return f"{adapter.name}@{adapter.digest[:8]}"


def is_probe(name: str) -> bool:
    return _PROBE.fullmatch(name) is not None


def without_probes(preset: Preset, name: str) -> Preset:
    """Without the tries of this adapter; a run that was cut off may have left one."""
    for section in list(preset.sections.values()):
        found = _PROBE.fullmatch(section.name)
        if section.is_ours and section.has_adapters and found is not None and found["name"] == name:
            preset = preset.without_section(section.name)
    return preset


def files_of(settings: Mapping[str, str]) -> list[tuple[str, float]]:
    """(path, scale) of every adapter that settings name.

    >>> files_of({"lora": '/a.gguf,"/b,c.gguf"', "lora-scaled": "/d.gguf:0.5"})
    [('/a.gguf', 1.0), ('/b,c.gguf', 1.0), ('/d.gguf', 0.5)]
    """
    found = [(path, 1.0) for path in _split(settings.get("lora", ""))]
    for item in _split(settings.get(SCALED, "")):
        path, _, scale = item.rpartition(":")
        with suppress(ValueError):
            found.append((path, float(scale)))
    return [(path, scale) for path, scale in found if math.isfinite(scale)]


def digest_of(path: str) -> str | None:
    """Of what lies in our store, by its place; None elsewhere, or where nothing is there any more. Blocks shortly.

    Where nobody may look, it is taken to be there.
    """
    try:
        is_there = stat.S_ISREG(Path(path).stat().st_mode)
    except PermissionError:
        is_there = True
    except (OSError, ValueError):
        return None
    return digest_of_place(path) if is_there else None


def bases_at_start(sections: Mapping[str, Section] | None) -> bool:
    """Some adapter of ours stands on a base that is loaded whenever the router starts."""
    bases = {adapted(section) for section in (sections or {}).values() if section.is_ours}
    served = [told(sections or {}, base) for base in bases if base is not None]
    return any(one is not None and one.load for one in served)


def served_adapters(
    listed: Sequence[Listed],
    sections: Mapping[str, Section] | None,
    loaded: Mapping[str, Sequence[LoadedAdapter]],
    busy: Collection[str],
    most: int | None = None,
) -> tuple[ServedAdapter, ...]:
    """Every adapter that a router serves, ours or not.

    Args:
        listed: by the router, as it serves now.
        sections: of the preset file, where it can be read; of ours that it has not read, nothing is in force.
        loaded: what it tells of models that are loaded, by their name.
        busy: names that answer somebody.
        most: how many models the router runs at once, as it tells.
    """
    found: list[ServedAdapter] = []
    for item in listed:
        own = (sections or {}).get(item.name)
        if own is not None and own.is_ours and adapted(own) is not None:
            continue
        if is_probe(item.name) or (stands_for(item) is not None and not has_adapters(item, sections)):
            continue
        found += _foreign(item, own, loaded.get(item.name), item.name in busy)
    by_name = {item.name: item for item in listed}
    for name, section in (sections or {}).items():
        if section.is_ours and adapted(section) is not None and not is_probe(name):
            one = _ours(section, by_name.get(name), loaded.get(name), name in busy)
            found.append(one.model_copy(update={"amiss": one.amiss or _at_start_amiss(section, sections or {}, most)}))
    return tuple(sorted(found, key=lambda one: (one.name, one.base or "", one.path or "")))


def _ours(
    section: Section, item: Listed | None, loaded: Sequence[LoadedAdapter] | None, is_busy: bool
) -> ServedAdapter:
    path, scale = next(iter(files_of(section.settings)), ("", 1.0))
    in_force = item is not None and section.is_read and item.settings.get(SCALED) == section.settings.get(SCALED)
    now = next((one for one in loaded if one.path == path), None) if loaded is not None else None
    is_there = in_force and (loaded is None or now is not None)
    if now is not None and is_busy and not is_same_scale(now.scale, scale):
        scale = float(f"{now.scale:.7g}")  # told to its process alone; once it is idle, its section counts
    return ServedAdapter(
        name=section.name,
        base=adapted(section),
        path=path or None,
        scale=scale if is_there else None,
        digest=digest_of(path) if is_there else None,
        loaded=is_busy,
        amiss=_amiss(section, item, path),
    )


def _amiss(section: Section, item: Listed | None, path: str) -> str | None:
    """What somebody wrote into a section of ours since."""
    said, given = section.settings.get(SCALED, ""), item.settings.get(SCALED) if item is not None else None
    if not path:
        return f"its section says `{SCALED} = {said}`, which is no FILE:SCALE"
    if given is not None and given != said:
        return f"its section says `{SCALED} = {said}`, and its server was started with {given}"
    if item is not None and item.failed:
        code = f" (exit code {item.exit_code})" if item.exit_code is not None else ""
        return f"it did not load when it was last asked to{code}: whoever asks for it gets an error"
    return None


def _at_start_amiss(section: Section, sections: Mapping[str, Section], most: int | None) -> str | None:
    base, is_loaded = adapted(section), section.settings.get(LOAD) == "true"
    if base is None or most is None or is_loaded == starts_loaded(section.name, base, sections, most):
        return None
    other = "its base is not, or the router would not start" if is_loaded else "its base is"
    return f"it is {'' if is_loaded else 'not '}loaded whenever the router starts, and {other}"


def _foreign(
    item: Listed, section: Section | None, loaded: Sequence[LoadedAdapter] | None, is_busy: bool
) -> list[ServedAdapter]:
    files = [(one.path, one.scale) for one in loaded] if loaded is not None else files_of(item.settings)
    base = stands_for(item)
    is_name = base is not None and section is not None and len(files) == 1
    return [
        ServedAdapter(
            name=item.name if is_name else Path(path).stem or item.name,
            base=base or item.name,
            path=path,
            scale=scale,
            digest=digest_of(path),
            loaded=is_busy,
            foreign=True,
        )
        for path, scale in files
    ]


def _split(value: str) -> list[str]:
    try:
        return [item for row in csv.reader([value]) for item in row if item]
    except csv.Error:  # somebody else's line, such as no server reads either
        return []
