"""One operator, one file, one store: install, in sync, drift, repair, evict; and what is not ours stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from reconciler.servers.mirror import Mirror
from tests.doubles.ollama_model import tiny_gguf
from tests.e2e.rig import (
    CHAT,
    DEAD,
    SMOL_NAME,
    Machine,
    fetch,
    free_port,
    sha256_of,
    tiny_name,
    tiny_slot,
    wait_for,
)  # fmt: skip


def test_a_real_model_arrives_verified_and_then_it_is_in_sync(real_machine: Machine, model: Path) -> None:
    lab = real_machine
    lab.write(CHAT)
    lab.run("plan")
    pending = lab.plan("--detailed-exitcode", expect=2)
    assert pending.rows() == [("install", "missing", SMOL_NAME)]
    assert pending.data["applicable"]
    assert pending.data["summary"]["bytesDown"] == model.stat().st_size
    assert not lab.store.exists(), "plan changes nothing"
    assert not (lab.root / "state").exists()

    applied = lab.apply()
    assert "Done: 1 of 1 steps; a second look agrees." in applied.out
    assert sha256_of(lab.store / SMOL_NAME) == sha256_of(model)
    assert lab.partials() == []
    in_sync = lab.run("plan", "--detailed-exitcode")
    assert in_sync.out.splitlines()[-1] == "In sync: 1 kept."

    files, record = lab.files(), lab.record()
    again = lab.apply("--json")
    assert [line["type"] for line in again.lines] == ["version", "report"]
    assert (lab.files(), lab.record()) == (files, record), "a second apply changes nothing"

    assert lab.plan("--offline", "--detailed-exitcode").rows() == []
    lab.endpoint = DEAD
    lab.in_sync()
    lab.in_sync("--offline")
    assert "In sync" in lab.run("status").out


def test_a_real_llama_server_loads_what_was_installed(real_machine: Machine, llama_server: str) -> None:
    lab, port = real_machine, free_port()
    lab.write(CHAT)
    lab.apply()
    (where,) = lab.run("which", "chat", "--json").data
    path = Path(where["path"])
    assert path == lab.store / SMOL_NAME
    assert path.is_file()
    log = lab.root / "llama.log"
    with log.open("wb") as sink:
        arguments = ["-m", str(path), "--host", "127.0.0.1", "--port", str(port), "-c", "512", "-t", "2"]
        server = subprocess.Popen([llama_server, *arguments], stdout=sink, stderr=sink, cwd=lab.root)
    try:
        base = f"http://127.0.0.1:{port}"
        wait_for(lambda: fetch(f"{base}/health")["status"] == "ok", lambda: log.read_text(errors="replace"))
        said = fetch(f"{base}/completion", {"prompt": "The capital of France is", "n_predict": 8, "temperature": 0})
        assert "Paris" in said["content"]
        lab.write()
        lab.write(fuses={"allowEmpty": True})
        if sys.platform == "linux":  # the only one that tells which files are open
            assert lab.plan("--detailed-exitcode").rows("deferred") == [("keep", "in-use", SMOL_NAME)]
            lab.apply()
            assert lab.names() == [SMOL_NAME], "never a model in use"
            assert server.poll() is None
    finally:
        server.terminate()
        server.wait()
    lab.apply()
    assert lab.names() == []


def test_a_file_removed_by_hand_is_drift_and_comes_back(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    machine.apply()
    kept = machine.files()[tiny_name("beta")]
    (machine.store / tiny_name("alpha")).unlink()
    seen = machine.plan("--detailed-exitcode", expect=2)
    assert seen.rows() == [("install", "drifted", tiny_name("alpha"))]
    assert [(one["kind"], one["name"]) for one in seen.data["drift"]] == [("missing", tiny_name("alpha"))]
    assert "someone removed it" in machine.run("plan").out
    assert "missing" in machine.run("status").out
    machine.apply()
    machine.in_sync()
    assert machine.files()[tiny_name("beta")] == kept


def test_a_file_changed_by_hand_is_fetched_again_and_a_touched_one_is_not(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    machine.apply()
    path = machine.store / tiny_name("alpha")
    original = sha256_of(path)

    os.utime(path, (1_700_000_000, 1_700_000_000))
    machine.in_sync()
    before = machine.files()
    machine.apply()
    assert machine.files() == before

    with path.open("r+b") as file:  # as many bytes as before: only the digest tells
        file.seek(-1, os.SEEK_END)
        file.write(b"\0" if path.read_bytes()[-1] else b"\1")
    seen = machine.plan("--detailed-exitcode", expect=2)
    assert seen.rows() == [("update", "drifted", tiny_name("alpha"))]
    assert [one["kind"] for one in seen.data["drift"]] == ["content-changed"]
    machine.apply()
    assert sha256_of(path) == original
    machine.in_sync()


def test_a_slot_removed_is_evicted_and_nothing_else(machine: Machine, machine_at: Callable[..., Machine]) -> None:
    foreign = machine.store / "somebody" / "else" / "own.gguf"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(tiny_gguf(50_000, seed=9))
    loose = machine.store / "notes.txt"
    loose.write_text("not a model")
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    other = machine.write(tiny_slot("gamma"), file="other.yaml", name="other")
    machine.apply()
    machine.apply("-f", other)
    before = machine.files()

    machine.write(tiny_slot("beta"))
    assert machine.plan("--detailed-exitcode", expect=2).rows() == [("evict", "not-desired", tiny_name("alpha"))]
    machine.apply()
    del before[tiny_name("alpha")]
    assert machine.files() == before
    assert loose.read_text() == "not a model"
    machine.in_sync()
    machine.in_sync("-f", other)
    assert (machine.owned(), machine.owned("other")) == ({tiny_name("beta")}, {tiny_name("gamma")})
    listed = machine.run("status").out
    assert "own.gguf" in listed


def test_the_last_model_is_not_evicted_by_accident(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    machine.apply()
    before = machine.files()
    machine.write()
    refused = machine.run("plan", "--detailed-exitcode", expect=4)
    assert "allowEmpty" in refused.out
    failed = machine.apply(expect=4)
    assert "allowEmpty" in failed.out + failed.err
    assert machine.files() == before
    machine.write(fuses={"allowEmpty": True})
    machine.apply()
    assert machine.names() == []
    machine.in_sync()


def test_two_documents_want_one_model_in_one_folder(machine: Machine) -> None:
    """Who installed it owns it; for the other document it is a foreign model that fills its slot."""
    machine.write(tiny_slot("alpha"))
    other = machine.write(tiny_slot("alpha"), tiny_slot("beta"), file="other.yaml", name="other")
    machine.apply()
    machine.apply("-f", other)
    assert machine.owned("other") == {tiny_name("beta")}
    assert machine.plan("-f", other).rows("kept")[0] == ("keep", "unmanaged-match", tiny_name("alpha"))
    machine.write(tiny_slot("beta"), file="other.yaml", name="other")
    machine.apply("-f", other)
    assert machine.names() == [tiny_name("alpha"), tiny_name("beta")]
    machine.in_sync()


def test_another_file_of_the_same_name_is_refused_until_it_takes_over(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    copy = machine.write(tiny_slot("alpha"), file="copy.yaml")
    machine.apply()
    assert machine.run("plan", "-f", copy, "--json", expect=1).error["code"] == "record-conflict"
    assert machine.run("apply", "-f", copy, "--yes", expect=1).err.count("--take-over") == 1
    machine.apply("-f", copy, "--take-over")
    machine.in_sync("-f", copy)
    assert machine.run("plan", "--json", expect=1).error["code"] == "record-conflict"


def test_which_prints_a_path_that_exists(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    empty = machine.run("which", "alpha", "--json", expect=None)
    assert empty.code != 0, empty.text
    machine.apply()
    assert str(machine.store / tiny_name("alpha")) in machine.run("which", "alpha").out
    (found,) = machine.run("which", "slot/alpha[0]", "--json").data
    assert Path(found["path"]).is_file()
    assert found["target"] == "box"
    unknown = machine.run("which", "nonsense", "--json", expect=None)
    assert unknown.code in (1, 64)
    assert "alpha" in unknown.out, "the slots that there are"


def test_the_hub_can_be_another_machines_store(
    real_machine: Machine, machine_at: Callable[..., Machine], tiny_hub: Mirror
) -> None:
    """The mirror as an operator runs it: from the command line, over a store that apply filled."""
    first = machine_at("first", tiny_hub.url)
    first.write(tiny_slot("alpha"))
    first.apply()
    with first.running("mirror", "--dir", str(first.store), "--json") as mirror:
        line = mirror.until(lambda line: "http://" in line)
        url = "http://" + line.partition("http://")[2].split()[0].strip('",')
        second = machine_at("second", url)
        second.write(tiny_slot("alpha"))
        second.apply()
    assert sha256_of(second.store / tiny_name("alpha")) == sha256_of(first.store / tiny_name("alpha"))
