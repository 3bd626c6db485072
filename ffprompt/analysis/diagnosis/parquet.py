"""Tables of a diagnosis on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ffprompt._util.storage import replacing
from ffprompt.errors import StoreError


def write_table(path: Path, parts: Sequence[Mapping[str, Any]]) -> None:
    """Write columns to a parquet file, one part after the other. NaN is written as null. No part, no file.

    Raises:
        StoreError: The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not parts:
        return
    try:
        with replacing(path) as temporary:
            writer: Any = None
            for part in parts:
                made = pa.table({name: _column(values, pa) for name, values in part.items()})
                writer = writer or pq.ParquetWriter(temporary, made.schema, compression="zstd")
                writer.write_table(made)
            writer.close()
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from error


def _column(values: Any, pa: Any) -> Any:
    return values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)
