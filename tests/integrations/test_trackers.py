"""Trackers hold what a run has measured, and one that fails costs a warning and nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ffprompt.cli import track_flags
from ffprompt.integrations.trackers.entry import Entry, of_training
from tests.conftest import Command, only_run
from tests.support.studies import LENGTH, SETS, training

GLITCHY = ["--backend", "scripted", "--model", "glitch-0.2", "--template", "game", "--length", 12, "--trials", 8]
FIRST_SET = f"FFL {LENGTH} 0.8"  # of the first test set, in the name of a metric
needs_trackers = pytest.mark.trackers


def row_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((only_run(folder) / "run.json").read_text())["results"][0]
    return found


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="it is installed here")
@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_said_before_anything_is_asked(
    name: str, command: Command, tmp_path: Path
) -> None:
    done = command(*GLITCHY, "--track", name)
    assert done.returncode == 2
    assert f"[{name}]" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_an_unknown_or_repeated_tracker_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command(*GLITCHY, "--track", "mlfow")
    assert done.returncode == 2
    assert "did you mean 'mlflow'" in done.stderr
    monkeypatch.setattr("ffprompt.integrations.trackers.tracking.missing", lambda _: [])
    assert "duplicate" in command(*GLITCHY, "--track", "mlflow", "--track", "mlflow").stderr
    assert not (tmp_path / "results").exists()


def test_a_tracker_that_fails_is_a_warning_and_the_exit_code_stays(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffprompt.integrations.trackers.tracking.missing", lambda _: [])

    def fail(_: object) -> str:
        raise ConnectionError("nobody listens\nat port 9")

    import ffprompt.integrations.trackers.mlflow_tracker as module

    monkeypatch.setattr(module, "keep", fail)
    done = command(*GLITCHY, "--track", "mlflow", "--json", tmp_path / "out.json", "--quiet")
    assert done.returncode == 0
    run = only_run(tmp_path / "results")
    assert f"! mlflow: {run.name} was not tracked (nobody listens at port 9)" in done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["exit_code"] == 0
    gated = command(
        "gate", "--baseline", run, "--candidate", run, "--margin", 0.9, "--track", "mlflow", prog="ffprompt"
    )
    assert gated.returncode in (0, 3)
    assert "was not tracked" in gated.stderr


def test_a_training_that_was_tracked_tells_its_recipe_losses_and_rates_by_step(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ffprompt.integrations.trackers.mlflow_tracker as module

    entries: list[Entry] = []
    monkeypatch.setattr("ffprompt.integrations.trackers.tracking.missing", lambda _: [])
    monkeypatch.setattr(module, "keep", lambda entry: entries.append(entry) or "somewhere")
    folder = tmp_path / "model"
    small = ("--layers", 1, "--width", 8, "--heads", 2, "--length", 16, "--threads", 1, "--final-strings", 4)
    steps = ("--steps", 6, "--evaluate-every", 3, "--log-every", 2)
    done = command("train", "transformer", *small, *steps, "--out", folder, "--track", "mlflow", prog="ffprompt")
    assert done.returncode == 0, done.stderr
    assert "mlflow: model (somewhere)" in done.stdout
    (entry,) = entries
    assert (entry.name, entry.kind, entry.tags) == (
        "model", "training", {"architecture": "transformer", "status": "finished"},
    )  # fmt: skip
    assert {"width": 8, "steps": 6, "architecture": "transformer"}.items() <= entry.settings.items()
    log = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["loss"]) for line in log if line["event"] == "step"]
    assert [(step, numbers["loss"]) for step, numbers in entry.steps if "loss" in numbers] == losses
    rated = [line for line in log if line["event"] == "evaluation" and line["data"] == "FFL(16, 0.8)"]
    name = "glitch_rate/FFL 16 0.8"
    found = [(step, numbers[name]) for step, numbers in entry.steps if name in numbers]
    assert found == [(line["step"], line["errors"] / line["reads"]) for line in rated]
    assert entry.figures[name] == found[-1][1]
    assert {path.name for path in entry.artefacts} == {"training.json", "train.jsonl"}


# ------------------------------------------------------------------------------------------------ the real clients


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on this machine."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log.txt").open("w") as log:
        # Without its workers for jobs, which take several seconds to start and are of no use here.
        given = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        command = [sys.executable, "-m", "mlflow", "server", *words]
        server = subprocess.Popen(command, stdout=log, stderr=log, env=given)
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 240
            while True:
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=2).read()
                    break
                except OSError:
                    assert server.poll() is None, (folder / "log.txt").read_text()
                    assert time.monotonic() < deadline, (folder / "log.txt").read_text()
                    time.sleep(0.5)
            yield address
        finally:
            server.terminate()
            server.wait(30)


@needs_trackers
def test_mlflow_holds_settings_figures_table_and_report(
    mlflow_server: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "releases")
    mlflow.set_tracking_uri(mlflow_server)
    done = command(*GLITCHY, "--shots", 0, 1, "--track", "mlflow")
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "results")
    assert f"mlflow: {run.name} ({mlflow_server}, run " in done.stdout
    gated = command(
        "gate", "--baseline", run, "--candidate", run, "--margin", 0.9, "--track", "mlflow", prog="ffprompt"
    )
    assert f"mlflow: gate {run.name} (" in gated.stdout, gated.stderr
    client = mlflow.MlflowClient()
    (experiment,) = (one for one in client.search_experiments() if one.name == "releases")
    gate, kept = client.search_runs([experiment.experiment_id])
    assert (kept.info.run_name, kept.info.status, kept.data.tags["kind"]) == (run.name, "FINISHED", "run")
    row = row_of(tmp_path / "results")
    assert kept.data.metrics["accuracy/game 0-shot list chat FFL 12 0.6"] == pytest.approx(row["accuracy"])
    assert kept.data.params["model"] == "glitch-0.2"
    assert {file.path for file in client.list_artifacts(kept.info.run_id)} == {"run.json", "table.json"}
    table = client.load_table(experiment.experiment_id, artifact_file="table.json", run_ids=[kept.info.run_id])
    assert table["accuracy"].tolist()[0] == pytest.approx(row["accuracy"])
    assert gate.data.tags["verdict"] in ("pass", "inconclusive")
    assert "gate.md" in {file.path for file in client.list_artifacts(gate.info.run_id)}


@pytest.fixture(scope="module")
def wandb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where W&B writes. Its client keeps the first folder that a process names."""
    return tmp_path_factory.mktemp("wandb")


