"""Studies: what a file may say, and that its trainings are there in the end whatever happens on the way."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ffprompt._util.storage import hold, release
from ffprompt.cli.main import main
from ffprompt.cli.sweep import _jobs
from ffprompt.cli.sweep_output import Shown
from ffprompt.errors import ConfigError
from ffprompt.reference.checkpoints.checkpoint import load
from ffprompt.reference.training import run as session
from ffprompt.reference.training.studies import load_study, studies_folder
from ffprompt.reference.training.sweep import _News, locally
from ffprompt.report import data, tables
from ffprompt.report.standing import standing
from tests.conftest import ROOT
from tests.support.studies import swept, training

TINY = """
name = "tiny"
seeds = 2
[base]
architecture = "transformer"
layers = 1
width = 8
heads = 2
length = 16
steps = 20
batch = 2
monitor_every = 0
save_every = 10
[evaluation]
every = 0
final_strings = 2
[together]
replicates = 2
"""
SLOW = TINY.replace("steps = 20", "steps = 9000").replace("save_every = 10", "save_every = 20")


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return str(path)


def status(folder: Path) -> str:
    return json.loads((folder / "training.json").read_text())["status"]


# --- what a file says ---


def test_cells_are_variants_times_the_grid_times_the_seeds(tmp_path):
    text = TINY.replace("seeds = 2", "seeds = [3, 5]") + (
        '[grid]\nlayers = [1, 2]\ndata = ["FFL(0.8)", "FFL(0.8)+FFL(0.1)"]\n'
        '[[variant]]\nname = "plain"\n[[variant]]\nembedding_dropout = 0.5\n'
    )
    study = load_study(write(tmp_path, text))
    assert len(study.cells) == 2 * 4 * 2 and study.replicates == 2
    assert [cell.name for cell in study.cells[:3]] == [
        "plain_layers-1_data-FFL0.8_s3",
        "plain_layers-1_data-FFL0.8_s5",
        "plain_layers-1_data-FFL0.8+FFL0.1_s3",
    ]
    last = study.cells[-1]
    assert last.name == "embedding_dropout-0.5_layers-2_data-FFL0.8+FFL0.1_s5" and last.group == last.name[:-3]
    assert (last.given["embedding_dropout"], last.given["layers"], last.given["seed"]) == (0.5, 2, 5)
    (job, *_) = _jobs(study, tmp_path)
    assert (job.training.model_seed, job.training.data_seed, job.training.threads) == (3, 3, 1)
    assert (job.plan.evaluate_every, job.plan.final_strings, job.plan.save_every) == (0, 2, 10)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = 2", "seed = 2", r"seed: unknown key; did you mean 'seeds'\?"),
        ("width = 8", "widht = 8", r"base\.widht: unknown key; did you mean 'width'\?"),
        ("width = 8", "seed = 8", "base.seed: unknown key; seeds = N stands at the top"),
        ("width = 8", "strings = 8", r"base\.strings: unknown key; it is said in \[evaluation\]"),
        ("width = 8", 'width = "8"', "base.width '8': expected a whole number"),
        ("every = 0", "evry = 0", r"evaluation\.evry: unknown key; did you mean 'every'\?"),
        ("replicates = 2", "replicates = 0", "together.replicates 0: expected at least 1"),
        ("[together]", "[grid]\nhaeds = [1]\n[together]", r"grid\.haeds: unknown key; did you mean 'heads'\?"),
        ("[together]", "[grid]\nheads = []\n[together]", "grid.heads: expected a list of values"),
        ("[together]", "[grid]\nheads = [1, 1]\n[together]", "two trainings would have the folder 'heads-1_s0'"),
        ("[together]", "[[variant]]\n[together]", "variant 1: name ''"),
        ("[together]", "[[variant]]\nlayrs = 2\n[together]", r"variant 1\.layrs: unknown key; did you mean 'layers'\?"),
        ("[together]", "[grid]\nheads = [1]\n[[variant]]\nheads = 2\n[together]", "heads: it is in the grid and in"),
        ('architecture = "transformer"', "", "base.architecture is not given"),
    ],
)
def test_what_is_odd_in_a_file_is_named(tmp_path, old, new, said):
    assert old in TINY
    with pytest.raises(ConfigError, match=said):
        load_study(write(tmp_path, TINY.replace(old, new)))


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("width = 7", "training s0: width 7: it must divide into 2 heads"),
        ("width = 8\nhidden = 3", "training s0: --hidden: a model of type transformer has no such setting"),
        ('width = 8\nsharpen = "l2"', "training s0: --sharpen and --sharpen-coefficient: a penalty needs both"),
    ],
)
def test_every_training_is_looked_at_before_the_first_is_begun(tmp_path, new, said):
    study = load_study(write(tmp_path, TINY.replace("width = 8", new)))
    with pytest.raises(ConfigError, match=said):
        _jobs(study, tmp_path)


def test_a_penalty_on_attention_is_refused_where_there_is_none(tmp_path):
    text = TINY.replace("heads = 2", 'sharpen = "l2"\nsharpen_coefficient = 1.0').replace("transformer", "lstm")
    with pytest.raises(ConfigError, match="training s0: sharpen 'l2': only a transformer"):
        _jobs(load_study(write(tmp_path, text.replace("layers = 1", ""))), tmp_path)


def test_the_lists_of_a_variant_are_a_grid_of_its_own(tmp_path):
    text = (
        TINY.replace('architecture = "transformer"\n', "").replace("layers = 1\n", "").replace("seeds = 2", "seeds = 1")
    )
    text = text.replace("width = 8\nheads = 2\n", "")
    text += (
        '[[variant]]\nname = "attention"\narchitecture = "transformer"\ntask = ["q8", "s5"]\nlayers = [1, 2]\n'
        'width = 8\nheads = 2\n[[variant]]\nname = "lstm"\narchitecture = "lstm"\n'
        'task = "dihedral-8"\ntask_arg = ["read=place"]\n'
        '[[variant]]\nname = "args"\narchitecture = "lstm"\ntask = "parity"\ntask_arg = [["p1=0.1"], ["p1=0.9"]]\n'
    )
    study = load_study(write(tmp_path, text))
    assert [cell.group for cell in study.cells] == [
        "attention_task-q8_layers-1", "attention_task-q8_layers-2", "attention_task-s5_layers-1",
        "attention_task-s5_layers-2", "lstm", "args_task_arg-p1=0.1", "args_task_arg-p1=0.9",
    ]  # fmt: skip
    data = [str(job.training.data) for job in _jobs(study, tmp_path)]
    assert data[1:] == [
        "q8(16, reads=every)", "s5(16, reads=every)", "s5(16, reads=every)",
        "dihedral-8(16, reads=every, read=place)", "parity(16, p1=0.1, reads=every)", "parity(16, p1=0.9, reads=every)",
    ]  # fmt: skip
    without = text.replace('architecture = "lstm"\n', "", 1)
    with pytest.raises(ConfigError, match=r"base\.architecture is not given"):
        load_study(write(tmp_path, without))


def test_an_unknown_study_is_named_with_the_nearest(capsys):
    assert main(["sweep", "r2-lsmt"]) == 2
    assert "did you mean 'r2-lstm'?" in capsys.readouterr().err


BUNDLED = {
    "r1-seeds": 25,
    "r1-seeds-cpu": 8,
    "r2-lstm": 20,
    "r2-lstm-cpu": 20,
    "r4-mixture": 10,
    "r4-mixture-cpu": 8,
    "r6-knobs": 40,
    "r6-knobs-cpu": 16,
    "r5-scale": 50,
    "r5-scale-cpu": 16,
    "r7-combination": 35,
    "r7-combination-cpu": 12,
    "zoo": 130,
    "zoo-cpu": 38,
    "automata-depth": 330,
    "automata-depth-cpu": 20,
    "parity-ood-cpu": 4,
    "failure-modes-cpu": 110,
    "failure-modes-healthy-cpu": 20,
    "r8-sharpening-cpu": 20,
    "r8-sharpening": 250,
}


@pytest.mark.slow
def test_the_bundled_studies_can_be_trained(tmp_path):
    assert {path.stem for path in studies_folder().glob("*.toml")} == BUNDLED.keys()
    for name, count in BUNDLED.items():
        study = load_study(name)
        jobs = _jobs(study, tmp_path)
        assert (study.name, len(jobs)) == (name, count) and study.summary
        assert len({json.dumps([job.training.record(), str(job.config)]) for job in jobs}) == count
        assert (study.gpu_minutes is not None) == (jobs[0].training.device == "cuda")


def test_a_dry_run_shows_cells_and_hours_and_makes_nothing(tmp_path, capsys):
    text = TINY + (
        '[estimate]\ngpu_minutes = 6\nsource = "a guess"\n'
        '[[variant]]\nname = "here"\n[[variant]]\nname = "there"\ndevice = "cuda"\n'
    )
    assert main(["sweep", write(tmp_path, text), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line}
    assert rows["here"][:2] == ["2", "40"] and int(rows["here"][2]) > 0, "milliseconds of a step"
    assert rows["here"][3:] == ["<", "0.01"], "core hours"
    assert rows["there"] == ["2", "40", "0.20"] and rows["all"][:2] == ["4", "80"] and rows["all"][-1] == "0.20"
    assert "6 minutes a training, says the file (a guess)" in shown
    assert not (tmp_path / "out").exists()


# --- what becomes of its trainings ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a finished sweep, for copies, and what the sweep has shown."""
    folder = tmp_path_factory.mktemp("finished")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert main(["sweep", write(folder, TINY), "--out", str(folder / "out")]) == 0
    return folder / "out", shown.getvalue()


