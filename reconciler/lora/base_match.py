"""Whether an adapter and the base it is to be served on name each other, and whether its weights fit."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.domain.finding import Finding
from reconciler.lora.base_names import NameMatch, match_names, plain_match
from reconciler.lora.base_shapes import BaseFacts, ShapeFit
from reconciler.lora.dialect import Dialect
from reconciler.lora.findings import error, note, warning
from reconciler.lora.routes import Route


def known_names(route: Route) -> tuple[str, ...]:
    """What the base of a route is called, its id first."""
    model = route.model
    if model is None:
        return (route.id,)
    return (
        route.id,
        model.id,
        *(each.id for each in model.repositories),
        *([model.ollama_tag] if model.ollama_tag else []),
    )


def base_match(declared: str | None, route: Route, dialect: Dialect, folder: str | None) -> NameMatch:
    """Whether an adapter names the base of a route.

    Args:
        declared: what the adapter says it was trained on; None: nothing.
        route: it is to be served on.
        dialect: how strict names are.
        folder: where the base's server reads it: one more name of it. None: not known.
    """
    if not dialect.understands_base_names:
        return NameMatch(plain_match(declared, route.id), declared)
    if folder is not None and declared is not None and _is_folder(declared, folder):
        return NameMatch("exact", declared)
    return match_names(declared, *known_names(route))


def _is_folder(one: str, other: str) -> bool:
    """Whether two paths are spelled alike. They are paths, so case counts."""
    return one.strip().rstrip("/") == other.strip().rstrip("/")


def judge_base(
    names: NameMatch, fit: ShapeFit, base: BaseFacts | None, route: Route, dialect: Dialect, declared: str | None
) -> Iterator[Finding]:
    """Widths come first: they can refuse whatever the names say, and confirm a name that is only alike."""
    if fit.verdict == "shape-mismatch":
        source = base.source if base else ""
        yield error(
            "base_shape_mismatch",
            f"the weights do not fit {route.id} as its {source} has it ({fit.different}): {'; '.join(fit.differences)}",
            "serve it on the base it was trained on",
        )
    if base is not None and base.missing:
        text = f"the base's shards are not all there, so its tensors were not compared: {', '.join(base.missing[:3])}"
        yield warning("base_shards_missing", text, "put all of them in one folder")
    yield from _judge_names(names, route, dialect, declared, confirmed=fit.verdict == "exact-shape")


def _judge_names(
    names: NameMatch, route: Route, dialect: Dialect, declared: str | None, *, confirmed: bool
) -> Iterator[Finding]:
    lenient = confirmed or not dialect.understands_base_names
    if names.verdict == "mismatch":
        also = "; its widths are the same, which siblings share" if confirmed else ""
        text = f"the adapter was trained on {declared}, not on {route.id}{also}"
        yield error("base_mismatch", text, "name the base that it was trained on")
    elif names.verdict == "suffix":
        make = note if lenient else warning
        text = f"the adapter names {declared}: the same last name as {route.id}, of somebody else"
        yield make("base_suffix", text, "make sure that the two are one model")
    elif names.verdict == "unknown" and dialect.understands_base_names:
        why = names.note or "the adapter does not say which base it was trained on"
        make = note if confirmed else warning
        yield make(
            "base_unstated", f"{declared}: {why}" if names.note else why, "make sure that it belongs to this base"
        )
    elif names.note:
        yield note("base_name_understood", f"{declared} was read as {names.declared}; {names.note}")
