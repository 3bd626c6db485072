"""Reading the header of a GGUF file, which takes seconds where it holds a vocabulary."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from ffprompt.backends.local.gguf_header import header, read_once
from ffprompt.backends.local.weight_files import check_gguf


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_add_bos_token(True)
    writer.add_tensor("output.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_header_is_read_once_whoever_asks_for_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reader = [], gguf.GGUFReader
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: read.append(path) or reader(path))
    with read_once():
        check_gguf(file, "model small")
        assert header(file).get_field("tokenizer.ggml.add_bos_token").contents() is True
        assert gguf.GGUFReader(file).tensors[0].name == "output.weight"
    assert read == [str(file)]


def test_afterwards_the_library_is_as_it_was(file: Path) -> None:
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    with pytest.raises(KeyError), read_once():
        raise KeyError
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before
    assert header(file) is not header(file)
