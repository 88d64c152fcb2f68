"""Stable names of a router: sections of its preset file that stand for a model of its cache.

A name is a section of its own, ``hf-repo = MODEL`` and ``offline = true`` (it never downloads anything), and not an
``alias`` key in the model's section: a running router takes back no alias that it knows, so that one cannot be moved;
and a model with a section of its own is not removed by a router that was started with it.

Who asks under the name is served by a process of its own. So a model that is to be loaded is loaded under its stable
name where it has one, and not twice.

Source:
    llama.cpp b10434, tried on the real server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from reconciler.domain.observation import Alias, Serving
from reconciler.errors import Refused
from reconciler.formats.router_names import RouterName
from reconciler.integrations.runtimes.llama_server_api import Listed
from reconciler.integrations.runtimes.llama_server_preset import (
    LORA_KEYS,
    Preset,
    Section,
    settings_of,
)

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:/ -]*[A-Za-z0-9_.-])?")
LOAD = "load-on-startup"
"""A router loads such a section when it starts, also one that loads nothing for who asks."""


def check_name(alias: str) -> None:
    """Refuse what could not stand at the head of a section, or would be taken for a model of the cache.

    Raises:
        Refused: ``unmanaged-conflict``, or it is no name.
    """
    if not _NAME.fullmatch(alias):
        raise Refused(f"{alias!r} cannot be a name on a llama-server", hint="use letters, digits, '-', '_' and '.'")
    try:
        RouterName.parse(alias)
    except ValueError:
        return
    raise Refused(f"{alias} is the name of a model, not a stable name", code="unmanaged-conflict")


def with_alias(preset: Preset, alias: str, model: str, context: int | None) -> Preset:
    """With a section of ours that makes ``alias`` stand for ``model``, served as the model is, at its own context."""
    before = without_alias(preset, alias) if _stands_for_another(preset, alias, model) else preset
    serving = told(before.sections, model)
    named = before.with_settings(alias, _settings(model, context, serving), is_read=False)
    own = named.sections.get(model)
    return with_serving(named, model, serving) if serving is not None and own is not None and own.is_ours else named


def without_alias(preset: Preset, alias: str) -> Preset:
    """Without the name; that the model is to be loaded is told to the model again, where it has no other name."""
    section = preset.sections.get(alias)
    if section is None or section.model is None:
        return preset
    serving, left = told(preset.sections, section.model), preset.without_section(alias)
    own = left.sections.get(section.model)
    if serving is None or own is None or not own.is_ours:
        return left
    return with_serving(left, section.model, serving)


def with_serving(preset: Preset, model: str, wanted: Serving, most: int | None = None) -> Preset:
    """With the model's own section, and those of its names and adapters, saying how it is served.

    Args:
        preset: as it is.
        model: whose serving is told.
        wanted: of the model; what is loaded at once of it is with its adapters too, as far as there is room.
        most: how many models the router runs at once, as it tells.
    """
    names = _names_of(preset.sections.values(), model)
    changed = preset.with_section(model, wanted.model_copy(update={"load": wanted.load and not names}), is_read=False)
    for section in names:
        context = section.serving.context if section.serving else None
        changed = changed.with_settings(section.name, _settings(model, context, wanted), is_read=False)
    told_too = settings_of(wanted.model_copy(update={"load": False}))
    for section in [one for one in preset.sections.values() if one.is_ours and adapted(one) == model]:
        kept = {key: value for key, value in section.settings.items() if key != LOAD}
        at_start = {LOAD: "true"} if starts_loaded(section.name, model, changed.sections, most) else {}
        changed = changed.with_settings(section.name, {**kept, **told_too, **at_start}, is_read=False)
    return changed


def starts_loaded(name: str, base: str, sections: Mapping[str, Section], most: int | None) -> bool:
    """Whether an adapter's section is loaded whenever the router starts: as its base is, and there is room.

    Source:
        llama.cpp b10434: a router that is to load more than ``--models-max`` at its start does not start at all.

    Args:
        name: of the adapter's section, there already or not.
        base: that it stands on.
        sections: of the preset file.
        most: how many models the router runs at once; 0: any number; None: it does not tell, so nothing is risked.
    """
    serving = told(sections, base)
    if most is None or serving is None or not serving.load:
        return False
    others = sum(section.settings.get(LOAD) == "true" for one, section in sections.items() if one != name)
    return most == 0 or others < most


def told(sections: Mapping[str, Section], model: str) -> Serving | None:
    """How the file says that a model is served, under whatever name."""
    own = sections.get(model)
    if own is None or own.serving is None:
        return None
    load = own.serving.load or any(one.settings.get(LOAD) == "true" for one in _names_of(sections.values(), model))
    return own.serving.model_copy(update={"load": load})


def is_read(sections: Mapping[str, Section], model: str) -> bool:
    """The router has read all that our sections say of a model."""
    own = sections.get(model)
    return (own is None or own.is_read) and all(one.is_read for one in _names_of(sections.values(), model))


def seen_aliases(
    listed: Sequence[Listed], sections: Mapping[str, Section] | None, models: Collection[str], busy: Collection[str]
) -> tuple[Alias, ...]:
    """Every stable name, ours or not: sections that stand for a model, and the aliases that the router lists.

    Args:
        listed: by the router, as it serves now.
        sections: of the preset file, where it can be read; a name it says otherwise stands for nothing yet.
        models: names that are installed.
        busy: names that answer somebody.
    """
    found: dict[str, Alias] = {}
    for item in listed:
        section = (sections or {}).get(item.name)
        if stands_for(item) is not None and not has_adapters(item, sections):
            model = stands_for(item)
            agreed = sections is None or (section is not None and section.model == model and _is_settled(section))
            found[item.name] = Alias(
                name=item.name,
                model=model if agreed and model in models else None,
                context=context_of(section.settings if section else item.settings),
                loaded=item.name in busy,
                foreign=section is not None and not section.is_ours,
            )
        for alias in item.aliases:
            context = context_of(item.settings)
            found[alias] = Alias(name=alias, model=item.name, context=context, loaded=item.name in busy, foreign=True)
    for name, section in (sections or {}).items():
        if section.model is not None and section.is_ours and name not in found:
            found[name] = Alias(name=name)
    return tuple(found[name] for name in sorted(found))


def stands_for(item: Listed) -> str | None:
    """The model behind a listed name: a name of it, or it with an adapter; None where it is a model itself."""
    model = item.settings.get("hf-repo")
    return model if item.source == "preset" and model != item.name else None


def has_adapters(item: Listed, sections: Mapping[str, Section] | None) -> bool:
    """Its section loads adapters. The file decides where it is known: flags of the router are for every model."""
    section = (sections or {}).get(item.name)
    return section.has_adapters if section is not None else any(key in item.settings for key in LORA_KEYS)


def adapted(section: Section) -> str | None:
    """The model whose adapter a section is; None where it is none, or the model's own."""
    model = section.settings.get("hf-repo")
    return model if section.has_adapters and model != section.name else None


def _is_settled(section: Section) -> bool:
    return section.is_read or not section.is_ours


def _settings(model: str, context: int | None, serving: Serving | None) -> dict[str, str]:
    base = {"hf-repo": model, "offline": "true"}
    if context is None:
        return {**base, **(settings_of(serving) if serving else {})}
    if serving is None:
        return {**base, "ctx-size": str(context), "parallel": "1"}
    return {**base, **settings_of(serving.model_copy(update={"context": context}))}


def _names_of(sections: Iterable[Section], model: str) -> list[Section]:
    return [section for section in sections if section.is_ours and section.model == model]


def _stands_for_another(preset: Preset, alias: str, model: str) -> bool:
    section = preset.sections.get(alias)
    return section is not None and section.model != model


def context_of(settings: Mapping[str, str]) -> int | None:
    """Tokens of one conversation, where the settings say so."""
    total, parallel = settings.get("ctx-size", ""), settings.get("parallel", "1")
    if not total.isdecimal() or not int(total):
        return None
    return int(total) // max(1, int(parallel) if parallel.isdecimal() else 1)
