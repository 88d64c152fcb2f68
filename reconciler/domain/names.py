"""Names as registries, the Hub and the file spell them: parsed, shown, compared, searched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

OLLAMA_LIBRARY = "ollama-library"
"""The packager that stands for the Ollama library's own tags."""
HUB_HOSTS = ("hf.co", "huggingface.co")
"""The hosts an Ollama pulls repositories of the Hub from."""

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_REPO_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class OllamaName:
    """``[host/][namespace/]model[:tag]`` with its defaults filled in; every part as it was spelled.

    Source:
        model names as Ollama 0.33.0-rc2 reads and prints them.

    >>> OllamaName.parse("llama3.2").canonical
    'llama3.2:latest'
    >>> OllamaName.parse("hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M").host
    'hf.co'
    """

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> OllamaName:
        """The name, with defaults for what is left out. A leading ``http://`` or ``https://`` is dropped.

        Raises:
            ValueError: a part is empty, too long, or has a character that its place does not allow.
        """
        body = re.sub(r"^https?://", "", text.strip(), flags=re.IGNORECASE)
        head, slash, last = body.rpartition("/")
        model, colon, tag = last.partition(":")
        if colon and not tag:
            raise ValueError(f"{text!r} ends in ':' without a tag; write a tag or leave the colon out")
        host, namespace = DEFAULT_HOST, DEFAULT_NAMESPACE
        if slash:
            outer, has_host, namespace = head.rpartition("/")
            host = outer if has_host else DEFAULT_HOST
        if "/" in host:
            raise ValueError(f"{text!r} has too many parts; write [host/][namespace/]model[:tag]")
        name = cls(host, namespace, model, tag or DEFAULT_TAG)
        name._check(text)
        return name

    def _check(self, text: str) -> None:
        for part, shape, what in (
            (self.host, _HOST, "host"),
            (self.namespace, _NAMESPACE, "namespace"),
            (self.model, _PART, "model"),
            (self.tag, _PART, "tag"),
        ):
            if not part:
                raise ValueError(f"{text!r} has an empty {what}; write [host/][namespace/]model[:tag]")
            if not shape.fullmatch(part):
                raise ValueError(f"{text!r} is not a model name: the {what} {part!r} {_rule(what)}")

    @property
    def canonical(self) -> str:
        """The shortest form that means the same, always with its tag, as ``/api/tags`` prints it."""
        parts = [self.model]
        if self.host.lower() != DEFAULT_HOST:
            parts = [self.host, self.namespace, self.model]
        elif self.namespace.lower() != DEFAULT_NAMESPACE:
            parts = [self.namespace, self.model]
        return f"{'/'.join(parts)}:{self.tag}"

    def same_as(self, other: OllamaName) -> bool:
        """Whether a server takes both for one model: it folds the case of every part."""
        return self.canonical.lower() == other.canonical.lower()


def stable_name_key(target_key: str, name: str) -> str:
    """What a target compares stable names by: an Ollama folds case and reads a missing tag as ``latest``.

    Args:
        target_key: as ``Target.key``.
        name: as the file or the target spells it.

    >>> stable_name_key("ollama|http://127.0.0.1:11434", "Coder"), stable_name_key("store|/models", "Coder")
    ('coder:latest', 'Coder')
    """
    if not target_key.startswith("ollama|"):
        return name
    try:
        return OllamaName.parse(name).canonical.casefold()
    except ValueError:
        return name.casefold()


def same_stable_name(target_key: str, one: str, other: str) -> bool:
    """Whether a target takes both for one name."""
    return stable_name_key(target_key, one) == stable_name_key(target_key, other)


def store_link(alias: str, model: str, *, files: int) -> str:
    """Where a store keeps a stable name, relative to the store: what a client opens to read the model (shard 1).

    Args:
        alias: as the file spells it.
        model: canonical name in the store.
        files: of how many files the model is.

    >>> store_link("coder", "org/repo/m-Q4_K_M.gguf", files=1)
    'aliases/coder.gguf'
    >>> store_link("big", "org/repo/m-00001-of-00002.gguf", files=2)
    'aliases/big/m-00001-of-00002.gguf'
    """
    return f"aliases/{alias}.gguf" if files == 1 else f"aliases/{alias}/{model.rpartition('/')[2]}"


def is_ollama_name(text: str) -> bool:
    """Whether a text can only be meant for an Ollama: a tag, a bare name, or a host in front.

    >>> is_ollama_name("qwen3"), is_ollama_name("hf.co/Qwen/Qwen3-8B-GGUF"), is_ollama_name("Qwen/Qwen3-8B-GGUF")
    (True, True, False)
    """
    return ":" in text or text.count("/") != 1


def _rule(what: str) -> str:
    if what == "host":
        return "may have letters, digits and . _ - : only, 350 at most"
    dot = "" if what == "namespace" else " ."
    return f"must start with a letter, a digit or _, and may have letters, digits and _ -{dot} only, 80 at most"


def glob_matches(pattern: str, name: str) -> bool:
    """Whether ``pattern`` means ``name``: anchored, any case; ``*`` stands for any run of characters.

    Without a ``*`` it is exact, ``:latest`` implied on either side that has no tag. Linear in both lengths.

    >>> glob_matches("*-uncensored*", "llama3-Uncensored:8b"), glob_matches("qwen3", "qwen3:latest")
    (True, True)
    >>> glob_matches("qwen3", "qwen3:8b")
    False
    """
    wanted, found = pattern.casefold(), name.casefold()
    if "*" not in wanted:
        return _with_tag(wanted) == _with_tag(found)
    first, *middle, last = wanted.split("*")
    if len(found) < len(first) + len(last) or not found.startswith(first) or not found.endswith(last):
        return False
    at, end = len(first), len(found) - len(last)
    for piece in middle:
        place = found.find(piece, at, end)
        if place < 0:
            return False
        at = place + len(piece)
    return True


def _with_tag(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:{DEFAULT_TAG}"


def nearest(word: str, words: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The words a person may have meant, best first; case, ``-``, ``_`` and blanks count for nothing.

    >>> nearest("disk_budgt", ["diskBudget", "allowedOrgs"])
    ('diskBudget',)
    """
    from difflib import SequenceMatcher

    plain = squash(word)
    scored = []
    for other in sorted(set(words)):
        near = squash(other)
        ratio = SequenceMatcher(None, plain, near).ratio()
        # of three letters, one that differs is another word (tpu, cpu); two that changed places are a slip (evn, env)
        least = 0.6 if min(len(plain), len(near)) > 3 or sorted(plain) == sorted(near) else 0.7
        if ratio >= least:
            scored.append((-ratio, other))
    return tuple(other for _, other in sorted(scored)[:limit])


def squash(text: str) -> str:
    """Lower case, without ``-``, ``_`` and blanks.

    >>> squash("Llama-3 _x")
    'llama3x'
    """
    return re.sub(r"[-_\s]+", "", text).casefold()


def split_repo(repo: str) -> tuple[str, str]:
    """Organisation and name of a Hub repository, case kept.

    Raises:
        ValueError: not ``organisation/name``, or a character the Hub does not allow.

    >>> split_repo("Qwen/Qwen3-8B-GGUF")
    ('Qwen', 'Qwen3-8B-GGUF')
    """
    parts = repo.split("/")
    if len(parts) != 2:
        raise ValueError(f"not a repository: {repo!r}; write organisation/name")
    for part in parts:
        if not _REPO_PART.fullmatch(part) or ".." in part or "--" in part:
            raise ValueError(f"not a repository: {repo!r}; {part!r} is not a name the Hub allows")
    return parts[0], parts[1]