def test_trainings_are_those_of_train_and_finished_ones_are_left_alone(tmp_path, capsys, finished):
    file, (out, shown) = write(tmp_path, TINY), finished
    record = json.loads((out / "sweep.json").read_text())
    assert record["file"] == TINY and [cell["name"] for cell in record["cells"]] == ["s0", "s1"]
    job = _jobs(load_study(file), tmp_path / "alone")[1]
    alone, swept = session.run(job.folder, job.config, job.training, job.plan), load(out / "s1" / "model.safetensors")
    assert alone.sha256 == swept.sha256 and alone.evaluation == swept.evaluation
    for row in tables.of_cells(data.build([out]).study):
        cell, name, median, least, most, zeros = row[0], row[1], *row[6:10]
        told = [*["2", "of", "2"], median, f"({least}–{most})", zeros.split()[0]]
        assert cell == "tiny" and row_of(shown, cell, name) == told
    assert f"ffprompt report {out}" in shown
    before = (out / "s0" / "model.safetensors").stat().st_mtime_ns
    assert main(["sweep", file, "--out", str(out)]) == 0
    assert (out / "s0" / "model.safetensors").stat().st_mtime_ns == before
    assert "trainings: 2, finished before: 2" in capsys.readouterr().out


def test_quiet_leaves_the_table_and_json_every_number(tmp_path, capsys, finished):
    out, shown = finished
    words = ["sweep", write(tmp_path, TINY), "--out", str(out)]
    assert main([*words, "--quiet"]) == 0
    quiet = capsys.readouterr()
    lines = quiet.out.splitlines()
    assert lines[0].split()[:2] == ["cell", "test"]
    assert {line.split()[0] for line in lines[1:]} == {"tiny"}
    assert all(line in shown.splitlines() for line in lines)
    assert quiet.err == ""
    assert main([*words, "--json"]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert "all finished" in told.err and "figures and all numbers" in told.err
    assert (document["exit_code"], document["trainings"], document["not_finished"]) == (0, 2, {})
    assert (document["folder"], document["study"]) == (str(out), "tiny")
    for cell in document["cells"]:
        assert (cell["cell"], cell["trainings"], cell["finished"]) == ("tiny", 2, 2)
        assert 0 <= cell["least"] <= cell["median"] <= cell["most"] <= 1
        _, _, _, median, *_ = row_of(shown, cell["cell"], cell["data"])
        assert float(median) == pytest.approx(cell["median"], rel=0.05)
    assert main([*words, "--quiet", "--json", str(tmp_path / "numbers.json")]) == 0
    assert capsys.readouterr().out == quiet.out
    assert json.loads((tmp_path / "numbers.json").read_text()) == document


def test_json_of_a_study_that_is_not_finished_says_what_is_not(tmp_path, capsys, finished):
    out = Path(shutil.copytree(finished[0], tmp_path / "out"))
    held = hold(out / "s1")
    (out / "s1" / "training.json").unlink()
    try:
        words = ["sweep", write(tmp_path, TINY), "--out", str(out), "--json", "--quiet"]
        assert main(words) == 3
    finally:
        release(held)
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["exit_code"] == 3
    assert list(document["not_finished"]) == ["s1"]
    assert "not finished: s1: " in told.err, "what is not finished is told however quiet"
    assert "1 of 2 trainings" in told.err


def test_what_a_sweep_cannot_do_is_refused_before_anything_is_trained(tmp_path, capsys):
    file = write(tmp_path, TINY)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "trials.jsonl"):
        (run / name).touch()
    for words, said in (
        (["--dry-run", "--json"], "--json: cannot be combined with --dry-run"),
        (["--json", str(tmp_path / "no" / "file")], "is not there"),
        (["--out", str(run)], f"{run}: it is a run"),
    ):
        assert main(["sweep", file, *words]) == 2
        told = capsys.readouterr()
        assert said in told.err and len(told.err.splitlines()) == 1 and told.out == ""


