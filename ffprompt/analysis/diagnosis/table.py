"""The attention of many reads as one table: a row for each read, a column for each head.

In shapes: N reads, A = L × H heads, head ``a`` is head ``a % H`` of the layer ``layers[a // H]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.analysis.diagnosis.parquet import write_table
from ffprompt.backends.local.attention import ROLES, Look, Rows

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SINK = len(ROLES)
TOPS = (*ROLES, "sink")
"""What the token with the most attention may be: a role, or the head's learned sink."""


@dataclass(frozen=True, eq=False)
class AttentionTable:
    """Fields of reads are (N,), those of heads (N, A).

    Attributes:
        string: The number of the string in its language.
        competitors: Symbols in the prompt before the read, but for that of the write which is asked for.
        governing: The event of that write.
        first_write: The event of the first write of the string.
        previous: The event of the write before the governing one, -1 where there is none.
        wrong: Whether the model answered wrong.
        mass: (N, A, roles).
        top_role: Places in ``TOPS``.
        top_event: The event whose value the top token holds, -1 where it holds none.
        value_role: The same of the top token among those that hold a symbol.
        value_event: Its event.
    """

    layers: tuple[int, ...]
    heads: int
    trial: Ints
    string: Ints
    read: Ints
    position: Ints
    gap: Ints
    competitors: Ints
    governing: Ints
    first_write: Ints
    previous: Ints
    wrong: Bools
    mass: Floats
    sink: Floats
    entropy: Floats
    margin: Floats
    keys: Ints
    reachable: Bools
    top_role: Ints
    top_event: Ints
    value_role: Ints
    value_event: Ints

    def __len__(self) -> int:
        return len(self.trial)

    @property
    def columns(self) -> int:
        """A, the number of heads."""
        return len(self.layers) * self.heads

    def name(self, head: int) -> str:
        """Return what a head is called: L22H7."""
        return f"L{self.layers[head // self.heads]}H{head % self.heads}"

    def where(self, rows: NDArray[Any]) -> AttentionTable:
        """Return some of the reads."""
        found = {
            name: value[rows] if isinstance(value, np.ndarray) else value
            for name, value in ((field, getattr(self, field)) for field in self.__dataclass_fields__)
        }
        return AttentionTable(**found)


def joined(tables: Sequence[AttentionTable]) -> AttentionTable:
    """Return the reads of several tables of one model."""
    first = tables[0]
    found: dict[str, Any] = {
        name: np.concatenate([getattr(table, name) for table in tables])
        if isinstance(getattr(first, name), np.ndarray)
        else getattr(first, name)
        for name in first.__dataclass_fields__
    }
    return AttentionTable(**found)


def flat(values: NDArray[Any]) -> NDArray[Any]:
    """Turn (L, H, R, …) into (R, L · H, …)."""
    layers, heads, reads = values.shape[:3]
    return np.moveaxis(values, 2, 0).reshape(reads, layers * heads, *values.shape[3:])


def tops(rows: Rows, look: Look, events: Ints, top: Ints) -> tuple[Ints, Ints]:
    """Return the roles and events (R, A) of the tokens ``top`` (L, H, R). A token of -1 is the sink."""
    token = flat(top)  # (R, A)
    read = np.arange(len(token))[:, None]
    role = np.where(token < 0, SINK, look.roles[read, np.maximum(token, 0)])
    return role.astype(np.int64), np.where(token < 0, -1, events[np.maximum(token, 0)])


def save(path: Path, tables: Sequence[AttentionTable], groups: int) -> None:
    """Write ``attention.parquet``: a row for each read and head.

    Raises:
        StoreError: The file cannot be written.
    """
    import pyarrow as pa

    write_table(path, [_columns(table, groups, pa) for table in tables])


def _columns(table: AttentionTable, groups: int, pa: Any) -> dict[str, Any]:
    N, A = len(table), table.columns  # noqa: N806
    head = np.tile(np.arange(A) % table.heads, N)

    def words(places: Ints) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(places.ravel().astype(np.int8)), pa.array(TOPS))

    return {
        "trial": pa.array(np.repeat(table.trial, A).astype(np.int64)),
        "string_index": pa.array(np.repeat(table.string, A).astype(np.int64)),
        "read_index": pa.array(np.repeat(table.read, A).astype(np.int32)),
        "position": pa.array(np.repeat(table.position, A).astype(np.int32)),
        "gap": pa.array(np.repeat(table.gap, A).astype(np.int32)),
        "competitors": pa.array(np.repeat(table.competitors, A).astype(np.int32)),
        "wrong": pa.array(np.repeat(table.wrong, A)),
        "layer": pa.array(np.tile(np.repeat(np.array(table.layers), table.heads), N).astype(np.int16)),
        "head": pa.array(head.astype(np.int16)),
        "kv_head": pa.array((head // groups).astype(np.int16)),
        "reachable": pa.array(table.reachable.ravel()),
        "keys": pa.array(table.keys.ravel().astype(np.int32)),
        **{name: pa.array(table.mass[:, :, place].ravel()) for place, name in enumerate(ROLES)},
        "sink": pa.array(table.sink.ravel()),
        "entropy": pa.array(table.entropy.ravel()),
        "margin": pa.array(table.margin.ravel(), from_pandas=True),
        "top": words(table.top_role),
        "top_event": pa.array(table.top_event.ravel().astype(np.int32)),
        "top_value_event": pa.array(table.value_event.ravel().astype(np.int32)),
    }
