import copy
import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.formats.seed_snapshot import seed_catalogue

SEED = json.loads((Path(__file__).parent / "seed_snapshot.json").read_text())
TODAY = date(2026, 6, 1)


def test_three_rows_keep_their_names_and_values():
    catalogue = seed_catalogue(SEED)
    assert (catalogue.origin, catalogue.generated_at, catalogue.notes) == ("bundled", date(2026, 5, 28), ())
    assert [(m.lineage, m.generation, m.params, m.ollama_tag) for m in catalogue.models] == [
        ("qwen", "3", 32_000_000_000, "qwen3:32b"),
        ("deepseek-r1", "", 32_000_000_000, "deepseek-r1:32b"),
        ("llama", "3", 70_000_000_000, "llama3.3:70b"),
    ]
    assert [(o.model, o.value, o.evidence, o.observed_at) for o in catalogue.observations] == [
        ("Qwen/Qwen3-32B-GGUF", 64.2, "base", date(2026, 5, 1)),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B-GGUF", 67.8, "variant", date(2026, 4, 22)),
        ("meta-llama/Llama-3.3-70B-Instruct-GGUF", 71.0, "direct", date(2026, 3, 15)),
    ]


def test_an_empty_list_of_models_is_valid():
    assert seed_catalogue({**SEED, "models": []}).origin == "bundled"


def test_optional_keys_of_the_wrong_type_are_left_out():
    document = copy.deepcopy(SEED)
    document["models"][0]["ollamaName"] = 7
    document["models"][0]["activeB"] = "3"
    model = seed_catalogue(document).models[0]
    assert (model.ollama_tag, model.active_params) == (None, None)
    document["models"][0]["activeB"] = float("inf")
    assert seed_catalogue(document).models[0].active_params is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d.update(version=2), "version"),
        (lambda d: d.update(source="other"), "source"),
        (lambda d: d.update(generatedAt=None), "generatedAt"),
        (lambda d: d.update(models={}), "models"),
        (lambda d: d["models"][1].pop("family"), "models[1].family"),
        (lambda d: d["models"][2].update(sizeB="70"), "models[2].sizeB"),
        (lambda d: d["models"][2].update(sizeB=1e300), "models[2].sizeB"),
        (lambda d: d["models"][0]["observations"][0].update(value=True), "models[0].observations[0].value"),
        (lambda d: d["models"][0]["observations"][0].update(evidence="sure"), "models[0].observations[0].evidence"),
    ],
)
def test_any_flaw_rejects_the_whole_and_names_the_place(change, place):
    document = copy.deepcopy(SEED)
    change(document)
    catalogue = seed_catalogue(document, today=TODAY)
    assert (catalogue.origin, catalogue.models, catalogue.generated_at) == ("fallback", (), TODAY)
    assert f"{place}: " in catalogue.notes[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["version", "models", "source"]) | st.text(), inner)
    ),
    max_leaves=10,
)


@given(JSON)
def test_never_raises(document):
    assert seed_catalogue(document, today=TODAY).origin in {"bundled", "fallback"}
