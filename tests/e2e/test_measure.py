"""The real model, the real llama-server: what it did here goes before what was estimated, for this machine alone."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.doubles.ollama_model import tiny_gguf
from tests.e2e.rig import Machine, tiny_name, tiny_slot, wait_for

NAME = "unsloth/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q4_K_M.gguf"
SLOT = {"name": "chat", "profile": "general"}
QUICK = ("--runs", "2", "--context", "512")
ANSWERING_SECONDS = 3.0
"""Of processors: the small model is long loaded by then, and far from twenty runs."""
GONE_SECONDS = 3.0


@pytest.fixture
def lab(machine: Machine, model: Path) -> Machine:
    """A machine with the real model in its store, put there by somebody, under the name of a build that is known."""
    path = machine.store / NAME
    path.parent.mkdir(parents=True)
    shutil.copyfile(model, path)
    machine.write(SLOT, pool={"packagers": ["unsloth", "bartowski"]})
    return machine


def holders(lab: Machine) -> list[psutil.Process]:
    """Servers that hold this machine's model, and what supervises them."""
    found = psutil.process_iter(["cmdline"])
    return [one for one in found if str(lab.store / NAME) in (one.info["cmdline"] or [])]


def servers(lab: Machine) -> list[str]:
    """Command lines of servers that hold this machine's model."""
    return [" ".join(one.info["cmdline"]) for one in holders(lab)]


def processor_seconds(lab: Machine) -> float:
    """What the busiest of them has used."""
    used = 0.0
    for one in holders(lab):
        with suppress(psutil.NoSuchProcess):
            used = max(used, sum(one.cpu_times()[:2]))
    return used


def test_a_real_model_is_measured_and_every_later_estimate_knows_it(lab: Machine, llama_server: str) -> None:
    asked = "HuggingFaceTB/SmolLM2-135M-Instruct:Q4_K_M"
    before = lab.run("explain", asked, "--offline", "--json").data["speed"]
    kept = lab.files()

    found = lab.run("measure", "--json", "--llama-server", llama_server, *QUICK).data
    (row,) = found["rows"]
    measured = row["measurement"]
    assert (row["state"], row["modelId"], measured["quant"]) == (
        "measured",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Q4_K_M",
    )
    assert measured["decodeTokensPerSecond"] > 1
    assert measured["slowest"] <= measured["decodeTokensPerSecond"] <= measured["fastest"]
    assert (measured["context"], measured["runs"]) == (512, 2)
    assert measured["promptTokens"] > 100
    # the weights, a cache of 512 tokens and the buffers; or the whole process, where the server logs no sizes
    assert 98_000_000 < measured["loadedBytes"] < 400_000_000

    assert servers(lab) == []
    assert lab.files() == kept
    assert sorted(path.name for path in (lab.root / "state").iterdir()) == [
        "measurements.json",
        "measurements.lock",
        "measuring.lock",
    ]
    on_disk = json.loads((lab.root / "state" / "measurements.json").read_text())
    assert on_disk["measurements"] == [measured]

    after = lab.run("explain", asked, "--offline", "--json").data["speed"]
    assert (before["basis"], after["basis"]) == ("estimated", "measured")
    assert after["measuredAt"] == measured["measuredAt"][:10]
    assert (before["prefillBasis"], after["prefillBasis"]) == ("estimated", "measured")
    assert 0.3 < after["tokensPerSecond"] / measured["decodeTokensPerSecond"] < 1, "deeper, so slower"
    elsewhere = lab.run("explain", asked, "--offline", "--json", "--hardware", "rtx-4090").data["speed"]
    assert elsewhere["basis"] == "estimated"

    saved = lab.root / "seen.json"
    lab.run("observe", "--offline", "--out", saved)
    (carried,) = json.loads(saved.read_text())["observation"]["measurements"]
    assert carried["decodeTokensPerSecond"] == measured["decodeTokensPerSecond"]
    here = lab.run("plan", "--offline", "--json").data
    (lab.root / "state" / "measurements.json").unlink()
    there = lab.run("plan", "--observation", saved, "--json").data
    assert there["kept"] == here["kept"], "a saved observation plans the same, whatever was measured since"


def test_a_signal_leaves_no_server_and_nothing_measured(lab: Machine, llama_server: str) -> None:
    with lab.running("measure", "--llama-server", llama_server, "--runs", "20") as running:
        running.until(lambda line: "measuring unsloth/" in line)
        wait_for(lambda: servers(lab), lambda: running.text)
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.code == 130
    assert "nothing is left running" in ran.err
    assert servers(lab) == []
    assert not (lab.root / "state" / "measurements.json").exists()


@pytest.mark.parametrize("used", [0.0, ANSWERING_SECONDS], ids=["as it starts", "as it answers"])
def test_a_kill_that_nobody_can_catch_leaves_no_server_either(lab: Machine, llama_server: str, used: float) -> None:
    with lab.running("measure", "--llama-server", llama_server, "--runs", "20") as running:
        wait_for(lambda: servers(lab) and processor_seconds(lab) >= used, lambda: running.text)
        running.signal(signal.SIGKILL)
        assert running.end().code == -signal.SIGKILL
    wait_for(lambda: not servers(lab), lambda: f"still there: {servers(lab)}", GONE_SECONDS)
    assert not (lab.root / "state" / "measurements.json").exists()

    again = lab.run("measure", "--json", "--llama-server", llama_server, *QUICK).data
    assert [row["state"] for row in again["rows"]] == ["measured"], "no lock of the dead one stands in the way"


def test_a_file_that_is_no_model_failed_and_the_others_were_measured(lab: Machine, llama_server: str) -> None:
    broken = lab.store / tiny_name("alpha")
    broken.parent.mkdir(parents=True)
    broken.write_bytes(tiny_gguf(100_000))
    lab.write(SLOT, tiny_slot("alpha"))
    ran = lab.run("measure", "--llama-server", llama_server, "--runs", "1", expect=3)
    assert "Failed:" in ran.out
    assert "llama-server does not load acme/alpha-GGUF" in ran.out
    assert "1 model measured" in ran.out
    assert servers(lab) == []


def test_without_a_server_it_says_how_and_loads_nothing(lab: Machine) -> None:
    nothing = lab.root / "no-such-program"
    ran = lab.run("measure", "--llama-server", nothing, expect=64)
    assert "install llama.cpp, or name its server: --llama-server PATH" in ran.err
    assert not (lab.root / "state").exists()
