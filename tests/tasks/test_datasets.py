"""Strings in files: what is written is read back, and what is wrong with a file is said with the row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ffprompt.errors import StringError, UsageError
from ffprompt.tasks.datasets import read, write
from ffprompt.tasks.flipflop import Spec, sample
from ffprompt.tasks.strings import Strings

FORMATS = [".parquet", ".jsonl"]
ROWS = ["w1i0r1", "w0i0r0", "w1w0r0", "w0r0r0", "w0w1r1"]


def file_of(path: Path, rows: Sequence[object], column: str = "text") -> str:
    """A file with these rows, made by hand."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({column: list(rows)}), path)
    else:
        path.write_text("".join(json.dumps({column: row}) + "\n" for row in rows))
    return str(path)


def same(one: Strings, other: Strings) -> bool:
    return (
        np.array_equal(one.events, other.events)
        and np.array_equal(one.values, other.values)
        and one.symbols == other.symbols
    )


def refusal(kind: type[UsageError], source: str, *arguments: int) -> str:
    """What is said about a file that cannot be read: one line that names the file."""
    with pytest.raises(kind) as caught:
        read(source, *arguments)
    message = str(caught.value)
    assert source in message
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------------------ writing and reading back


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (Spec.ffl(0.8), 40),
        (Spec.ffl(0.6, 4), 20),
        (Spec(16, 0.5, 0.0, 0.5), 1),
        (Spec.ffl(0.6, 20, 10), 50),
        (Spec.ffl(0.6, 20, 11), 50),
        (Spec.ffl(0.6, 20, 16), 50),
        (Spec.ffl(0.6, 20, 256), 50),
    ],
    ids=str,
)
def test_what_is_sampled_into_a_file_is_read_back(tmp_path: Path, suffix: str, spec: Spec, count: int) -> None:
    path = tmp_path / f"strings{suffix}"
    write(path, spec, 5, count)
    assert same(read(str(path), symbols=spec.symbols), sample(spec, 5, 0, count))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("symbols", [2, 16])
def test_both_formats_hold_the_same_strings_in_the_notation_of_the_paper(tmp_path: Path, symbols: int) -> None:
    spec = Spec.ffl(0.6, 12, symbols)
    for suffix in FORMATS:
        write(tmp_path / f"a{suffix}", spec, 0, 30)
    expected = sample(spec, 0, 0, 30).texts()
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"text": text} for text in expected]
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["text"]
    assert table.column("text").to_pylist() == expected


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_several_blocks_is_read_back(tmp_path: Path, suffix: str) -> None:
    path, count = tmp_path / f"many{suffix}", 2 * (1 << 14) + 3
    spec = Spec.ffl(0.5, 6)
    write(path, spec, 0, count)
    assert same(read(str(path)), sample(spec, 0, 0, count))
    for prefix in (1 << 14, (1 << 14) + 1):
        assert same(read(str(path), prefix), sample(spec, 0, 0, prefix))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("count", [1, 4, 5])
def test_the_first_strings_of_a_file_can_be_read(tmp_path: Path, suffix: str, count: int) -> None:
    source = file_of(tmp_path / f"a{suffix}", ROWS)
    assert read(source, count).texts() == ROWS[:count]


