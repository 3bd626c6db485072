"""Files are written whole or not at all, a crash costs one line at most, and one process holds a folder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ffprompt._util.storage import LOCK, cut_unfinished_line, hold, release, replacing, write_atomically


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"one")
    with pytest.raises(ValueError, match="slip"), replacing(path) as temporary:
        temporary.write_bytes(b"tw")
        raise ValueError("slip")
    assert path.read_bytes() == b"one"
    with replacing(path) as temporary:
        temporary.write_bytes(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "gone" / "a", b"")


def test_one_holds_a_folder_until_it_lets_go(tmp_path: Path) -> None:
    lock = hold(tmp_path)
    assert lock is not None and hold(tmp_path) is None
    assert (tmp_path / LOCK).exists()
    release(lock)
    assert not list(tmp_path.iterdir())
    again = hold(tmp_path)
    assert again is not None
    release(again)


@pytest.mark.parametrize("rest", [b"", b"half", b"h" * 200_000])
def test_a_line_without_its_end_is_cut_off(tmp_path: Path, rest: bytes) -> None:
    whole = b"one\n" + b"t" * 100_000 + b"\n"
    path = tmp_path / "log"
    path.write_bytes(whole + rest)
    with path.open("r+b") as file:
        cut_unfinished_line(file)
        assert file.tell() == len(whole)
    assert path.read_bytes() == whole
    assert cut_unfinished_line(io.BytesIO()) is None
