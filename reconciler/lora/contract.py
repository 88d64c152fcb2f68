"""The contract of an adapter: what it was trained for, as one id that anybody can compute again.

An id is ``sha256:`` and the digest of compact JSON, keys in the order of the schema. It covers the route, the data set
and, from version 2 and 3 on, what is trained beside and which modules. It does not cover weights, rank or names.

Source:
    section 4.5 of the specification of the origin's commands; its vectors are this module's tests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from reconciler.errors import UsageError

SCHEMA_VERSION = 3
"""What we write."""
FULL_SCHEMA = "full_schema"
TOOL_CATALOG_POLICIES = (FULL_SCHEMA, "compressed_names", "fixed_catalog_internalized")
ALL_LINEAR = "all-linear"
_GEMMA4_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_ATTENTION_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")

_V2 = (
    "schema_version", "base_model", "provider", "harn_tool_format", "dataset_format", "chat_template",
    "modules_to_save",
)  # fmt: skip
_V3 = (
    "schema_version", "base_model", "provider", "harn_tool_format", "dataset_format", "chat_template",
    "target_module_policy", "target_modules", "modules_to_save", "tool_catalog_policy", "tool_catalog_id",
    "tool_catalog_hash",
)  # fmt: skip
_KEYS = {2: _V2, 3: _V3}

Verdict = Literal["verified", "mismatch", "unverifiable"]


@dataclass(frozen=True, slots=True)
class TargetModules:
    """Which weights an adapter changes."""

    policy: str
    """``explicit`` · ``all_linear`` · ``route_default``."""
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolCatalog:
    """How the tools of a training set reach the model."""

    policy: str = FULL_SCHEMA
    id: str | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What an adapter was trained for."""

    base_model: str
    provider: str
    harn_tool_format: str
    dataset_format: str
    chat_template: str | None = None
    target_modules: TargetModules = TargetModules("all_linear", (ALL_LINEAR,))
    modules_to_save: tuple[str, ...] = ()
    tool_catalog: ToolCatalog = ToolCatalog()
    schema_version: int = SCHEMA_VERSION

    @property
    def id(self) -> str:
        """``sha256:`` and 64 hexadecimal digits.

        Raises:
            ValueError: the bytes of this schema version are not known.
        """
        keys = _KEYS.get(self.schema_version)
        if keys is None:
            raise ValueError(f"nobody can compute ids of contracts of version {self.schema_version}")
        return digest_of({key: self._values[key] for key in keys})

    @property
    def _values(self) -> dict[str, Any]:
        return {
            "schema_version": self.schema_version,
            "base_model": self.base_model,
            "provider": self.provider,
            "harn_tool_format": self.harn_tool_format,
            "dataset_format": self.dataset_format,
            "chat_template": self.chat_template,
            "target_module_policy": self.target_modules.policy,
            "target_modules": list(self.target_modules.modules),
            "modules_to_save": list(self.modules_to_save),
            "tool_catalog_policy": self.tool_catalog.policy,
            "tool_catalog_id": self.tool_catalog.id,
            "tool_catalog_hash": self.tool_catalog.hash,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether an id is that of the contract it stands in."""

    verdict: Verdict
    schema_version: int | None
    claimed: str | None
    computed: str | None
    """None: it cannot be computed."""
    reason: str | None = None
    """Why it is unverifiable or differs."""


def digest_of(document: Any) -> str:
    """``sha256:`` of compact JSON, keys as they stand."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def contract_from_json(contract: Mapping[str, Any]) -> Contract | None:
    """The ``contract`` object of a manifest; None: a field that its id needs is missing, or of another type."""
    version = contract.get("schema_version")
    if type(version) is not int or version not in _KEYS:
        return None
    base, provider, tool_format, dataset = (
        _text(contract.get(key)) for key in ("base_model", "provider", "harn_tool_format", "dataset_format")
    )
    training = _mapping(contract.get("training_contract"))
    saved = _strings(_mapping(training.get("peft_save_policy")).get("modules_to_save"))
    template = contract.get("chat_template")
    if base is None or provider is None or tool_format is None or dataset is None or saved is None:
        return None
    if not isinstance(template, str | None):
        return None
    found = Contract(base, provider, tool_format, dataset, template, modules_to_save=saved, schema_version=version)
    return _with_version_3(found, contract, training) if version == SCHEMA_VERSION else found


def _with_version_3(found: Contract, contract: Mapping[str, Any], training: Mapping[str, Any]) -> Contract | None:
    target, tools = _mapping(contract.get("target_modules")), _mapping(training.get("tool_catalog"))
    policy, modules = _text(target.get("policy")), _strings(target.get("modules"))
    catalog, name, digest = _text(tools.get("policy")), tools.get("catalog_id"), tools.get("catalog_hash")
    if policy is None or modules is None or catalog is None:
        return None
    if not isinstance(name, str | None) or not isinstance(digest, str | None):
        return None
    return replace(
        found, target_modules=TargetModules(policy, modules), tool_catalog=ToolCatalog(catalog, name, digest)
    )


def verify(contract: Mapping[str, Any]) -> Verification:
    """Whether the ``id`` of a manifest's ``contract`` object is the one its own fields give.

    Version 1 is ``unverifiable``: nobody wrote down its bytes.
    """
    version, claimed = contract.get("schema_version"), contract.get("id")
    known = version if type(version) is int else None
    name = claimed if isinstance(claimed, str) and claimed else None
    found = contract_from_json(contract)
    if name is None:
        computed = found.id if found else None
        return Verification("unverifiable", known, None, computed, "the contract has no id")
    if found is None:
        return Verification("unverifiable", known, name, None, _why_not(version, known))
    if found.id == name:
        return Verification("verified", known, name, found.id)
    return Verification("mismatch", known, name, found.id, "the fields of the contract give another id")


def _why_not(version: object, known: int | None) -> str:
    if known == 1:
        return "ids of version 1 cannot be computed again: export again for one that can"
    if known in _KEYS:
        return f"a field that an id of version {known} is made of is missing or of another type"
    return f"contracts of version {version!r} are not known"


def target_modules_for(method: str, *, is_gemma4: bool, named: Iterable[str] = ()) -> TargetModules:
    """Which weights to train: those that were named, else what suits the method and the base.

    Args:
        method: ``qlora`` or ``lora``.
        is_gemma4: the base is of Gemma 4.
        named: values of ``--target-modules``, each one name or several with commas.

    Raises:
        UsageError: a name is empty.
    """
    explicit = module_names(named, "--target-modules")
    if explicit:
        return TargetModules("explicit", explicit)
    if method == "qlora":
        return TargetModules("all_linear", (ALL_LINEAR,))
    return TargetModules("route_default", _GEMMA4_MODULES if is_gemma4 else _ATTENTION_MODULES)


def module_names(named: Iterable[str], flag: str) -> tuple[str, ...]:
    """Names from repeated, comma-separated values: trimmed, each once, sorted.

    Raises:
        UsageError: a name is empty.
    """
    words = [word.strip() for text in named for word in text.split(",")]
    if not all(words):
        raise UsageError(f"{flag} has an empty name", hint="write names with commas between, such as q_proj,v_proj")
    return tuple(sorted(set(words)))


def tool_catalog_of(policy: str, catalog_id: str | None, catalog_hash: str | None) -> ToolCatalog:
    """The tool catalogue of a contract.

    Raises:
        UsageError: an unknown policy, an id with blanks, or a policy that needs an id or a hash and has neither.
    """
    word = policy.strip().lower()
    if word not in TOOL_CATALOG_POLICIES:
        raise UsageError(
            f"--tool-catalog-policy is {policy!r}", hint=f"write one of {', '.join(TOOL_CATALOG_POLICIES)}"
        )
    name, digest = (catalog_id or "").strip() or None, (catalog_hash or "").strip() or None
    if name is not None and any(letter.isspace() for letter in name):
        raise UsageError(f"--tool-catalog-id is {catalog_id!r}: an id has no blanks in it")
    if word != FULL_SCHEMA and name is None and digest is None:
        raise UsageError(
            f"--tool-catalog-policy {word} says nothing without the catalogue it means",
            hint="give --tool-catalog-id or --tool-catalog-hash",
        )
    return ToolCatalog(word, name, digest)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _strings(value: object) -> tuple[str, ...] | None:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        return None
    return tuple(value)