@pytest.mark.parametrize("suffix", FORMATS)
def test_without_a_count_all_strings_are_read(tmp_path: Path, suffix: str) -> None:
    assert read(file_of(tmp_path / f"a{suffix}", ROWS)).texts() == ROWS


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "rows", [["w 1 i 0 r 1", "w 0 i 0 r 0"], ["w1i0r1", "w 0 i 0 r 0"], [" w1 i0 r1", "w0i0r0 \n"]]
)
def test_strings_may_be_spaced(tmp_path: Path, suffix: str, rows: list[str]) -> None:
    assert read(file_of(tmp_path / f"a{suffix}", rows)).texts() == ["w1i0r1", "w0i0r0"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_symbols_of_two_digits_may_be_spaced_and_padded(tmp_path: Path, suffix: str) -> None:
    source = file_of(tmp_path / f"a{suffix}", ["w15i07r15", "w 3 i 10 r 03"])
    assert read(source, symbols=16).texts() == ["w15i7r15", "w3i10r3"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_other_columns_do_no_harm(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": [1, 2], "text": ["w1r1", "w0r0"]}), path)
    else:
        path.write_text('{"id": 1, "text": "w1r1"}\n{"text": "w0r0", "more": null}')
    assert read(str(path)).texts() == ["w1r1", "w0r0"]


def test_writing_again_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, Spec.ffl(0.6, 20), 0, 10)
    write(path, Spec.ffl(0.6, 30), 1, 3)
    assert same(read(str(path)), sample(Spec.ffl(0.6, 30), 1, 0, 3))


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file_of(tmp_path / "a.jsonl", ROWS)
    assert read("~/a.jsonl").texts() == ROWS


# ------------------------------------------------------------------------------------------------------ bad content

BAD_ROWS = [
    ("w1i0r0", "r0 contradicts the last write, w1"),
    ("r1i0r1", "instruction 1 (character 1)"),
    ("w1i0i0", "ends with r"),
    ("w1x0r1", "instruction 2 (character 3)"),
    ("w1i2r1", "data symbol 2"),
    ("w1i0r", "no data symbol"),
    ("w1i0r1r1", "8 symbols, the rows before 6"),
    ("w1r1", "4 symbols, the rows before 6"),
    ("", "at least two instructions"),
    ("w1i0r1é", "'é'"),
    ("w1i\u0000r1", "character"),
]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("bad", "said"), BAD_ROWS)
@pytest.mark.parametrize("number", [2, 5])
def test_a_bad_string_is_refused_and_its_row_named(
    tmp_path: Path, suffix: str, bad: str, said: str, number: int
) -> None:
    rows = [*ROWS[: number - 1], bad, *ROWS[number - 1 :]]
    message = refusal(StringError, file_of(tmp_path / f"a{suffix}", rows))
    assert f"row {number}: " in message
    assert said in message


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_first_row_can_be_the_bad_one(tmp_path: Path, suffix: str) -> None:
    message = refusal(StringError, file_of(tmp_path / f"a{suffix}", ["w1i0r0", *ROWS]))
    assert "row 1: instruction 3 (character 5)" in message


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("bad", "said"), [("w1i0r0", "contradicts"), ("w1r1", "4 symbols, the rows before 6")])
def test_rows_are_counted_over_blocks(tmp_path: Path, suffix: str, bad: str, said: str) -> None:
    rows = [ROWS[0]] * (1 << 14) + [ROWS[1], bad, ROWS[1]]
    message = refusal(StringError, file_of(tmp_path / f"a{suffix}", rows))
    assert f"row {(1 << 14) + 2}: " in message
    assert said in message


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_bad_row_of_a_larger_alphabet_is_named(tmp_path: Path, suffix: str) -> None:
    source = file_of(tmp_path / f"a{suffix}", ["w15i0r15", "w12i16r12"])
    assert "row 2: instruction 2 (character 4): data symbol 16" in refusal(StringError, source, 2, 16)


@pytest.mark.parametrize("suffix", FORMATS)
def test_strings_beyond_those_wanted_are_not_looked_at(tmp_path: Path, suffix: str) -> None:
    source = file_of(tmp_path / f"a{suffix}", [*ROWS, "rubbish", "w1i0r1i0r1"])
    assert read(source, len(ROWS)).texts() == ROWS


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("count", [6, 1000])
def test_too_few_rows_are_counted(tmp_path: Path, suffix: str, count: int) -> None:
    message = refusal(UsageError, file_of(tmp_path / f"a{suffix}", ROWS), count)
    assert f"has 5 strings; expected {count}" in message


