"""The shards of a run, merged, are the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ffprompt.errors import StoreError
from ffprompt.evaluation.merge import merge
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import trials_of
from tests.conftest import Command, only_run

RUN = (
    "--backend", "scripted", "--model", "glitch-0.1", "--elicitation", "list", "--length", 20, 30, "--trials", 700,
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of three shards of a run of two conditions with three chunks each."""
    from ffprompt.cli.main import main

    out = tmp_path_factory.mktemp("shards")
    for number in (1, 2, 3):
        words = ["run", *map(str, RUN), "--shard", f"{number}/3", "--out", str(out / str(number)), "--no-report"]
        assert main([*words, "--quiet"], prog="run_eval.py") == 0
    return [only_run(out / str(number)) for number in (1, 2, 3)]


@pytest.fixture
def whole(command: Command, tmp_path: Path) -> Path:
    assert command(*RUN, "--out", tmp_path / "whole").returncode == 0
    return only_run(tmp_path / "whole")


def test_shards_make_the_same_reads_and_table_as_the_run(shards, whole, tmp_path):
    merged = merge([shards[2], shards[0], shards[1]], tmp_path / "merged")
    assert (merged.path / "reads.parquet").read_bytes() == (whole / "reads.parquet").read_bytes()
    one, other = merged.info, RunFolder.open(whole).info
    assert one.results == other.results
    assert (one.status, one.shard, one.plan_digest) == ("done", None, other.plan_digest)
    assert [part["shard"] for part in one.to_json()["parts"]] == ["1/3", "2/3", "3/3"]
    sizes = [len(list(trials_of(RunFolder.open(shard)))) for shard in shards]
    assert sizes == [256 + 256, 256 + 256, 188 + 188]


def test_a_shard_goes_on_by_itself_and_is_whole_by_itself(shards, command, tmp_path):
    out = tmp_path / "shard"
    shutil.copytree(shards[1].parent, out)
    run = only_run(out)
    log = (run / "trials.jsonl").read_bytes()
    (run / "trials.jsonl").write_bytes(b"".join(log.splitlines(keepends=True)[:100]))
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"status": "interrupted"}))
    done = command(*RUN, "--shard", "1/3", "--resume", "--out", out)
    assert "there is no unfinished one" in done.stdout, "of another shard"
    done = command(*RUN, "--shard", "2/3", "--resume", "--out", out)
    assert "going on, 412 of 512 trials are left" in done.stdout
    assert (run / "reads.parquet").read_bytes() == (shards[1] / "reads.parquet").read_bytes()


def test_a_merged_certificate_has_the_strings_that_the_run_would_have_asked(command, tmp_path):
    run = ("--backend", "scripted", "--model", "oracle", "--elicitation", "forced", "--length", 20, "--shots", 0)
    rule = (*run, "--template", "raw-compact", "--certify", 0.01, "--trials", 3000)
    for number in (1, 2):
        assert command(*rule, "--shard", f"{number}/2", "--out", tmp_path / str(number)).returncode == 0
    assert command(*rule, "--out", tmp_path / "whole").returncode == 0
    done = command("merge", *(only_run(tmp_path / n) for n in "12"), "--out", tmp_path / "merged", prog="ffprompt")
    assert done.returncode == 0, done.stderr
    merged, whole = only_run(tmp_path / "merged"), only_run(tmp_path / "whole")
    assert (merged / "reads.parquet").read_bytes() == (whole / "reads.parquet").read_bytes()
    assert RunFolder.open(merged).info.results == RunFolder.open(whole).info.results


def test_parts_that_do_not_fit_are_refused_in_one_line(shards, whole, command, tmp_path):
    def refused(*runs: Path) -> str:
        with pytest.raises(StoreError) as error:
            merge(runs, tmp_path / "merged")
        return str(error.value)

    assert refused(shards[0], shards[2]) == "shard 2/3 of the run is missing: give all 3 runs"
    assert "shard 1/3 is there twice" in refused(shards[0], shards[1], shards[0])
    assert "no shard of a run (--shard I/N)" in refused(whole, shards[0])
    other, unfinished = tmp_path / "other", tmp_path / "unfinished"
    command(*RUN, "--seed", 1, "--shard", "2/3", "--out", other)
    assert "of another plan or model than" in refused(shards[0], only_run(other))
    shutil.copytree(shards[1], unfinished)
    info = json.loads((unfinished / "run.json").read_text())
    (unfinished / "run.json").write_text(json.dumps(info | {"status": "incomplete"}))
    assert "shard 2/3 is not finished (incomplete); finish it with --resume" in refused(shards[0], unfinished)
    assert not (tmp_path / "merged").exists()


def test_shards_that_cannot_be_are_refused_in_one_line(command):
    for shard, said in {
        "4/3": "--shard 4/3: expected I/N",
        "1": "--shard 1: expected I/N",
        "1/9": "--shard 1/9: this run has 6 chunks of at most 256 trials; expected at most 6 shards",
    }.items():
        done = command(*RUN, "--shard", shard)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_attempts_of_merged_calls_are_numbered_through_and_counted_once(command, tmp_path):
    from tests.support.faulty_server import KEY, FaultyServer

    with FaultyServer() as server:
        words = (
            "--backend", "openai", "--model", "a-model", "--base-url", server.v1, "--length", 12, "--trials", 100,
            "--template", "game", "--elicitation", "list",
        )  # fmt: skip
        spent = []
        for number in (1, 2):
            out = tmp_path / str(number)
            done = command(*words, "--shard", f"{number}/2", "--out", out, env={"OPENAI_API_KEY": KEY, "PATH": ""})
            assert done.returncode == 0, done.stderr
            spent.append(RunFolder.open(only_run(out)).info.spent)
    merged = merge([only_run(tmp_path / n) for n in "12"], tmp_path / "merged")
    assert merged.info.spent.calls == 100
    assert merged.info.spent.tokens == sum(part.tokens for part in spent)
