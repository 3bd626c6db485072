"""Strings in files, in the format of the release ``synthseq/flipflop``: a ``text`` column of ``w1i1w0i0…``.

Parquet or JSON Lines, by the file's suffix. Strings of other tasks stand in it in their own notation. What is read is
checked to be a string of the task, and the row is named where it is not.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ffprompt._util.extras import needs
from ffprompt._util.files import refuse_other_text, refuse_pointer
from ffprompt._util.formatting import counted
from ffprompt._util.storage import replacing
from ffprompt.errors import StringError, UsageError, did_you_mean
from ffprompt.tasks.base import Spec, Task
from ffprompt.tasks.flipflop import FLIP_FLOP
from ffprompt.tasks.strings import Strings, concatenate

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 14
_SUFFIXES = (".parquet", ".jsonl")


def write(path: Path, spec: Spec, seed: int, count: int, listed: bool = False) -> None:
    """Sample strings 0 … ``count - 1`` into a file, a block at a time. The file appears when it is complete.

    Args:
        path: A name that ends in ``.jsonl`` or ``.parquet``.
        spec: What the strings are like.
        seed: Of the strings.
        count: How many.
        listed: Whether each line of JSON Lines also has ``events``, [name, argument] each, and ``reads``, [index of the
            event, answer] each. Several arguments are a list, and null stands for none.

    Raises:
        UsageError: there is less than one string, or the name ends otherwise.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if count < 1:
        raise UsageError(f"strings {count}: expected at least 1")
    suffix = _suffix(path)
    try:
        with replacing(path) as temporary:
            if suffix == ".parquet":
                with pq.ParquetWriter(temporary, pa.schema([("text", pa.string())])) as out:
                    for strings in _sampled(spec, seed, count):
                        out.write_table(pa.table({"text": _column(strings)}))
            else:
                with temporary.open("w") as lines:
                    for strings in _sampled(spec, seed, count):
                        if listed:
                            lines.writelines(json.dumps(one) + "\n" for one in as_lists(strings))
                        else:
                            lines.writelines(f'{{"text": "{text}"}}\n' for text in _column(strings).to_pylist())
    except OSError as error:
        raise UsageError(f"file {path}: cannot be written ({error.strerror or error})") from error


def as_lists(strings: Strings) -> Iterator[dict[str, Any]]:
    """Yield each string as plain values: its text, its events and its reads, as in :func:`write`."""
    task = strings.task
    for row, text in enumerate(strings.texts()):
        string = strings.string(row)
        numbers = zip(string.events.tolist(), string.arguments.tolist(), string.is_read.tolist(), strict=True)
        events = []
        for number, argument, is_read in numbers:
            event = task.events[number]
            plain = (
                None if is_read and not event.has_argument else task.plain_argument(event, argument, strings.symbols)
            )
            events.append([event.name, plain])
        reads = zip(np.flatnonzero(string.is_read).tolist(), string.truth.tolist(), strict=True)
        yield {
            "text": text,
            "events": events,
            "reads": [[index, task.plain_answer(answer)] for index, answer in reads],
        }


