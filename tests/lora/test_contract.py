"""Contract ids: the specification's vectors, and what is read of manifests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.lora.contract import (
    Contract,
    TargetModules,
    ToolCatalog,
    contract_from_json,
    module_names,
    target_modules_for,
    tool_catalog_of,
    verify,
)

FENCES = "harn_text_tool_calls_json_fences"
GEMMA = Contract("gemma-4-e4b-it", "vllm", "json", FENCES, FENCES)
V2 = "sha256:0baadb7b416b7e9d11515ad440738a7e6004a1b587f170dd7cc076a25b9e11ee"
V3 = "sha256:78e11b976087b00b8f558240b9b230ef10364a78c880ef1e5f902fcaec9e9393"


def manifest(contract: Contract, **changes: Any) -> dict[str, Any]:
    """The ``contract`` object of a manifest of this contract."""
    tools = contract.tool_catalog
    return {
        "schema_version": contract.schema_version,
        "id": contract.id,
        "base_model": contract.base_model,
        "provider": contract.provider,
        "harn_tool_format": contract.harn_tool_format,
        "dataset_format": contract.dataset_format,
        "chat_template": contract.chat_template,
        "target_modules": {
            "policy": contract.target_modules.policy,
            "modules": list(contract.target_modules.modules),
        },
        "training_contract": {
            "tool_catalog": {"policy": tools.policy, "catalog_id": tools.id, "catalog_hash": tools.hash},
            "peft_save_policy": {"modules_to_save": list(contract.modules_to_save)},
        },
        **changes,
    }


def test_the_vector_of_version_2() -> None:
    assert replace(GEMMA, schema_version=2).id == V2


def test_the_vector_of_version_3_which_is_what_is_written() -> None:
    assert (GEMMA.schema_version, GEMMA.id) == (3, V3)


def test_keys_stand_in_the_order_of_the_schema_without_blanks() -> None:
    text = (
        '{"schema_version":3,"base_model":"bäse","provider":"vllm","harn_tool_format":"native","dataset_format":"d",'
        '"chat_template":null,"target_module_policy":"explicit","target_modules":["q","v"],"modules_to_save":["head"],'
        '"tool_catalog_policy":"compressed_names","tool_catalog_id":"tools","tool_catalog_hash":null}'
    )
    found = Contract(
        "bäse", "vllm", "native", "d", None, TargetModules("explicit", ("q", "v")), ("head",),
        ToolCatalog("compressed_names", "tools"),
    )  # fmt: skip
    assert found.id == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_nobody_can_compute_version_1() -> None:
    with pytest.raises(ValueError, match="version 1"):
        _ = replace(GEMMA, schema_version=1).id


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model": "x"},
        {"provider": "sglang"},
        {"harn_tool_format": "text"},
        {"dataset_format": "x"},
        {"chat_template": None},
        {"target_modules": TargetModules("explicit", ("all-linear",))},
        {"target_modules": TargetModules("all_linear", ("q_proj",))},
        {"modules_to_save": ("lm_head",)},
        {"tool_catalog": ToolCatalog("full_schema", "x")},
        {"tool_catalog": ToolCatalog("full_schema", None, "x")},
        {"tool_catalog": ToolCatalog("compressed_names")},
    ],
)
def test_every_field_changes_the_id(changes: dict[str, Any]) -> None:
    assert replace(GEMMA, **changes).id != V3


class TestVerify:
    @pytest.mark.parametrize("version", [2, 3])
    def test_an_id_of_its_own_fields_is_verified(self, version: int) -> None:
        contract = replace(GEMMA, schema_version=version)
        found = verify(manifest(contract))
        assert (found.verdict, found.schema_version, found.claimed, found.computed) == (
            "verified",
            version,
            contract.id,
            contract.id,
        )

    def test_an_id_of_other_fields_is_a_mismatch(self) -> None:
        found = verify(manifest(GEMMA, provider="sglang"))
        assert (found.verdict, found.claimed) == ("mismatch", V3)
        assert found.computed == replace(GEMMA, provider="sglang").id

    def test_version_1_is_unverifiable_and_says_what_to_do(self) -> None:
        found = verify(manifest(GEMMA, schema_version=1, id="sha256:old"))
        assert (found.verdict, found.schema_version, found.claimed, found.computed) == (
            "unverifiable",
            1,
            "sha256:old",
            None,
        )
        assert "export again" in str(found.reason)

    @pytest.mark.parametrize("version", [None, 0, 4, "3", 3.0, True])
    def test_another_version_is_unverifiable(self, version: object) -> None:
        assert verify(manifest(GEMMA, schema_version=version)).verdict == "unverifiable"

    @pytest.mark.parametrize("claimed", [None, "", 3])
    def test_a_contract_without_an_id_is_unverifiable(self, claimed: object) -> None:
        found = verify(manifest(GEMMA, id=claimed))
        assert (found.verdict, found.claimed, found.computed) == ("unverifiable", None, V3)

    @pytest.mark.parametrize(
        "changes",
        [
            {"base_model": None},
            {"provider": 1},
            {"chat_template": []},
            {"target_modules": None},
            {"target_modules": ["q_proj"]},
            {"target_modules": {"policy": "explicit", "modules": "q_proj"}},
            {"training_contract": None},
            {"training_contract": {"tool_catalog": {"policy": 1}}},
            {"training_contract": {"tool_catalog": {"policy": "full_schema", "catalog_id": 1}}},
            {"training_contract": {"peft_save_policy": {"modules_to_save": [1]}, "tool_catalog": {"policy": "x"}}},
        ],
    )
    def test_a_field_that_is_missing_or_of_another_type_is_unverifiable(self, changes: dict[str, Any]) -> None:
        document = manifest(GEMMA, **changes)
        assert contract_from_json(document) is None
        found = verify(document)
        assert (found.verdict, found.computed) == ("unverifiable", None)
        assert "version 3" in str(found.reason)

    def test_version_2_needs_no_modules(self) -> None:
        document = manifest(replace(GEMMA, schema_version=2))
        del document["target_modules"], document["training_contract"]
        assert verify(document).verdict == "verified"

    @given(
        st.dictionaries(
            st.sampled_from(list(manifest(GEMMA))),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                max_leaves=6,
            ),
        )
    )
    def test_any_document_has_a_verdict(self, changes: dict[str, Any]) -> None:
        found = verify(manifest(GEMMA) | changes)
        assert found.verdict in ("verified", "mismatch", "unverifiable")
        assert (found.reason is None) is (found.verdict == "verified")


_WORDS = st.text(min_size=1, max_size=20)


@given(
    words=st.tuples(_WORDS, _WORDS, _WORDS, _WORDS),
    template=st.none() | _WORDS,
    modules=st.lists(_WORDS, max_size=4),
    saved=st.lists(_WORDS, max_size=3),
    version=st.sampled_from([2, 3]),
)
def test_what_is_written_is_verified_again(
    words: tuple[str, str, str, str], template: str | None, modules: list[str], saved: list[str], version: int
) -> None:
    contract = Contract(
        *words, template, TargetModules("explicit", tuple(modules)), tuple(saved), schema_version=version
    )
    assert verify(json.loads(json.dumps(manifest(contract)))).verdict == "verified"


@pytest.mark.parametrize(
    ("method", "gemma4", "policy", "modules"),
    [
        ("qlora", False, "all_linear", ("all-linear",)),
        ("qlora", True, "all_linear", ("all-linear",)),
        ("lora", False, "route_default", ("q_proj", "k_proj", "v_proj", "o_proj")),
        ("lora", True, "route_default", ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
    ],
)
def test_target_modules_by_method_and_base(method: str, gemma4: bool, policy: str, modules: tuple[str, ...]) -> None:
    assert target_modules_for(method, is_gemma4=gemma4) == TargetModules(policy, modules)


def test_named_modules_are_split_trimmed_sorted_and_each_once() -> None:
    found = target_modules_for("qlora", is_gemma4=True, named=["v_proj, q_proj", "q_proj"])
    assert found == TargetModules("explicit", ("q_proj", "v_proj"))


@pytest.mark.parametrize("named", [["q_proj,"], [""], ["a,,b"], [" "]])
def test_an_empty_name_is_refused(named: list[str]) -> None:
    with pytest.raises(UsageError, match="--target-modules has an empty name"):
        module_names(named, "--target-modules")


@pytest.mark.parametrize(
    ("policy", "name", "digest", "found"),
    [
        ("full_schema", None, None, ToolCatalog()),
        (" Full_Schema ", " ", "", ToolCatalog()),
        ("compressed_names", "tools-v1", None, ToolCatalog("compressed_names", "tools-v1")),
        ("fixed_catalog_internalized", None, "sha256:1", ToolCatalog("fixed_catalog_internalized", None, "sha256:1")),
    ],
)
def test_tool_catalogues(policy: str, name: str | None, digest: str | None, found: ToolCatalog) -> None:
    assert tool_catalog_of(policy, name, digest) == found


@pytest.mark.parametrize(
    ("policy", "name", "message"),
    [
        ("other", None, "--tool-catalog-policy"),
        ("compressed_names", None, "says nothing without"),
        ("fixed_catalog_internalized", " ", "says nothing without"),
        ("full_schema", "two words", "--tool-catalog-id"),
    ],
)
def test_tool_catalogues_that_cannot_be(policy: str, name: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tool_catalog_of(policy, name, None)
