"""The tasks inside the real harnesses: listed, run, and read by read equal to ffprompt's own runs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from ffprompt.errors import ConfigError, FFPromptError
from ffprompt.integrations.harness import refuse_other_version
from ffprompt.integrations.lm_eval import TASKS, task_files
from tests.conftest import ROOT, Command

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, ModelOutput

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
    [({"template": "no-such"}, [], "no-such"), ({}, ["--num_fewshot", "2"], "--num_fewshot 2")],
)
def test_lm_eval_ends_with_one_line_for_a_bad_setting(
    metadata: dict[str, object], flags: list[str], named: str, tmp_path: Path
) -> None:
    """One that is found where the task is made, and one where its prompts are."""
    done = shell(
        BIN / "lm_eval", "run", "--include_path", TASKS, "--tasks", "flipflop_light_switch", "--model", "dummy",
        "--metadata", json.dumps({"trials": 3, "length": 20, **metadata}), *flags, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-2000:]
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("ffprompt:"))
    assert named in said


@pytest.mark.parametrize(
    ("metadata", "given", "named"),
    [
        ({"lenght": 20}, {}, "length"),
        ({"elicitation": "dialogue"}, {}, "dialogue"),
        ({}, {"system_instruction": "x"}, "--system_instruction"),
        ({"form": "chat"}, {}, "--apply_chat_template"),
    ],
)
def test_the_task_of_lm_eval_names_a_bad_setting(
    metadata: dict[str, object], given: dict[str, object], named: str
) -> None:
    from ffprompt.integrations.lm_eval.task import Reads

    with pytest.raises(ConfigError, match=named):
        task = Reads(config={"metadata": {"trials": 3, "length": 20, **metadata}})
        task.fewshot_context(task.test_docs()[0], 0, **given)


def test_inspect_knows_the_task_without_torch() -> None:
    code = "import sys; import ffprompt.integrations.inspect._registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


def test_inspect_ends_with_one_line_for_a_bad_setting(tmp_path: Path) -> None:
    done = shell(
        BIN / "inspect", "eval", "ffprompt/flipflop", "-T", "length=7", "--model", "mockllm/model", cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr[-2000:]
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("ffprompt:"))
    assert "length 7" in said


@pytest.mark.parametrize(
    ("given", "named"), [({"template": "no-such"}, "no-such"), ({"task": "parity", "template": "game"}, "game")]
)
def test_the_task_of_inspect_names_a_bad_setting(given: dict[str, str], named: str) -> None:
    from ffprompt.integrations.inspect.tasks import flipflop

    with pytest.raises(FFPromptError, match=named):
        flipflop(**given)


def test_a_release_of_a_harness_that_was_not_tried_is_refused() -> None:
    for version in ("0.4.12", "0.5.0", "1.0"):
        with pytest.raises(ConfigError, match=version):
            refuse_other_version("lm-eval", version, "0.4.13", "0.5")
    refuse_other_version("lm-eval", "0.4.13.dev1", "0.4.13", "0.5")


def _prompt_logprobs(text: str, wrong: bool) -> ModelOutput:
    """What a vLLM server says of a prompt in Inspect, but for its first token. Every character is a token."""
    from inspect_ai.model import Logprob, Logprobs, ModelOutput, ModelUsage, TopLogprob

    places = []
    for before, token in itertools.pairwise(text):
        answer = token in "01" and before == " "
        other = {"0": "1", "1": "0"}.get(token, "x")
        mine, its = (-3.0, -0.5) if answer and wrong else (-0.5, -3.0)
        places.append(Logprob(token=token, logprob=mine, top_logprobs=[TopLogprob(token=other, logprob=its)]))
    made = ModelOutput.from_content("mockllm", "x")
    made.choices[0].prompt_logprobs = Logprobs(content=places)
    made.usage = ModelUsage(input_tokens=len(text), output_tokens=1, total_tokens=len(text) + 1)
    return made


def test_inspect_scores_reads_where_the_provider_gives_log_probabilities(command: Command, tmp_path: Path) -> None:
    """Every third string has all its reads wrong."""
    from inspect_ai import eval as run_eval
    from inspect_ai.model import get_model

    from ffprompt.integrations.inspect.tasks import flipflop

    asked: list[str] = []

    def answer(messages: list[ChatMessage], *_: object) -> ModelOutput:
        (message,) = messages
        asked.append(message.text)
        return _prompt_logprobs(message.text, wrong=len(asked) % 3 == 0)

    model = get_model("mockllm/model", custom_outputs=answer)
    settings = {"template": "raw-spaced", "length": 20, "trials": 12, "elicitation": "forced"}
    (log,) = run_eval(
        flipflop(**settings), model=model, log_dir=str(tmp_path / "logs"), display="none", max_samples=1,
        max_connections=1,
    )  # fmt: skip
    assert log.status == "success", log.error
    wrong = {text for number, text in enumerate(asked, 1) if number % 3 == 0}
    for sample in log.samples:
        outcomes = set(sample.scores["outcomes"].metadata["outcomes"])
        assert outcomes == ({"wrong"} if sample.input in wrong else {"correct"})
    (path,) = (tmp_path / "logs").glob("*.eval")
    assert command("import", path, "--out", tmp_path / "r", prog="ffprompt").returncode == 0
    row = json.loads(next((tmp_path / "r").glob("*/run.json")).read_text())["results"][0]
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    for name in ("accuracy", "glitch_rate", "interval_low", "interval_high", "floor", "strings", "reads"):
        assert metrics[name] == pytest.approx(row[name], abs=1e-12), name
    assert 0 < row["accuracy"] < 1
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = command("import", path, "--out", tmp_path / "r2", prog="ffprompt")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "r2").exists()
    table = reads(tmp_path / "r")
    assert table["margin"].abs().tolist() == pytest.approx([2.5] * len(table))


def test_a_provider_without_log_probabilities_is_refused(tmp_path: Path) -> None:
    from inspect_ai import eval as run_eval
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from ffprompt.integrations.inspect.tasks import flipflop

    made = ModelOutput.from_content("mockllm", "x")
    made.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    (log,) = run_eval(
        flipflop(length=20, trials=2, elicitation="forced"),
        model=get_model("mockllm/model", custom_outputs=lambda *_: made),
        log_dir=str(tmp_path), display="none",
    )  # fmt: skip
    assert log.status == "error"
    assert "vllm-completions" in log.error.message


def test_another_task_can_be_asked_inside_inspect() -> None:
    from ffprompt.integrations.inspect.tasks import flipflop

    made = flipflop(task="parity", length=12, trials=2)
    assert made.dataset.name == "parity"
    assert len(made.dataset) == 2
    assert "coin" in str(made.dataset[0].input).lower()
    assert flipflop(task="s5", task_arg="read=first", length=8, trials=1).dataset[0].metadata["settings"]["task_arg"]


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
