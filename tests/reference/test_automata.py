"""Reference models of tasks other than the flip-flop: trained, evaluated by position, and asked over prompts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ffprompt.cli.main import main
from ffprompt.cli.train import configure
from ffprompt.elicitation.wording import events
from ffprompt.errors import ConfigError, ModelError, SpecError
from ffprompt.reference.checkpoints import checkpoint as files
from ffprompt.reference.checkpoints.checkpoint import load, resolve
from ffprompt.reference.networks.architectures import build
from ffprompt.reference.training import run as session
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture, Source
from ffprompt.reference.training.evaluate import Evaluation, evaluate, sets_for
from ffprompt.reference.training.loop import targets
from ffprompt.reference.training.plan import Plan
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks import registry
from ffprompt.templates.reader import PromptReader
from tests.conftest import only_run
from tests.tasks import test_second_task as toy

TINY = ["--steps=6", "--batch=2", "--final-strings=8", "--evaluate-every=0", "--warmup=0", "--monitor-every=3"]
QUICK = ["--length=12", "--width=16", "--hidden=24", "--learning-rate=1e-2", "--clip=1", "--final-strings=40"]


def train(*words: object) -> int:
    return main(["train", *map(str, words)])


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def given(**settings: Any) -> dict[str, Any]:
    from argparse import ArgumentParser

    from ffprompt.reference.training import settings as flags

    parser = ArgumentParser()
    flags.add(parser)
    return vars(parser.parse_args(["lstm"])) | settings


# --- what is learnt ---


def test_every_state_is_supervised_unless_the_reads_are_asked_for() -> None:
    for settings, spec in (
        ({"task": "s5"}, "s5(100, reads=every)"),
        ({"task": "s5", "supervise": "reads", "length": 30}, "s5(30)"),
        ({"task": "dihedral-8", "task_arg": ["read=place"]}, "dihedral-8(100, reads=every, read=place)"),
        ({"task": "parity", "data": "parity(8, p1=0.1)+2*parity(8)"}, "0.333333*parity(8, p1=0.1)+0.666667*parity(8)"),
    ):
        config, training, _ = configure(given(**settings))
        assert str(training.data) == spec
        assert (config.symbols, config.events) == (training.data.symbols, training.vocabulary.events)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "s55"}, "s55"),
        ({"task": "s5", "task_arg": ["p1=0.5"]}, "task s5 has no such setting"),
        ({"task": "s5", "data": "parity(8)"}, "spec 'parity(8)': expected s5"),
        ({"task": "s5", "test": "s5(10)+q8(10)"}, "spec 'q8(10)': expected s5"),
        ({"task": "flipflop", "supervise": "states"}, "--supervise states: task flipflop has no reads after every"),
        ({"task": "s5", "supervise": "state"}, "did you mean 'states'"),
        ({"scratchpad": True}, "a model of task flipflop always sees"),
        ({"task": "parity", "objective": "noisy"}, None),
    ],
)
def test_what_a_task_does_not_have_is_refused(settings: dict[str, Any], said: str | None) -> None:
    if said is None:
        from ffprompt.reference.training.loop import agree

        config, training, _ = configure(given(**settings))
        with pytest.raises(ConfigError, match="objective 'noisy': the answers are not among the tokens"):
            agree(config, training)
        return
    with pytest.raises((ConfigError, SpecError), match=re.escape(said)):
        configure(given(**settings))


def test_a_mixture_of_a_task_draws_the_strings_of_its_parts() -> None:
    parity = registry.get("parity")
    mixture = Mixture.parse("parity(9, p1=0.1)+parity(9, p1=0.9)", task=parity)
    assert Mixture.from_record(json.loads(json.dumps(mixture.record()))) == mixture
    batch = Source(mixture, 3).batch(2, 40)
    pools = [part.sample(3, 40, 80, stream="train") for part in mixture.parts]
    for row, digest in enumerate(batch.digests()):
        assert digest in {pool.digests()[row] for pool in pools}
    assert parity.contains(batch)
    with pytest.raises(SpecError, match="every part needs the length"):
        Mixture.of(parity.spec(9), registry.get("q8").spec(9))


def test_the_answers_of_a_mixture_are_the_right_ones_where_arguments_are_others() -> None:
    registers = registry.get("counter-3")
    mixture = Mixture.of(registers.spec(9), registers.spec(9, 3, {"read": 0.5}))
    assert registers.contains(Source(mixture, 0).batch(1, 60))


def test_targets_are_the_answers_after_the_inputs_before_them() -> None:
    counter = registry.get("counter-3")
    strings = counter.parse("a2a1r0a2r2")
    tokens, rows, positions, answers = targets(strings)
    assert tokens.tolist() == [[2, 1, 2]]
    assert (rows.tolist(), positions.tolist(), answers.tolist()) == ([0, 0], [2, 3], [3, 5])
    pad = Vocabulary(counter, 3, scratchpad=True)
    tokens, rows, positions, answers = targets(strings, "noisy", pad)
    assert tokens.tolist() == [[2, 1, 3, 2]]
    assert (positions.tolist(), answers.tolist()) == ([1, 2, 3, 4], [1, 3, 2, 5])


# --- the toy task of the tests of tasks: nothing but a module ---


def test_a_toy_task_is_trained_and_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_TASKS", {**registry._TASKS, "parity": toy.PARITY})
    out = tmp_path / "m"
    assert train("lstm", "--task=parity", "--length=8", *TINY, "--out", out) == 0
    [evaluation] = [line for line in lines(out) if line["event"] == "evaluation"]
    assert evaluation["data"] == "parity(8, 0.5, 0.2)"
    kept = load(resolve(str(out)))
    assert kept.vocabulary.task is toy.PARITY
    assert kept.vocabulary.names == ["f", "k", "0", "1"]
    assert train("lstm", "--task=parity", "--length=8", *TINY, "--out", out, "--resume") == 0


# --- evaluation ---


def test_errors_are_counted_by_the_inputs_before_a_read() -> None:
    spec = registry.get("q8", ["reads=every"]).spec(6)
    config, _, _ = configure(given(task="q8", length=6, width=8, hidden=8))
    model = build(config, 1).eval()
    found = evaluate(model, spec, 5, 20, batch=7)
    assert [(n, reads) for n, reads, _ in found.positions] == [(n, 20) for n in range(1, 7)]
    assert sum(errors for _, _, errors in found.positions) == found.errors > 0
    strings = spec.sample(5, 0, 20)
    made = Vocabulary(spec.task, 8).encode(strings)
    best = model(torch.from_numpy(made.tokens)).argmax(-1)[made.rows, made.positions - 1].numpy()
    wrong = best != made.answers
    assert found.errors == wrong.sum()
    assert [errors for _, _, errors in found.positions] == [int(wrong[made.positions == n].sum()) for n in range(1, 7)]
    assert Evaluation.from_record(json.loads(json.dumps(found.record()))) == found


def test_test_sets_are_the_specs_of_the_training_and_those_named() -> None:
    parity = registry.get("parity")
    spec, other = parity.spec(8), parity.parse_spec("parity(8, p1=0.9)")
    assert sets_for(Mixture.of(spec), (spec, other), 50) == [(spec, 50), (other, 50)]
    assert sets_for(Mixture.of(spec)) == [(spec, 1_000)]


# --- from the command to a run over prompts ---


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSTM that knows parity on 12 inputs."""
    out = tmp_path_factory.mktemp("models") / "parity"
    flags = ("--steps=300", "--decay-end=301", "--warmup=10", "--test=parity(12, reads=every, p1=0.9)")
    assert train("lstm", "--task=parity", *QUICK, *flags, "--evaluate-every=0", "--monitor-every=0", "--out", out) == 0
    return out


