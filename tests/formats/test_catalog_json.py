import json
import string
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from reconciler.domain.catalog import (
    Architecture,
    Attention,
    BenchmarkObservation,
    Build,
    CatalogModel,
    Catalogue,
    CatalogueSource,
    Repository,
)
from reconciler.formats.catalog_json import catalogue_from_json, catalogue_to_json

words = st.text(string.printable + "é漢", max_size=6)
wholes = st.integers(0, 2**62)
maybe = st.none() | wholes
days = st.dates()
attentions = st.builds(
    Attention, words, maybe, maybe, maybe, maybe, maybe, maybe, maybe, maybe, maybe, wholes, wholes, st.booleans(),
    st.lists(st.tuples(wholes, wholes), max_size=2).map(tuple), words,
)  # fmt: skip
architectures = st.builds(
    Architecture, st.none() | words, maybe, maybe, maybe, maybe, maybe, maybe, maybe, maybe, st.none() | attentions
)  # fmt: skip
plain = st.builds(Build, words, wholes, st.booleans())
full = st.builds(
    Build, words, wholes, st.booleans(), st.lists(words, max_size=2).map(tuple), st.lists(words, max_size=2).map(tuple),
    st.none() | st.booleans(),
)  # fmt: skip
repositories = st.builds(
    Repository, words, st.lists(plain | full, max_size=3).map(tuple), words, st.booleans(),
    st.sampled_from(["gguf", "mlx", "safetensors"]),
)  # fmt: skip
models = st.builds(
    CatalogModel, words, words, words, words, maybe, maybe, maybe, architectures, maybe, st.none() | words,
    st.none() | days, st.lists(st.tuples(words, st.lists(words, max_size=2).map(tuple)), max_size=2).map(tuple),
    st.lists(repositories, max_size=2).map(tuple), st.none() | words, wholes, wholes, wholes,
    st.lists(words, max_size=2).map(tuple),
)  # fmt: skip
observations = st.builds(
    BenchmarkObservation, words, words, st.floats(allow_nan=False, allow_infinity=False), words, words, days,
    st.sampled_from(["direct", "variant", "base", "interpolated", "self-reported"]),
    st.none() | words, st.none() | words, st.none() | words,
)  # fmt: skip
catalogues = st.builds(
    Catalogue, st.lists(models, max_size=3).map(tuple), st.lists(observations, max_size=3).map(tuple), days,
    st.sampled_from(["bundled", "cached", "live", "fallback"]), st.lists(words, max_size=2).map(tuple),
    st.lists(st.builds(CatalogueSource, words, words, words, days, words), max_size=2).map(tuple),
)  # fmt: skip


@given(catalogues)
@settings(deadline=None)
def test_round_trip_is_exact(catalogue):
    text = catalogue_to_json(catalogue)
    assert catalogue_from_json(text) == catalogue
    assert catalogue_from_json(text.encode()) == catalogue
    assert catalogue_to_json(catalogue_from_json(text)) == text


@given(catalogues)
@settings(deadline=None, max_examples=40)
def test_pydantic_round_trips_the_same_values(catalogue):
    adapter = TypeAdapter(Catalogue)
    assert adapter.validate_json(adapter.dump_json(catalogue, by_alias=True)) == catalogue


EXAMPLE = Catalogue(
    models=(
        CatalogModel(
            "Qwen/Qwen3-8B", "qwen", "3", "general", 8_190_000_000, None, 8_190_000_000,
            Architecture("qwen3", 36, 4096, 32, 8, 128, 151936, None, None, Attention("swa", window=5)), 40960, "apache-2.0",
            date(2025, 4, 28), (("tools", ("xinference",)),),
            (Repository("Qwen/Qwen3-8B-GGUF", (Build("Q4_K_M", 5, exact=False),), "list"),), "qwen3:8b",
        ),
    ),
    observations=(BenchmarkObservation("Qwen/Qwen3-8B", "mmlu", 1.5, "0-100", "board", date(2025, 1, 1)),),
    generated_at=date(2026, 1, 1),
    origin="bundled",
)  # fmt: skip


def json_paths(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from json_paths(child, (*path, key))


def replaced(document, path, value):
    document = json.loads(json.dumps(document))
    if not path:
        return value
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


DOCUMENT = json.loads(catalogue_to_json(EXAMPLE))


@given(
    st.sampled_from(list(json_paths(DOCUMENT))),
    st.sampled_from([None, True, -1, 2.5, "x", [], {}, [[]], {"a": 1}, 10**9, 10**400]),
)
@settings(max_examples=400, deadline=None)
def test_a_damaged_document_is_refused_or_still_well_typed(path, value):
    text = json.dumps(replaced(DOCUMENT, path, value))
    try:
        catalogue = catalogue_from_json(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - both outcomes are fine, another exception is not
        return
    TypeAdapter(Catalogue).validate_json(TypeAdapter(Catalogue).dump_json(catalogue))


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("formatVersion",), 2, "formatVersion is not 1"),
        (("models", 0, 4), "8", r"models\[0\]: value 4 is '8'"),
        (("models", 0, 10), "yesterday", r"models\[0\]: Invalid isoformat"),
        (("models", 0, 7, 9, "window"), "wide", r"models\[0\]: attention.window is 'wide'"),
        (("observations", "value", 0), None, "observations: a value is not a finite number with"),
        (("origin",), "invented", "origin: 'invented' is not one of"),
        (("texts",), {}, "texts: not a list"),
    ],
)
def test_the_reason_names_the_place(path, value, place):
    with pytest.raises(ValueError, match=place):
        catalogue_from_json(json.dumps(replaced(DOCUMENT, path, value)))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\xff\xfe\x00", "[" * 100_000])
def test_not_a_document(text):
    with pytest.raises(ValueError, match=r"JSON|formatVersion"):
        catalogue_from_json(text)
