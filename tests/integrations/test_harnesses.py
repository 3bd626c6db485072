"""The tasks inside the real harnesses: listed, run, and read by read equal to ffprompt's own runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ffprompt.integrations.lm_eval import TASKS, task_files
from tests.conftest import ROOT, Command

pytestmark = pytest.mark.harness

FAMILIES = ("gpt2", "llama")
SETTINGS = {"length": 30, "p_ignore": 0.3, "trials": 100}
BIN = Path(sys.executable).parent


def shell(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=cwd, env=environment)


def reads(folder: Path) -> pd.DataFrame:
    (path,) = folder.glob("*/reads.parquet")
    return pd.read_parquet(path)


def test_lm_eval_lists_every_task() -> None:
    """A broken file is skipped there without a word."""
    from lm_eval.tasks import TaskManager

    listed = TaskManager(include_path=str(TASKS)).all_tasks
    assert {name.removesuffix(".yaml") for name in task_files()} <= set(listed)


@pytest.mark.parametrize("family", FAMILIES)
def test_lm_eval_answers_every_read_as_ffprompt_does(family: str, command: Command, tmp_path: Path) -> None:
    from tests.support.tiny import make

    model = make(tmp_path / family, family)
    done = shell(
        BIN / "lm_eval", "run", "--include_path", TASKS, "--tasks", "flipflop_light_switch", "--model", "hf",
        "--model_args", f"pretrained={model},dtype=float32", "--metadata", json.dumps(SETTINGS), "--log_samples",
        "--output_path", "out", "--batch_size", 16, "--device", "cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = tmp_path.glob("out/*/samples_flipflop_light_switch_*.jsonl")
    assert command("import", log, "--out", tmp_path / "theirs", "--model", "m", prog="ffprompt").returncode == 0
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    ours = ["--backend", "transformers", "--model", model, "--template", "light-switch", "--elicitation", "forced"]
    assert command(*ours, "--shots", 0, "--dtype", "float32", *flags, "--out", tmp_path / "ours").returncode == 0
    theirs, own = reads(tmp_path / "theirs"), reads(tmp_path / "ours")
    assert len(own) > 500  # two families: more than 1,000
    near = own["margin"] < 1e-4
    assert (theirs["answer"] == own["answer"])[~near].all()
    assert near.mean() < 0.01
    assert (theirs["margin"] - own["margin"]).abs().max() < 1e-3
    (results,) = tmp_path.glob("out/*/results_*.json")
    printed = json.loads(results.read_text())["results"]["flipflop_light_switch"]
    row = json.loads(next((tmp_path / "theirs").glob("*/run.json")).read_text())["results"][0]
    for name in ("accuracy", "glitch_rate", "interval_low", "interval_high", "floor"):
        assert printed[f"{name},none"] == pytest.approx(row[name], abs=1e-9)


@pytest.mark.parametrize(
    ("metadata", "flags", "named"),
    [
        ({"lenght": 20}, [], "length"),
        ({"template": "no-such"}, [], "no-such"),
        ({"elicitation": "dialogue"}, [], "dialogue"),
        ({}, ["--num_fewshot", "2"], "--num_fewshot 2"),
        ({}, ["--system_instruction", "x"], "--system_instruction"),
        ({"form": "chat"}, [], "--apply_chat_template"),
    ],
)
def test_lm_eval_ends_with_one_line_for_a_bad_setting(
    metadata: dict[str, object], flags: list[str], named: str, tmp_path: Path
) -> None:
    done = shell(
        BIN / "lm_eval", "run", "--include_path", TASKS, "--tasks", "flipflop_light_switch", "--model", "dummy",
        "--metadata", json.dumps({"trials": 3, "length": 20, **metadata}), *flags, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-2000:]
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("ffprompt:"))
    assert named in said


def test_inspect_knows_the_task_without_torch() -> None:
    code = "import sys; import ffprompt.integrations.inspect._registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("elicitation", ["next", "list", "dialogue"])
def test_inspect_and_its_log_give_the_outcomes_of_ffprompt(elicitation: str, command: Command, tmp_path: Path) -> None:
    """A scripted model in Inspect answers what the oracle of ffprompt answers, but for every third string."""
    from inspect_ai import eval as run_eval
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from ffprompt.integrations.inspect.tasks import flipflop

    asked: list[int] = []

    def answer(messages: object, *_: object) -> ModelOutput:
        asked.append(1)
        text = "nothing" if len(asked) % 3 == 0 else "0"
        made = ModelOutput.from_content("mockllm", text)
        made.usage = ModelUsage(input_tokens=10, output_tokens=1, total_tokens=11)
        return made

    model = get_model("mockllm/model", custom_outputs=answer)
    (log,) = run_eval(
        flipflop(template="game", length=20, trials=20, elicitation=elicitation),
        model=model, log_dir=str(tmp_path / "logs"), display="none", max_samples=1, max_connections=1,
    )  # fmt: skip
    assert log.status == "success", log.error
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    (path,) = (tmp_path / "logs").glob("*.eval")
    assert command("import", path, "--out", tmp_path / "r", prog="ffprompt").returncode == 0
    row = json.loads(next((tmp_path / "r").glob("*/run.json")).read_text())["results"][0]
    assert 0 < row["accuracy"] < 1 or elicitation == "list"
    assert row["outcomes"]["invalid"] > 0
    for name in ("accuracy", "interval_low", "interval_high", "floor", "strings", "reads"):
        assert metrics[name] == pytest.approx(row[name], abs=1e-12), name
    assert metrics["unanswered"] == row["outcomes"]["invalid"]
