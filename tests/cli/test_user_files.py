"""Files that people wrote, as editors, shells and Git leave them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ffprompt._util.files import read_text
from ffprompt._util.secrets import read_key
from ffprompt.cli.main import main
from ffprompt.comparison import baselines
from ffprompt.config.suites import load_suite, suite_folder
from ffprompt.cost import prices
from ffprompt.errors import UsageError
from ffprompt.reference.checkpoints.checkpoint import bundled, load
from ffprompt.reference.checkpoints.folder import read_record
from ffprompt.reference.training.studies import load_study, studies_folder
from ffprompt.runs.folder import RunFolder
from ffprompt.tasks.datasets import read as read_strings
from ffprompt.templates.loading import folder as template_folder
from ffprompt.templates.loading import load as load_template
from tests.conftest import only_run
from tests.support.records import run_content

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
LINE = '{"text": "w1i0r1"}\n'


def _strings(path: Path) -> Any:
    return read_strings(str(path)).texts()


def _suite(path: Path) -> Any:
    return load_suite(str(path), {"backend": "scripted", "model": "oracle"}).runs


def _prices(path: Path) -> Any:
    return prices.find("m", "", str(path))


def _key(path: Path) -> Any:
    return read_key("OPENAI_API_KEY", str(path))


PRICE = """[[price]]
models = ["m"]
input = 1.0
output = 2.0
as_of = 2026-01-01
source = "é"
"""
# What reads a file, and a text that it reads.
KINDS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "template": (".toml", lambda path: load_template(str(path)), (template_folder() / "game.toml").read_text()),
    "suite": (".toml", _suite, (suite_folder() / "quick.toml").read_text()),
    "study": (".toml", lambda path: load_study(str(path)), next(studies_folder().glob("*.toml")).read_text()),
    "prices": (".toml", _prices, PRICE),
    "data": (".jsonl", _strings, LINE * 3),
    "key": ("", _key, "sk-from-a-file\n"),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@pytest.mark.parametrize("encode", ["utf-8-sig", "with CRLF"])
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, kind: str, encode: str) -> None:
    suffix, read, text = KINDS[kind]
    plain, odd = tmp_path / f"a{suffix}", tmp_path / "odd" / f"a{suffix}"
    odd.parent.mkdir()
    plain.write_bytes(text.encode())
    odd.write_bytes(text.encode("utf-8-sig") if encode == "utf-8-sig" else text.replace("\n", "\r\n").encode())
    assert read(odd) == read(plain)


@kinds
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.encode("utf-16"), "save it as UTF-8"),
        (lambda text: text.encode("utf-16-le"), "save it as UTF-8"),
        (lambda text: text.encode("utf-16-be"), "save it as UTF-8"),
        (lambda text: text.encode("utf-32"), "save it as UTF-8"),
        (lambda text: POINTER, "git lfs pull"),
    ],
    ids=["UTF-16", "UTF-16 little", "UTF-16 big", "UTF-32", "pointer"],
)
def test_another_encoding_and_a_pointer_are_named_with_the_cure(
    tmp_path: Path, kind: str, change: Callable[[str], bytes], said: str
) -> None:
    suffix, read, text = KINDS[kind]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(change(text))
    with pytest.raises(UsageError, match=said):
        read(path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "data"])
def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path, kind: str) -> None:
    suffix, read, _ = KINDS[kind]
    path = tmp_path / f"a{suffix}"
    path.write_bytes("# one\n# zwei\n# café".encode("latin-1"))
    with pytest.raises(UsageError, match="line 3 is not UTF-8"):
        read(path)


def test_a_key_file_in_another_encoding_shows_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes("sk-geheim-é".encode("latin-1"))
    with pytest.raises(UsageError) as found:
        _key(path)
    assert "geheim" not in str(found.value) and "xe9" not in str(found.value)


@pytest.mark.parametrize("text", ["", "\ufeff", "a\rb\r\nc\n"])
def test_text_has_one_end_of_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(text.encode())
    assert read_text(path) == {"": "", "\ufeff": "", "a\rb\r\nc\n": "a\nb\nc\n"}[text]


@pytest.mark.parametrize("name", ["run.json", "trials.jsonl", "reads.parquet", "strings.parquet"])
def test_a_pointer_in_a_run_is_named(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(LINE * 3)
    words = [
        "run",
        "--backend",
        "scripted",
        "--model",
        "oracle",
        "--data",
        str(data),
        "--trials",
        "3",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--no-report"]) == 0
    folder = only_run(tmp_path / "out")
    assert (folder / name).exists()
    (folder / name).write_bytes(POINTER)
    for command in (["score"], ["report"], ["anatomy"]):
        assert main([*command, str(folder)]) == 2
        line = capsys.readouterr().err
        assert name in line and "git lfs pull" in line


def test_a_pointer_in_place_of_a_model_or_a_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(POINTER)
    with pytest.raises(UsageError, match="git lfs pull"):
        load(path)
    shutil.copy(next(iter(bundled().values())), path)
    load(path)
    (tmp_path / "training.json").write_bytes(POINTER)
    with pytest.raises(UsageError, match="git lfs pull"):
        read_record(tmp_path)
    (tmp_path / baselines.FILE).write_bytes(POINTER)
    with pytest.raises(UsageError, match="git lfs pull"):
        baselines.read(tmp_path)


def test_a_pointer_in_place_of_data_in_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(POINTER)
    with pytest.raises(UsageError, match="git lfs pull"):
        _strings(path)


def test_a_record_saved_again_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", run_content(name="é"))
    path = folder.path / "run.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert RunFolder.open(folder.path).info.to_json()["name"] == "é"