def save(path: Path, strings: Strings) -> None:
    """Write strings that are in memory to a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with replacing(path) as temporary:
            pq.write_table(pa.table({"text": _column(strings)}), temporary)
    except OSError as error:
        raise UsageError(f"file {path}: cannot be written ({error.strerror or error})") from error


def _sampled(spec: Spec, seed: int, count: int) -> Iterator[Strings]:
    for start in range(0, count, _BLOCK):
        yield spec.sample(seed, start, min(start + _BLOCK, count))


def _column(strings: Strings) -> pa.Array:
    """The strings as an Arrow column, without a Python object a string where every event is a letter and a digit."""
    import pyarrow as pa

    if not _is_pairs(strings.task, strings.symbols):
        return pa.array(strings.texts(), pa.string())
    width = 2 * strings.instructions
    text = np.empty((len(strings), width), np.uint8)
    text[:, 0::2] = np.frombuffer(_letters(strings.task), np.uint8)[strings.events]
    text[:, 1::2] = strings.values + ord("0")
    offsets = np.arange(0, (len(strings) + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(strings), pa.py_buffer(offsets), pa.py_buffer(text))


def _is_pairs(task: Task, symbols: int) -> bool:
    """Whether every event of a task is written as one letter and one digit."""
    return symbols <= 10 and all(
        len(event.letter) == 1 and (not event.has_argument if event.is_read else event.arguments is None)
        for event in task.events
    )


def _letters(task: Task) -> bytes:
    return "".join(event.letter for event in task.events).encode()


def read(source: str, count: int | None = None, symbols: int = 2, task: Task = FLIP_FLOP) -> Strings:
    """Return the first ``count`` strings of a file, or of a hub's data set written ``owner/name:split``.

    All must have one length.

    Args:
        source: The path of the file, or the name of the data set.
        count: How many. None for all.
        symbols: The number of answers that there can be.
        task: What the strings are ones of.

    Raises:
        UsageError: there is no such file, or it has too few strings.
        StringError: the message names the file and the row (from 1) of the first bad string.
    """
    path = Path(source).expanduser()
    if not path.exists() and ":" in source and not source.startswith((".", "/", "~")):
        path = _from_hub(source)
    if not path.is_file():
        raise UsageError(f"data {source}: no such file (nor owner/name:split of a data set on a hub)")
    try:
        with path.open("rb") as file:
            (refuse_other_text if _suffix(path) == ".jsonl" else refuse_pointer)(file.read(4096))
    except (OSError, ValueError) as error:
        raise UsageError(f"data {source}: {error}") from error
    batches = _parquet_rows(path) if _suffix(path) == ".parquet" else _jsonl_rows(path, count)
    parts: list[Strings] = []
    done = 0
    for texts in batches:
        texts = texts if count is None else texts[: count - done]
        if texts:
            parts.append(_checked(texts, task, symbols, source, done, parts[0].length if parts else None))
            done += len(texts)
        if count is not None and done >= count:
            break
    if not parts or (count is not None and done < count):
        raise UsageError(f"data {source}: has {counted(done, 'string')}; expected {count or 'at least 1'} (--trials)")
    return concatenate(parts)


def _suffix(path: Path) -> str:
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"file {path}: the suffix must say the format{did_you_mean(path.suffix, _SUFFIXES)}")
    return path.suffix


def _parquet_rows(path: Path) -> Iterator[list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if "text" not in file.schema_arrow.names:
                raise UsageError(f"data {path}: no column 'text'; its columns are {', '.join(file.schema_arrow.names)}")
            for batch in file.iter_batches(_BLOCK, columns=["text"]):
                yield batch.column(0).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"data {path}: not readable as parquet ({' '.join(str(error).split())})") from error


def _jsonl_rows(path: Path, count: int | None) -> Iterator[list[str]]:
    texts: list[str] = []
    with path.open("rb") as lines:
        for number, line in enumerate(itertools.islice(lines, count), start=1):
            try:
                texts.append(json.loads(line)["text"])
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f'data {path}, line {number}: expected {{"text": "w1i0r1"}}') from error
            if len(texts) == _BLOCK:
                yield texts
                texts = []
    yield texts


def _checked(texts: Iterable[str], task: Task, symbols: int, source: str, before: int, length: int | None) -> Strings:
    """Parse a batch at once; the slow parser says what is wrong with the first string that is none of the task."""
    rows = list(texts)
    strings = _fast(rows, task, symbols) if _is_pairs(task, symbols) else None
    if strings is not None and length in (None, strings.length):
        return strings
    parsed = []
    for number, text in enumerate(rows, start=before + 1):
        if not isinstance(text, str):
            raise StringError(f"data {source}, row {number}: {str(text)[:40]!r} is not text")
        try:
            parsed.append(task.parse(text, symbols))
        except StringError as error:
            raise StringError(f"data {source}, row {number}: {error}") from error
        length = length or parsed[0].length
        if parsed[-1].length != length:
            raise StringError(
                f"data {source}, row {number}: {counted(parsed[-1].length, 'symbol')}, the rows before {length}"
            )
    return concatenate(parsed)


def _fast(texts: list[str], task: Task, symbols: int) -> Strings | None:
    """A batch of compact strings of one length, or None when anything about them is not as it should be."""
    length = len(texts[0]) if isinstance(texts[0], str) else 0
    if length < 4 or length % 2 or any(not isinstance(text, str) or len(text) != length for text in texts):
        return None
    try:
        raw = np.frombuffer("".join(texts).encode("ascii"), np.uint8)
    except UnicodeEncodeError:
        return None
    grid = raw.reshape(len(texts), length)
    table = np.full(256, 255, np.uint8)
    for number, letter in enumerate(_letters(task)):
        table[letter] = number
    events, values = table[grid[:, 0::2]], grid[:, 1::2] - ord("0")
    if not ((events != 255).all() and (values < symbols).all()):
        return None
    strings = Strings(task, events, values, values, symbols)
    return strings if task.contains(strings) else None


def _from_hub(source: str) -> Path:
    """Download one split of a data set that is stored as one parquet file, such as synthseq/flipflop:val_sparse.

    Without a network (``HF_HUB_OFFLINE``) it is taken from the cache of the hub's client.
    """
    name, split = source.rsplit(":", 1)
    try:
        from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
    except ImportError as error:
        raise needs(f"data {source}", "transformers", error) from error
    offline = constants.HF_HUB_OFFLINE
    try:
        if offline:
            folder = Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
            files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
            return folder / _file_of(source, split, files)
        files = HfApi().list_repo_files(name, repo_type="dataset")
        return Path(hf_hub_download(name, _file_of(source, split, files), repo_type="dataset"))
    except UsageError:
        raise
    except Exception as error:  # of the client, of whichever library sends its requests, of a proxy
        why = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
        if offline:
            why = "it is not in the cache, and HF_HUB_OFFLINE is set; unset it to download"
        raise UsageError(f"data {source}: could not be downloaded from the hub ({why})") from error


def _file_of(source: str, split: str, files: Iterable[str]) -> str:
    """The one file of a split. Shards carry their numbers behind a dash."""
    wanted = [one for one in files if one.endswith(_SUFFIXES) and Path(one).name.split(".")[0].split("-")[0] == split]
    if len(wanted) != 1:
        known = ", ".join(one for one in files if one.endswith(_SUFFIXES)) or "none of .parquet and .jsonl"
        raise UsageError(f"data {source}: {len(wanted)} files belong to this split; the data set has {known}")
    return wanted[0]
