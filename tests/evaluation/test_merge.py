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
        "１/３": "--shard １/３: expected I/N",
        "0/3": "--shard 0/3: expected I/N",
        "1/0": "--shard 1/0: expected I/N",
        "x": "--shard x: expected I/N",
        "": "--shard : expected I/N",
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


def answered_by_another(shards: list[Path], tmp_path: Path, **changes: object) -> list[Path]:
    """Copies of three shards. The log of the second also holds the first line of the first, changed."""
    copies = [tmp_path / f"part-{number}" for number in (1, 2, 3)]
    for shard, copy in zip(shards, copies, strict=True):
        shutil.copytree(shard, copy)
    line = json.loads((copies[0] / "trials.jsonl").read_text().partition("\n")[0])
    with (copies[1] / "trials.jsonl").open("a") as log:
        log.write(json.dumps(line | changes) + "\n")
    return copies


def test_a_repeat_of_the_same_answer_counts_once_and_is_noted(shards, whole, command, tmp_path):
    copies = answered_by_another(shards, tmp_path, seconds=1.5, started="2026-01-01T00:00:00.000+00:00")
    for order in ((0, 1, 2), (1, 2, 0)):
        out = tmp_path / f"merged-{order[0]}"
        done = command("merge", *(copies[number] for number in order), "--out", out, prog="ffprompt")
        assert done.returncode == 0, done.stderr
        assert "1 answer was there twice, and the same both times; each trial counts once" in done.stdout
        assert (only_run(out) / "reads.parquet").read_bytes() == (whole / "reads.parquet").read_bytes()
        assert len(list(trials_of(RunFolder.open(only_run(out))))) == 1400


def test_two_different_answers_to_a_trial_are_refused_by_its_name(shards, command, tmp_path):
    copies = answered_by_another(shards, tmp_path, reply="0, 0, 0, 0")
    done = command("merge", *copies, "--out", tmp_path / "merged", prog="ffprompt")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"runs {copies[0]} and {copies[1]}: two different answers to trial " in done.stderr
    assert "FFL(20, 0.6)/seed-0/0;" in done.stderr
    assert not list((tmp_path / "merged").iterdir()), "no half of a run is left"


def test_a_failed_call_for_a_trial_of_another_part_changes_nothing(shards, whole, tmp_path):
    copies = answered_by_another(shards, tmp_path)
    lines = (copies[1] / "trials.jsonl").read_text().splitlines()
    failed = {key: value for key, value in json.loads(lines[-1]).items() if key not in ("reply", "stop")}
    failed |= {"error": "no answer", "outcomes": ["error"] * len(failed["outcomes"])}
    (copies[1] / "trials.jsonl").write_text("\n".join([*lines[:-1], json.dumps(failed)]) + "\n")
    merged = merge([copies[1], copies[0], copies[2]], tmp_path / "merged")
    assert (merged.path / "reads.parquet").read_bytes() == (whole / "reads.parquet").read_bytes()
    assert merged.info.status == "done"


def test_what_is_damaged_in_a_part_leaves_no_half_of_a_run(shards, tmp_path):
    copies = answered_by_another(shards, tmp_path, trial=99_999)
    with pytest.raises(StoreError, match="trial 99999 is not in the plan"):
        merge(copies, tmp_path / "merged")
    assert not list((tmp_path / "merged").iterdir())


def test_a_results_folder_inside_a_run_is_refused(shards, command, tmp_path, monkeypatch):
    for out, said in ((shards[0], "it is a run"), (shards[0] / "new" / "er", f"it is inside the run {shards[0]}")):
        for words in (("merge", *shards), ("run", *RUN), ("train", "lstm", "--steps", 2)):
            done = command(*words, "--out", out, prog="ffprompt")
            assert done.returncode == 2
            assert done.stderr.endswith(f"error: {out}: {said}; expected a folder outside of all runs\n")
            assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in shards[0].iterdir()) == ["reads.parquet", "run.json", "trials.jsonl"]
    with pytest.raises(StoreError, match="it is a run"):
        RunFolder.create(shards[0], "name", {})


def test_a_part_that_is_given_as_the_current_folder_has_the_whole_run_beside_it(shards, tmp_path, monkeypatch):
    copies = answered_by_another(shards, tmp_path)
    monkeypatch.chdir(copies[0])
    assert merge([Path(), Path("../part-2"), copies[2]]).path.parent == tmp_path


def test_parts_of_another_version_or_template_are_refused(shards, command, tmp_path):
    copies = answered_by_another(shards, tmp_path)
    info = json.loads((copies[1] / "run.json").read_text())
    (copies[1] / "run.json").write_text(json.dumps(info | {"versions": info["versions"] | {"ffprompt": "0.0.1"}}))
    done = command("merge", *copies, prog="ffprompt")
    assert done.returncode == 2
    assert "made by ffprompt 0.0.1" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    template = tmp_path / "own.toml"
    command("prompts", "new", template, prog="ffprompt")
    for number in (1, 2):
        template.write_text(template.read_text().replace("version = 1", f"version = {number}"))
        words = (*RUN, "--template", template, "--shard", f"{number}/2", "--out", tmp_path / f"t{number}")
        assert command(*words).returncode == 0
    with pytest.raises(StoreError, match="of another plan or model than"):
        merge([only_run(tmp_path / "t1"), only_run(tmp_path / "t2")])
