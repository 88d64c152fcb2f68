"""One adapter looked at: where it may be, every finding, what runtimes take, and the contract field by field."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reconciler.domain.catalog import Architecture
from reconciler.domain.units import Bytes
from reconciler.engine.lora.adapter_facts import read_gguf_table
from reconciler.engine.lora.inspect import InspectRequest, inspect
from reconciler.errors import ReconcilerError, Refused
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.lora.contract import Contract
from reconciler.lora.dialect import OURS
from reconciler.lora.routes import NamedBase, Route, route_of
from tests.builders import model
from tests.lora.tables import provider, route, table
from tests.lora_files import PEFT, TINY, config, folder, gguf_adapter, pairs, raw_safetensors

BASE = "acme/tiny-llama"
WIDE = dict.fromkeys(("q_proj", "v_proj"), (32, 32))


class Line:
    """A folder of its own that is the current one."""

    def __init__(self, path: Path) -> None:
        self.folder = path

    def write(self, text: str, name: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with contextlib.chdir(tmp_path):
        yield Line(tmp_path)


def report(
    line: Line, adapter: object, at: Route | str = "vllm", home: Path | None = None, **request: Any
) -> dict[str, Any]:
    served, files = (
        route(BASE, at) if isinstance(at, str) else at,
        LocalAdapterFiles({"HOME": str(home)} if home else {}),
    )
    found = inspect(InspectRequest(str(adapter), **request), served, files, OURS)
    assert found.ok is all(one.severity != "error" for one in found.findings)
    return found.model_dump(mode="json", by_alias=False)


def codes(line: Line, adapter: object, at: Route | str = "vllm", severity: str = "error", **request: Any) -> list[str]:
    found = report(line, adapter, at, **request)["findings"]
    return [one["code"] for one in found if one["severity"] == severity]


def manifest(line: Line, *, dialect: str = "native", **changes: Any) -> str:
    """A manifest of version 2 for ``BASE`` on vLLM; keys of ``contract``, or whole sections."""
    fields = {
        "base_model": BASE, "provider": "vllm", "harn_tool_format": dialect, "dataset_format": "messages_with_tool_calls",
        "chat_template": None,
    }  # fmt: skip
    contract = {"schema_version": 2, "id": Contract(**fields, schema_version=2).id} | fields
    contract |= changes.pop("contract", {})
    document = {"contract": {key: value for key, value in contract.items() if value != "GONE"}} | changes
    return str(line.write(json.dumps(document), "manifest.json"))


class TestResolution:
    """What ADAPTER may be."""

    @pytest.mark.parametrize(
        "given", ["sql", "sql/", "sql/adapter_config.json", "./sql", "sql/adapter_model.safetensors"]
    )
    def test_the_same_adapter_by_every_path(self, given: str, line: Line) -> None:
        folder(line.folder / "sql")
        found = report(line, given)
        assert (found["ok"], found["adapter"]["name"]) == (True, "sql")
        assert found["adapter"]["config_found"] is True
        assert found["launch"]["command"][-1].endswith('sql","base_model_name":"acme/tiny-llama"}')

    def test_home_is_expanded_in_front_only(self, line: Line) -> None:
        folder(line.folder / "sql")
        assert report(line, "~/sql", home=line.folder)["adapter"]["exists"] is True
        assert report(line, "~sql", home=line.folder)["adapter"]["exists"] is False
        assert report(line, "~/sql")["adapter"]["exists"] is False

    def test_a_name_that_is_not_here_is_the_runtimes(self, line: Line) -> None:
        found = report(line, "org/sql-tools")
        assert (found["ok"], found["adapter"]["name"], found["adapter"]["exists"]) == (True, "sql-tools", False)
        assert [one["code"] for one in found["findings"]] == ["remote_adapter", "rank_unknown"]
        assert (found["weights"], found["adapter"]["local_path"], found["adapter"]["config_path"]) == (None, None, None)

    @pytest.mark.parametrize(
        "given", ["acme/sql@v1", "https://huggingface.co/acme/sql/tree/v1", "hf:acme/sql@v1", "hf://acme/sql@v1"]
    )
    def test_a_repository_by_every_spelling(self, given: str, line: Line) -> None:
        found = report(line, given)
        assert (found["ok"], found["adapter"]["name"], found["adapter"]["input"]) == (True, "sql", given)
        assert json.loads(found["launch"]["command"][-1])["path"] == "acme/sql"
        assert "revision_not_served" in codes(line, given, severity="warning")
        alone = report(line, given, "tgi")["launch"]
        assert (alone["command"][-1], alone["request_model"]) == ("acme/sql@v1", "acme/sql")
        assert codes(line, given, "llamacpp") == ["hub_adapter_refused"]

    def test_a_provider_nobody_knows(self, line: Line) -> None:
        found = report(line, folder(line.folder / "a"), "vlmm")
        (told,) = [one for one in found["findings"] if one["code"] == "provider_unknown"]
        assert "did you mean vllm?" in told["hint"]
        assert "runtime_no_lora" not in [one["code"] for one in found["findings"]], "nobody knows that either"
        fits = found["compatibility"]
        assert [fits[key] for key in fits if key.startswith("provider_")] == [None, None, None]

    @pytest.mark.parametrize(("at", "words"), [("lm-studio", "it takes no adapters"), ("ollama", "from 0.34.1 on")])
    def test_who_takes_none_says_what_is_true(self, at: str, words: str, line: Line) -> None:
        found = report(line, folder(line.folder / "a"), at)["findings"]
        (told,) = [one for one in found if one["code"] == "runtime_no_lora"]
        assert words in told["hint"]

    def test_a_provider_that_was_guessed_is_told(self, line: Line) -> None:
        guessed = replace(route(BASE), is_inferred=True)
        assert "provider_inferred" in codes(line, folder(line.folder / "a"), guessed, "note")

    def test_a_model_is_no_adapter(self, line: Line) -> None:
        path = gguf_adapter(line.folder / "base.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)}, kind="model")
        (told,) = [one for one in report(line, path, "llamacpp")["findings"] if one["code"] == "weights_unreadable"]
        assert told["message"].endswith("it is a model, not an adapter (general.type)")
        assert "--base-gguf" in told["hint"]

    def test_an_address_that_is_no_repository_is_refused(self, line: Line) -> None:
        found = report(line, "s3://bucket/sql")
        assert "adapter_not_found" in [one["code"] for one in found["findings"] if one["severity"] == "error"]
        assert found["launch"]["command"] == []

    def test_what_cannot_be_served_has_no_launch_command(self, line: Line) -> None:
        folder(line.folder / "a", document=config(base_model_name_or_path="x/y"))
        found = report(line, "a")
        assert (found["ok"], found["launch"]["command"]) == (False, [])

    @pytest.mark.parametrize(("declared", "native"), [(None, True), ("native", True), ("json", False)])
    def test_native_calls_need_their_flags(self, declared: str | None, native: bool, line: Line) -> None:
        folder(line.folder / "a")
        at = route(BASE, tool_call_parser="hermes")
        command = report(line, "a", at, tool_format=declared)["launch"]["command"]
        assert (command[-3:] == ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]) is native
        written = report(line, "a", at, manifest=manifest(line, dialect="json"))["launch"]["command"]
        assert "hermes" not in written, "its contract says what it will be served with"

    @pytest.mark.parametrize("given", ["///", "..", "."])
    def test_a_path_without_a_last_name(self, given: str, line: Line) -> None:
        assert report(line, given)["adapter"]["name"] == "lora-adapter"

    def test_a_given_name_counts(self, line: Line) -> None:
        found = report(line, folder(line.folder / "a"), name="sql-tools")
        assert found["launch"]["request_model"] == "sql-tools"

    def test_files_with_their_hashes(self, line: Line) -> None:
        found = report(line, folder(line.folder / "a"))["adapter"]
        assert [one["name"] for one in found["files"]] == ["adapter_config.json", "adapter_model.safetensors"]
        assert all(len(one["sha256"]) == 64 for one in found["files"])
        assert found["weights_found"] == [f"{line.folder}/a/adapter_model.safetensors"]


class TestFindings:
    def test_no_config(self, line: Line) -> None:
        (folder(line.folder / "a") / "adapter_config.json").unlink()
        assert codes(line, "a") == ["config_missing"]

    def test_no_weights(self, line: Line) -> None:
        (folder(line.folder / "a") / "adapter_model.safetensors").unlink()
        assert codes(line, "a") == ["weights_missing"]

    def test_a_stub_for_weights(self, line: Line) -> None:
        (folder(line.folder / "a") / "adapter_model.safetensors").write_bytes(b"stub")
        assert codes(line, "a") == ["weights_unreadable"]

    def test_a_pickle_is_never_opened(self, line: Line) -> None:
        adapter = folder(line.folder / "a")
        (adapter / "adapter_model.safetensors").unlink()
        (adapter / "adapter_model.bin").write_bytes(pickle.dumps(_Bomb()))
        (adapter / "adapter_model.bin").chmod(0)
        found = report(line, "a")
        assert found["ok"]
        assert [one["code"] for one in found["findings"] if one["severity"] == "warning"] == ["weights_pickle"]
        assert found["adapter"]["files"][-1] == {
            "name": "adapter_model.bin",
            "bytes": (adapter / "adapter_model.bin").stat().st_size,
            "sha256": None if os.geteuid() else sha256((adapter / "adapter_model.bin").read_bytes()).hexdigest(),
        }, "nobody but root may read it; it is not loaded either way"

    def test_a_pickle_is_hashed_as_bytes(self, line: Line) -> None:
        adapter = folder(line.folder / "a")
        (adapter / "adapter_model.safetensors").unlink()
        (adapter / "adapter_model.bin").write_bytes(pickle.dumps(_Bomb()))
        right = sha256((adapter / "adapter_model.bin").read_bytes()).hexdigest()
        assert report(line, "a")["adapter"]["files"][-1]["sha256"] == right
        assert codes(line, "a", manifest=manifest(line, artifacts={"adapter_model.bin": right})) == []
        wrong = manifest(line, artifacts=[{"path": "out/adapter_model.bin", "sha256": "0" * 64}])
        assert codes(line, "a", manifest=wrong) == ["artifact_differs"]

    def test_a_pickle_beside_safer_weights_is_passed_over(self, line: Line) -> None:
        (folder(line.folder / "a") / "adapter_model.bin").write_bytes(b"x")
        found = report(line, "a")
        assert found["ok"]
        assert [Path(one).name for one in found["adapter"]["weights_found"]] == [
            "adapter_model.safetensors",
            "adapter_model.bin",
        ]

    @pytest.mark.parametrize("kind", ["lora", "IA3", ""])
    def test_another_kind_of_adapter(self, kind: str, line: Line) -> None:
        folder(line.folder / "a", document=config(peft_type=kind))
        assert codes(line, "a") == ["peft_type_not_lora"]

    def test_what_is_not_stated_is_a_warning_and_an_error_where_it_must_be(self, line: Line) -> None:
        folder(line.folder / "a", document=config(peft_type=None, r=None, base_model_name_or_path=None))
        expected = ["peft_type_missing", "rank_missing", "base_unstated"]
        assert codes(line, "a", severity="warning") == expected
        assert codes(line, "a", strict=True) == expected

    def test_a_scale_or_modules_that_are_not_stated(self, line: Line) -> None:
        folder(line.folder / "a", document=config(lora_alpha=None, target_modules=None))
        assert codes(line, "a", severity="warning") == ["alpha_missing", "targets_missing"]

    def test_fields_of_another_type_count_as_not_stated(self, line: Line) -> None:
        document = config(peft_type=1, r="4", lora_alpha=[], target_modules=5, base_model_name_or_path={}, task_type=2)
        folder(line.folder / "a", document=document)
        found = report(line, "a")["adapter"]
        assert (found["peft_type"], found["lora_alpha"], found["target_modules"], found["base_model_name_or_path"]) == (
            None,
            None,
            [],
            None,
        )
        assert found["rank"] == 4, "as its weights have it"

    def test_weights_against_the_config_and_the_base(self, line: Line) -> None:
        line.write(json.dumps(TINY), "config.json")
        folder(line.folder / "a", pairs("q_proj", "v_proj", rank=8, widths=WIDE))
        assert codes(line, "a", base_config="config.json") == ["rank_differs", "base_shape_mismatch"]

    def test_the_same_last_name_is_confirmed_by_the_widths(self, line: Line) -> None:
        line.write(json.dumps(TINY), "config.json")
        folder(line.folder / "a", document=config(base_model_name_or_path="other/tiny-llama"))
        assert codes(line, "a", severity="warning") == ["base_suffix"]
        assert codes(line, "a", base_config=".", severity="warning") == []
        assert "base_suffix" in codes(line, "a", base_config=".", severity="note")

    def test_the_catalogues_widths_count_where_no_file_was_named(self, line: Line) -> None:
        folder(line.folder / "a")
        known = Architecture("llama", layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16)
        served = route(BASE, "vllm", model=replace(model(BASE), architecture=known))
        assert codes(line, "a", served) == ["base_shape_mismatch"]
        line.write(json.dumps(TINY), "config.json")
        assert codes(line, "a", served, base_config=".") == [], "a file that was named counts more"

    @pytest.mark.parametrize("name", ["a=b", "a b", "a'b", 'a"b', "-a", "a,b", "a\nb", "é", "x" * 200])
    def test_a_name_that_cannot_be_typed(self, name: str, line: Line) -> None:
        folder(line.folder / "a")
        assert codes(line, "a", name=name) == ["name_invalid"]

    @pytest.mark.parametrize("name", [BASE, "tiny-llama", "TINY-LLAMA"])
    def test_a_name_that_is_the_bases(self, name: str, line: Line) -> None:
        folder(line.folder / "a")
        assert codes(line, "a", name=name) == ["name_clash"]


class _Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("1/0",))


class TestRuntimes:
    @pytest.mark.parametrize(
        ("rank", "beside", "limit"), [(4, (), 8), (24, (), 32), (16, (200, 3), 256), (512, (), 512)]
    )
    def test_the_rank_is_rounded_up_over_all_adapters(
        self, rank: int, beside: tuple[int, ...], limit: int, line: Line
    ) -> None:
        folder(line.folder / "a", pairs("q_proj", "v_proj", rank=rank), config(r=rank))
        launch = report(line, "a", beside=beside)["launch"]
        assert launch["max_lora_rank"] == limit
        assert launch["command"][3:6] == ["--enable-lora", "--max-lora-rank", str(limit)]

    def test_a_rank_above_every_limit(self, line: Line) -> None:
        folder(line.folder / "a", pairs("q_proj", "v_proj", rank=600), config(r=600))
        assert codes(line, "a") == ["rank_too_large"]

    @pytest.mark.parametrize(
        ("name", "facts", "expected"),
        [
            ("dora", {"supports_dora": False}, "error dora_refused"),
            ("dora", {"supports_dora": True}, None),
            ("dora", {}, "note dora_unknown"),
            ("saved-head", {"supports_modules_to_save": False}, "error modules_to_save_refused"),
            ("bias", {"supports_bias": False}, "error bias_refused"),
            ("lora-bias", {"supports_bias": False}, "error bias_refused"),
            ("rslora", {"supports_rslora": False}, "error rslora_refused"),
            ("rank-pattern", {"supports_rank_pattern": False}, "error rank_pattern_refused"),
            ("alpha-pattern", {}, "note alpha_pattern_unknown"),
            ("fan-in-fan-out", {}, "note fan_in_fan_out_unknown"),
            ("tokens", {}, "note trainable_tokens_unknown"),
            ("experts", {}, "note target_parameters_unknown"),
            ("replicated", {}, "note layer_replication_unknown"),
            ("replicated", {"supports_layer_replication": False}, "error layer_replication_refused"),
            ("more-tokens", {}, "note extra_vocabulary_unknown"),
            ("more-tokens", {"supports_extra_vocabulary": False}, "error extra_vocabulary_refused"),
            ("tokens", {"supports_trainable_tokens": False}, "error trainable_tokens_refused"),
            ("fan-in-fan-out", {"supports_fan_in_fan_out": False}, "error fan_in_fan_out_refused"),
            ("plain", {"adapter_formats": ["gguf"]}, "warning adapter_conversion"),
            ("plain", {"adapter_formats": ["mlx"]}, "error adapter_format_differs"),
            ("plain", {"lora_modules_arg": None, "lora_modules_value_format": None}, "warning runtime_no_lora"),
            ("plain", {"max_lora_rank_arg": None}, "note runtime_no_max_rank"),
            ("plain", {}, None),
        ],
    )
    def test_what_a_runtime_does_not_take(
        self, name: str, facts: dict[str, Any], expected: str | None, line: Line
    ) -> None:
        flags = {
            "lora_modules_arg": "--lora",
            "lora_modules_value_format": "path",
            "max_lora_rank_arg": "--rank",
        } | facts
        served = route_of(NamedBase(BASE, BASE), "served", table(provider("served", **flags)), OURS)
        told = [f"{one['severity']} {one['code']}" for one in report(line, PEFT / name, served)["findings"]]
        about = ("runtime_", "adapter_", "_refused", "_unknown")
        assert [one for one in told if any(word in one for word in about)] == ([expected] if expected else [])

    def test_the_shipped_facts_of_vllm(self, line: Line) -> None:
        assert codes(line, PEFT / "dora") == ["dora_refused"]
        assert codes(line, PEFT / "saved-head") == ["modules_to_save_refused"]
        assert codes(line, PEFT / "rslora") == []

    def test_the_weights_count_where_the_configuration_is_silent(self, line: Line) -> None:
        silent = line.folder / "a"
        shutil.copytree(PEFT / "saved-head", silent)
        stated = json.loads((silent / "adapter_config.json").read_text())
        (silent / "adapter_config.json").write_text(json.dumps(stated | {"modules_to_save": None}))
        assert codes(line, silent) == ["modules_to_save_refused"]
        dora = line.folder / "b"
        shutil.copytree(PEFT / "dora", dora)
        stated = json.loads((dora / "adapter_config.json").read_text())
        (dora / "adapter_config.json").write_text(json.dumps(stated | {"use_dora": False}))
        assert codes(line, dora) == ["dora_undeclared", "dora_refused"]

    def test_a_gguf_adapter_is_for_llama_cpp(self, line: Line) -> None:
        gguf_adapter(line.folder / "sql.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)})
        assert codes(line, "sql.gguf") == ["adapter_format_differs"]
        found = report(line, "sql.gguf", "llamacpp")
        assert (found["ok"], found["adapter"]["name"], found["adapter"]["rank"], found["adapter"]["lora_alpha"]) == (
            True,
            "sql",
            4,
            8.0,
        )
        assert found["launch"]["command"][-3:] == ["--lora", "sql.gguf", "--jinja"]

    def test_the_base_that_was_compared_is_the_one_that_is_launched(self, line: Line) -> None:
        gguf_adapter(line.folder / "sql.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)})
        base = gguf_adapter(
            line.folder / "base.gguf",
            "llama",
            {"x": (1, 1)},
            kind="model",
            more={"blk.0.attn_q.weight": np.zeros((16, 16), np.float32)},
        )
        found = report(line, "sql.gguf", "llamacpp", base_gguf=str(base))
        assert found["compatibility"]["base_shape"]["verdict"] == "exact-shape"
        assert found["launch"]["command"] == ["llama-server", "--model", str(base), "--lora", "sql.gguf", "--jinja"]

    def test_a_file_that_became_shorter(self, line: Line) -> None:
        class Shrunk(LocalAdapterFiles):
            def size(self, path: str) -> Bytes:
                return Bytes(2 * super().size(path))

        base = gguf_adapter(line.folder / "base.gguf", "llama", {"x": (1, 1)}, kind="model")
        base.write_bytes(base.read_bytes()[:64])
        with pytest.raises(ValueError, match="shorter"):
            read_gguf_table(str(base), Shrunk({}))

    def test_an_adapter_is_no_base(self, line: Line) -> None:
        gguf_adapter(line.folder / "sql.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)})
        with pytest.raises(ReconcilerError, match="it holds a") as caught:
            report(line, "sql.gguf", "llamacpp", base_gguf="sql.gguf")
        assert caught.value.code == "base-invalid"

    def test_a_folder_with_one_gguf_adapter_and_with_two(self, line: Line) -> None:
        (line.folder / "a").mkdir()
        gguf_adapter(line.folder / "a" / "one.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)})
        assert codes(line, "a", "llamacpp") == []
        gguf_adapter(line.folder / "a" / "two.gguf", "llama", {"blk.0.attn_q.weight": (16, 16)})
        assert codes(line, "a", "llamacpp") == ["weights_ambiguous"]

    def test_llama_cpp_is_launched_with_the_file_to_be_made(self, line: Line) -> None:
        folder(line.folder / "sql")
        found = report(line, "sql", "llamacpp")
        assert found["launch"]["command"][-3:] == ["--lora", "sql.gguf", "--jinja"]


class TestManifest:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"contract": {"base_model": "x/y"}}, ["contract_base_mismatch", "contract_id_wrong"]),
            ({"contract": {"base_model": ""}}, ["contract_base_mismatch", "contract_id_wrong"]),
            ({"contract": {"base_model": "models/ACME/tiny-llama"}}, ["contract_id_wrong"]),
            ({"contract": {"provider": "tgi"}}, ["contract_provider_mismatch", "contract_id_wrong"]),
            ({"contract": {"provider": "GONE"}}, ["contract_provider_mismatch"]),
            ({"contract": {"harn_tool_format": "GONE"}}, ["contract_tool_format_mismatch"]),
            ({"contract": {"id": "GONE"}}, ["contract_id_missing"]),
            ({"contract": {"id": ""}}, ["contract_id_missing"]),
            ({"contract": {"id": "sha256:" + "0" * 64}}, ["contract_id_wrong"]),
            ({"target": {"adapter_name": "other"}}, ["contract_name_mismatch"]),
            ({"serving": {"request_model": "other"}}, ["contract_name_mismatch"]),
            ({"target": {"adapter_name": "a"}, "serving": {"request_model": "a"}}, []),
            ({"target": {"adapter_name": "a"}, "serving": {"request_model": "b"}}, ["contract_name_mismatch"]),
            ({"contract": {"target_modules": {"policy": "explicit", "modules": ["q_proj", "v_proj", "q_proj"]}}}, []),
            ({"contract": {"target_modules": {"policy": "explicit", "modules": ["k_proj"]}}}, ["contract_target_modules_mismatch"]),
            ({"contract": {"training_contract": {"peft_save_policy": {"modules_to_save": ["lm_head"]}}}}, ["contract_modules_to_save_mismatch", "contract_id_wrong"]),
            ({"artifacts": [{"path": "out/adapter_model.safetensors", "sha256": "0" * 64}]}, ["artifact_differs"]),
            ({"artifacts": {"adapter_other.safetensors": "sha256:" + "0" * 64}}, ["artifact_missing"]),
            ({"artifacts": [{"path": "data.jsonl", "sha256": "0" * 64}, 5, {}]}, []),
            ({"artifacts": {"adapter_reference": "./sql", "adapter_files": [{"path": "adapter_model.safetensors", "sha256": "0" * 64}]}}, ["artifact_differs"]),
            ({"artifacts": {"adapterReference": "./sql", "adapterFiles": [{"path": "adapter_9.safetensors", "sha256": "0" * 64}]}}, ["artifact_missing"]),
            ({"artifacts": {"adapter_reference": "./sql", "local_path": "sql"}}, []),
        ],
    )  # fmt: skip
    def test_each_field_by_itself(self, changes: dict[str, Any], expected: list[str], line: Line) -> None:
        folder(line.folder / "a")
        assert codes(line, "a", manifest=manifest(line, **changes)) == expected

    def test_a_manifest_inside_an_envelope_is_refused(self, line: Line) -> None:
        folder(line.folder / "a")
        inner = json.loads(Path(manifest(line)).read_text())
        wrapped = line.write(json.dumps({"schemaVersion": "1", "ok": True, "data": inner}), "wrapped.json")
        with pytest.raises(ReconcilerError, match="what stands in data is a report") as raised:
            report(line, "a", manifest=str(wrapped))
        assert raised.value.code == "manifest-invalid"

    def test_format_of_the_data_set_and_template_are_shown_and_never_compared(self, line: Line) -> None:
        folder(line.folder / "a")
        fields = {"dataset_format": "of-somebody-else", "chat_template": "{{ messages }}"}
        other = {"base_model": BASE, "provider": "vllm", "harn_tool_format": "native"} | fields
        path = manifest(line, contract=fields | {"id": Contract(**other, schema_version=2).id})
        found = report(line, "a", manifest=path)["contract"]
        assert [found["manifest"][name] for name in fields] == list(fields.values())
        assert (codes(line, "a", manifest=path), found["id_verdict"]) == ([], "verified")
        gone = manifest(line, contract=dict.fromkeys(fields, "GONE"))
        assert codes(line, "a", manifest=gone) == [], "what is not stated is null, and leaves the id unverifiable"

    def test_notes_are_no_warnings_of_a_contract(self, line: Line) -> None:
        folder(line.folder / "a", document=config(lora_contract_id="sha256:old"))
        path = manifest(line, contract={"schema_version": 1, "id": "sha256:old", "base_model": "other/tiny-llama"})
        found = report(line, "a", manifest=path)
        assert {"contract_base_suffix", "contract_id_unverifiable"} <= {one["code"] for one in found["findings"]}
        assert (found["contract"]["status"], found["contract"]["warnings"]) == ("pass", [])

    def test_what_was_left_aside_of_a_name_is_told(self, line: Line) -> None:
        folder(line.folder / "a", document=config(base_model_name_or_path=f"{BASE}-AWQ"))
        (told,) = [one for one in report(line, "a")["findings"] if one["code"] == "base_name_understood"]
        assert told["severity"] == "note"
        assert "-AWQ" in told["message"]

    def test_hashes_that_are_right(self, line: Line) -> None:
        folder(line.folder / "a")
        files = report(line, "a")["adapter"]["files"]
        path = manifest(line, artifacts=[{"path": one["name"], "sha256": one["sha256"]} for one in files])
        found = report(line, "a", manifest=path)["contract"]["artifacts"]
        assert [one["matches"] for one in found] == [True, True]

    def test_hashes_in_any_spelling(self, line: Line) -> None:
        folder(line.folder / "a")
        files = report(line, "a")["adapter"]["files"]
        path = manifest(line, artifacts={one["name"]: f"sha256:{one['sha256'].upper()}" for one in files})
        assert codes(line, "a", manifest=path) == []

    def test_another_id_in_the_adapter(self, line: Line) -> None:
        folder(line.folder / "a", document=config(lora_contract_id="sha256:else"))
        assert codes(line, "a", manifest=manifest(line)) == ["contract_id_mismatch"]

    def test_an_id_of_version_1_is_read_and_not_verified(self, line: Line) -> None:
        folder(line.folder / "a", document=config(lora_contract_id="sha256:old"))
        path = manifest(line, contract={"schema_version": 1, "id": "sha256:old"})
        found = report(line, "a", manifest=path)["contract"]
        assert (found["id_verdict"], found["status"]) == ("unverifiable", "pass")

    def test_a_declared_format_that_is_not_the_default(self, line: Line) -> None:
        folder(line.folder / "a")
        path = manifest(line, dialect="json")
        assert codes(line, "a", manifest=path) == []
        assert "contract_tool_format_declared" in codes(line, "a", manifest=path, severity="note")
        assert codes(line, "a", manifest=path, tool_format="json") == []
        assert codes(line, "a", manifest=path, tool_format="native") == ["contract_tool_format_mismatch"]

    def test_version_3_must_say_which_modules(self, line: Line) -> None:
        folder(line.folder / "a")
        path = manifest(line, contract={"schema_version": 3})
        assert codes(line, "a", manifest=path) == [
            "contract_target_modules_mismatch",
            "contract_modules_to_save_mismatch",
        ]

    def test_all_linear_is_what_the_library_wrote_out(self, line: Line) -> None:
        path = manifest(line, contract={"target_modules": {"policy": "all_linear", "modules": ["all-linear"]}})
        assert report(line, PEFT / "all-linear", manifest=path)["contract"]["target_modules_match"] is True
        assert report(line, PEFT / "plain", manifest=path)["contract"]["target_modules_match"] is None


class TestLinks:
    def test_a_link_that_leads_elsewhere(self, line: Line) -> None:
        secret = line.write("{}", "secret.json")
        adapter = folder(line.folder / "a")
        (adapter / "adapter_config.json").unlink()
        (adapter / "adapter_config.json").symlink_to(secret)
        assert codes(line, "a") == ["config_missing", "file_refused"]

    def test_links_in_a_circle(self, line: Line) -> None:
        adapter = folder(line.folder / "a")
        (adapter / "adapter_model.bin").symlink_to("adapter_model.bin")
        assert codes(line, "a") == ["file_refused"]
        (line.folder / "round").symlink_to("round")
        with pytest.raises(Refused):
            report(line, "round")

    def test_a_snapshot_of_the_hubs_cache_links_to_its_blobs(self, line: Line) -> None:
        snapshot = line.folder / "models--org--sql" / "snapshots" / ("a" * 40)
        blobs = line.folder / "models--org--sql" / "blobs"
        folder(blobs)
        snapshot.mkdir(parents=True)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            (blobs / file).rename(blobs / f"blob-of-{file}")
            (snapshot / file).symlink_to(f"../../blobs/blob-of-{file}")
        assert report(line, snapshot, name="sql")["ok"]

    def test_a_pipe_is_never_opened(self, line: Line) -> None:
        adapter = folder(line.folder / "a")
        (adapter / "adapter_model.safetensors").unlink()
        os.mkfifo(adapter / "adapter_model.safetensors")
        assert codes(line, "a") == ["file_refused", "weights_missing"]
        os.mkfifo(line.folder / "pipe")
        with pytest.raises(Refused):
            report(line, "pipe")


class TestDamagedWeights:
    """What cannot be read is not hashed either: it may be as large as a disk."""

    def test_they_have_no_hash(self, line: Line) -> None:
        (folder(line.folder / "a") / "adapter_model.safetensors").write_bytes(b"stub")
        files = {one["name"]: one["sha256"] for one in report(line, "a")["adapter"]["files"]}
        assert files["adapter_model.safetensors"] is None
        assert len(files["adapter_config.json"]) == 64

    def test_a_manifest_that_names_them_is_not_met(self, line: Line) -> None:
        (folder(line.folder / "a") / "adapter_model.safetensors").write_bytes(b"stub")
        path = manifest(line, artifacts={"adapter_model.safetensors": "0" * 64})
        assert codes(line, "a", manifest=path) == ["weights_unreadable", "artifact_missing"]

    @pytest.mark.parametrize("name", ["adapter_model.bin", "a.pt", "a.PTH"])
    def test_a_pickle_by_any_ending_is_never_opened(self, name: str, line: Line) -> None:
        adapter = folder(line.folder / "a")
        (adapter / "adapter_model.safetensors").rename(adapter / name)
        assert codes(line, f"a/{name}", severity="warning")[0] == "weights_pickle"
        assert report(line, f"a/{name}")["weights"] is None


@pytest.mark.parametrize(
    "raw",
    [
        raw_safetensors({}), raw_safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        raw_safetensors("{"), b"\xff" * 32, b"",
    ],
)  # fmt: skip
def test_weights_that_are_none(raw: bytes, line: Line) -> None:
    (folder(line.folder / "a") / "adapter_model.safetensors").write_bytes(raw)
    assert set(codes(line, "a")) & {"weights_unreadable", "no_pairs"}
