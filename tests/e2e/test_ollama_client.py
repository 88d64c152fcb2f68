"""The official ``ollama`` client against the double: a program we did not write breaks when the double is wrong."""

from __future__ import annotations

import hashlib

import ollama
import pytest

from tests.doubles.ollama import Faults, OllamaDouble
from tests.doubles.ollama_model import tiny_gguf
from tests.doubles.ollama_rig import small
from tests.doubles.registry_front_memory import MemoryRegistry

MODEL = small(1, parameters={"num_ctx": 8192})


@pytest.fixture
def double(tmp_path):
    with (
        MemoryRegistry() as registry,
        OllamaDouble(tmp_path / "models", registries={"registry.ollama.ai": registry.url}) as double,
    ):
        registry.add("library/tiny:1b", MODEL)
        yield double


@pytest.fixture
def client(double):
    client = ollama.Client(host=double.url)
    yield client
    client.close()


def test_pull_streams_its_progress_and_the_model_is_listed(client):
    said = list(client.pull("tiny:1b", stream=True))
    assert said[0].status == "pulling manifest"
    assert [line.status for line in said[-3:]] == ["verifying sha256 digest", "writing manifest", "success"]
    layers = {line.digest: line.total for line in said if line.digest}
    assert layers == {blob.digest: blob.size for blob in MODEL.blobs}
    (listed,) = client.list().models
    assert (listed.model, listed.digest, listed.size) == ("tiny:1b", MODEL.digest, MODEL.size)
    assert listed.details.quantization_level == "Q4_1"


def test_pull_at_once(client):
    assert client.pull("tiny:1b").status == "success"


def test_show_tells_the_model(client):
    client.pull("tiny:1b")
    shown = client.show("tiny:1b")
    assert MODEL.weights.digest.replace(":", "-") in shown.modelfile
    assert "num_ctx" in shown.parameters
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 2048
    assert "general.name" not in shown.modelinfo


def test_ps_lists_what_is_loaded_until_it_is_unloaded(client):
    client.pull("tiny:1b")
    assert client.generate("tiny:1b", keep_alive="5m").done_reason == "load"
    (running,) = client.ps().models
    assert (running.model, running.context_length) == ("tiny:1b", 8192)
    assert client.generate("tiny:1b", keep_alive=0).done_reason == "unload"
    assert list(client.ps().models) == []


def test_copy_and_delete_share_the_files(client, double):
    client.pull("tiny:1b")
    client.copy("tiny:1b", "mine/copy")
    assert {model.model for model in client.list().models} == {"tiny:1b", "mine/copy:latest"}
    assert len({model.digest for model in client.list().models}) == 1
    client.delete("tiny:1b")
    assert double.store.blob(MODEL.weights.digest).exists()
    client.delete("mine/copy")
    assert not double.store.blob(MODEL.weights.digest).exists()
    with pytest.raises(ollama.ResponseError) as raised:
        client.delete("tiny:1b")
    assert raised.value.status_code == 404


def test_an_error_in_the_stream_is_raised_by_the_client(client, double):
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        list(client.pull("nowhere:1b", stream=True))
    double.faults = Faults(no_space_after=60_000)
    with pytest.raises(ollama.ResponseError, match="no space left on device"):
        list(client.pull("tiny:1b", stream=True))


def test_a_blob_is_uploaded_and_created_from_rewritten(client, double, tmp_path):
    """Since 0.30 the stored weights have another digest than the upload, which stays behind (1.9)."""
    file = tmp_path / "mine.gguf"
    file.write_bytes(tiny_gguf(5_000, seed=4))
    digest = client.create_blob(file)
    assert digest == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert client.create("mine", files={"mine.gguf": digest}, parameters={"num_ctx": 4096}).status == "success"
    assert digest.replace(":", "-") not in client.show("mine").modelfile
    assert double.store.blob(digest).exists()


