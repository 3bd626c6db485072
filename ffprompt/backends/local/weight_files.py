"""The files of a model, looked at before any library opens them.

What loads a model says little of a file that is not what its name says: "header too large" is a Git LFS pointer, and
"Expecting value" a byte order mark. Only files that are going to be read are looked at.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ffprompt.backends.local.gguf_header import header
from ffprompt.errors import ModelError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_TEXTS = (
    CONFIG, "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.json", "chat_template.jinja",
)  # fmt: skip
_OTHERS = ("tokenizer.model", "spiece.model", "tekken.json")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_HEAD = 1024
_WHOLE_JSON = 4 << 20  # larger ones are looked at by their beginning and end
_POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_SAVE = "save it as UTF-8 without a byte order mark"
_AGAIN = "download it again"


def check_folder(folder: Path, what: str, weights: bool = True) -> None:
    """Look at the files of a model that are going to be read.

    ``what`` begins the error, such as ``model NAME``. Without ``weights`` those need not be there, as only prompts are
    looked at.

    Raises:
        ModelError: a file cannot be read. The message names the first.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{what}: no {CONFIG} in this folder{_elsewhere(folder)}")
    templates = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    for path in (*(folder / file for file in (*_TEXTS, *_OTHERS)), *templates):
        _check(path, what)
    if not weights:
        return
    if _named(folder / WEIGHTS):
        _check(folder / WEIGHTS, what)
    elif _named(folder / INDEX):
        _check(folder / INDEX, what)
        for shard in _shards(folder / INDEX, what):
            if not _named(folder / shard):
                raise ModelError(f"{what}: {INDEX} names {shard}, which is not in this folder; download it too")
            _check(folder / shard, what)
    else:
        for path in sorted(folder.glob("*.safetensors")):
            _check(path, what)


def _named(path: Path) -> bool:
    """Whether a name is in a folder, be it a link to nothing."""
    return path.exists() or path.is_symlink()


def check_adapter(folder: Path, what: str) -> None:
    """Look at the files of a LoRA adapter.

    Raises:
        ModelError: a file cannot be read. The message names the first.
    """
    for file in _ADAPTER:
        _check(folder / file, what)


