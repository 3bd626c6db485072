"""A training as a folder: what it leaves, how it goes on after a stop, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ffprompt.cli.main import main
from ffprompt.errors import ConfigError, ModelError, RunFailedError
from ffprompt.reference.checkpoints.checkpoint import load, resolve
from ffprompt.reference.networks.base import NetworkConfig
from ffprompt.reference.networks.lstm import LSTMConfig
from ffprompt.reference.networks.transformer import TransformerConfig
from ffprompt.reference.training import resume_state as state
from ffprompt.reference.training import run as session
from ffprompt.reference.training.config import Sharpening, Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.evaluate import TEST_SEED, evaluate
from ffprompt.reference.training.loop import DivergedError, Trainer
from ffprompt.reference.training.plan import Plan
from ffprompt.tasks.flipflop import Spec
from tests.conftest import ROOT, only_run

TRANSFORMER = TransformerConfig(layers=2, width=32, heads=2, length=24, embedding_dropout=0.2, mlp_dropout=0.1)
RECIPE = Training(
    Mixture.parse("FFL(0.8)+FFL(0.98)+FFL(0.1)", 24), 1, 2, steps=30, batch=4, warmup=5, precision="bfloat16"
)
PLAN = Plan(log_every=4, evaluate_every=12, monitor_every=6, save_every=10, strings=8, final_strings=20)


class StoppedError(Exception):
    """What ends a training in these tests, as a lost power line would."""


def stop_at(step: int) -> Callable[[dict[str, Any]], None]:
    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] >= step:
            raise StoppedError

    return watch


def lines(folder: Path) -> list[dict[str, Any]]:
    """The log, without what no two trainings have in common."""
    return [
        {name: value for name, value in json.loads(line).items() if name != "seconds"}
        for line in (folder / "train.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("config", "training"),
    [
        (TRANSFORMER, RECIPE),
        (replace(TRANSFORMER, attention_dropout=0.1), replace(RECIPE, sharpening=Sharpening("entropy", 0.1), clip=1.0)),
        (LSTMConfig(width=8, hidden=8), replace(RECIPE, precision="float32", data_size=17)),
    ],
)
@pytest.mark.parametrize("stops", [pytest.param((17,), marks=pytest.mark.slow), (4, 21, 29)])
def test_a_resumed_training_ends_bit_for_bit_like_one_that_was_never_stopped(
    tmp_path: Path, config: NetworkConfig, training: Training, stops: tuple[int, ...]
) -> None:
    session.run(tmp_path / "whole", config, training, PLAN)
    for number, step in enumerate(stops):
        with pytest.raises(StoppedError):
            session.run(tmp_path / "parts", config, training, PLAN, resume=number > 0, watch=stop_at(step))
        assert session.read_record(tmp_path / "parts")["status"] == "failed"
    session.run(tmp_path / "parts", config, training, PLAN, resume=True)
    assert (tmp_path / "parts" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_the_folder_of_a_finished_training(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    made = session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN, watch=heard.append)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "model.safetensors",
        "train.jsonl",
        "training.json",
    ]
    record = json.loads((tmp_path / "m" / "training.json").read_text())
    assert (record["status"], record["step"], record["architecture"]) == ("finished", 30, "transformer")
    assert record["seconds"] > 0
    log = [json.loads(line) for line in (tmp_path / "m" / "train.jsonl").read_text().splitlines()]
    assert log == json.loads(json.dumps(heard))
    assert [line["step"] for line in log if line["event"] == "step"] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert [line["step"] for line in log if line["event"] == "monitor"] == [6, 12, 18, 24, 30]
    evaluations = [line for line in log if line["event"] == "evaluation"]
    assert [(line["step"], line["strings"]) for line in evaluations] == [(12, 8)] * 3 + [(24, 8)] * 3 + [(30, 20)] * 3
    # The last ones are those of the model that was written.
    assert [one.errors for one in made.evaluation] == [line["errors"] for line in evaluations[-3:]]
    again = evaluate(load(resolve(str(tmp_path / "m"))).model, Spec.ffl(0.8, 24), TEST_SEED, 20)
    assert again == made.evaluation[0]
    assert sum(count for _, count in again.gaps) == again.errors > 0


def test_what_is_logged_and_evaluated_changes_no_weight(tmp_path: Path) -> None:
    other = Plan(log_every=30, evaluate_every=0, monitor_every=0, save_every=1000, final_strings=1)
    first = session.run(tmp_path / "a", TRANSFORMER, RECIPE, PLAN).model.state_dict()
    second = session.run(tmp_path / "b", TRANSFORMER, RECIPE, other).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    made = session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN)
    with pytest.raises(ConfigError, match=r"this training is there, finished; add --resume or choose another --out"):
        session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN)
    heard: list[dict[str, Any]] = []
    assert session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN, resume=True, watch=heard.append).sha256 == made.sha256
    assert heard == []


@pytest.mark.parametrize(
    ("config", "training", "says"),
    [
        (replace(TRANSFORMER, width=64), RECIPE, "a training with width 32, not 64"),
        (TRANSFORMER, replace(RECIPE, learning_rate=1e-3), "a training with learning_rate 0.0003, not 0.001"),
        (LSTMConfig(width=8, hidden=8), RECIPE, "a training of transformer, not of lstm"),
    ],
)
def test_another_training_does_not_go_on_in_the_folder(
    tmp_path: Path, config: NetworkConfig, training: Training, says: str
) -> None:
    with pytest.raises(StoppedError):
        session.run(tmp_path, TRANSFORMER, RECIPE, PLAN, watch=stop_at(4))
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match=says):
        session.run(tmp_path, config, training, PLAN, resume=True)
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="it is there already and holds no training"):
        session.run(tmp_path, TRANSFORMER, RECIPE, PLAN)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from ffprompt._util.storage import hold; held = hold(pathlib.Path(sys.argv[1]));"
        "print('held', flush=True); sys.stdin.read()"
    )
    with pytest.raises(StoppedError):
        session.run(tmp_path, TRANSFORMER, RECIPE, PLAN, watch=stop_at(4))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ModelError, match="another process is training here"):
            session.run(tmp_path, TRANSFORMER, RECIPE, PLAN, resume=True)
        other.communicate("")
    assert session.run(tmp_path, TRANSFORMER, RECIPE, PLAN, resume=True).training == RECIPE


def test_a_divergence_stops_says_where_and_keeps_the_last_good_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Trainer.advance

    def poisoned(self: Trainer, strings: Any) -> tuple[float, float]:
        if self.step == 13:
            with torch.no_grad():
                kept = self.model.head.weight[0, 0].clone()
                self.model.head.weight[0, 0] = torch.inf
            try:
                return advance(self, strings)
            finally:
                with torch.no_grad():
                    self.model.head.weight[0, 0] = kept
        return advance(self, strings)

    monkeypatch.setattr(Trainer, "advance", poisoned)
    with pytest.raises(DivergedError, match=r"training step 14: the loss is (nan|inf).*model after step 13") as caught:
        session.run(tmp_path, TRANSFORMER, RECIPE, PLAN)
    assert caught.value.exit_code == 3
    record = session.read_record(tmp_path)
    assert (record["status"], record["step"]) == ("diverged", 13)
    assert "training step 14" in record["why"]
    assert load(tmp_path / "model.safetensors").loss is None
    with pytest.raises(RunFailedError, match="this training diverged"):
        session.run(tmp_path, TRANSFORMER, RECIPE, PLAN, resume=True)


def test_weights_that_are_no_numbers_after_a_step_are_not_kept(tmp_path: Path) -> None:
    """The loss and the gradient were finite, the step was not: the model of the last save is what there is."""
    plan = replace(PLAN, save_every=2, log_every=50, monitor_every=0, evaluate_every=0)
    wild = replace(RECIPE, precision="float32", learning_rate=1e3, weight_decay=1e3, warmup=0, steps=100)
    with pytest.raises(DivergedError, match=r"training step (\d+): .* is the model after step (\d+)") as caught:
        session.run(tmp_path, LSTMConfig(width=8, hidden=8), wild, plan)
    assert load(tmp_path / "model.safetensors").training == wild
    log = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["event"] for line in log[-2:]] == ["step", "warning"]
    assert log[-1]["monitor"] == "non-finite"
    assert log[-1]["text"] in str(caught.value)


def test_a_stop_in_the_last_evaluation_doubles_no_line(tmp_path: Path) -> None:
    session.run(tmp_path / "whole", TRANSFORMER, RECIPE, PLAN)

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "evaluation" and event["step"] == 30 and event["p_ignore"] == 0.98:
            raise StoppedError

    with pytest.raises(StoppedError):
        session.run(tmp_path / "parts", TRANSFORMER, RECIPE, PLAN, watch=stop)
    session.run(tmp_path / "parts", TRANSFORMER, RECIPE, PLAN, resume=True)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_a_full_disk_stops_and_the_training_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session.run(tmp_path / "whole", TRANSFORMER, RECIPE, PLAN)
    write_bytes, full = Path.write_bytes, [False]

    def no_room(self: Path, data: bytes) -> int:
        if full[0]:
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    def fill_up(event: dict[str, Any]) -> None:
        full[0] = event["step"] > 12

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_room)
        with pytest.raises(RunFailedError, match=r"state.safetensors: cannot be written: No space left.*--resume"):
            session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN, watch=fill_up)
    session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN, resume=True)
    assert (tmp_path / "m/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_a_state_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        session.run(tmp_path, TRANSFORMER, RECIPE, PLAN, watch=stop_at(12))
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"not the state of this training.*remove it to begin anew"):
        session.run(tmp_path, TRANSFORMER, RECIPE, PLAN, resume=True)


def test_a_state_that_lacks_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN, watch=stop_at(17))
    trainer = Trainer(TRANSFORMER, RECIPE)
    state.restore(tmp_path / "m" / "state.safetensors", trainer)
    state.save(tmp_path / "m" / "state.safetensors", trainer, {"pending": []})
    with pytest.raises(ModelError, match=r"state\.safetensors: not the state of a training by this version.*monitors"):
        session.run(tmp_path / "m", TRANSFORMER, RECIPE, PLAN, resume=True)


@pytest.mark.parametrize(("call", "steps"), [(13, 12), (31, 30), (32, 30)])
def test_a_training_hears_between_steps_and_in_evaluations_that_it_is_to_end(
    tmp_path: Path, call: int, steps: int
) -> None:
    plan, calls = replace(PLAN, log_every=1, evaluate_every=0), []

    def alive() -> None:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.run(tmp_path / "m", TRANSFORMER, RECIPE, plan, alive=alive)
    log = lines(tmp_path / "m")
    assert [line["step"] for line in log if line["event"] == "step"] == list(range(1, steps + 1))
    assert not any(line["event"] == "evaluation" for line in log)
    made = session.run(tmp_path / "m", TRANSFORMER, RECIPE, plan, resume=True)
    assert made.loss == session.run(tmp_path / "whole", TRANSFORMER, RECIPE, plan).loss


def test_a_state_holds_all_of_the_optimizer(tmp_path: Path) -> None:
    first = Trainer(TRANSFORMER, RECIPE)
    for strings, _ in zip(first.batches(), range(3), strict=False):
        first.advance(strings)
    state.save(tmp_path / "s", first, {"extra": 1})
    second = Trainer(TRANSFORMER, RECIPE)
    assert state.restore(tmp_path / "s", second) == {"extra": 1}
    assert second.step == 3
    for (_, a), (_, b) in zip(
        sorted(first.optimizer.state_dict()["state"].items()),
        sorted(second.optimizer.state_dict()["state"].items()),
        strict=True,
    ):
        assert all(torch.equal(a[name], b[name]) for name in ("exp_avg", "exp_avg_sq", "step"))


# --- the command ---

SIZES = {"layers": 1, "width": 16, "heads": 2, "length": 16, "steps": 6, "batch": 2}
TINY = [f"--{flag}={value}" for flag, value in (SIZES | {"final-strings": 4, "evaluate-every": 0}).items()]


def command(*words: str) -> int:
    return main(["train", *words])


def test_the_command_trains_and_says_how_to_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "m")
    assert command("transformer", *TINY, "--data", "FFL(0.8)+FFL(0.1)", "--out", out) == 0
    shown = capsys.readouterr().out
    assert "transformer of 1 layer, width 16, 2 heads on FFL(16, 0.8)+FFL(16, 0.1), 6 steps" in shown
    assert f"ffprompt run --backend reference --model {out} --length 16 --seed 1000" in shown
    assert command("lstm", "--symbols=3", "--steps=1", "--batch=1", "--final-strings=1", "--out", f"{out}-3") == 0
    assert f"--model {out}-3 --symbols 3 --seed 1000" in capsys.readouterr().out
    assert "the 6 steps end within the warm-up of 50" in shown
    assert shown.count("of 4 strings, glitch rate") == shown.count("few strings, 30 or more are needed") == 3
    assert command("transformer", *TINY, "--data", "FFL(0.8)+FFL(0.1)", "--out", out) == 2
    assert command("transformer", *TINY, "--data", "2*FFL(0.98)", "--out", out) == 2
    assert "data FFL(16, 0.8)+FFL(16, 0.1), not FFL(16, 0.98)" in capsys.readouterr().err
    assert command("transformer", *TINY, "--data", "FFL(0.8)+FFL(0.1)", "--out", out, "--resume") == 0
    training = load(resolve(out)).training
    assert training is not None
    assert (str(training.data), training.steps, training.decay_end) == ("FFL(16, 0.8)+FFL(16, 0.1)", 6, 10_001)


def test_the_test_set_of_a_training_is_that_of_the_run_that_it_names(tmp_path: Path) -> None:
    out = tmp_path / "m"
    assert command("lstm", "--length=16", "--steps=3", "--final-strings=40", "--warmup=0", "--out", str(out)) == 0
    logged = [line for line in lines(out) if line["event"] == "evaluation"]
    assert {line["seed"] for line in logged} == {1000}
    again = ["--backend", "reference", "--model", str(out), "--length", "16", "--seed", "1000", "--trials", "40"]
    assert main(["run", *again, "--no-report", "--out", str(tmp_path / "runs")]) == 0
    reads = pd.read_parquet(only_run(tmp_path / "runs") / "reads.parquet")
    found = (
        reads.assign(wrong=reads["argmax_symbol"] != reads["truth"]).groupby("p_ignore")["wrong"].agg(["size", "sum"])
    )
    assert {p: tuple(row) for p, row in found.iterrows()} == {
        line["p_ignore"]: (line["reads"], line["errors"]) for line in logged
    }


def test_a_resume_of_nothing_and_a_rate_that_stays_up_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lstm", "--length=16", "--steps=2", "--warmup=0", "--final-strings=2", "--batch=2"]
    assert command(*words, "--out", str(tmp_path / "m"), "--resume") == 0
    shown = capsys.readouterr().out
    assert "m: there is nothing to resume, a new training begins" in shown
    assert "the learning rate of the last step is 0.0003, 100% of the highest: the decay ends at step 10,001" in shown
    assert command(*words, "--decay-end=3", "--out", str(tmp_path / "n")) == 0
    assert "learning rate" not in capsys.readouterr().out


@pytest.mark.reports
def test_strings_longer_than_those_of_the_training_are_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("lstm", "--length=16", "--steps=2", "--final-strings=2", "--out", str(tmp_path / "m")) == 0
    asked = ["--backend", "reference", "--model", str(tmp_path / "m"), "--trials", "2", "--p-ignore", "0.8"]
    for length, said in (("16", False), ("18", True)):
        capsys.readouterr()
        assert main(["run", *asked, "--length", length, "--out", str(tmp_path / length)]) == 0
        text = "trained on strings of 16 symbols and is asked about longer ones"
        assert (text in capsys.readouterr().out) == said
        assert (text in (only_run(tmp_path / length) / "report.html").read_text()) == said


def test_a_folder_is_named_after_what_is_not_usual() -> None:
    from ffprompt.cli.main import _parser
    from ffprompt.cli.train import configure, name

    def named(*words: str) -> str:
        config, training, _ = configure(vars(_parser("ffprompt", False, ["train"]).parse(["train", *words])))
        return name(config, training)

    assert named("lstm") == "lstm-1x128-ffl0.8-s0"
    assert (
        named("transformer", "--data", "FFL(0.8)+FFL(0.1)", "--length", "64") == "transformer-6x512x8-ffl0.8+0.1-T64-s0"
    )
    assert named("transformer", "--embedding-dropout", "0.5", "--seed", "3").endswith("-embedding_dropout-0.5-s3")
    assert named("transformer", "--attention-dropout", "0.5").endswith("-attention_dropout-0.5-s0")
    sharpened = ["--sharpen", "l2", "--sharpen-coefficient", "0.1", "--steps", "300"]
    assert named("transformer", *sharpened).endswith("-steps-300-sharpening-l2-0.1-s0")


def test_the_papers_recipe_is_the_default() -> None:
    from ffprompt.cli.main import _parser
    from ffprompt.cli.train import configure

    def configured(*words: str) -> tuple[Any, Training, Plan]:
        return configure(vars(_parser("ffprompt", False, ["train"]).parse(["train", *words])))

    config, training, _ = configured("transformer")
    assert config == TransformerConfig(layers=6, width=512, heads=8, length=512)
    assert (training.learning_rate, training.beta1, training.beta2, training.weight_decay) == (3e-4, 0.9, 0.999, 0.1)
    assert (training.warmup, training.decay_end, training.steps, training.batch) == (50, 10_001, 10_000, 16)
    assert (str(training.data), training.objective, training.data_size) == ("FFL(512, 0.8)", "clean", None)
    assert configured("lstm")[1].steps == 500
    assert configured("transformer", "--steps", "20000")[1].decay_end == 20_001


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["transformr"], "architecture 'transformr' is unknown; did you mean 'transformer'?"),
        (["transformer", "--width", "100", "--heads", "3"], "width 100: it must divide into 3 heads"),
        (["lstm", "--heads", "2"], "--heads: a model of type lstm has no such setting"),
        (["transformer", "--data", "FFL(0.8)+FLL(0.1)"], "'FLL(0.1)' is no part of a mixture"),
        (["transformer", "--data", "FFL(0.8)+FFL(100, 0.1)"], "every part needs the length"),
        (["transformer", "--positions", "rotary"], "positions 'rotary' is unknown (known: alibi, "),
        (["transformer", "--data", "0*FFL(0.8)"], "the weight of '0*FFL(0.8)' is not a number above 0"),
        (["lstm", "--final-strings", "-1"], "--final-strings -1: expected 0 for all, or at least 1"),
        (["transformer", "--sharpen", "entropy"], "a penalty needs both"),
        (["lstm", "--sharpen", "l2", "--sharpen-coefficient", "1"], "only a transformer has attention to sharpen"),
        (["transformer", "--steps", "0"], "steps 0"),
        (["transformer", "--embedding-dropout", "1.5"], "embedding-dropout 1.5"),
        (["transformer", "--device", "cuda:99"], "device 'cuda:99'"),
        (["transformer", "--device", "abacus"], "device 'abacus'"),
        (["transformer", "--threads", "0"], "threads 0"),
        (["transformer", "--precision", "float8"], "precision 'float8'"),
        (["transformer", "--data-size", "0"], "data-size 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    assert command(*words, "--out", str(out)) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_strings_beyond_the_learned_positions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "m")
    assert command("transformer", *TINY, "--out", out) == 0
    flags = ["--backend", "reference", "--model", out, "--template", "raw-compact", "--trials", "2", "--no-report"]
    assert main(["run", *flags, "--length", "18", "--out", str(tmp_path / "runs")]) == 2
    assert "length 18: this model has learnt 16 positions" in capsys.readouterr().err
    assert main(["run", *flags, "--length", "16", "--out", str(tmp_path / "runs")]) == 0


@pytest.mark.slow
def test_ctrl_c_leaves_a_training_that_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "m"
    words = ["train", "lstm", "--length", "16", "--steps", "2000", "--decay-end", "10001", "--save-every", "5"]
    words += ["--evaluate-every", "0", "--final-strings", "4", "--out", str(out)]
    begun = subprocess.Popen(
        [sys.executable, "-m", "ffprompt", *words], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while not (out / "state.safetensors").exists():
        assert begun.poll() is None
        os.sched_yield()
    begun.send_signal(2)
    _, error = begun.communicate()
    assert begun.returncode == 130
    assert "--resume" in error
    assert session.read_record(out)["status"] == "interrupted"
