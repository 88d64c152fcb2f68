"""The commands that only look: they answer for any machine, with or without a file, and always with dates."""

from __future__ import annotations

import json

import pytest

from tests.cli.line import Line

OFFLINE = ("--offline", "--hardware", "rtx-4090")
FILE = (
    "localModels: {name: t, pool: {allowedOrgs: [Qwen], packagers: [ggml-org]}, targets: [{name: s, runtime: store}]}"
)


def test_suggest_without_a_file_shows_every_publisher_and_says_so(line: Line) -> None:
    found = line("suggest", *OFFLINE, "--json", "--top", "20").data
    assert found["policy"] == "everybody"
    assert len({row["modelId"].partition("/")[0] for row in found["rows"]}) > 2
    assert any("no file here" in note for note in found["notes"])
    assert "note: no file here" in line("suggest", *OFFLINE).err


def test_suggest_with_a_file_shows_what_it_allows(line: Line) -> None:
    line.write(FILE)
    found = line("suggest", *OFFLINE, "--json").data
    assert found["policy"].endswith("localmodels.yaml")
    assert {row["modelId"].partition("/")[0] for row in found["rows"]} == {"Qwen"}
    assert {row["packager"] for row in found["rows"]} <= {None, "ggml-org"}
    assert "unsloth" in {one["name"] for one in found["packagers"] if not one["allowed"] and one["models"]}


def test_suggest_gives_one_line_a_model_best_first(line: Line) -> None:
    found = line("suggest", *OFFLINE, "--top", "5", "--json").data
    assert len(found["rows"]) == 5
    assert len({row["modelId"] for row in found["rows"]}) == 5
    scores = [row["score"] for row in found["rows"]]
    assert scores == sorted(scores, reverse=True)
    for row in found["rows"]:
        assert row["low"] <= row["score"] <= row["high"]
        assert row["tokensPerSecondLow"] <= row["tokensPerSecond"] <= row["tokensPerSecondHigh"]
        assert row["context"] <= row["maxContext"] <= row["contextLength"]
        assert row["memoryBytes"] <= found["hardware"]["hardware"]["devices"][0]["memoryBytes"]
        assert row["evidence"] == "none" or row["evidenceDate"]
    assert found["catalogueDate"] in line("suggest", *OFFLINE).out


def test_suggest_all_says_why_not(line: Line) -> None:
    line.write(FILE)
    found = line("suggest", *OFFLINE, "--all", "--json").data
    reasons = {row["reason"] for row in found["rejected"]}
    assert {"publisher-not-allowed", "does-not-fit"} <= reasons
    assert all(row["message"] for row in found["rejected"])
    assert not {row["modelId"] for row in found["rejected"]} & {row["modelId"] for row in found["rows"]}
    assert "publisher-not-allowed" in line("suggest", *OFFLINE, "--all").out


def test_suggest_on_a_machine_where_nothing_fits(line: Line) -> None:
    line.write(FILE.replace("Qwen", "nobody"))
    text = line("suggest", *OFFLINE)
    assert text.code == 0
    assert "nothing that is allowed fits" in text.out


@pytest.mark.parametrize("profile", ["general", "coding", "reasoning", "vision", "embedding"])
def test_every_profile_has_a_ranking(line: Line, profile: str) -> None:
    assert line("suggest", *OFFLINE, "--profile", profile, "--json").data["rows"]


def test_the_first_of_every_profile_at_once(line: Line) -> None:
    found = line("suggest", *OFFLINE, "--profile", "all", "--json")
    rankings = found.data["rankings"]
    assert [one["profile"] for one in rankings] == ["general", "coding", "reasoning", "vision", "embedding"]
    assert {len(one["rows"]) for one in rankings} == {3}
    alone = line("suggest", *OFFLINE, "--profile", "coding", "--top", "3", "--json").data
    assert rankings[1] == alone
    text = line("suggest", *OFFLINE, "--profile", "all").out
    assert text.count("on NVIDIA GeForce RTX 4090") == 1
    assert f"coding, 3 of {alone['eligible']}" in text
    refused = line("suggest", *OFFLINE, "--profile", "all", "--chart", "out.svg", "--json")
    assert (refused.code, refused.error["message"]) == (64, "a chart is of one profile")


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen3-8B",
        "Qwen/Qwen3-8B-GGUF",
        "Qwen/Qwen3-8B-GGUF:Q4_K_M",
        "qwen/qwen3-8b@q4_k_m",
        "qwen3:8b",
        "Qwen3-8B",
    ],
)
def test_explain_takes_every_name_of_a_model(line: Line, name: str) -> None:
    found = line("explain", name, *OFFLINE, "--json").data
    assert found["modelId"] == "Qwen/Qwen3-8B"
    assert found["eligible"] is True
    if "4_k_m" in name.lower():
        assert found["quant"] == "Q4_K_M"
    if "GGUF" in name:
        assert found["repository"] == "Qwen/Qwen3-8B-GGUF"


