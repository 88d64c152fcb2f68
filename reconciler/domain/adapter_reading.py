"""Adapters from what a person wrote to what the code reads: absolute paths, seconds, defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.domain import adapter as read
from reconciler.domain import written_adapter as written
from reconciler.domain.units import parse_duration

AtFolder = Callable[[str], str]
"""A path of the file as an absolute one."""


def adapters_of(
    adapters: Sequence[written.Adapter], at: AtFolder, lines: Sequence[int | None] = ()
) -> tuple[read.Adapter, ...]:
    """Every adapter of the file, in its order, with the line it stands on."""
    return tuple(
        _adapter(adapter, at, lines[index] if index < len(lines) else None) for index, adapter in enumerate(adapters)
    )


def _adapter(adapter: written.Adapter, at: AtFolder, line: int | None) -> read.Adapter:
    return read.Adapter(
        name=adapter.name,
        base=adapter.base or "",
        source=_source(adapter.source, at),
        expect=_expected(adapter.expect or written.Expected.model_construct()),
        contract=_contract(adapter.contract, at) if adapter.contract else None,
        gate=_gate(adapter.gate, at) if adapter.gate else None,
        serve=tuple(
            read.AdapterServing(target=one.target, name=one.as_name or adapter.name, scale=one.scale)
            for one in adapter.serve
        ),
        convert=adapter.convert.outtype if adapter.convert else "f16",
        on_base_change=adapter.on_base_change,
        on_mismatch=adapter.on_mismatch,
        absent=adapter.absent,
        allow_pickle=adapter.allow_pickle,
        line=line,
    )


def _source(source: written.AdapterSource | None, at: AtFolder) -> read.AdapterSource:
    if source is None:
        return read.AdapterSource()
    if source.hub is not None:
        return read.AdapterSource(repo=source.hub.repo, revision=source.hub.revision)
    return read.AdapterSource(path=at(source.path) if source.path else None)


def _expected(expected: written.Expected) -> read.Expected:
    rank = expected.rank
    return read.Expected(
        rank=rank if isinstance(rank, int) else None,
        max_rank=rank.max if isinstance(rank, written.LargestRank) else None,
        alpha=expected.alpha,
        target_modules=tuple(expected.target_modules) if expected.target_modules else None,
        peft_type=expected.peft_type,
        dtype=expected.dtype,
        sha256=tuple(sorted((expected.sha256 or {}).items())),
    )


def _contract(contract: written.Contract, at: AtFolder) -> read.ExpectedContract:
    return read.ExpectedContract(
        manifest=at(contract.manifest) if contract.manifest else None,
        id=contract.id,
        require_in_adapter=contract.require_in_adapter,
        tool_format=contract.tool_format,
        chat_template_sha256=contract.chat_template.sha256 if contract.chat_template else None,
    )


def _gate(gate: written.Gate, at: AtFolder) -> read.Gate:
    return read.Gate(
        receipt=at(gate.receipt),
        max_age_seconds=None if gate.max_age is None else parse_duration(gate.max_age),
        minimum_trials=gate.minimum_trials,
        on_missing=gate.on_missing,
    )