def test_a_trained_parity_is_right_everywhere(parity: Path) -> None:
    found = [line for line in lines(parity) if line["event"] == "evaluation" and line["step"] == 300]
    assert [line["data"] for line in found] == ["parity(12, reads=every)", "parity(12, p1=0.9, reads=every)"]
    assert [line["errors"] for line in found] == [0, 0]
    assert load(resolve(str(parity))).evaluation[0].positions == tuple((n, 40, 0) for n in range(1, 13))


@pytest.fixture
def coin(tmp_path: Path) -> str:
    path = tmp_path / "coin.toml"
    path.write_text(toy.TEMPLATE)
    return str(path)


def run(tmp_path: Path, model: object, *flags: object) -> int:
    settings = ("--backend", "reference", "--model", model, "--shots", 0, "--trials", 40, "--no-report")
    return main(["run", *map(str, (*settings, *flags, "--out", tmp_path / "runs"))])


@pytest.mark.parametrize("elicitation", ["forced", "next"])
def test_a_trained_model_reads_the_words_of_a_template(
    parity: Path, coin: str, tmp_path: Path, elicitation: str
) -> None:
    assert run(tmp_path, parity, "--task=parity", "--template", coin, "--length=12", "--elicitation", elicitation) == 0
    folder = only_run(tmp_path / "runs")
    (row,) = json.loads((folder / "run.json").read_text())["results"]
    assert (row["accuracy"], row["strings"]) == (1.0, 40)
    reads = pd.read_parquet(folder / "reads.parquet")
    assert set(reads.outcome) == {"correct"} and {0, 1} == set(reads.truth)