def check_gguf(path: Path, what: str) -> None:
    """Look at a GGUF file.

    Raises:
        ModelError: the file is no GGUF file, or is cut off.
    """
    _check(path, what)
    if _head(path)[:4] != b"GGUF":
        raise ModelError(f"{what}: {path.name} is no GGUF file: it does not begin with GGUF; {_AGAIN}")
    if part := re.search(r"-(\d{5})-of-(\d{5})\.gguf$", path.name):
        raise ModelError(
            f"{what}: {path.name} is one of {int(part[2])} parts; join them first, with llama-gguf-split --merge"
        )
    try:
        tensors = header(path).tensors
    except (ValueError, IndexError, KeyError, OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{what}: {path.name} is cut off or damaged; {_AGAIN}") from error
    end = max((tensor.data_offset + tensor.n_bytes for tensor in tensors), default=0)
    if end > path.stat().st_size:
        raise ModelError(_cut(what, path, int(end)))


def _elsewhere(folder: Path) -> str:
    """Where the model of a folder without a config may be: further down, as downloads leave it, or it is an adapter."""
    if (folder / "adapter_config.json").is_file():
        return "; it is a LoRA adapter: give its base as --model and the folder as --lora (vllm backend)"
    for depth in ("*", "*/*", "*/*/*"):
        found: list[Path] = []
        with contextlib.suppress(OSError):  # a folder that cannot be looked into, or is gone by now
            found = sorted(path.parent for path in folder.glob(f"{depth}/{CONFIG}"))
        if found:
            others = f" (or one of {len(found) - 1} others)" if len(found) > 1 else ""
            return f", but in one further down: --model {found[0]}{others}"
    gguf = sorted(folder.glob("*.gguf"))
    return f"; for its GGUF file: --model {gguf[0]}" if gguf else ""


def _check(path: Path, what: str) -> None:
    """Raises ModelError where a file is there and is not what its name says."""
    if not path.exists():
        if path.is_symlink():
            raise ModelError(f"{what}: {path.name} is a link to a file that is not there; {_AGAIN}")
        return
    if not path.is_file():
        raise ModelError(f"{what}: {path.name} is a folder, and a file was expected")
    said = _problem(path)
    if said:
        raise ModelError(f"{what}: {said}")
    if path.suffix == ".safetensors":
        _check_safetensors(path, what)
    elif path.suffix == ".json":
        _check_json(path, what)


def _problem(path: Path) -> str:
    try:
        head = _head(path)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if head.startswith(_POINTERS):
        return f"{path.name} is a Git LFS pointer and not the file itself; run in its folder: git lfs pull"
    if head.startswith((b"/annex/objects/", b"../.git/annex", b".git/annex")):
        return f"{path.name} is a git-annex pointer and not the file itself; run in its folder: git annex get ."
    if re.match(rb"\s*<(?:!doctype html|html)\b", head, re.IGNORECASE):
        return f"{path.name} is a web page, as a download without a login leaves it; {_AGAIN}"
    if not head and path.suffix != ".txt":
        return f"{path.name} is empty; {_AGAIN}"
    return _encoding(path.name, head) if path.name in _TEXTS or path.suffix in (".json", ".jinja") else ""


def _encoding(file: str, head: bytes) -> str:
    for mark, kind in ((b"\xff\xfe\x00\x00", "UTF-32"), (b"\x00\x00\xfe\xff", "UTF-32")):
        if head.startswith(mark):
            return f"{file} is saved as {kind}; {_SAVE}"
    if head.startswith(b"\xef\xbb\xbf"):
        return f"{file} begins with a byte order mark; {_SAVE}"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in head[:4]:
        return f"{file} is saved as UTF-16; {_SAVE}"
    return ""


def _check_json(path: Path, what: str) -> None:
    """Raises ModelError where a file holds no JSON. Of a large one only its beginning and end are looked at."""
    size = path.stat().st_size
    if size > _WHOLE_JSON:
        with path.open("rb") as file:
            file.seek(-_HEAD, 2)
            if file.read().rstrip()[-1:] not in (b"}", b"]"):
                raise ModelError(f"{what}: {path.name} is cut off after {size:,} bytes; {_AGAIN}")
        return
    _json(path, what)


def _json(path: Path, what: str) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise ModelError(f"{what}: {path.name} is not UTF-8 (byte {error.start:,}); {_SAVE}") from error
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise ModelError(f"{what}: {path.name} is not JSON{where}; {_AGAIN}") from error
    if path.name in (CONFIG, INDEX, "tokenizer_config.json", _ADAPTER[0]) and not isinstance(found, dict):
        raise ModelError(f"{what}: {path.name} holds {type(found).__name__}, and an object was expected")
    return found


def _shards(index: Path, what: str) -> Iterator[str]:
    found = _json(index, what).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(shard, str) for shard in found.values()):
        raise ModelError(f"{what}: {index.name} has no weight_map that names files; {_AGAIN}")
    yield from sorted(set(found.values()))


def _check_safetensors(path: Path, what: str) -> None:
    """Raises ModelError where the tensors that a file's header names do not end where the file does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or (8 + length > size and file.read(1) == b"{"):
            raise ModelError(_cut(what, path, 8 + length if size >= 8 else None))
        file.seek(8)
        try:
            header = json.loads(file.read(length)) if 8 + length <= size else None
            end = 8 + length + _end(header)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ModelError(f"{what}: {path.name} is no safetensors file: no header in it; {_AGAIN}") from error
    if end > size:
        raise ModelError(_cut(what, path, end))
    if end < size:
        raise ModelError(f"{what}: {path.name} has {size:,} bytes, {size - end:,} too many; {_AGAIN}")


def _end(header: Any) -> int:
    ends: Iterable[int] = (int(tensor["data_offsets"][1]) for key, tensor in header.items() if key != "__metadata__")
    return max(ends, default=0)


def _cut(what: str, path: Path, expected: int | None) -> str:
    of = f" of {expected:,}" if expected is not None else ""
    return f"{what}: {path.name} is cut off after {path.stat().st_size:,}{of} bytes; {_AGAIN}"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
