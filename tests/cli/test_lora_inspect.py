"""``lora inspect`` as it is typed: the origin's behaviours under its dialect, ours without it, and every view."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.lora.contract import Contract
from tests.cli.line import Answer, Line
from tests.lora_files import PEFT, TINY, config, folder, gguf_adapter, pairs

BASE = "acme/tiny-llama"
MLX = Path(__file__).parents[1] / "lora" / "mlx"
VLLM = ("--base", BASE, "--provider", "vllm")
WIDE = dict.fromkeys(("q_proj", "v_proj"), (32, 32))


def inspect(line: Line, adapter: object, *more: str, ours: bool = True) -> Answer:
    arguments = [*(() if "--base" in more else VLLM), *([] if ours else ["--dialect", "harn"]), *more]
    return line("lora", "inspect", str(adapter), *arguments)


def report(line: Line, adapter: object, *more: str, ours: bool = True) -> dict[str, Any]:
    answer = inspect(line, adapter, *more, "--json", ours=ours)
    found = answer.envelope
    assert answer.code == (0 if found["ok"] else 1)
    return found["data"] or found["error"]["details"]


def codes(line: Line, adapter: object, *more: str, severity: str = "error", ours: bool = True) -> list[str]:
    found = report(line, adapter, *more, ours=ours)["findings"]
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


def id_of(path: str) -> str:
    return json.loads(Path(path).read_text())["contract"]["id"]


class TestAsTheOrigin:
    """Its tests, by what they show. Its adapters were stubs of four bytes; these have weights."""

    def test_a_local_peft_directory(self, line: Line) -> None:
        adapter = folder(
            line.folder / "sql",
            document=config(base_model_name_or_path="other/tiny-llama", r=16),
            tensors=pairs("q_proj", "v_proj", rank=16),
        )
        found = report(line, adapter, ours=False)
        assert found["ok"]
        assert (found["adapter"]["peft_type"], found["adapter"]["rank"]) == ("LORA", 16)
        assert found["base"]["tool_format"] == "json"
        assert found["tool_calling"]["native_tools"] is False
        assert found["compatibility"]["base_model_match"] == "suffix"
        assert found["compatibility"]["provider_supports_lora_launch"] is True
        assert found["compatibility"]["provider_supports_lora_max_rank"] is True
        argv = found["launch"]["harn_local_launch"]
        assert argv == [
            "harn", "local", "launch", BASE, "--provider", "vllm", "--model-source", "other/tiny-llama",
            "--lora-adapter", f"sql={adapter}", "--max-lora-rank", "16",
        ]  # fmt: skip

    def test_a_provider_without_lora_flags(self, line: Line) -> None:
        found = report(line, folder(line.folder / "a"), "--base", BASE, "--provider", "openai", ours=False)
        assert found["ok"]
        assert (found["launch"]["max_lora_rank"], found["launch"]["harn_local_launch"]) == (None, [])
        assert any("openai" in one for one in found["warnings"])

    def test_another_base_is_a_mismatch(self, line: Line) -> None:
        found = report(line, folder(line.folder / "a", document=config(base_model_name_or_path="x/y")), ours=False)
        assert not found["ok"]
        assert found["compatibility"]["base_model_match"] == "mismatch"

    def test_warnings_stand_in_its_order(self, line: Line) -> None:
        adapter = folder(line.folder / "a", document=config(peft_type="LOHA", base_model_name_or_path="x/y"))
        (adapter / "adapter_model.safetensors").unlink()
        more = ("--base", BASE, "--provider", "openai", "--manifest", manifest(line, contract={"provider": "tgi"}))
        assert [one["code"] for one in report(line, "a", *more, ours=False)["findings"]] == [
            "weights_missing", "peft_type_not_lora", "base_mismatch", "runtime_no_lora", "contract_provider_mismatch",
            "contract_tool_format_mismatch", "contract_id_wrong", "adapter_contract_id_missing",
        ]  # fmt: skip
        (adapter / "adapter_config.json").unlink()
        assert codes(line, "a", ours=False) == ["config_missing", "weights_missing"]
        remote = report(line, "x/remote", "--base", BASE, "--provider", "openai", ours=False)["findings"]
        assert [one["code"] for one in remote] == ["remote_adapter", "runtime_no_lora"]

    def test_the_same_last_name_is_no_warning(self, line: Line) -> None:
        folder(line.folder / "a", document=config(base_model_name_or_path="other/tiny-llama"))
        assert "base_suffix" not in codes(line, "a", severity="warning", ours=False)
        assert "base_suffix" in codes(line, "a", severity="warning")

    def test_a_contract_for_the_same_last_name_is_met(self, line: Line) -> None:
        folder(line.folder / "a", document=config(lora_contract_id="sha256:x"))
        path = manifest(
            line, dialect="json", contract={"base_model": "other/tiny-llama", "id": "sha256:x", "schema_version": 1}
        )
        contract = report(line, "a", "--manifest", path, ours=False)["contract"]
        assert (contract["base_model_match"], contract["status"]) == ("suffix", "pass")

    def test_names_are_compared_as_they_are_written(self, line: Line) -> None:
        folder(line.folder / "a", document=config(base_model_name_or_path=f"{BASE}-GGUF"))
        assert codes(line, "a", ours=False) == ["base_mismatch"]
        assert codes(line, "a") == []

    def test_the_fields_of_the_report_stand_in_its_order(self, line: Line) -> None:
        found = report(line, folder(line.folder / "a"), "--manifest", manifest(line), ours=False)
        assert list(found)[:8] == [
            "ok",
            "base",
            "adapter",
            "contract",
            "compatibility",
            "tool_calling",
            "launch",
            "warnings",
        ]
        assert list(found["base"]) == [
            "selector",
            "id",
            "provider",
            "resolved_alias",
            "tool_format",
            "tier",
            "family",
            "lineage",
            "catalog_name",
            "context_window",
        ]
        assert list(found["adapter"])[:15] == [
            "input", "name", "local_path", "exists", "config_found", "config_path", "weights_found", "peft_type", "task_type",
            "base_model_name_or_path", "rank", "lora_alpha", "target_modules", "modules_to_save", "contract_id",
        ]  # fmt: skip
        assert list(found["compatibility"])[:4] == [
            "base_model_match",
            "provider_supports_lora_launch",
            "provider_supports_lora_max_rank",
            "provider_lora_module_value_format",
        ]
        assert list(found["contract"])[:13] == [
            "manifest_path", "contract_id", "adapter_contract_id", "status", "base_model_match", "provider_matches", "tool_format_matches",
            "adapter_name_matches", "target_modules_match", "modules_to_save_matches", "require_adapter_contract_id", "manifest", "warnings",
        ]  # fmt: skip

    def test_a_manifest_that_matches(self, line: Line) -> None:
        path = manifest(line, dialect="json")
        adapter = folder(line.folder / "a", document=config(harn_lora_contract_id=id_of(path)))
        found = report(line, adapter, "--manifest", path, ours=False)
        assert (found["contract"]["status"], found["contract"]["base_model_match"], found["contract"]["warnings"]) == (
            "pass",
            "exact",
            [],
        )

    def test_a_required_contract_id_that_is_missing(self, line: Line) -> None:
        path = manifest(line, dialect="json")
        answer = inspect(
            line, folder(line.folder / "a"), "--manifest", path, "--require-contract-id", "--json", ours=False
        )
        assert answer.code == 1
        assert answer.error["code"] == "lora-inspect-failed"
        details = answer.error["details"]
        assert details["contract"]["status"] == "fail"
        assert any("missing" in one for one in details["contract"]["warnings"])

    def test_without_it_the_same_is_a_warning(self, line: Line) -> None:
        path = manifest(line, dialect="json")
        found = report(line, folder(line.folder / "a"), "--manifest", path, ours=False)
        assert (found["ok"], found["contract"]["status"]) == (True, "warn")

    def test_the_human_view(self, line: Line, snapshot: SnapshotAssertion) -> None:
        answer = inspect(line, folder(line.folder / "sql-tools"), ours=False)
        assert answer.code == 0
        assert line.stable(answer.out) == snapshot

    def test_the_human_view_has_no_launch_for_a_provider_without_it(self, line: Line) -> None:
        answer = inspect(line, folder(line.folder / "a"), "--base", BASE, "--provider", "openai", ours=False)
        assert "launch:" not in answer.out

    def test_the_human_line_of_a_manifests_route(self, line: Line) -> None:
        answer = inspect(line, folder(line.folder / "a"), "--manifest", manifest(line, dialect="json"), ours=False)
        assert "  contract route: base=exact provider=match tool_format=match adapter=not_checked\n" in answer.out

    def test_a_format_that_is_not_the_default_fails(self, line: Line) -> None:
        found = codes(line, folder(line.folder / "a"), "--manifest", manifest(line, dialect="native"), ours=False)
        assert found == ["contract_tool_format_mismatch"]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "code", "exit_code"),
        [
            (["a", "--require-contract-id"], "usage", 64),
            (["a", "--base-config", "x", "--base-gguf", "y"], "usage", 64),
            ([" "], "usage", 64),
            (["a", "--tool-format", "xml"], "usage", 64),
            (["a", "--manifest", "nowhere.json"], "not-readable", 1),
            (["a", "--manifest", "a"], "not-readable", 1),
            (["a", "--manifest", "text"], "manifest-invalid", 1),
            (["a", "--manifest", "empty.json"], "manifest-invalid", 1),
            (["a", "--base-config", "nowhere"], "not-readable", 1),
            (["a", "--base-config", "text.json"], "base-invalid", 1),
            (["a", "--base-config", "list.json"], "base-invalid", 1),
            (["a", "--base-gguf", "text"], "base-invalid", 1),
            (["broken"], "adapter-invalid", 1),
            (["deep"], "adapter-invalid", 1),
            (["latin"], "adapter-invalid", 1),
        ],
    )
    def test_what_cannot_be_read_is_said(self, arguments: list[str], code: str, exit_code: int, line: Line) -> None:
        folder(line.folder / "a")
        for name, text in (("text", "no JSON"), ("text.json", "no JSON"), ("empty.json", "{}"), ("list.json", "[]")):
            line.write(text, name)
        for name, raw in (("broken", b"{"), ("deep", b'{"r":' * 50_000), ("latin", b'{"r": "\xe9"}')):
            (folder(line.folder / name) / "adapter_config.json").write_bytes(raw)
        answer = inspect(line, *arguments, "--json")
        assert (answer.error["code"], answer.code) == (code, exit_code)
        assert answer.error["message"]

    def test_a_config_that_is_no_object(self, line: Line) -> None:
        (folder(line.folder / "a") / "adapter_config.json").write_text("[]")
        assert inspect(line, "a", "--json").error["code"] == "adapter-invalid"


class TestHostile:
    """What an adapter says of itself may be meant for the terminal of whoever looks at it."""

    def test_nothing_of_it_is_obeyed_and_no_line_is_forged(self, line: Line) -> None:
        words = "x\x1b]0;title\x07\n  launch:\u202e"
        document = config(
            base_model_name_or_path=words, peft_type=words, target_modules=[words], lora_contract_id=words
        )
        folder(line.folder / "a", document=document)
        text = inspect(line, "a").out
        assert all(letter.isprintable() for letter in text.replace("\n", ""))
        assert text.count("\n  launch:") == 0, "it could not be served, and what it says of itself makes no line"
        assert "x�]0;title�   launch:�" in text

    def test_a_base_configuration_that_is_too_large(self, line: Line) -> None:
        folder(line.folder / "a")
        line.write(json.dumps(TINY) + " " * 2**20, "config.json")
        answer = inspect(line, "a", "--base-config", "config.json", "--json")
        assert (answer.error["code"], "larger than" in answer.error["message"]) == ("base-invalid", True)

    @pytest.mark.parametrize("flag", ["--base-config", "--manifest", "--lockfile"])
    def test_files_that_are_nested_too_deep(self, flag: str, line: Line) -> None:
        folder(line.folder / "a")
        line.write('{"a":' * 50_000, "deep.json")
        assert "nested too deep" in inspect(line, "a", flag, "deep.json", "--json").error["message"]

    def test_what_cannot_be_read_has_a_hint(self, line: Line) -> None:
        folder(line.folder / "a")
        assert "path is right" in inspect(line, "a", "--manifest", "nowhere.json").err


class TestLockfile:
    def test_other_weights_under_the_same_contract(self, line: Line) -> None:
        folder(line.folder / "a")
        lock = ("--lockfile", "adapters.lock.json")
        assert codes(line, "a", *lock) == ["lock_missing"]
        assert report(line, "a", *lock, "--update-lockfile")["ok"]
        before = (line.folder / "adapters.lock.json").read_bytes()
        assert codes(line, "a", *lock) == []
        changed = pairs("q_proj", "v_proj")
        changed[next(iter(changed))][0, 0] = 5.0
        folder(line.folder / "a", changed)
        assert codes(line, "a", *lock) == ["lock_files_differ"]
        assert (line.folder / "adapters.lock.json").read_bytes() == before
        assert inspect(line, "a", *lock, "--update-lockfile").code == 0
        assert codes(line, "a", *lock) == []

    def test_other_bytes_of_a_pickle(self, line: Line) -> None:
        adapter, lock = folder(line.folder / "a"), ("--lockfile", "lock.json")
        (adapter / "adapter_model.safetensors").unlink()
        (adapter / "adapter_model.bin").write_bytes(b"one")
        assert inspect(line, "a", *lock, "--update-lockfile").code == 0
        assert codes(line, "a", *lock) == []
        (adapter / "adapter_model.bin").write_bytes(b"two")
        assert codes(line, "a", *lock) == ["lock_files_differ"]

    def test_what_has_no_files_is_never_accepted(self, line: Line) -> None:
        lock = ("--lockfile", "lock.json")
        assert codes(line, "acme/sql", *lock, "--update-lockfile") == ["lock_nothing"]
        assert not (line.folder / "lock.json").exists()
        nothing = {"base": BASE, "contractId": None, "files": []}
        line.write(json.dumps({"formatVersion": 1, "adapters": {"sql": nothing}}), "lock.json")
        assert codes(line, "acme/sql", *lock) == ["lock_nothing"], "nor does a lockfile without files bind one"

    def test_base_contract_and_files_are_compared(self, line: Line) -> None:
        adapter = folder(line.folder / "a")
        lock = ("--lockfile", "lock.json")
        inspect(line, "a", *lock, "--update-lockfile")
        assert codes(line, "a", *lock, "--base", "x/tiny-llama", "--provider", "vllm") == ["lock_base_differs"]
        (adapter / "adapter_config.json").write_text(json.dumps(config(lora_contract_id="sha256:x")))
        assert codes(line, "a", *lock) == ["lock_contract_differs", "lock_files_differ"]

    def test_what_is_wrong_is_not_accepted(self, line: Line) -> None:
        folder(line.folder / "a", document=config(r=8))
        assert inspect(line, "a", "--lockfile", "lock.json", "--update-lockfile").code == 1
        assert not (line.folder / "lock.json").exists()

    def test_others_stay_in_it(self, line: Line) -> None:
        for name in ("b", "a"):
            folder(line.folder / name)
            inspect(line, name, "--lockfile", "lock.json", "--update-lockfile")
        assert list(json.loads((line.folder / "lock.json").read_text())["adapters"]) == ["a", "b"]

    @pytest.mark.parametrize("text", ["{", "[]", '{"formatVersion": 2}', '{"formatVersion": 1, "adapters": {"a": 1}}'])
    def test_another_file_is_never_overwritten(self, text: str, line: Line) -> None:
        folder(line.folder / "a")
        line.write(text, "lock.json")
        answer = inspect(line, "a", "--lockfile", "lock.json", "--update-lockfile", "--json")
        assert (answer.code, answer.error["code"]) == (1, "lockfile-invalid")
        assert (line.folder / "lock.json").read_text() == text

    def test_it_needs_a_name_and_a_place(self, line: Line) -> None:
        folder(line.folder / "a")
        assert inspect(line, "a", "--update-lockfile").code == 64
        answer = inspect(line, "a", "--lockfile", "no/such/lock.json", "--update-lockfile", "--json")
        assert answer.error["code"] == "file-unwritable"


def test_the_whole_view(line: Line, snapshot: SnapshotAssertion) -> None:
    line.write(json.dumps(TINY), "config.json")
    path = manifest(line, target={"adapter_name": "sql-tools"}, artifacts={"adapter_config.json": "0" * 64})
    folder(line.folder / "sql-tools", pairs("q_proj", "v_proj", rank=8), config(use_rslora=True))
    answer = inspect(line, "sql-tools", "--manifest", path, "--base-config", ".", "--require-contract-id")
    assert answer.code == 1
    assert line.stable(answer.out) == snapshot


def test_a_good_adapter(line: Line, snapshot: SnapshotAssertion) -> None:
    line.write(json.dumps(TINY), "config.json")
    folder(line.folder / "sql-tools")
    answer = inspect(line, "sql-tools", "--base-config", ".")
    assert answer.code == 0
    assert line.stable(answer.out) == snapshot


def test_a_name_only_the_runtime_knows(line: Line, snapshot: SnapshotAssertion) -> None:
    answer = inspect(line, "org/sql-tools", "--base", "Qwen/Qwen3-8B")
    assert answer.code == 0
    assert line.stable(answer.out) == snapshot


def test_a_base_is_needed(line: Line) -> None:
    answer = line("lora", "inspect", "org/sql-tools")
    assert answer.code == 64
    assert "--base" in answer.err
    inferred = line("lora", "inspect", "org/sql-tools", "--base", "Qwen/Qwen3-8B", "--json")
    assert inferred.data["base"]["provider"] == "vllm"


def test_an_adapter_of_our_own_export_passes(line: Line) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    messages = [
        {"role": "user", "content": "go"}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"}, {"role": "assistant", "content": "done"},
    ]  # fmt: skip
    line.write(json.dumps({"messages": messages, "tools": [{"type": "function", "function": tool}]}) + "\n", "c.jsonl")
    made = ("--corpus", "c.jsonl", "--out", "o.jsonl", "--manifest", "m.json", "--adapter-name", "sql")
    assert line("lora", "export", *VLLM, *made, "--target-modules", "v_proj,q_proj").code == 0
    folder(line.folder / "sql", document=config(lora_contract_id=id_of("m.json")))
    found = report(line, "sql", "--manifest", "m.json", "--require-contract-id")["contract"]
    assert (found["status"], found["idVerdict"], found["targetModulesMatch"]) == ("pass", "verified", True)


class TestValues:
    """What peft refuses, or takes for something else."""

    def test_each_is_named_with_its_value(self, line: Line, snapshot: SnapshotAssertion) -> None:
        document = config() | {
            "r": "four", "lora_alpha": [1], "target_modules": 5, "use_dora": "maybe", "base_model_name_or_path": {"a": 1},
        }  # fmt: skip
        folder(line.folder / "a", document=document)
        answer = inspect(line, "a")
        assert answer.code == 1
        assert "does not say the rank" not in answer.out
        assert answer.out == snapshot

    @pytest.mark.parametrize(
        ("changes", "told"),
        [({"r": -4}, "r is -4, not a"), ({"r": True}, "r is true, not a"), ({"rank_pattern": {"q": "8"}}, "rank_pattern is {")],
    )  # fmt: skip
    def test_a_rank_that_is_none(self, line: Line, changes: dict[str, object], told: str) -> None:
        folder(line.folder / "a", document=config(**changes))
        answer = inspect(line, "a", "--json")
        assert answer.error["code"] == "lora-inspect-failed"
        assert told in answer.error["message"]

    def test_a_byte_order_mark(self, line: Line) -> None:
        place = folder(line.folder / "a") / "adapter_config.json"
        place.write_bytes(b"\xef\xbb\xbf" + place.read_bytes())
        assert "byte order mark" in inspect(line, "a", "--json").error["message"]

    @pytest.mark.parametrize("place", ["/nope", "./nope", "../nope", "~/nope"])
    def test_a_path_at_which_nothing_is(self, line: Line, place: str) -> None:
        ours = inspect(line, place, "--json")
        assert (ours.code, ours.error["details"]["findings"][0]["code"]) == (1, "adapter_not_found")
        found = report(line, place, "--base", BASE, ours=False)["findings"]
        assert "remote_adapter" in [one["code"] for one in found]


def test_a_rank_that_only_the_configuration_tells(line: Line) -> None:
    text = inspect(line, PEFT / "both-stacks").out
    assert "rank: 2 by its configuration" in text, "pairs over a stack of experts do not tell theirs"


def test_a_gguf_adapter_as_a_person_reads_it(line: Line, snapshot: SnapshotAssertion) -> None:
    gguf_adapter(line.folder / "sql.gguf", "llama", {"blk.0.attn_q.weight": (16, 16), "blk.1.attn_q.weight": (16, 16)})
    answer = inspect(line, "sql.gguf", "--base", BASE, "--provider", "llamacpp")
    assert (answer.code, line.stable(answer.out)) == (0, snapshot)
    assert "flag for the largest rank" in answer.out, "also where no configuration tells a rank"


def test_an_mlx_adapter_as_a_person_reads_it(line: Line, snapshot: SnapshotAssertion) -> None:
    shutil.copytree(MLX / "plain", line.folder / "sql")
    answer = inspect(line, "sql", "--base", BASE, "--provider", "mlx")
    assert line.stable(answer.out) == snapshot
    assert "alpha_missing" not in answer.out, "MLX has a scale instead"