def test_explain_gives_every_part_by_name(line: Line) -> None:
    found = line("explain", "Qwen/Qwen3-8B-GGUF:Q4_K_M", *OFFLINE, "--json").data
    memory = found["memory"]
    assert memory["kvBytesPerToken"] == 147_456
    parts = ("weightsBytes", "kvBytes", "stateBytes", "computeBytes", "overheadBytes")
    assert memory["totalBytes"] == sum(memory[part] for part in parts)
    assert 0 < found["quality"]["quantFactor"] <= 1
    assert all(part["source"] and part["observedAt"] for part in found["quality"]["parts"])
    assert found["speed"]["low"] <= found["speed"]["tokensPerSecond"] <= found["speed"]["high"]
    assert {(claim["name"], bool(claim["sources"])) for claim in found["capabilities"]} >= {("tools", True)}
    text = line("explain", "Qwen/Qwen3-8B-GGUF:Q4_K_M", *OFFLINE).out
    assert "147,456 bytes a token" in text


def test_explain_says_what_would_change_the_verdict(line: Line) -> None:
    machine = ("--offline", "--hardware", "rtx-3060-12gb", "--json")
    unfit = line("explain", "Qwen/Qwen3-8B-GGUF:Q8_0", "--context", "40960", *machine).data
    assert (unfit["eligible"], unfit["reason"]) == (False, "does-not-fit")
    most = unfit["memory"]["maxContext"]
    assert unfit["remedies"][0].startswith(f"it fits at {most} tokens, not at 40960: that needs ")
    assert any("is eligible" in remedy for remedy in unfit["remedies"])
    coarse = line("explain", "Qwen/Qwen3-8B:Q2_K", *OFFLINE, "--json").data
    assert coarse["reason"] == "quant-below-floor"
    assert any("quants: [" in remedy for remedy in coarse["remedies"])
    line.write(FILE)
    packaged = line("explain", "unsloth/Qwen3-8B-GGUF:Q4_K_M", *OFFLINE, "--json").data
    assert packaged["reason"] == "packager-not-allowed"
    assert "add unsloth to pool.packagers: it packages these files" in packaged["remedies"]
    line.write(FILE.replace("Qwen", "google"))
    closed = line("explain", "Qwen/Qwen3-8B", *OFFLINE, "--json").data
    assert "allow its publisher: localmodels pool allow-org Qwen" in closed["remedies"]
    assert "rejected for general (publisher-not-allowed)" in line("explain", "Qwen/Qwen3-8B", *OFFLINE).out


def test_explain_for_a_slot_of_the_file(line: Line) -> None:
    slots = "slots: [{name: coder, profile: coding, context: 8192, maxSize: 4GB}]"
    line.write(FILE.replace("targets:", f"{slots}, targets:"))
    found = line("explain", "Qwen/Qwen3-8B-GGUF:Q4_K_M", "--slot", "coder", *OFFLINE, "--json").data
    assert (found["slot"], found["profile"], found["context"]) == ("coder", "coding", 8192)
    assert found["reason"] == "too-large"
    text = line("explain", "Qwen/Qwen3-8B-GGUF:Q4_K_M", "--slot", "coder", *OFFLINE).out
    assert "rejected for slot coder (coding) (too-large)" in text
    assert "What would change that:\n  - let the slot take it: maxSize: 5.1GB\n" in text
    unknown = line("explain", "Qwen/Qwen3-8B", "--slot", "none", *OFFLINE, "--json")
    assert (unknown.code, unknown.error["hint"]) == (64, "there is coder")


def test_explain_of_an_unknown_name_gives_the_nearest(line: Line) -> None:
    unknown = line("explain", "Qwen/Qwen3-9B", "--offline", "--json")
    assert (unknown.code, unknown.error["code"]) == (64, "unknown-model")
    assert "did you mean" in unknown.error["hint"]
    assert line("explain", "Qwen/Qwen3-8B:Q9_Z", "--offline", "--json").error["code"] == "unknown-model"


def test_hardware(line: Line, snapshot: object) -> None:
    shown = [line("hardware", "--hardware", name).out for name in ("2x rtx-3090", "m3-max-36gb", "cpu-16gb")]
    assert "\n".join(shown) == snapshot