@pytest.fixture
def offline(wandb_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """W&B without a network. Returns what gives the file of the one run that a test has made, once it has ended."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(wandb_folder))
    before = set(wandb_folder.rglob("*.wandb"))

    def made() -> Path:
        (path,) = set(wandb_folder.rglob("*.wandb")) - before
        return _ended(path)

    return made


def rates_of(folder: Path) -> list[tuple[int, float]]:
    """Step and glitch rate of each evaluation on the first test set, by the log of a training."""
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    found = [line for line in lines if line["event"] == "evaluation" and line["data"] == str(SETS[0])]
    return [(line["step"], line["errors"] / line["reads"]) for line in found]


@needs_trackers
def test_mlflow_holds_a_training_by_step(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trainings")
    mlflow.set_tracking_uri(mlflow_server)
    folder = training(tmp_path / "small", glitches=(0.05, 0.02, 0.01), steps=400)
    track_flags.tell(["mlflow"], [partial(of_training, folder)])
    told = capsys.readouterr()
    assert f"mlflow: small ({mlflow_server}, run " in told.out, told.err
    client = mlflow.MlflowClient()
    (experiment,) = (one for one in client.search_experiments() if one.name == "trainings")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert (kept.info.run_name, kept.info.status, kept.data.tags["kind"]) == ("small", "FINISHED", "training")
    assert kept.data.params["architecture"] == "transformer"
    assert kept.data.params["steps"] == "400"
    rates = rates_of(folder)
    name = f"glitch_rate/{FIRST_SET}"
    history = client.get_metric_history(kept.info.run_id, name)
    assert sorted((one.step, one.value) for one in history) == rates, "no point but those of the log"
    assert kept.data.metrics[name] == pytest.approx(rates[-1][1])
    losses = client.get_metric_history(kept.info.run_id, "loss")
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    steps = [(line["step"], line["loss"]) for line in lines if line["event"] == "step" and line["loss"] is not None]
    assert sorted((one.step, one.value) for one in losses) == steps
    assert {file.path for file in client.list_artifacts(kept.info.run_id)} == {"training.json", "train.jsonl"}


@needs_trackers
def test_wandb_keeps_a_training_by_step(
    offline: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from wandb.proto import wandb_internal_pb2

    folder = training(tmp_path / "small", glitches=(0.05, 0.02, 0.01), steps=400)
    track_flags.tell(["wandb"], [partial(of_training, folder)])
    told = capsys.readouterr()
    assert "wandb: small (" in told.out, told.err
    path = offline()
    config, summary, files = _offline(path)
    name = f"glitch_rate/{FIRST_SET}"
    rates = rates_of(folder)
    assert (config["architecture"], config["steps"]) == ("transformer", 400)
    assert summary[name] == pytest.approx(rates[-1][1])
    assert {"training.json", "train.jsonl"} <= files
    found: list[tuple[int, float]] = []
    for data in _records(path.read_bytes()):
        history = wandb_internal_pb2.Record.FromString(data).history
        row = {(each.key or ".".join(each.nested_key)): json.loads(each.value_json) for each in history.item}
        if name in row:
            found.append((int(row["_step"]) if "_step" in row else history.step.num, row[name]))
    assert found == rates


@needs_trackers
def test_a_server_that_is_not_there_is_told_soon(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    started = time.monotonic()
    done = command(*GLITCHY, "--track", "mlflow")
    assert done.returncode == 0
    assert "! mlflow" in done.stderr
    assert time.monotonic() - started < 120
    assert row_of(tmp_path / "results")["reads"] > 0


@needs_trackers
def test_wandb_keeps_a_run_offline(offline: Callable[[], Path], command: Command, tmp_path: Path) -> None:
    done = command(*GLITCHY, "--track", "wandb")
    assert done.returncode == 0, done.stderr
    assert "! wandb" not in done.stderr
    config, summary, files = _offline(offline())
    row = row_of(tmp_path / "results")
    assert config["model"] == "glitch-0.2"
    assert config["tags"]["backend"] == "scripted"
    assert summary["accuracy/game 0-shot list chat FFL 12 0.6"] == pytest.approx(row["accuracy"])
    assert "run.json" in files


def _ended(path: Path) -> Path:
    """Wait for the process of the client, which goes on writing for a moment after a run has ended."""
    from wandb.proto import wandb_internal_pb2

    end = time.monotonic() + 20
    while time.monotonic() < end:
        last = list(_records(path.read_bytes()))[-1:]
        if last and wandb_internal_pb2.Record.FromString(last[0]).WhichOneof("record_type") == "exit":
            break
        time.sleep(0.1)
    return path


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a file of W&B: the log format of LevelDB behind seven bytes. A record may be in several pieces."""
    block, place, data = 1 << 15, 7, b""
    while place + 7 <= len(content):
        if block - place % block < 7:  # too little is left of a block for the head of a piece
            place += block - place % block
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield data
            data = b""


def _offline(path: Path) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    """Settings, figures and files of artefacts that the client has written."""
    from wandb.proto import wandb_internal_pb2

    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    files: set[str] = set()
    for data in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for update in (record.run.config, record.config):
            config |= {(each.key or ".".join(each.nested_key)): json.loads(each.value_json) for each in update.update}
        for each in record.summary.update:
            summary["/".join(each.nested_key) if each.nested_key else each.key] = json.loads(each.value_json)
        files |= {each.path for each in record.artifact.manifest.contents}
        files |= {each.path for each in record.request.log_artifact.artifact.manifest.contents}
    return config, summary, files


@needs_trackers
def test_wandb_without_a_key_asks_nobody(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = command(
        *GLITCHY, "--track", "wandb", env=environment | {"HOME": str(tmp_path), "NETRC": str(tmp_path / "n")}
    )
    assert done.returncode == 0
    assert "! wandb" in done.stderr
    assert "WANDB_API_KEY" in done.stderr
