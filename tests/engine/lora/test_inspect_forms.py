"""Adapters in other forms than peft's one file: MLX's own, weights and bases in several files; and hostile ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from huggingface_hub import split_state_dict_into_shards_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from reconciler.domain.desired import Target
from reconciler.engine.lora.inspect import InspectRequest, inspect
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.lora.dialect import OURS
from reconciler.lora.inspection import InspectReport
from tests.engine.lora.test_verdict import errors, judge, lora
from tests.lora.tables import route
from tests.lora_files import PEFT, TINY, config, folder, gguf_adapter, pairs, raw_safetensors

BASE = "acme/tiny-llama"
KEYS = ["self_attn.q_proj", "self_attn.v_proj"]


def looked(adapter: Path, provider: str = "vllm", **request: Any) -> InspectReport:
    return inspect(InspectRequest(str(adapter), **request), route(BASE, provider), LocalAdapterFiles(os.environ), OURS)


def found(report: InspectReport, *severities: str) -> list[str]:
    return [one.code for one in report.findings if one.severity in (severities or ("error",))]


def of_mlx(path: Path, *, kind: str = "lora", rank: int = 4, **changes: Any) -> Path:
    """What ``mlx_lm.lora`` leaves behind: halves turned round, its own names, its own configuration."""
    path.mkdir()
    tensors: dict[str, np.ndarray] = {}
    for layer in (0, 1):
        for name, outputs in (("q_proj", 16), ("v_proj", 8)):
            start = f"model.layers.{layer}.self_attn.{name}"
            tensors |= {
                f"{start}.lora_a": np.ones((16, rank), np.float32), f"{start}.lora_b": np.zeros((rank, outputs), np.float32)
            }  # fmt: skip
            tensors |= {f"{start}.m": np.ones(outputs, np.float32)} if kind == "dora" else {}
    save_file(tensors, path / "adapters.safetensors")
    parameters = {"rank": rank, "scale": 20.0, "dropout": 0.0, "keys": KEYS}
    document = {"fine_tune_type": kind, "model": BASE, "num_layers": 2, "lora_parameters": parameters} | changes
    (path / "adapter_config.json").write_text(json.dumps(document))
    return path


class TestMlx:
    """The format of mlx_lm: its server loads it, and nobody else."""

    def test_it_is_shown_as_what_it_is_and_fits_mlx(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(TINY))
        report = looked(of_mlx(tmp_path / "a"), "mlx", base_config=str(tmp_path))
        assert report.weights is not None
        assert (report.weights.format, report.weights.ranks, report.weights.targets) == (
            "mlx",
            (4,),
            ("q_proj", "v_proj"),
        )
        assert (report.adapter.rank, report.adapter.lora_alpha) == (4, 80.0), "a scale of 20 at rank 4"
        assert report.adapter.base_model_name_or_path == BASE
        assert report.compatibility.base_shape.verdict == "exact-shape"
        assert (report.ok, found(report, "error", "warning")) == (True, [])
        assert report.launch.command[-2:] == ("--adapter-path", str(tmp_path / "a"))

    @pytest.mark.parametrize(
        ("name", "targets", "compared"),
        [
            ("plain", ("q_proj", "v_proj"), 4), ("dora", ("q_proj", "v_proj"), 4), ("last-layer", ("down_proj", "o_proj"), 2),
            ("default-keys", ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"), 14),
            ("embedding", ("embed_tokens", "q_proj"), 3), ("experts", ("gate_proj", "q_proj"), 4),
        ],
    )  # fmt: skip
    def test_what_the_real_library_wrote(
        self, name: str, targets: tuple[str, ...], compared: int, tmp_path: Path
    ) -> None:
        experts = {"model_type": "qwen3_moe", "moe_intermediate_size": 8} if name == "experts" else {}
        (tmp_path / "config.json").write_text(json.dumps(TINY | experts))
        report = looked(PEFT.parent / "mlx" / name, "mlx", base_config=str(tmp_path))
        assert report.weights is not None
        assert (report.weights.format, report.weights.ranks, report.weights.targets) == ("mlx", (4,), targets)
        shape = report.compatibility.base_shape
        assert (shape.verdict, shape.compared, shape.unknown) == ("exact-shape", compared, 0)
        assert found(report, "error", "warning") == []
        assert (report.adapter.rank, report.adapter.lora_alpha, report.adapter.features) == (
            4, 80.0, ("dora",) if name == "dora" else ()
        )  # fmt: skip

    @pytest.mark.parametrize("provider", ["vllm", "llamacpp", "sglang", "tgi", "ollama"])
    def test_nobody_else_loads_it(self, provider: str, tmp_path: Path) -> None:
        report = looked(of_mlx(tmp_path / "a"), provider)
        assert found(report) == ["adapter_format_differs"]
        one = next(each for each in report.findings if each.code == "adapter_format_differs")
        assert one.message.endswith("and this adapter is MLX's own")
        assert "mlx_lm.fuse" in (one.hint or "")

    def test_dora_of_mlx(self, tmp_path: Path) -> None:
        report = looked(of_mlx(tmp_path / "a", kind="dora"), "mlx")
        assert report.adapter.features == ("dora",)
        assert found(report, "error") == []

    def test_what_it_says_and_what_it_holds(self, tmp_path: Path) -> None:
        other = {"rank": 8, "scale": 20.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
        assert found(looked(of_mlx(tmp_path / "a", lora_parameters=other), "mlx")) == [
            "rank_differs",
            "modules_unexpected",
        ]
        full = of_mlx(tmp_path / "b", fine_tune_type="full")
        assert "peft_type_not_lora" in found(looked(full, "mlx"))

    def test_a_base_of_another_width(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(TINY | {"hidden_size": 32}))
        report = looked(of_mlx(tmp_path / "a"), "mlx", base_config=str(tmp_path))
        assert "base_shape_mismatch" in found(report)

    def test_one_file_of_it(self, tmp_path: Path) -> None:
        report = looked(of_mlx(tmp_path / "a") / "adapters.safetensors", "mlx")
        assert report.weights is not None
        assert (report.weights.format, report.adapter.name) == ("mlx", "a")


def sharded(path: Path, *, size: int = 2000, index: bool = True) -> Path:
    """An adapter in several files, as the Hub's own library splits and names them."""
    path.mkdir()
    tensors = pairs("q_proj", "k_proj", "v_proj", "o_proj")
    split = split_state_dict_into_shards_factory(
        tensors,
        get_storage_size=lambda each: each.nbytes,
        filename_pattern="adapter_model{suffix}.safetensors",
        max_shard_size=size,
    )
    for name, keys in split.filename_to_tensors.items():
        save_file({key: tensors[key] for key in keys}, path / name)
    if index:
        document = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (path / "adapter_model.safetensors.index.json").write_text(json.dumps(document))
    stated = config(target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    (path / "adapter_config.json").write_text(json.dumps(stated))
    return path


class TestShards:
    """Weights in several files: peft does not write them, others do."""

    def test_all_of_them_are_read(self, tmp_path: Path) -> None:
        folder(tmp_path / "one", pairs("q_proj", "k_proj", "v_proj", "o_proj"))
        whole, many = looked(tmp_path / "one"), looked(sharded(tmp_path / "many"), "sglang")
        assert whole.weights is not None
        assert many.weights is not None
        assert (whole.weights.files, many.weights.files) == (1, 2)
        assert (many.weights.parameters, many.weights.layers) == (whole.weights.parameters, whole.weights.layers)
        assert (many.ok, many.adapter.features) == (True, ("shards",))
        assert [each.sha256 for each in many.adapter.files if each.sha256 is None] == []
        assert len(many.adapter.weights_found) == 2

    @pytest.mark.parametrize(
        ("provider", "code"),
        [("vllm", "shards_refused"), ("llamacpp", "shards_refused"), ("sglang", None), ("tgi", None)],
    )
    def test_who_loads_them(self, provider: str, code: str | None, tmp_path: Path) -> None:
        report = looked(sharded(tmp_path / "a"), provider)
        assert found(report) == ([code] if code else [])

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ("missing", "shards_missing"), ("renamed", "shards_missing"), ("other", "shard_index_differs"),
            ("no index", "shard_index_missing"), ("nonsense", "weights_unreadable"), ("twice", "weights_unreadable"),
            ("cut", "weights_unreadable"), ("no map", "shard_index_differs"),
        ],
    )  # fmt: skip
    def test_what_can_be_wrong(self, change: str, code: str, tmp_path: Path) -> None:
        adapter = sharded(tmp_path / "a", index=change != "no index")
        index, second = (
            adapter / "adapter_model.safetensors.index.json",
            adapter / "adapter_model-00002-of-00002.safetensors",
        )
        if change == "missing":
            second.unlink()
        if change == "renamed":
            second.rename(adapter / "adapter_model-00002-of-00003.safetensors")
        if change == "other":
            index.write_text(json.dumps({"weight_map": {"x": second.name}}))
        if change == "no map":
            index.write_text(json.dumps({"weight_map": [1]}))
        if change == "nonsense":
            index.write_text("{")
            assert [one.message.partition(":")[0] for one in looked(adapter).findings if one.code == code] == [
                index.name
            ]
        if change == "twice":
            second.write_bytes((adapter / "adapter_model-00001-of-00002.safetensors").read_bytes())
        if change == "cut":
            second.write_bytes(second.read_bytes()[:-4])
        assert code in found(looked(adapter, "sglang"), "error", "warning")

    def test_one_of_them_stands_for_all(self, tmp_path: Path) -> None:
        report = looked(sharded(tmp_path / "a") / "adapter_model-00002-of-00002.safetensors", "sglang")
        assert report.weights is not None
        assert (report.ok, report.weights.files, report.adapter.name) == (True, 2, "a")

    def test_one_whole_file_goes_before_shards(self, tmp_path: Path) -> None:
        adapter = sharded(tmp_path / "a")
        save_file(pairs("q_proj", "k_proj", "v_proj", "o_proj"), adapter / "adapter_model.safetensors")
        report = looked(adapter)
        assert report.weights is not None
        assert (report.weights.files, found(report)) == (1, [])

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(raw=st.binary(max_size=60) | st.dictionaries(st.text(max_size=5), st.integers()).map(raw_safetensors))
    def test_any_shard_and_any_index_end_in_a_finding(self, raw: bytes, tmp_path: Path) -> None:
        adapter = tmp_path / "a"
        if not adapter.exists():
            sharded(adapter)
        (adapter / "adapter_model-00002-of-00002.safetensors").write_bytes(raw)
        (adapter / "adapter_model.safetensors.index.json").write_bytes(raw)
        assert not looked(adapter).ok


