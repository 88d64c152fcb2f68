"""Adapters in GGUF as llama.cpp's own writer makes them, and cut, lying or mistaken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.formats.gguf import NeedMore, read_header, read_table, read_tensors
from reconciler.formats.gguf_adapter import GgufAdapter, gguf_adapter
from reconciler.lora.agreement import judge_weights
from reconciler.lora.weights import AdapterFacts, facts_of
from tests.lora_files import gguf_adapter as written

SHAPES = {"blk.0.attn_q.weight": (16, 16), "blk.1.attn_v.weight": (16, 8)}


def read(raw: bytes) -> GgufAdapter:
    header = read_header(raw, size=len(raw))
    assert not isinstance(header, NeedMore)
    tensors = read_tensors(raw, header, size=len(raw))
    assert not isinstance(tensors, NeedMore)
    return gguf_adapter(header, tensors, size=len(raw))


def facts(found: GgufAdapter) -> AdapterFacts:
    return facts_of(
        found.tensors, "gguf", alpha=found.alpha, architecture=found.architecture, adapter_type=found.adapter_type
    )


def test_what_the_writer_writes(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.gguf", "llama", SHAPES, rank=4).read_bytes())
    assert (found.architecture, found.adapter_type, found.alpha) == ("llama", "lora", 8.0)
    known = facts(found)
    assert (known.ranks, known.layers, known.dtypes, known.targets) == ((4,), (0, 1), ("F32",), ("attn_q", "attn_v"))
    assert [(each.inputs, each.outputs) for each in known.modules] == [(16, 16), (16, 8)]
    assert judge_weights(known) == ()


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"adapter_type": None}, "error adapter_type_not_lora"), ({"adapter_type": "ia3"}, "error adapter_type_not_lora"),
        ({"alpha": None}, "warning alpha_missing"), ({"leave_out": ["blk.0.attn_q.weight.lora_a"]}, "error pair_incomplete"),
        ({"more": {"output.weight": np.zeros((4, 4), np.float32)}}, "error tensors_refused"),
        ({"more": {"blk.0.attn_norm.weight": np.zeros(4, np.float32)}}, None),
        ({"more": {"blk.0.attn_q.bias": np.zeros(4, np.float32)}}, "error tensors_refused"),
        ({"more": {"blk.0.nothing": np.zeros(4, np.float32)}}, "error tensors_refused"),
    ],
)  # fmt: skip
def test_what_a_runtime_stops_at(how: dict, code: str | None, tmp_path: Path) -> None:
    found = judge_weights(facts(read(written(tmp_path / "a.gguf", "llama", SHAPES, **how).read_bytes())))
    assert [f"{one.severity} {one.code}" for one in found] == ([code] if code else [])


def test_a_model_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it is a model, not an adapter"):
        read(written(tmp_path / "a.gguf", "llama", SHAPES, kind="model").read_bytes())


@pytest.mark.parametrize("cut", [1, 64, 400])
def test_a_file_that_was_cut_off(cut: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cut off"):
        read(written(tmp_path / "a.gguf", "llama", SHAPES).read_bytes()[:-cut])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_facts_or_an_error(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "whole.gguf"
    raw = bytearray((path if path.exists() else written(path, "llama", SHAPES)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    try:
        header = read_header(bytes(raw), size=len(raw))
        tensors = header if isinstance(header, NeedMore) else read_tensors(bytes(raw), header, size=len(raw))
        if not isinstance(header, NeedMore) and not isinstance(tensors, NeedMore):
            judge_weights(facts(gguf_adapter(header, tensors, size=len(raw))))
    except ValueError:
        return


def test_a_table_is_read_in_as_many_steps_as_it_takes(tmp_path: Path) -> None:
    many = {f"blk.{layer}.attn_q.weight": (2, 2) for layer in range(700)}
    raw = written(tmp_path / "many.gguf", "llama", many, rank=1).read_bytes()
    asked: list[int] = []

    def beginning(count: int) -> bytes:
        asked.append(count)
        return raw[:count]

    header, tensors = read_table(beginning, size=len(raw))
    assert (header, tensors) == (read_header(raw, size=len(raw)), read_tensors(raw, header, size=len(raw)))
    assert (len(tensors), len(asked) > 1, asked) == (1400, True, sorted(set(asked)))
    with pytest.raises(ValueError, match="became shorter"):
        read_table(lambda count: raw[: min(count, asked[0])], size=len(raw))
