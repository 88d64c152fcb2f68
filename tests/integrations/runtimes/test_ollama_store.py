from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.names import OllamaName
from reconciler.integrations.runtimes.ollama_store import look, store_directories
from tests.doubles.ollama_rig import small
from tests.doubles.ollama_store import Name, Store

MODEL = small(1, size=9_000, parameters={"num_ctx": 8192})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "models")
    store.put("tiny:1b", MODEL)
    return store


def test_a_manifest_tells_layers_weights_and_context(store):
    (manifest,) = look(store.root).manifests
    assert manifest.name.canonical == "tiny:1b"
    assert manifest.digest == MODEL.digest
    assert dict(manifest.layers) == {blob.digest: blob.size for blob in MODEL.blobs}
    assert manifest.blobs == (MODEL.weights.digest,)
    assert manifest.context == 8192


def test_partial_files_count_what_is_allocated(store):
    partial = store.blobs / ("sha256-" + "a" * 64 + "-partial")
    with partial.open("wb") as file:
        file.write(b"x" * 8192)
        file.truncate(10**9)
    assert 8192 <= look(store.root).partial_bytes < 10**6


def test_orphans_are_what_nothing_refers_to(store):
    assert look(store.root).orphan_bytes == 0
    store.add_blob(b"z" * 500, "x")
    assert look(store.root).orphan_bytes == 500


def test_a_name_that_shares_everything_frees_nothing(store):
    store.write(Name.parse("copy:1b"), MODEL.manifest)
    view = look(store.root)
    assert view.freed_by(OllamaName.parse("copy:1b")) == 0
    assert view.freed_by(OllamaName.parse("TINY:1b")) == 0
    assert view.freed_by(OllamaName.parse("other")) is None


def test_it_is_the_servers_directory_only_when_it_holds_what_is_listed(store, tmp_path):
    view = look(store.root)
    assert view.holds([MODEL.digest])
    assert not view.holds([MODEL.digest, "0" * 64])
    assert not view.holds([]), "a server that lists nothing does not have this directory"
    assert look(Store(tmp_path / "empty").root).holds([])


def test_no_directory_is_none(tmp_path):
    assert look(tmp_path / "missing") is None
    (tmp_path / "manifests").mkdir()
    assert look(tmp_path) is None, "half a directory"


@settings(max_examples=60)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["config", "layers", "digest", "size", "mediaType"]), inner)
        ),
        max_leaves=8,
    ).map(lambda document: json.dumps(document).encode())
)
def test_any_damaged_manifest_makes_the_directory_untold_and_never_fails(tmp_path_factory, raw):
    store = Store(tmp_path_factory.mktemp("damaged"))
    store.write(Name.parse("x:y"), raw)
    view = look(store.root)
    assert view is None or len(view.manifests) == 1


def test_a_huge_manifest_is_not_read(store):
    store.path(Name.parse("tiny:1b")).write_bytes(b" " * 3_000_000)
    assert look(store.root) is None


def test_directories_are_tried_most_explicit_first():
    found = store_directories({"OLLAMA_MODELS": "/data/models", "HOME": "/home/me"})
    assert found == (Path("/data/models"), Path("/home/me/.ollama/models"), Path("/usr/share/ollama/.ollama/models"))
    assert len(store_directories({})) == 1
