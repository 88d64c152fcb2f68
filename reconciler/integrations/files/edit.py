"""Edits of the desired state file that the command line offers: the file is the truth, so a command changes the file.

Every edit is text in, text out; comments, order, quoting and indentation stay. An edit that finds its wish already
granted returns the text as it is. The result is validated by ``save``, before anything is written.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reconciler.domain.desired import DesiredState
from reconciler.domain.desired_reading import IMPLIED_SLOTS
from reconciler.domain.names import OllamaName, nearest
from reconciler.domain.units import parse_size
from reconciler.errors import DesiredStateError, UsageError
from reconciler.integrations.files.desired_file import read_desired
from reconciler.integrations.files.yaml_positions import KeyPath, load_yaml
from reconciler.integrations.files.yaml_splice import YamlText
from reconciler.integrations.replace_file import replace_file

Root = dict[str, Any]


def set_budget(text: str, size: str) -> str:
    """``pool.diskBudget`` set to ``size``, in place of ``diskBudgetGb`` where that is what the file has."""
    try:
        parse_size(size)
    except ValueError as error:
        raise UsageError(str(error)) from None
    root, top = _opened(text)
    pool = root[top].get("pool")
    if not isinstance(pool, dict) or not pool.keys() & {"diskBudget", "diskBudgetGb"}:
        return _with_pool_key(text, root, top, "diskBudget", size)
    at = (top, "pool")

    def wish(wanted: Root) -> None:
        kept = {key: value for key, value in wanted[top]["pool"].items() if key != "diskBudgetGb"}
        wanted[top]["pool"] = {**kept, "diskBudget": size}

    if "diskBudget" in pool:
        made = text if pool["diskBudget"] == size else YamlText(text).with_scalar((*at, "diskBudget"), size)
    else:
        made = YamlText(text).with_entry_replaced((*at, "diskBudgetGb"), "diskBudget", size)
    return _verified(text, made, root, wish)


def allow_org(text: str, org: str) -> str:
    """``org`` added to ``pool.allowedOrgs``."""
    return _with_pool_item(text, "allowedOrgs", org)


def allow_family(text: str, family: str) -> str:
    """``family`` added to ``pool.allowedFamilies``."""
    return _with_pool_item(text, "allowedFamilies", family)


def add_never(text: str, pattern: str) -> str:
    """``pattern`` added to ``pool.never``."""
    return _with_pool_item(text, "never", pattern)


def add_pin(text: str, model: str, quant: str | None, target: str | None, name: str | None) -> str:
    """A pin added as the last slot; without ``name``, it is called after the model.

    Where the file lists no slots, the three that it implies are written out first, so that they stay desired.

    Raises:
        UsageError: another slot has the name.
    """
    root, top = _opened(text)
    slots = root[top].get("slots")
    listed = slots if isinstance(slots, list) else [_implied(slot.name, slot.profile) for slot in IMPLIED_SLOTS]
    present = [slot for slot in listed if isinstance(slot, dict)]
    if any(_pins(slot, model) and slot.get("quant") == quant and slot.get("target") == target for slot in present):
        return text
    names = {str(slot.get("name")) for slot in present}
    if name is not None and name in names:
        raise UsageError(f"a slot is called {name!r} already", hint="give the pin another name")
    pin = {"name": name or _free_name(model, names), "model": model}
    pin |= {key: value for key, value in (("quant", quant), ("target", target)) if value is not None}
    if isinstance(slots, list):
        made = YamlText(text).with_item((top, "slots"), pin)
    else:
        made = YamlText(text).with_key((top,), "slots", [*listed, pin])
    return _verified(text, made, root, lambda wanted: wanted[top].update(slots=[*listed, pin]))


def remove_pin(text: str, name_or_model: str) -> str:
    """The pin of that slot name, or of that model, taken out.

    Raises:
        UsageError: there is none; the message says what there is.
    """
    root, top = _opened(text)
    slots = root[top].get("slots")
    present = [slot if isinstance(slot, dict) else {} for slot in (slots if isinstance(slots, list) else [])]
    index = next((i for i, slot in enumerate(present) if slot.get("name") == name_or_model), None)
    if index is None:
        index = next((i for i, slot in enumerate(present) if _pins(slot, name_or_model)), None)
    if index is None:
        pins = [str(word) for slot in present if "model" in slot for word in (slot.get("name"), slot["model"])]
        near = nearest(name_or_model, pins, 1)
        hint = f"did you mean {near[0]}?" if near else "'localmodels status' lists what fills which slot"
        raise UsageError(f"no pin is called {name_or_model!r} or names that model", hint=hint)
    if "model" not in present[index]:
        hint = "remove the slot by hand, or forbid a model with 'never'"
        raise UsageError(f"slot {name_or_model!r} is ranked, not a pin", hint=hint)
    made = YamlText(text).without_item((top, "slots", index))
    return _verified(text, made, root, lambda wanted: wanted[top]["slots"].pop(index))


def _implied(name: str, profile: str) -> dict[str, str]:
    return {"name": name, "profile": profile}


def _pins(slot: Mapping[str, Any], model: str) -> bool:
    pinned = slot.get("model")
    if not isinstance(pinned, str):
        return False
    try:
        return pinned == model or OllamaName.parse(pinned).same_as(OllamaName.parse(model))
    except ValueError:
        return False


def _free_name(model: str, taken: set[str]) -> str:
    """A slot name made of the model's: ``Qwen/Qwen3-8B-GGUF`` gives ``qwen3-8b``."""
    short = model.rpartition("/")[2].lower().replace(":", "-")
    base = re.sub(r"[^a-z0-9._-]+", "-", short.removesuffix("-gguf")).strip("-._")[:50] or "pin"
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


