"""The header of a GGUF file, which is read once however often it is asked for."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Within this block, read the header of each GGUF file once, also where transformers reads it.

    A header holds the whole vocabulary, so reading it takes seconds. The audit of a file and its conversion by
    transformers read it five times. transformers also builds one map of tensor names anew for every module of a model.
    """
    library: Any = _library()
    reader, names = library.GGUFReader, library.get_tensor_name_map
    once = functools.cache(lambda path: reader(path))

    def remembered(path: Any, *mode: Any, **settings: Any) -> Any:
        return reader(path, *mode, **settings) if mode or settings else once(str(path))

    library.GGUFReader, library.get_tensor_name_map = remembered, functools.cache(names)
    try:
        yield
    finally:
        library.GGUFReader, library.get_tensor_name_map = reader, names


def header(file: Path) -> Any:
    """Return the reader of a GGUF file, with its ``fields`` and ``tensors``. Raises what the library gguf raises."""
    return _library().GGUFReader(str(file))


def _library() -> Any:
    import gguf

    return gguf
