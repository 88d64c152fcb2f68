"""llama.cpp's own converter of peft adapters, run as a program of its own: ours imports neither torch nor transformers.

It is found by ``LOCALMODELS_LORA_CONVERTER`` (the script), ``LLAMA_CPP_DIR`` (a checkout, or the source that a package
carries) or on the path, in this order. It is never given a token, nor ``--trust-remote-code``, nor a pickle.

Source:
    llama.cpp b10605, ``convert_lora_to_gguf.py``; run for real with torch 2.13, transformers 5.23.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from reconciler.domain.adapter import Outtype
from reconciler.errors import Refused, Unreachable
from reconciler.formats.gguf import read_table
from reconciler.formats.gguf_adapter import gguf_adapter
from reconciler.integrations.converter_probe import missing_packages, refuse_what_is_no_converter
from reconciler.integrations.runtimes.partials import disk_errors
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES, AdapterConfig, read_adapter_config
from reconciler.lora.adapter_files import CONFIG, SAFETENSORS
from reconciler.lora.weights import facts_of

SCRIPT = "convert_lora_to_gguf.py"
HOW_TO = (
    "get llama.cpp's source and name its folder: LLAMA_CPP_DIR (its convert_lora_to_gguf.py needs torch, transformers"
    " and safetensors, in a .venv there or in the python3 of the path); or convert the adapter elsewhere and declare"
    " the GGUF"
)
_COMPANIONS = ("convert_hf_to_gguf.py", "conversion/*.py", "gguf-py/gguf/*.py")
"""What the script imports from beside it: it converts otherwise when one of them changes."""
_KEPT = frozenset({
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT",
    "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "NO_PROXY", "no_proxy",
})  # fmt: skip
"""All that it sees of our environment; a proxy's address may hold a password."""
_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WORDS_BYTES = 4000
_NO_CONFIG = re.compile(
    r"internet connection|offline mode|couldn't connect|cannot find the requested files|not a valid model identifier"
    r"|Can't load the configuration|gated repo|Repository Not Found|Max retries exceeded|Name or service not known",
    re.IGNORECASE,
)
"""Source: transformers 5.23 and huggingface_hub, where a configuration cannot be loaded."""
_LOOKS = (".venv/bin/python", "venv/bin/python")