# --- the shape of every edit


def _opened(text: str) -> tuple[Root, str]:
    """The document and the key its settings stand under.

    Raises:
        DesiredStateError: the YAML is broken, or the settings are missing: nothing can be edited safely.
    """
    loaded = load_yaml(text)
    if loaded.problems or loaded.root is None:
        raise DesiredStateError("the file is not valid, so it cannot be edited", problems=loaded.problems)
    top = "spec" if "spec" in loaded.root else "localModels"
    if not isinstance(loaded.root.get(top), dict):
        hint = f"write '{top}: {{}}' first"
        raise DesiredStateError(f"the file has no mapping '{top}:', so it cannot be edited", hint=hint)
    return loaded.root, top


def _with_pool_item(text: str, key: str, item: str) -> str:
    root, top = _opened(text)
    pool = root[top].get("pool")
    items = pool.get(key) if isinstance(pool, dict) else None
    if not isinstance(items, list):
        return _with_pool_key(text, root, top, key, [item])
    if item in items:
        return text
    made = YamlText(text).with_item((top, "pool", key), item)
    return _verified(text, made, root, lambda wanted: wanted[top]["pool"][key].append(item))


def _with_pool_key(text: str, root: Root, top: str, key: str, value: Any) -> str:
    path: KeyPath = (top, "pool")
    if "pool" in root[top]:
        made = YamlText(text).with_key(path, key, value)
    else:
        made = YamlText(text).with_key((top,), "pool", {key: value})
    return _verified(text, made, root, lambda wanted: wanted[top].setdefault("pool", {}).update({key: value}))


def _verified(before: str, made: str, root: Root, wish: Callable[[Root], object]) -> str:
    """``made``, when it says exactly what was wished for and nothing else."""
    wanted = json.loads(json.dumps(root))  # a list that an alias shares is two lists here
    wish(wanted)
    loaded = load_yaml(made)
    if loaded.problems or loaded.root != wanted:
        raise DesiredStateError(
            "the file is written in a way that cannot be edited safely; nothing was changed",
            hint="make the change by hand (aliases are the usual reason)",
        )
    return made if made != before else before


# --- showing and saving


def unified_diff(before: str, after: str, name: str) -> str:
    """The difference as ``diff -u`` prints it; empty where there is none."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def save(path: Path, text: str, *, environment: Mapping[str, str]) -> DesiredState:
    """Validates the text as the content of ``path`` and writes it; an invalid one leaves the file as it is.

    Raises:
        DesiredStateError: every problem the edited file would have.
    """
    desired = read_desired(text, source=os.path.abspath(path), environment=environment)  # noqa: PTH100
    write_atomically(path, text)
    return desired


def write_atomically(path: Path, text: str) -> None:
    """Replaces the file's content in one step, its mode kept; where ``path`` is a link, what it points to.

    Raises:
        DesiredStateError: the folder cannot be written to.
    """
    real = path.resolve()
    try:
        mode = real.stat().st_mode & 0o777 if real.exists() else 0o644
        replace_file(real, text.encode(), temporary=f".{real.name}.", mode=mode)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DesiredStateError(f"{path} cannot be written: {reason}", file=str(path)) from None
