"""The table of settings: a new row arrives everywhere, and the rows agree with the backends and with the docs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.entry_points import BACKENDS
from ffprompt.backends.registry import open_backend
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.config.settings import ALWAYS_RECORDED, BY_NAME, ROWS, page
from ffprompt.errors import ConfigError, ModelError
from tests.conftest import ROOT

TOY = '    toy: int | None = setting(None, MODEL, "N", "play with it", least=1, backends=("scripted",))\n'
RUN = ("run", "--backend", "scripted", "--model", "oracle", "--length", "20", "--trials", "3", "--no-report")
SCRIPT = f"""
import contextlib, io, json
from pathlib import Path
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.config.suites import load_suite

def call(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words])
    return [code, out.getvalue() + err.getvalue()]

def run(out, *words):
    call(*{RUN!r}, "--out", out, *words)
    (record,) = Path(out).glob("*/run.json")
    return record

Path("toy.toml").write_text('[[run]]\\nbackend = "scripted"\\nmodel = "oracle"\\ntoy = 4\\n')
records = [run("none"), run("one", "--toy", "1"), run("two", "--toy", "2")]
infos = [json.loads(record.read_text()) for record in records]
pair = [str(record.parent) for record in records[1:]]
print(json.dumps({{
    "help": call("run", "--help"),
    "out of range": call(*{RUN!r}, "--toy", "0"),
    "refused": call("run", "--backend", "reference", "--model", "lstm", "--toy", "1"),
    "misspelt": call("run", "--tyo", "1"),
    "suite": load_suite("toy.toml", {{}}).runs[0][0].toy,
    "field": make({{"backend": "scripted", "model": "oracle", "toy": "2"}}).toy,
    "recorded": [info["config"].get("toy") for info in infos],
    "plans": [info["plan_digest"] for info in infos],
    "compare": call("compare", *pair),
    "allow": call("compare", *pair, "--allow", "toy"),
    "by": call("compare", *pair, "--by", "toy"),
}}))
"""


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one more line in the table of settings."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("ffprompt", "prompts", "suites"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    table = copy / "ffprompt" / "config" / "settings.py"
    text = table.read_text(encoding="utf-8")
    before = "    max_tokens: int | None = setting("
    assert text.count(before) == 1
    table.write_text(text.replace(before, TOY + before), encoding="utf-8")
    return copy


def python(copy: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_setting_is_added_in_one_line(with_toy: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = json.loads(python(with_toy, "-c", SCRIPT).splitlines()[-1])
    assert "--toy N " in found["help"][1]
    assert "play with it" in found["help"][1]
    assert found["out of range"][0] == 2
    assert "--toy 0: expected a whole number of at least 1" in found["out of range"][1]
    assert found["refused"][0] == 2
    assert "--toy 1: the reference backend has no such setting" in found["refused"][1]
    assert "did you mean '--toy'?" in found["misspelt"][1]
    assert (found["suite"], found["field"], found["recorded"]) == (4, 2, [None, 1, 2])
    assert len(set(found["plans"])) == 3
    assert found["compare"][0] == 2
    assert "--by toy or --allow toy" in found["compare"][1]
    assert (found["allow"][0], found["by"][0]) == (0, 0)
    assert "toy 1" in found["by"][1]
    # A run that was made before the setting existed is found again.
    assert main([*RUN, "--out", str(tmp_path)]) == 0
    (record,) = tmp_path.glob("*/run.json")
    assert json.loads(record.read_text())["plan_digest"] == found["plans"][0]


def test_a_new_setting_is_on_the_page(with_toy: Path) -> None:
    (line,) = [line for line in python(with_toy, "-m", "ffprompt.config.settings").splitlines() if "`--toy`" in line]
    assert line == "| `--toy` | play with it | a whole number of at least 1 |  | scripted | yes | by |"


def test_the_page_of_settings_is_up_to_date() -> None:
    hint = "make it with: python -m ffprompt.config.settings > docs/reference/settings.md"
    assert (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8") == page(ROWS), hint


def test_the_rows_name_backends_that_exist() -> None:
    assert {name for row in ROWS for name in row.backends or ()} <= set(BACKENDS)
    assert [name for name in BACKENDS if name not in BY_NAME["backend"].help] == []


def test_a_setting_outside_the_plan_may_differ_between_runs() -> None:
    assert {row.compare for row in ROWS if not row.planned} == {"free"}
    assert {row.name for row in ROWS if row.planned} >= ALWAYS_RECORDED


def test_every_setting_has_a_flag_with_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    words = capsys.readouterr().out.split()
    assert [row.flag for row in ROWS if row.flag not in words] == []
    assert [row.name for row in ROWS if not row.help or (row.metavar == "") != (row.types == (bool,))] == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.backends is not None], ids=lambda row: row.name)
def test_a_backend_refuses_a_setting_that_it_does_not_have(row: Any) -> None:
    values = {int: 2, float: 0.5, bool: True, str: "x"}
    value: Any = (row.choices or [values.get(row.types[-1], {"a": 1})])[0]
    value = value if row.arity is None else ["x=1", "y=2"]
    for backend in sorted({"scripted", "reference"} - set(row.backends)):
        with pytest.raises(ModelError, match=f"^{row.flag} .*: the {backend} backend has no such setting"):
            open_backend(make({"backend": backend, "model": "oracle", row.name: value}))


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("extra_body", '{"api_key": "verysecret', "[redacted]"),
        ("extra_body", [{"token": "verysecret1"}], "[{'token': '[redacted]'}]"),
        ("base_url", 5, "5"),
    ],
)
def test_a_value_that_is_refused_is_shown_without_its_secrets(name: str, value: Any, shown: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make({"backend": "openai", "model": "m", name: value})
    assert str(caught.value) == f"{BY_NAME[name].flag} {shown}: expected {BY_NAME[name].expectation}"