class LlamaCppConverter:
    """``AdapterConverter`` by llama.cpp's script.

    Args:
        environ: says where it is, and whose path is searched.
        timeout_seconds: of one conversion; it reads the adapter alone, so minutes are plenty.
    """

    def __init__(self, environ: Mapping[str, str], *, timeout_seconds: float = 1800.0) -> None:
        self._environ, self._timeout_seconds = environ, timeout_seconds

    async def identity(self) -> str:
        """16 hex digits over the script and what it imports from beside it."""
        return await asyncio.to_thread(self._identity)

    def _identity(self) -> str:
        script = self._script()
        found = _identity(script)
        refuse_what_is_no_converter(script, SCRIPT, HOW_TO)
        words, environ = _command(script, self._environ), self._seen()
        if missing := missing_packages(words, _companions(script), environ):
            raise Refused(
                f"an adapter as peft saves it cannot be made a GGUF: the Python of {script} has no"
                f" {', '.join(missing)}",
                code="no-converter",
                hint=HOW_TO,
            )
        return found

    async def convert(self, folder: str, base: str | None, outtype: Outtype, out: str) -> None:
        """Run it into a file beside ``out``, look at what it wrote, and only then have it under that name."""
        script, place = self._script(), Path(out)
        config = await asyncio.to_thread(_checked, Path(folder))
        with _draft(place) as draft:
            named = _base(base or config.base_model or "")
            words = [*_command(script, self._environ), *named, "--outtype", outtype, "--outfile", draft.name]
            await self._run([*words, folder], draft.parent, offline="--base" in words)
            await asyncio.to_thread(_verify, draft)
            await asyncio.to_thread(_keep, draft, place)

    def _script(self) -> Path:
        named, folder = self._environ.get("LOCALMODELS_LORA_CONVERTER"), self._environ.get("LLAMA_CPP_DIR")
        found: str | Path | None = named or (Path(folder) / SCRIPT if folder else None)
        if found is None:
            found = shutil.which(SCRIPT, path=self._environ.get("PATH"))
        if found is None or not Path(found).expanduser().is_file():
            where = f"{found} is not there" if found else "llama.cpp's converter of adapters is not on this host"
            raise Refused(
                f"an adapter as peft saves it cannot be made a GGUF: {where}", code="no-converter", hint=HOW_TO
            )
        return Path(found).expanduser().absolute()

    def _seen(self) -> dict[str, str]:
        return {name: value for name, value in self._environ.items() if name in _KEPT}

    async def _run(self, words: list[str], folder: Path, *, offline: bool) -> None:
        environ = self._seen()
        environ |= {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
        environ |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        with disk_errors(folder):
            heard = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the next line closes it
        with heard as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, cwd=folder,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise Refused(
                    f"{words[0]} cannot be started: {error.strerror or error}", code="no-converter", hint=HOW_TO
                ) from error
            try:
                code = await asyncio.wait_for(process.wait(), self._timeout_seconds)
            except TimeoutError as error:
                raise Unreachable(
                    f"the converter did not end within {self._timeout_seconds:g} s", code="timed-out"
                ) from error
            finally:
                with suppress(OSError):  # it has ended, or is to end with all it started
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.shield(process.wait())
            if code:
                said = _last_words(log)
                if "--base-model-id" in words and _NO_CONFIG.search(said):
                    raise _no_config(words[words.index("--base-model-id") + 1], said)
                raise Refused(
                    f"llama.cpp's converter ended with {code}: {said}",
                    code="conversion-failed",
                    hint=HOW_TO,
                )


def _no_config(base: str, said: str) -> Refused:
    """It needs one small file of the base, and the Hub is where it looked for it."""
    return Refused(
        f"the config.json of the base {base} could not be had from the Hub: {said}",
        code="conversion-failed",
        hint="put that config.json, which is all that is needed, into a folder of this host, and name the folder as"
        " `base_model_name_or_path` in adapter_config.json; or see that this host reaches the Hub and may read it",
    )


def _companions(script: Path) -> list[Path]:
    return [path for pattern in _COMPANIONS for path in sorted(script.parent.glob(pattern))]


def _identity(script: Path) -> str:
    found = [script, *_companions(script)]
    whole = hashlib.sha256()
    try:
        for path in found:
            name = path.relative_to(script.parent).as_posix()
            whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    except OSError as error:
        raise Refused(f"{script} cannot be read: {error.strerror}", code="no-converter", hint=HOW_TO) from error
    return whole.hexdigest()[:16]


def _command(script: Path, environ: Mapping[str, str]) -> list[str]:
    """The environment that was made for it first; then as the script itself says; then the python of the path."""
    for place in _LOOKS:
        if (script.parent / place).is_file():
            return [str(script.parent / place), str(script)]
    if os.access(script, os.X_OK):
        return [str(script)]
    return [shutil.which("python3", path=environ.get("PATH")) or "python3", str(script)]


def _base(base: str) -> list[str]:
    """A folder is named as one: the converter takes every name in an adapter's configuration for one of the Hub."""
    if (Path(base) / "config.json").is_file() and Path(base).is_absolute():
        return ["--base", base]
    if _MODEL_ID.fullmatch(base):
        return ["--base-model-id", base]
    raise Refused(
        f"the base {base!r} is neither a folder of this host with a config.json nor a Hub id",
        code="conversion-failed",
        hint="`base_model_name_or_path` in adapter_config.json says which; of a folder, its config.json is enough",
    )


def _checked(folder: Path) -> AdapterConfig:
    """The adapter's configuration. The converter copies ``lora_alpha`` and drops what else scales, without a word.

    Raises:
        Refused: it would do so here; or there is nothing that it may be given.
    """
    if not (folder / SAFETENSORS).is_file():
        raise Refused(
            f"{folder} has no {SAFETENSORS}", code="conversion-failed", hint="a pickle is never opened: save it again"
        )
    try:
        with (folder / CONFIG).open("rb") as file:
            config = read_adapter_config(file.read(CONFIG_LIMIT_BYTES + 1))
    except (OSError, ValueError) as error:
        raise Refused(f"{folder / CONFIG} cannot be read: {error}", code="conversion-failed") from error
    lost = _lost(config)
    if lost:
        raise Refused(
            f"llama.cpp's converter would lose {lost} of {folder}: the adapter would be another one",
            code="conversion-failed",
            hint="serve it with a runtime that takes peft adapters, or merge it into its base",
        )
    return config


def _lost(config: AdapterConfig) -> str | None:
    if config.use_rslora:
        return "the scaling of rsLoRA"
    if config.use_dora:
        return "the magnitudes of DoRA"
    return "alpha_pattern" if config.alpha_pattern else None


def _verify(draft: Path) -> None:
    """Raises ``Refused``: what it wrote is no adapter whose every pair is whole."""
    try:
        flaw = _flaw(draft)
    except (OSError, ValueError) as error:
        flaw = str(error)
    if flaw is not None:
        raise Refused(
            f"what llama.cpp's converter wrote is no whole adapter: {flaw}", code="conversion-failed", hint=HOW_TO
        )


def _flaw(draft: Path) -> str | None:
    size = draft.stat().st_size
    with draft.open("rb") as file:
        header, tensors = read_table(lambda count: os.pread(file.fileno(), count, 0), size=size)
    adapter = gguf_adapter(header, tensors, size=size)
    if adapter.adapter_type != "lora" or adapter.alpha is None or not math.isfinite(adapter.alpha):
        return "it states no alpha, or another type"
    facts = facts_of(adapter.tensors, "gguf", size=size)
    return "a pair of it is missing" if not facts.modules or facts.unpaired else None


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """Where the converter may write: a folder beside the result, which is gone afterwards."""
    with disk_errors(place.parent):
        folder = tempfile.TemporaryDirectory(prefix=".converting-", dir=place.parent, ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name) / "adapter.gguf"


def _keep(draft: Path, place: Path) -> None:
    with disk_errors(place):
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(place)


def _last_words(log: BinaryIO) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - _WORDS_BYTES))
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "it says nothing")
    return said[:300]