def test_an_empty_file_has_no_strings(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("")
    for suffix in FORMATS:
        assert "has 0 strings" in refusal(UsageError, str(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rows", [[5], [None], [["w1r1"]], [{"text": "w1r1"}]], ids=str)
def test_a_row_that_is_no_text_is_refused_and_named(tmp_path: Path, suffix: str, rows: list[object]) -> None:
    assert "row 1" in refusal(UsageError, file_of(tmp_path / f"a{suffix}", rows))


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_endless_number_in_a_row_is_refused_and_named(tmp_path: Path, suffix: str) -> None:
    source = file_of(tmp_path / f"a{suffix}", ["w1r1", f"w{'1' * 5000}r1"])
    assert "row 2" in refusal(StringError, source)


# -------------------------------------------------------------------------------------------------------- bad files


def test_a_parquet_file_without_the_column_is_refused_with_the_columns_it_has(tmp_path: Path) -> None:
    message = refusal(UsageError, file_of(tmp_path / "a.parquet", ROWS, column="string"))
    assert "no column 'text'" in message
    assert "string" in message


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ('{"string": "w1r1"}', 3),
        ("w1r1", 3),
        ('"w1r1"', 3),
        ("[1, 2]", 3),
        ("null", 3),
        ("", 3),
        ('{"text": "w1r1"', 3),
    ],
)
def test_a_line_that_is_no_record_is_refused_and_named(tmp_path: Path, line: str, number: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "w1r1"}\n{"text": "w0r0"}\n' + line + '\n{"text": "w0r0"}\n')
    message = refusal(UsageError, str(path))
    assert f"line {number}" in message
    assert 'expected {"text": "w1i0r1"}' in message


def test_lines_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "w1r1"}\n{"text": "é"}\n'.encode("latin-1"))
    assert "a.jsonl" in refusal(UsageError, str(path))


def test_lines_beyond_those_wanted_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "w1r1"}\nrubbish\n')
    assert read(str(path), 1).texts() == ["w1r1"]


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1", b'{"text": "w1r1"}' * 20])
def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert "not readable as parquet" in refusal(UsageError, str(path))


def test_a_parquet_file_with_a_broken_footer_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    assert "not readable as parquet" in refusal(UsageError, str(path))


def test_half_a_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, Spec.ffl(0.6, 100), 0, 200)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "not readable as parquet" in refusal(UsageError, str(path))


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "no/a.parquet", "a.csv", "a"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    assert "no such file" in refusal(UsageError, str(tmp_path / name))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").mkdir()
    assert "no such file" in refusal(UsageError, str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a", "a.PARQUET", "parquet", "a.jsonl.gz"])
def test_a_suffix_that_names_no_format_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError, match=r"known: \.jsonl, \.parquet") as caught:
        write(path, Spec.ffl(0.6, 20), 0, 10)
    assert str(path) in str(caught.value)
    assert not path.exists()
    path.write_text('{"text": "w1r1"}\n')
    assert "known: .jsonl, .parquet" in refusal(UsageError, str(path))


def test_a_suffix_with_a_slip_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean '\.jsonl'"):
        write(tmp_path / "a.json", Spec.ffl(0.6, 20), 0, 10)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_folder_that_is_not_there_cannot_be_written_to(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "no" / f"a{suffix}"
    with pytest.raises(UsageError, match="cannot be written") as caught:
        write(path, Spec.ffl(0.6, 20), 0, 10)
    assert f"file {path}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_folder_in_the_way_stays_and_nothing_else_is_left(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write(path, Spec.ffl(0.6, 20), 0, 10)
    assert list(tmp_path.iterdir()) == [path]
    assert path.is_dir()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["file/a", "n" * 300])
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        write(tmp_path / f"{name}{suffix}", Spec.ffl(0.6, 20), 0, 10)


def test_a_write_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, Spec.ffl(0.6, 20), 0, 10)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="seed -1"):
        write(path, Spec.ffl(0.6, 20), -1, 10)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