@pytest.mark.slow
def test_what_fails_does_not_stop_the_others_and_is_named(tmp_path, capsys):
    """One diverges, one is well."""
    text = TINY.replace("seeds = 2", "seeds = 1") + (
        '[[variant]]\nname = "bad"\nlearning_rate = 1e3\nweight_decay = 1e3\nwarmup = 0\n[[variant]]\nname = "good"\n'
    )
    out = tmp_path / "out"
    assert main(["sweep", write(tmp_path, text), "--out", str(out)]) == 3
    assert (status(out / "bad_s0"), status(out / "good_s0")) == ("diverged", "finished")
    told = capsys.readouterr()
    assert "not finished: bad_s0: training step" in told.out and "1 of 2 trainings" in told.err
    assert row_of(told.out, "bad", "–") == ["0", "of", "1", "–", "–"]
    assert row_of(told.out, "good", "FFL(16, 0.8)")[:3] == ["1", "of", "1"]


def row_of(shown: str, cell: str, name: str) -> list[str]:
    """What the table of rates says of a cell on a test set. What the monitors told comes after it."""
    line = next(line for line in shown.splitlines() if line.split()[:1] == [cell] and f" {name} " in line)
    return line.split(f" {name} ", 1)[1].split()


def test_the_last_table_counts_what_is_not_begun_and_the_same_training_once(tmp_path):
    layers = {"a": 1, "same": 1, "b": 2, "never": 3}
    groups = {}
    for group, count in layers.items():
        for seed in (0, 1):
            folder = tmp_path / "out" / f"{group}_s{seed}"
            groups[folder] = group
            if group != "never" and (group, seed) != ("b", 1):
                training(folder, seed=seed, layers=count, strings=30)
    swept(tmp_path / "out", "out", {folder.name: group for folder, group in groups.items()})
    (tmp_path / "out" / "a_s1" / "train.jsonl").write_text("{}\n")
    found = standing(groups)
    assert {(row.cell, row.finished, row.trainings) for row in found.rows} == {
        ("a and same", 2, 3), ("b", 1, 2), ("never", 0, 2),
    }  # fmt: skip
    (text,) = found.odd
    assert "a_s1/train.jsonl, line 1" in text


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("width = 8", "width = 6", "training s0: out {out}/s0: it holds a training with width 8, not 6"),
        ("final_strings = 2", "final_strings = 5", "finished, and evaluated with --final-strings 2, not 5"),
    ],
)
def test_a_study_that_was_changed_does_not_go_on_in_the_folders_of_the_old_one(
    tmp_path, capsys, before, after, says, finished
):
    assert before in TINY
    out = Path(shutil.copytree(finished[0], tmp_path / "out"))
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["sweep", write(tmp_path, TINY.replace(before, after)), "--out", str(out)]) == 2
    assert says.format(out=out) in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == kept


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_the_next_task_alone_and_ctrl_c_is_the_parents(tmp_path):
    jobs = _jobs(load_study(write(tmp_path, TINY.replace("seeds = 2", "seeds = 3"))), tmp_path / "out")
    found: dict[str, str | None] = {}

    def tell(name, event):
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL if name == "s0" else signal.SIGINT)

    locally(jobs[:1] + jobs[2:], 1, 1, tell, lambda name, why: found.update({name: why}))
    assert found == {"s0": "its process ended with code -9", "s2": None}