TENSORS = {"blk.0.attn_q.weight": (16, 16), "blk.0.attn_v.weight": (16, 8), "blk.1.attn_q.weight": (16, 16),
           "blk.1.attn_v.weight": (16, 8), "token_embd.weight": (16, 32)}  # fmt: skip


def base_in_shards(path: Path, *, wide: int = 16) -> Path:
    """A base in two files, written and named by the library of GGUF itself."""
    writer = gguf.GGUFWriter(path / "base.gguf", "llama", split_max_tensors=3)
    writer.add_type("model")
    writer.add_block_count(2)
    for name, (inputs, outputs) in TENSORS.items():
        writer.add_tensor(name, np.zeros((outputs if "attn_q" not in name else wide, inputs), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path / "base-00001-of-00002.gguf"


class TestBaseInShards:
    """A base in several GGUF files is compared by the tensors of all of them."""

    @pytest.mark.parametrize("number", [1, 2])
    def test_whichever_of_its_files_is_named(self, number: int, tmp_path: Path) -> None:
        base_in_shards(tmp_path)
        named = tmp_path / f"base-0000{number}-of-00002.gguf"
        report = looked(folder(tmp_path / "a"), base_gguf=str(named))
        shape = report.compatibility.base_shape
        assert (shape.verdict, shape.source, shape.compared, shape.unknown) == ("exact-shape", "gguf", 4, 0)
        other = looked(gguf_adapter(tmp_path / "b.gguf", "llama", TENSORS), "llamacpp", base_gguf=str(named))
        assert other.compatibility.base_shape.compared == 4

    def test_another_base(self, tmp_path: Path) -> None:
        named = base_in_shards(tmp_path, wide=24)
        report = looked(folder(tmp_path / "a"), base_gguf=str(named))
        assert "base_shape_mismatch" in found(report)

    def test_a_shard_under_another_name(self, tmp_path: Path) -> None:
        blob = base_in_shards(tmp_path).rename(tmp_path / "sha256-0000")
        report = looked(folder(tmp_path / "a"), base_gguf=str(blob))
        assert "base_shards_missing" in found(report, "warning")

    def test_a_shard_that_is_not_there(self, tmp_path: Path) -> None:
        named = base_in_shards(tmp_path)
        (tmp_path / "base-00002-of-00002.gguf").unlink()
        report = looked(folder(tmp_path / "a"), base_gguf=str(named))
        assert report.compatibility.base_shape.verdict == "unknown"
        assert "base_shards_missing" in found(report, "warning")


class TestDeclared:
    """What the file asks for in one of these forms is refused before anything is held."""

    OLLAMA = Target(name="gpu", runtime="ollama", endpoint="http://127.0.0.1:11434")
    EDGE = Target(name="gpu", runtime="llama-server", endpoint="http://127.0.0.1:8080")

    @pytest.mark.parametrize(("target", "takes"), [(None, "peft"), (OLLAMA, "gguf"), (EDGE, "gguf")])
    def test_an_adapter_of_mlx(self, target: Target | None, takes: str, tmp_path: Path) -> None:
        seen = {"takes": takes} | ({"target": target} if target else {})
        verdict = judge(lora(of_mlx(tmp_path / "a")), **seen)
        assert errors(verdict) == ["adapter_format_differs"]
        assert "adapter_conversion" not in [one.code for one in verdict.findings]

    @pytest.mark.parametrize(("target", "takes"), [(None, "peft"), (OLLAMA, "gguf"), (EDGE, "gguf")])
    def test_weights_in_several_files(self, target: Target | None, takes: str, tmp_path: Path) -> None:
        seen = {"takes": takes} | ({"target": target} if target else {})
        assert errors(judge(lora(sharded(tmp_path / "a")), **seen)) == ["shards_refused"]