def test_creating_from_an_installed_model_shares_its_weights(client):
    client.pull("tiny:1b")
    lines = list(client.create("long", from_="tiny:1b", parameters={"num_ctx": 16384}, stream=True))
    assert lines[-1].status == "success"
    shown = client.show("long")
    assert MODEL.weights.digest.replace(":", "-") in shown.modelfile
    assert "16384" in shown.parameters


def test_a_derived_model_says_where_it_comes_from_and_what_it_shares(client, double):
    client.pull("tiny:1b")
    before = set(double.store.blobs.iterdir())
    lines = list(client.create("coder", from_="tiny:1b", parameters={"num_ctx": 2048}, stream=True))
    said = [line.status for line in lines]
    assert f"using existing layer {MODEL.weights.digest}" in said
    assert said[-2:] == ["writing manifest", "success"]
    assert client.show("coder").details.parent_model == "tiny:1b"
    assert client.show("tiny:1b").details.parent_model == ""
    assert sum(path.stat().st_size for path in set(double.store.blobs.iterdir()) - before) < 1000
    client.create("coder", from_="tiny:1b", parameters={"num_ctx": 1024})
    assert "1024" in client.show("coder").parameters
    client.delete("coder")
    assert set(double.store.blobs.iterdir()) == before, "what only the derived one had went with it"


def test_creating_from_a_model_that_is_not_installed_pulls_it(client, double):
    """What the reconciler never lets happen (1.9)."""
    assert client.create("coder", from_="tiny:1b").status == "success"
    assert double.pulled == ["tiny:1b"]


def test_chat_streams_and_answers_whole_and_loads_with_the_models_own_context(client):
    client.pull("tiny:1b")
    client.create("coder", from_="tiny:1b", parameters={"num_ctx": 2048})
    parts = list(client.chat("coder", [{"role": "user", "content": "?"}], stream=True))
    assert parts[-1].done
    assert [part.done for part in parts[:-1]] == [False] * (len(parts) - 1)
    whole = client.chat("coder", [{"role": "user", "content": "?"}])
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert (whole.message.role, whole.done_reason) == ("assistant", "stop")
    (running,) = client.ps().models
    assert (running.model, running.context_length) == ("coder:latest", 2048)


def test_a_name_that_moved_loads_its_new_weights_beside_the_old_ones(client, double, tmp_path):
    """What runs goes on with what it has open; whoever asks from then on gets the new (1.8)."""
    client.pull("tiny:1b")
    file = tmp_path / "other.gguf"
    file.write_bytes(tiny_gguf(6_000, seed=9))
    client.create("other", files={"other.gguf": client.create_blob(file)})
    client.create("coder", from_="tiny:1b")
    client.chat("coder", [{"role": "user", "content": "?"}])
    client.create("coder", from_="other")
    answer = client.chat("coder", [{"role": "user", "content": "?"}])
    assert MODEL.weights.digest not in (answer.message.content or "")
    assert [model.model for model in client.ps().models] == ["coder:latest", "coder:latest"]
    assert len({model.digest for model in client.ps().models}) == 2
    client.generate("tiny:1b", keep_alive=0)
    assert len(client.ps().models) == 1, "its weights are found by what is open, whatever the name"


def test_expiry_moves_in_a_first_use_stands_in_a_later_one_and_when_idle(client, double):
    """What tells in use from idle (1.8)."""
    client.pull("tiny:1b")

    def expiry():
        (running,) = client.ps().models
        return running.expires_at

    with double.in_flight("tiny:1b"):
        assert expiry() != expiry(), "first use"
    idle = expiry()
    assert idle == expiry()
    with double.in_flight("tiny:1b"):
        assert expiry() == idle, "a later use"
        assert client.generate("tiny:1b", keep_alive=0).done_reason == "unload"
        assert list(client.ps().models), "a request is finished first"
    assert list(client.ps().models) == []


def test_adapters_are_gone_from_newer_servers(client, double):
    client.pull("tiny:1b")
    double.version = "0.34.1"
    with pytest.raises(ollama.ResponseError) as raised:
        client.create("adapted", from_="tiny:1b", adapters={"a.gguf": "sha256:" + "0" * 64})
    assert raised.value.status_code == 400