def begin(file: str, out: Path) -> subprocess.Popen[str]:
    """A sweep in a process of its own, once both of its trainings have a state to go on from."""
    command = [sys.executable, "-m", "ffprompt", "sweep", file, "--out", str(out), "--cpus-per-task", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until(lambda: all((out / name / "state.safetensors").exists() for name in ("s0", "s1")))
    except AssertionError:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process


def until(true) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "nothing happened in two minutes"
        time.sleep(0.02)


def let_go(folder: Path) -> bool:
    """Whether no process trains in ``folder`` any more."""
    lock = hold(folder)
    if lock is not None:
        release(lock)
    return lock is not None


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_sweep_that_was_stopped_goes_on_where_it_was(tmp_path, how):
    file, out = write(tmp_path, SLOW), tmp_path / "out"
    process = begin(file, out)
    # SIGINT reaches all processes of a terminal, SIGKILL the one that is killed.
    os.killpg(process.pid, how) if how == signal.SIGINT else process.kill()
    errors = process.communicate(timeout=60)[1]
    assert "Traceback" not in errors, errors
    until(lambda: let_go(out / "s0") and let_go(out / "s1"))
    assert {status(out / "s0"), status(out / "s1")} == {"interrupted"}
    for name in ("s0", "s1"):
        lines = [json.loads(line) for line in (out / name / "train.jsonl").read_text().splitlines()]
        assert 20 <= lines[-1]["step"] < 9000
    study = load_study(file)
    job = _jobs(study, out)[0]

    class EnoughError(Exception):
        pass

    def watch(event):
        assert event["step"] > 20, "what is saved is not done again"
        raise EnoughError

    with pytest.raises(EnoughError):
        session.run(job.folder, job.config, job.training, job.plan, resume=True, watch=watch)


@pytest.mark.ray
def test_a_sweep_on_ray_makes_the_same_folders_and_names_what_failed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = (
        TINY
        + '[[variant]]\nname = "bad"\nlearning_rate = 1e3\nweight_decay = 1e3\nwarmup = 0\n[[variant]]\nname = "good"\n'
    )
    file, out = write(tmp_path, text.replace("seeds = 2", "seeds = 1")), tmp_path / "out"
    heard = []
    monkeypatch.setattr(Shown, "tell", lambda shown, name, event: heard.append((name, event["event"])))
    assert main(["sweep", file, "--out", str(out), "--ray", "local", "--cpus-per-task", "1"]) == 3
    assert heard.count(("good_s0", "step")) >= 2
    assert "not finished: bad_s0: training step" in capsys.readouterr().out
    job = _jobs(load_study(file), tmp_path / "alone")[1]
    alone = session.run(job.folder, job.config, job.training, job.plan)
    assert alone.sha256 == load(out / "good_s0" / "model.safetensors").sha256


def test_what_other_machines_add_to_logs_is_heard_line_by_line(tmp_path):
    job = _jobs(load_study(write(tmp_path, TINY)), tmp_path)[0]
    log, heard = job.folder / "train.jsonl", []

    def hear():
        news.pass_on(lambda name, event: heard.append((name, event["step"])))

    news = _News([job])
    hear()
    assert heard == []
    log.parent.mkdir()
    log.write_text('{"step": 10}\n{"step": 20}\n{"st')
    hear()
    assert heard == [(job.name, 10), (job.name, 20)]
    log.write_text('{"step": 10}\n{"step": 20}\n{"step": 30}\n')
    hear()
    assert heard[2:] == [(job.name, 30)]
    log.write_text('{"step": 10}\n')
    hear()
    log.write_text('{"step": 10}\n{"step": 20}\n')
    hear()
    assert heard[3:] == [(job.name, 20)], "heard again after a resume"
    assert _News([job])._read == {job.folder: len(log.read_bytes())}, "what was there before is no news"


def test_tasks_larger_than_the_machine_and_gpus_without_ray_are_refused(tmp_path, capsys):
    file = write(tmp_path, TINY)
    assert main(["sweep", file, "--gpus-per-task", "1"]) == 2
    assert "gpus-per-task 1: it goes with --ray" in capsys.readouterr().err
    for share in ("nan", "1.5", "-1"):
        assert main(["sweep", file, "--ray", "local", "--gpus-per-task", share, "--dry-run"]) == 2
        told = f"--gpus-per-task {share}: expected a part of one GPU, or a whole number of them"
        assert told in capsys.readouterr().err
    assert main(["sweep", file, "--cpus-per-task", "0"]) == 2
    assert "cpus-per-task 0: expected at least 1" in capsys.readouterr().err
