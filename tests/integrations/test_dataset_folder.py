"""Runs and strings as dataset folders: what others' readers make of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ffprompt.runs.columns import READS
from tests.conftest import Command, only_run

GLITCHY = ["--backend", "scripted", "--model", "glitch-0.2", "--template", "game", "--length", 12, "--trials", 8]


@pytest.fixture
def results(command: Command, tmp_path: Path) -> Path:
    """Two runs: one of two conditions, one of one."""
    assert command(*GLITCHY, "--shots", 0, 1).returncode == 0
    assert command(*GLITCHY, "--seed", 1).returncode == 0
    return tmp_path / "results"


def header(folder: Path) -> dict[str, object]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    found: dict[str, object] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_both_tables_hold_what_the_runs_hold_and_join(command: Command, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    done = command("export-data", results, "--out", out, prog="ffprompt")
    assert done.returncode == 0, done.stderr
    reads = pd.concat(map(pd.read_parquet, sorted((out / "data" / "reads").glob("*.parquet"))))
    conditions = pd.read_parquet(out / "data" / "conditions.parquet")
    assert len(conditions) == 3
    own = pd.concat(pd.read_parquet(path) for path in sorted(results.glob("*/reads.parquet")))
    assert reads.drop(columns="run").reset_index(drop=True).equals(own.reset_index(drop=True))
    joined = reads.merge(conditions, on=["run", "condition"], suffixes=("", "_of_condition"))
    assert len(joined) == len(reads)
    counted = joined.assign(right=joined["outcome"] == "correct").groupby(["run", "condition"])
    for key, rows in counted:
        row = conditions.set_index(["run", "condition"]).loc[key]
        assert rows["right"].mean() == pytest.approx(row["accuracy"], abs=1e-12)
        assert (len(rows), rows["right"].sum()) == (row["reads"], row["correct"])


def test_the_card_has_a_header_and_describes_every_column(command: Command, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert command("export-data", results, "--out", out, prog="ffprompt").returncode == 0
    configs = {one["config_name"]: one for one in header(out)["configs"]}  # type: ignore[attr-defined]
    assert list(configs) == ["reads", "conditions"]
    for one in configs.values():
        assert list(out.glob(one["data_files"][0]["path"]))
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "](" not in card  # links of the documentation lead nowhere here
    for path in (next((out / "data" / "reads").iterdir()), out / "data" / "conditions.parquet"):
        for name in pq.read_schema(path).names:
            assert f"| `{name}` |" in card, name


def test_hugging_face_datasets_reads_both_tables(
    command: Command, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    assert command("export-data", results, "--out", out, prog="ffprompt").returncode == 0
    import datasets

    datasets.disable_progress_bars()
    cache = str(tmp_path / "cache")
    reads = datasets.load_dataset(str(out), "reads", split="test", cache_dir=cache)
    plain = datasets.load_dataset("parquet", data_files=f"{out}/data/reads/*.parquet", split="train", cache_dir=cache)
    conditions = datasets.load_dataset(str(out), "conditions", split="test", cache_dir=cache)
    assert reads.column_names == plain.column_names == ["run", *READS]
    assert len(reads) == len(plain) == sum(conditions["reads"])


def test_the_table_of_an_earlier_version_gets_the_columns_that_it_lacks(
    command: Command, results: Path, tmp_path: Path
) -> None:
    path = next(results.glob("*/reads.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["final_answer"]), path)
    assert command("export-data", results, "--out", tmp_path / "a", prog="ffprompt").returncode == 0
    schemas = {pq.read_schema(one) for one in (tmp_path / "a" / "data" / "reads").iterdir()}
    assert len(schemas) == 1
    pq.write_table(table.drop_columns(["condition"]), path)
    done = command("export-data", results, "--out", tmp_path / "b", prog="ffprompt")
    assert done.returncode == 2
    assert f"ffprompt score {path.parent}" in done.stderr


def test_what_cannot_be_written_is_refused_in_one_line_and_leaves_nothing(
    command: Command, results: Path, tmp_path: Path
) -> None:
    run = sorted(results.iterdir())[0]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for given, out, named in (
        (run, "full", "full"),
        (tmp_path / "none", "o", "none"),
        (tmp_path / "full", "o", "full"),
    ):
        done = command("export-data", given, "--out", tmp_path / out, prog="ffprompt")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert named in done.stderr
    (run / "reads.parquet").write_bytes(b"PAR1")
    assert command("export-data", run, "--out", tmp_path / "o", prog="ffprompt").returncode == 2
    assert {path.name for path in tmp_path.iterdir()} == {"results", "full"}


def test_a_run_that_lacks_answers_is_written_only_when_that_is_asked_for(command: Command, tmp_path: Path) -> None:
    assert command(*GLITCHY[:3], "failing", *GLITCHY[4:]).returncode == 3
    run = only_run(tmp_path / "results")
    assert command("export-data", run, "--out", tmp_path / "a", prog="ffprompt").returncode == 3
    assert not (tmp_path / "a").exists()
    assert command("export-data", run, "--out", tmp_path / "a", "--incomplete", prog="ffprompt").returncode == 0
    assert pd.read_parquet(tmp_path / "a" / "data" / "conditions.parquet")["status"].tolist() == ["incomplete"]
    assert "lack answers" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "flags",
    [
        ["--spec", "FFL(12, 0.6)"],
        ["--spec", "FFL(12, 0.6)", "--symbols", 4],
        ["--task", "s5", "--length", 8],
        ["--task", "s5", "--task-arg", "read=first", "--length", 8],
    ],
)
def test_the_commands_of_a_card_of_strings_do_what_it_says(
    flags: list[object], command: Command, tmp_path: Path
) -> None:
    """The first command makes the same strings again, and the second one asks them."""
    import shlex

    out = tmp_path / "data"
    made = command("sample", *flags, "--strings", 5, "--seed", 3, "--dataset", out, "--split", "val", prog="ffprompt")
    assert made.returncode == 0, made.stderr
    assert header(out)["configs"][0]["data_files"] == [{"split": "val", "path": "data/val.parquet"}]  # type: ignore[index]
    card = (out / "README.md").read_text(encoding="utf-8")
    (again,) = (line for line in card.splitlines() if line.startswith("ffprompt sample"))
    words = ["other" if word == "DIR" else word for word in shlex.split(again)[1:]]
    words = [str(tmp_path / "other") if word == "other" else word for word in words]
    assert command(*words, prog="ffprompt").returncode == 0
    assert pq.read_table(tmp_path / "other" / "data" / "val.parquet") == pq.read_table(out / "data" / "val.parquet")
    template = ["--template", "raw-spaced"] if "--symbols" in flags else []
    (asked,) = (line for line in card.splitlines() if line.startswith("python run_eval.py"))
    filled = asked.replace("BACKEND", "scripted").replace("MODEL", "oracle").replace("DIR", str(out))
    done = command(*shlex.split(filled)[2:], "--trials", 5, *template)
    assert done.returncode == 0, done.stderr
    info = json.loads((only_run(tmp_path / "results") / "run.json").read_text())
    assert info["results"][0]["accuracy"] == 1


def test_a_split_needs_a_name_and_a_dataset(command: Command, tmp_path: Path) -> None:
    sample = ["sample", "--spec", "FFL(12, 0.6)", "--strings", 2]
    for flags in (["--dataset", tmp_path / "a", "--split", "a/b"], ["--out", tmp_path / "a.jsonl", "--split", "val"]):
        done = command(*sample, *flags, prog="ffprompt")
        assert done.returncode == 2
        assert "--split" in done.stderr
    assert not list(tmp_path.iterdir())


def test_exported_reads_have_the_types_of_the_one_table_of_columns(
    command: Command, results: Path, tmp_path: Path
) -> None:
    assert command("export-data", results, "--out", tmp_path / "data", prog="ffprompt").returncode == 0
    schema = pq.read_schema(next((tmp_path / "data" / "data" / "reads").iterdir()))
    assert schema.names == ["run", *READS]
    assert schema.field("answer_logprobs").type == pa.list_(pa.float64())
    assert schema.field("answer").type == pa.int16()