def test_a_model_of_another_task_is_refused_in_one_line(
    parity: Path, coin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "lstm", "--task=parity", "--template", coin, "--length=12", "--elicitation=forced") == 2
    assert "model lstm: it was trained on task flipflop, not parity; add --task flipflop" in capsys.readouterr().err
    assert run(tmp_path, parity) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"model {parity}: it was trained on task parity, not flipflop; add --task parity" in line


def test_shots_are_refused(parity: Path, coin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--task=parity", "--template", coin, "--length=12", "--elicitation=forced", "--shots=1")
    assert run(tmp_path, parity, *flags) == 2
    assert "reference models take no shots: --shots 0" in capsys.readouterr().err


def test_strings_longer_than_the_learned_positions_are_refused(
    coin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    flags = ("--layers=1", "--width=8", "--heads=2", "--length=6", *TINY)
    assert train("transformer", "--task=parity", *flags, "--out", out) == 0
    assert run(tmp_path, out, "--task=parity", "--template", coin, "--length=40", "--elicitation=forced") == 2
    assert "this model has learnt 6 positions" in capsys.readouterr().err


def test_a_prompt_reader_undoes_the_words_of_a_template(coin: str) -> None:
    task = registry.get("parity")
    strings = task.spec(15).sample(0, 0, 30)
    vocabulary = Vocabulary(task, 2, scratchpad=True)
    reader = PromptReader(coin, vocabulary)
    made = vocabulary.encode(strings)
    for row in range(30):
        string = strings.string(row)
        text, spans = events(reader.words, string)
        asked = reader.read(text[: spans[-1][1]])
        length = int(made.positions[made.rows == row].max()) + 1
        assert asked.ids.tolist() == made.tokens[row, :length].tolist()
        assert asked.of(spans, text).tolist() == made.positions[made.rows == row].tolist()
        assert not asked.is_open
        cut = reader.read(text[: spans[-1][0]])
        assert cut.is_open
        assert cut.ids.tolist() == made.tokens[row, : length - 1].tolist()
    with pytest.raises(ModelError, match=r"prompt 'Throw it.' at character 15: expected one string in the words"):
        reader.read("Turn it over.\nThrow it.")
    with pytest.raises(ModelError, match="are not one answer"):
        reader.read("Turn it over.\nIt shows tails").of([(0, 4)], "Turn it over.")


@pytest.mark.parametrize(
    ("name", "template"),
    [(name, template) for name, task in registry.every().items() if task.stride == 1 for template in task.templates],
)
def test_every_template_of_every_task_is_read_back(name: str, template: str) -> None:
    task = registry.get(name)
    spec = task.spec(task.lengths[0])
    strings = spec.sample(1, 0, 12)
    vocabulary = Vocabulary(task, spec.symbols, scratchpad=True)
    reader = PromptReader(template, vocabulary)
    made = vocabulary.encode(strings)
    before = reader.words.intro + reader.words.around(reader.words.frame("completion.string"), 1)[0]
    for row in range(len(strings)):
        text, spans = events(reader.words, strings.string(row))
        moved = [(start + len(before), end + len(before)) for start, end in spans]
        asked = reader.read(before + text[: spans[-1][1]])
        positions = made.positions[made.rows == row]
        assert asked.of(moved, before + text).tolist() == positions.tolist()
        assert asked.ids.tolist() == made.tokens[row, : int(positions[-1]) + 1].tolist()


AUTOMATA = [name for name in sorted(files.bundled()) if name.endswith(("-parity", "-dihedral-8", "-s5"))]


@pytest.mark.parametrize("name", AUTOMATA)
def test_a_bundled_model_errs_as_often_as_its_file_says(name: str) -> None:
    kept = files.load(files.resolve(name))
    (recorded,) = kept.evaluation
    assert kept.training is not None
    length = 100 if name.startswith("lstm") else 24  # Transformers come from the study of depths
    assert str(recorded.data) == str(kept.training.data) == f"{kept.vocabulary.task.name}({length}, reads=every)"
    assert recorded.strings == 1_000
    found = evaluate(kept.model, recorded.data, recorded.seed, 40)
    assert abs(found.rate - recorded.rate) < 0.05
    if name.startswith("lstm"):
        assert recorded.rate < 1e-4
    log = [json.loads(line) for line in (files.BUNDLED / f"{name}.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) == kept.training.steps


def test_the_bundled_models_of_automata_are_small() -> None:
    assert {name.rpartition("x64-")[2] for name in AUTOMATA if name.startswith("lstm")} == {
        "lstm-parity", "lstm-dihedral-8", "lstm-s5",
    }  # fmt: skip
    paths = [files.BUNDLED / f"{name}{kind}" for name in AUTOMATA for kind in (".safetensors", ".jsonl")]
    assert sum(path.stat().st_size for path in paths) < 4_000_000


@pytest.mark.parametrize("task", ["parity", "dihedral-8", "s5"])
def test_a_bundled_lstm_answers_over_the_templates_of_its_task(tmp_path: Path, task: str) -> None:
    flags = (f"--task={task}", "--length=20", "--elicitation=forced", "--trials=20")
    assert run(tmp_path, f"lstm-{task}", *flags) == 0
    for row in json.loads((only_run(tmp_path / "runs") / "run.json").read_text())["results"]:
        assert (row["accuracy"], row["strings"]) == (1.0, 20)


def test_reads_of_a_function_that_a_model_does_not_know_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "lstm-dihedral-8", "--task=dihedral-8", "--task-arg=read=place", "--length=20") == 2
    assert "its reads ask for state, not place; add --task-arg read=state" in capsys.readouterr().err


def test_a_resumed_training_of_a_task_ends_like_one_that_was_never_stopped(tmp_path: Path) -> None:
    config, training, plan = configure(
        given(task="dihedral-8", length=10, width=8, hidden=8, steps=12, batch=2, save_every=4, final_strings=4)
    )
    whole = session.run(tmp_path / "whole", config, training, plan)

    def watch(event: dict[str, Any]) -> None:
        if event["step"] >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.run(tmp_path / "parts", config, training, Plan(**{**vars_of(plan), "log_every": 1}), watch=watch)
    again = session.run(tmp_path / "parts", config, training, Plan(**{**vars_of(plan), "log_every": 1}), resume=True)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])


def vars_of(plan: Plan) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(plan)


def test_a_training_of_before_there_were_tasks_goes_on(tmp_path: Path) -> None:
    config, training, plan = configure(given(length=16, width=8, hidden=8, steps=3, batch=2, final_strings=4))
    session.run(tmp_path / "m", config, training, plan)
    record = json.loads((tmp_path / "m" / "training.json").read_text())
    assert record["training"]["data"] == {
        "parts": [{"length": 16, "p_write": 0.1, "p_read": 0.1, "p_ignore": 0.8, "symbols": 2}],
        "shares": [1.0],
    }
    del record["training"]["scratchpad"], record["config"]["events"], record["plan"]["test"]
    (tmp_path / "m" / "training.json").write_text(json.dumps(record))
    session.run(tmp_path / "m", config, training, plan, resume=True)
    assert Training.from_record(record["training"]) == training


def test_a_scratchpad_shows_the_model_the_answers_before(tmp_path: Path) -> None:
    out = tmp_path / "m"
    assert train("lstm", "--task=q8", "--scratchpad", "--length=10", *TINY, "--out", out) == 0
    kept = load(resolve(str(out)))
    assert kept.training is not None and kept.vocabulary.scratchpad
    data = kept.training.data.parts[0]
    (recorded,) = kept.evaluation
    assert evaluate(kept.model, data, recorded.seed, 8, scratchpad=True).errors == recorded.errors
    made = kept.vocabulary.encode(data.sample(0, 0, 1))
    changed = made.tokens.copy()
    changed[0, 1] = kept.vocabulary.events + (changed[0, 1] - kept.vocabulary.events + 1) % 8  # the first answer
    logits = [kept.model(torch.from_numpy(tokens))[0, 2] for tokens in (made.tokens, changed)]
    assert not np.allclose(logits[0], logits[1])
