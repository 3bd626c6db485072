"""The reads of a run as arrays, condition by condition: the one reader of ``reads.parquet``.

Example, a run of two conditions with 3 and 2 reads. ``condition`` is a column of the table. The table of an earlier
version lacks it, and there it follows from the columns that tell the conditions of one run apart::

    condition     0 0 0 1 1        table.of(0).outcome  ->  [0, 1, 0]   places in OUTCOMES
    string_index  0 0 1 0 1        table.of(1).answer   ->  [1, -1]     -1: no answer
    outcome       correct wrong correct correct invalid
    answer        0 0 1 1 None

A column is read when it is first asked for, so that each command reads only what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import StoreError
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.score import Outcome

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Digests = NDArray[np.uint64]
Texts = NDArray[np.object_]
Rows = slice | Ints
ConditionKey = tuple[str | int | float | None, ...]
_Array = TypeVar("_Array", Ints, Digests, Texts)

OUTCOMES = tuple(Outcome)
CORRECT, WRONG, ERROR = (OUTCOMES.index(name) for name in (Outcome.CORRECT, Outcome.WRONG, Outcome.ERROR))
# Settings that tell the conditions of one run apart, under their names in run.json and reads.parquet.
KEY = ("template", "shots", "elicitation", "form", "length", "p_write", "p_read", "p_ignore", "turn_instructions")
# Columns of words: few different ones among many rows.
_WORDS = ("template", "elicitation", "form", "outcome", "string", "prompt")
# A sum of probabilities in float32 may pass 1 by a little.
_LARGEST_LOGPROB = 1e-3


class ReadTable:
    """``reads.parquet`` of a run, open for reading. Use it as a context manager, which closes the file."""

    def __init__(self, run: Path, file: pq.ParquetFile, conditions: Sequence[ConditionKey]) -> None:
        self.run, self._file, self._conditions = run, file, conditions
        self.names = frozenset(file.schema_arrow.names)
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._arrays: dict[str, Ints | Digests | Texts] = {}

    @classmethod
    def open(cls, folder: RunFolder) -> ReadTable:
        """Open the table of a run.

        Raises:
            StoreError: There is no table, or it cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = folder.reads_path
        if not path.is_file():
            raise StoreError(f"run {folder.path}: no reads.parquet yet; {_again(folder.path)}")
        conditions = [tuple(getattr(condition, name) for name in KEY) for condition in folder.info.plan.conditions]
        try:
            with pq.ParquetFile(path) as file:
                metadata, names = file.metadata, file.schema_arrow.names
            words = [name for name in _WORDS if name in names]
            return cls(folder.path, pq.ParquetFile(path, metadata=metadata, read_dictionary=words), conditions)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(folder.path, error) from error

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def __enter__(self) -> ReadTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self.run / "reads.parquet"

    def of(self, condition: int) -> ConditionReads:
        """Return the reads of a condition by its number. None where the table has no row of it."""
        return ConditionReads(self, self._rows.get(condition, slice(0, 0)))

    def read(self, *names: str) -> None:
        """Read several columns in one go, which is faster than one after the other.

        Raises:
            StoreError: The table lacks one of them or is damaged.
        """
        import pyarrow as pa

        missing = [name for name in names if name not in self.names]
        if missing:
            raise StoreError(f"{self.path}: column {missing[0]} is missing; {_again(self.run)}")
        wanted = [name for name in names if name not in self._columns]
        if not wanted:
            return
        try:
            table = self._file.read(columns=wanted)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.run, error) from error
        self._columns |= {name: table.column(name) for name in wanted}

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column as it is stored."""
        self.read(name)
        return self._columns[name]

    def integers(self, name: str, missing: int | None = None) -> Ints:
        """Return a column of whole numbers, with ``missing`` where a row has none.

        Raises:
            StoreError: A row has none and ``missing`` is None.
        """
        return self._array(name, lambda column: self._integers(name, column, missing))

    def _integers(self, name: str, column: pa.ChunkedArray, missing: int | None) -> Ints:
        if column.null_count and missing is None:
            raise StoreError(f"{self.path}: {column.null_count} rows without {name}")
        return np.asarray((column.fill_null(missing) if column.null_count else column).to_numpy(), np.int64)

    @property
    def outcomes(self) -> Ints:
        """(n,) places in ``OUTCOMES``."""
        return self._array("outcome", self._outcomes)

    def _outcomes(self, column: pa.ChunkedArray) -> Ints:
        column = column.unify_dictionaries().combine_chunks()
        names = column.dictionary.to_pylist()
        unknown = [name for name in names if name not in OUTCOMES]
        if unknown or column.null_count:
            raise StoreError(f"{self.path}: outcome {unknown[0] if unknown else None!r} is unknown")
        places = np.array([OUTCOMES.index(name) for name in names], np.int64)
        return places[column.indices.to_numpy()] if names else np.zeros(0, np.int64)

    @property
    def digests(self) -> Digests | None:
        """(n,) digests of the strings as numbers. None in the table of an earlier version."""
        return self._array("string", self._digests) if "string" in self.names else None

    def _digests(self, column: pa.ChunkedArray) -> Digests:
        column = column.unify_dictionaries().combine_chunks()
        if column.null_count:
            raise StoreError(f"{self.path}: {column.null_count} rows without the string's digest")
        try:  # a look at each string, not at each read
            numbers = np.fromiter((int(text, 16) for text in column.dictionary.to_pylist()), np.uint64)
        except (ValueError, OverflowError) as error:
            raise StoreError(f"{self.path}: a string's digest is damaged ({error})") from error
        return numbers[column.indices.to_numpy()] if len(numbers) else np.zeros(0, np.uint64)

    @property
    def prompts(self) -> Texts | None:
        """(n,) digests of what the model was shown. None where it is not known of any read."""
        if "prompt" not in self.names or self.column("prompt").null_count == len(self):
            return None
        return self._array("prompt", lambda column: np.asarray(column.to_numpy(), np.object_))

    def _array(self, name: str, make: Callable[[pa.ChunkedArray], _Array]) -> _Array:
        """Return a column as an array, made once. The column itself is dropped, as it would take its memory again."""
        if name not in self._arrays:
            self._arrays[name] = make(self.column(name))
            del self._columns[name]
        return self._arrays[name]  # type: ignore[return-value]

    @cached_property
    def _rows(self) -> Mapping[int, Rows]:
        """The rows of each condition, found without a look at single rows."""
        if not len(self):
            return {}
        known = "condition" in self.names
        code = self.integers("condition") if known else self._code()
        # Conditions stand one after another, unless somebody has sorted the table.
        starts = np.flatnonzero(np.diff(code, prepend=code[0] - 1))
        ends = np.append(starts[1:], len(code))
        values, blocks, counts = np.unique(code[starts], return_index=True, return_counts=True)
        rows: dict[int, Rows] = {}
        for value, block, count in zip(values.tolist(), blocks.tolist(), counts.tolist(), strict=True):
            start = int(starts[block])
            number = value if known and 0 <= value < len(self._conditions) else None if known else self._number(start)
            if number is None:
                raise StoreError(f"{self.path}, row {start + 1}: of a condition that run.json lacks")
            rows[number] = slice(start, int(ends[block])) if count == 1 else np.flatnonzero(code == value)
        return rows

    @property
    def _key_columns(self) -> list[str]:
        return [name for name in KEY if name in self.names]

    def _code(self) -> Ints:
        """(n,) a number for each row, the same for all rows of a condition: for a table without ``condition``."""
        import pyarrow as pa

        self.read(*(name for name in KEY if name != "turn_instructions" or name in self.names))
        code = np.zeros(len(self), np.int64)
        for name in self._key_columns:
            column = self.column(name).combine_chunks()
            column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            code = code * (len(column.dictionary) + 1) + column.indices.fill_null(len(column.dictionary)).to_numpy()
        return code

    def _number(self, row: int) -> int | None:
        """The condition of a row of a table without ``condition``."""
        key = tuple(self.column(name)[row].as_py() if name in self.names else None for name in KEY)
        return self._conditions.index(key) if key in self._conditions else None


@dataclass(frozen=True, eq=False)
class ConditionReads:
    """The reads of one condition, (n,) each. Valid as long as its table is open."""

    table: ReadTable
    rows: Rows

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start if isinstance(self.rows, slice) else len(self.rows)

    def integers(self, name: str) -> Ints:
        """Return any column of whole numbers."""
        return self.table.integers(name)[self.rows]

    @property
    def string(self) -> Ints:
        """The number of the string in its language or file."""
        return self.integers("string_index")

    @property
    def read(self) -> Ints:
        """The number of the read in its string, from 0."""
        return self.integers("read_index")

    @property
    def position(self) -> Ints:
        """The instruction, from 0, at which the read stands."""
        return self.integers("position")

    @property
    def gap(self) -> Ints:
        """Instructions since the write that is asked for."""
        return self.integers("gap")

    @property
    def repeat(self) -> Ints:
        """Which of the repeats of its prompt. 0 in the table of an earlier version, which asked each prompt once."""
        return self.integers("repeat") if "repeat" in self.table.names else np.zeros(len(self), np.int64)

    @property
    def truth(self) -> Ints:
        """The true symbol."""
        return self.integers("truth")

    @property
    def answer(self) -> Ints:
        """The symbol answered, -1 where there is none."""
        return self.table.integers("answer", missing=-1)[self.rows]

    @property
    def outcome(self) -> Ints:
        """The place of the outcome in ``OUTCOMES``."""
        return self.table.outcomes[self.rows]

    @property
    def counts(self) -> dict[str, int]:
        """Reads with each outcome, in the order of ``OUTCOMES``."""
        numbers = np.bincount(self.outcome, minlength=len(OUTCOMES)).tolist()
        return {str(name): count for name, count in zip(OUTCOMES, numbers, strict=True)}

    @property
    def digest(self) -> Digests | None:
        """The string's digest as a number. None in the table of an earlier version."""
        digests = self.table.digests
        return None if digests is None else digests[self.rows]

    @property
    def prompt(self) -> Texts | None:
        """The digest of what the model was shown. None where it is not known."""
        prompts = self.table.prompts
        return None if prompts is None else prompts[self.rows]

    @cached_property
    def _logprobs(self) -> pa.ListArray:
        import pyarrow as pa

        every = self.table.column("answer_logprobs")
        mine = every.slice(self.rows.start, len(self)) if isinstance(self.rows, slice) else every.take(self.rows)
        whole = mine.combine_chunks()
        return whole if not isinstance(whole, pa.ChunkedArray) else whole.chunk(0)

    def logprobs(self, symbols: int) -> Floats | None:
        """Return the natural log-probabilities of the answers, (n, symbols). None where no read has any.

        NaN stands where only a bound is known, and throughout where a read does not have all of them.
        """
        import pyarrow.compute as pc

        column = self._logprobs
        if column.null_count == len(column):
            return None
        logprobs = np.full((len(column), symbols), np.nan)
        whole = pc.fill_null(pc.equal(pc.list_value_length(column), symbols), False)
        values = column.filter(whole).flatten().to_numpy(zero_copy_only=False)  # null becomes NaN
        logprobs[whole.to_numpy(zero_copy_only=False)] = values.reshape(-1, symbols)
        return logprobs

    def impossible_logprob(self) -> float | None:
        """Return the first log-probability that is none: not a number, or of more than all."""
        import pyarrow.compute as pc

        values = self._logprobs.flatten()
        impossible = values.filter(pc.or_kleene(pc.is_nan(values), pc.greater(values, _LARGEST_LOGPROB)))
        return impossible[0].as_py() if len(impossible) else None


def _again(run: Path) -> str:
    return f"make it again with: ffprompt score {run}"


def _unreadable(run: Path, error: Exception) -> StoreError:
    return StoreError(f"{run / 'reads.parquet'}: not readable ({' '.join(str(error).split())}); {_again(run)}")
