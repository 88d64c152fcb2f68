"""What a person is told of a target that we cannot drive or ask ourselves: commands quoted for a shell, defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from reconciler.domain.units import GIB

Program = Literal["lms", "vllm", "llama-server"]

_PLAIN = re.compile(r"[A-Za-z0-9._:/-]+")


def quoted(word: str) -> str:
    r"""One shell word: unchanged where every character is harmless, else in single quotes.

    Source: the origin's quoting rule at 0.2.0, kept as it is.

    >>> print(quoted("org/repo:Q4_K_M"), quoted("foo bar"), quoted("it's"), quoted(""))
    org/repo:Q4_K_M 'foo bar' 'it'\''s' ''
    """
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def command_for(
    program: Program,
    repo: str,
    quant: str | None = None,
    context: int | None = None,
    *,
    kv_cache: str = "f16",
    parallel: int = 1,
    aliases: tuple[str, ...] = (),
) -> str:
    """What to type to fetch or serve ``repo`` with ``program``.

    Args:
        program: ``lms`` (LM Studio), ``vllm`` or ``llama-server``.
        repo: Hub repository, or a local path; never trusted, always quoted.
        quant: as the program spells it after ``:`` or ``@``; vLLM serves the repository as it is and takes none.
        context: tokens of one conversation; LM Studio takes it when the model is loaded, not when it is fetched.
        kv_cache: type of the cache; llama-server alone takes one of these.
        parallel: conversations at once; llama-server divides its ``-c`` among them.
        aliases: names that clients use instead of the model's own; LM Studio takes one when the model is loaded, not
            when it is fetched.

    Source:
        llama-server b10434 (``-hf ORG/REPO[:QUANT]``; ``-np``, ``-ctk``, ``-ctv``, ``--alias`` by its own help); LM
        Studio as of April 2026 (``lms get NAME[@quant]``); vLLM's documentation of 2026 (``vllm serve``); the origin's
        advisory
        commands at 0.2.0.

    >>> command_for("llama-server", "ggml-org/Qwen3-8B-GGUF", "Q4_K_M", 32768)
    'llama-server -hf ggml-org/Qwen3-8B-GGUF:Q4_K_M -c 32768'
    >>> command_for("lms", "ggml-org/Qwen3-8B-GGUF", "Q4_K_M")
    "lms get 'ggml-org/Qwen3-8B-GGUF@Q4_K_M'"
    """
    if program == "lms":
        words = ["lms", "get", f"{repo}@{quant}" if quant else repo]
    elif program == "vllm":
        words = ["vllm", "serve", repo, *(("--max-model-len", str(context)) if context else ())]
        words += ["--max-num-seqs", str(parallel)] if parallel > 1 else []
        words += ["--served-model-name", *aliases] if aliases else []
    else:
        local = repo.lower().endswith(".gguf")
        named = repo if local or not quant else f"{repo}:{quant}"
        words = ["llama-server", "-m" if local else "-hf", named, *(("-c", str(context * parallel)) if context else ())]
        words += ["-np", str(parallel)] if parallel > 1 else []
        words += ["-ctk", kv_cache, "-ctv", kv_cache] if kv_cache != "f16" else []
        words += ["--alias", ",".join(aliases)] if aliases else []
    return " ".join(quoted(word) for word in words)


VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What ``--max-lora-rank`` takes. Source: vLLM's documentation of 2026."""
VLLM_DEFAULT_RANK = 16
"""What a vLLM takes that was started without ``--max-lora-rank``. Source: as above."""


def adapter_command(
    runtime: str,
    base: str,
    adapters: Sequence[tuple[str, str]],
    *,
    rank: int | None = None,
    scale: float = 1.0,
    names: Sequence[str] = (),
) -> str | None:
    r"""What to type so that a base is served with adapters, where no program may; None: nothing would do.

    Args:
        runtime: ``vllm``, ``llama-server`` or ``ollama``.
        base: as the program names it; like what follows never trusted, always quoted.
        adapters: what requests call each, and its folder, file or Hub repository; a llama-server takes a GGUF file.
            A vLLM alone serves more than one from its start, or none until it is told; of others the first counts.
        rank: the highest of all of them; None: not known.
        scale: how strongly it is applied; a llama-server alone takes one.
        names: what requests call the base, where that is not what the server is started with; a vLLM alone takes them.

    Source:
        vLLM's documentation of 2026 (``--served-model-name``, ``--enable-lora``, ``--lora-modules``); llama-server
        b10434 (``--lora-scaled``); Ollama 0.33.0 (``ADAPTER``; reported removed in 0.34.1).

    >>> adapter_command("llama-server", "org/m-GGUF:Q8_0", [("sql", "/sql.gguf")], scale=0.5)
    'llama-server -hf org/m-GGUF:Q8_0 --lora-scaled /sql.gguf:0.5 --alias sql'
    >>> print(adapter_command("ollama", "base:1b", [("sql", "/100%d.gguf")]))
    printf '%s\n' 'FROM base:1b' 'ADAPTER /100%d.gguf' > Modelfile && ollama create sql -f Modelfile
    """
    if runtime == "vllm":
        limit = next((one for one in VLLM_RANKS if rank is not None and one >= rank), None)
        words = ["vllm", "serve", base, *(("--served-model-name", *names) if names else ()), "--enable-lora"]
        words += ["--max-lora-rank", str(limit)] if limit else []
        words += ["--lora-modules", *(f"{one}={place}" for one, place in adapters)] if adapters else []
        return "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True " + " ".join(quoted(word) for word in words)
    name, reference = adapters[0]
    if runtime == "llama-server":
        applied = ["--lora", reference] if scale == 1.0 else ["--lora-scaled", f"{reference}:{scale:g}"]
        return " ".join(quoted(word) for word in ["llama-server", "-hf", base, *applied, "--alias", name])
    if runtime == "ollama":
        lines = " ".join(quoted(line) for line in (r"%s\n", f"FROM {base}", f"ADAPTER {reference}"))
        return f"printf {lines} > Modelfile && ollama create {quoted(name)} -f Modelfile"
    return None


def ollama_default_context(vram_bytes: int) -> int:
    """Tokens an Ollama server gives a model when nobody told it otherwise.

    For a server that has nothing loaded and so does not show it; its ``OLLAMA_CONTEXT_LENGTH`` may say another number.

    Args:
        vram_bytes: of all devices together; 0 without one.

    Source: Ollama 0.33.0-rc2.

    >>> [ollama_default_context(gib * 2**30) for gib in (0, 22, 23, 46, 47)]
    [4096, 4096, 32768, 32768, 262144]
    """
    if vram_bytes >= 47 * GIB:
        return 262_144
    return 32_768 if vram_bytes >= 23 * GIB else 4_096