def test_hardware_can_be_taken_elsewhere(line: Line) -> None:
    machine = line("hardware", "--hardware", "rtx-4090", "--json")
    line.write(machine.out, "machine.json")
    again = line("hardware", "--hardware", "machine.json", "--json")
    assert again.data["hardware"]["devices"] == machine.data["hardware"]["devices"]
    unknown = line("hardware", "--hardware", "rtx-4091")
    assert unknown.code == 64
    assert "rtx-4090" in unknown.err


def test_hardware_of_this_machine(line: Line) -> None:
    assert line("hardware", "--fresh", "--json").data["hardware"]["ramBytes"] > 0


def test_catalog(line: Line) -> None:
    found = line("catalog", "--json").data
    assert found["models"] > 100
    assert found["addedObservations"] == 0
    text = line("catalog").out
    assert f"Catalogue of {found['generatedAt']}" in text
    assert "qwen" in text


def test_added_observations_count_in_every_later_ranking(line: Line) -> None:
    row = {"model": "Qwen/Qwen3-0.6B", "benchmark": "lmarena_text_style_control", "value": 1700, "scale": "elo"}
    document = {"formatVersion": 1, "source": "ours", "observedAt": "2026-11-20", "observations": [row]}
    line.write(json.dumps(document), "ours.json")
    name = "Qwen/Qwen3-0.6B"
    before = line("explain", name, *OFFLINE, "--json").data
    added = line("catalog", "refresh", "--benchmarks", "ours.json", "--json")
    assert added.data["addedObservations"] == 1
    assert "1 of them new" in added.err
    after = line("explain", name, *OFFLINE, "--json").data
    assert after["score"] > before["score"]
    assert "ours" in {part["source"] for part in after["quality"]["parts"]}
    again = line("catalog", "refresh", "--benchmarks", "ours.json")
    assert "0 of them new; 1 of yours" in again.err
    assert again.out.startswith("Changed: nothing.")
    assert len(again.out.splitlines()) == 3


def test_observations_that_are_wrong_are_refused_whole(line: Line) -> None:
    line.write('{"formatVersion": 1, "observations": [{"model": "x"}]}', "wrong.json")
    refused = line("catalog", "refresh", "--benchmarks", "wrong.json", "--json")
    assert (refused.code, refused.error["code"]) == (1, "benchmarks-invalid")
    assert refused.error["details"]["problems"]
    missing = line("catalog", "refresh", "--benchmarks", "none.json", "--json")
    assert missing.error["code"] == "file-unreadable"


def test_observations_of_models_nobody_knows_are_told_and_those_of_the_future_refused(line: Line) -> None:
    def document(model: str, day: str) -> str:
        row = {"model": model, "benchmark": "our-quiz", "value": 50.0}
        return json.dumps({"formatVersion": 1, "source": "ours", "observedAt": day, "observations": [row]})

    line.write(document("Qwen/Qwen3-0.66B", "2026-11-20"), "stranger.json")
    told = line("catalog", "refresh", "--benchmarks", "stranger.json").err
    assert "1 observation read" in told
    assert "the catalogue does not know Qwen/Qwen3-0.66B (did you mean Qwen/Qwen3-0.6B?)" in told
    line.write(document("Qwen/Qwen3-0.6B", "2099-11-01"), "future.json")
    refused = line("catalog", "refresh", "--benchmarks", "future.json", "--json")
    assert refused.error["code"] == "benchmarks-invalid"
    assert "2099-11-01" in refused.error["message"]


def test_added_observations_that_somebody_damaged_are_a_note(line: Line) -> None:
    data = line.folder.parent / "data"
    data.mkdir()
    (data / "benchmarks.json").write_text("{")
    found = line("suggest", *OFFLINE, "--json")
    assert found.code == 0
    assert any("cannot be read" in note for note in found.data["notes"])


def test_schema(line: Line) -> None:
    plain = json.loads(line("schema").out)
    assert plain == line("schema", "--json").data
    assert plain["$schema"].startswith("https://json-schema.org/")


def test_validate_counts_adapters(line: Line) -> None:
    line.write(
        """
localModels:
  slots: []
  targets: [{name: gpu, runtime: vllm, endpoint: "http://127.0.0.1:8000"}]
  adapters: [{name: sql, base: acme/x, source: {path: sql}, serve: [{target: gpu}]}]
"""
    )
    assert "0 slots, 1 target, 1 adapter" in line("validate").out
    assert line("validate", "--json").data["adapters"] == ["sql"]
