"""Certified zeros: the sequential test after a training, on strings of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ffprompt.cli.main import main
from ffprompt.errors import ConfigError
from ffprompt.reference.checkpoints import checkpoint as files
from ffprompt.reference.training import certify
from ffprompt.reference.training.evaluate import Evaluation, count
from ffprompt.stats.clusters import Clusters
from ffprompt.tasks import registry
from ffprompt.tasks.flipflop import Spec
from tests.reference.test_automata import given


def lstm() -> Any:
    return files.load(files.resolve("lstm")).model


def test_no_error_shows_a_bound_after_the_fewest_strings_that_can() -> None:
    data = Spec.ffl(0.1, 64)
    found = certify.certify(lstm(), data, 0.05)
    assert (found.decision, found.errors, found.level) == ("below", 0, 0.95)
    assert found.high <= 0.05
    draws = certify._draws(data, 0.05)
    least = certify.fewest_strings(0.05, data.expected_reads, draws.most_reads, draws.excess)
    assert least <= found.strings < least + 128
    again = Clusters(*counted(lstm(), data, found.strings))
    assert (again.n_errors, again.n_reads) == (0, found.reads)


def counted(model: Any, data: Spec, strings: int) -> tuple[Any, Any]:
    import numpy as np

    parts = count(model, data, certify.SEED, 0, strings)
    return np.concatenate([one.errors for one in parts]), np.concatenate([one.reads for one in parts])


def test_a_model_that_errs_is_shown_to_be_above() -> None:
    model = lstm()
    with torch.no_grad():
        model.head.bias[3] += 50  # always answers 0
    found = certify.certify(model, Spec.ffl(0.1, 64), 0.01)
    assert (found.decision, found.strings) == ("above", 64)
    assert found.low > 0.01 and found.errors > 0


def test_too_few_strings_show_nothing_and_are_refused_beforehand() -> None:
    with pytest.raises(ConfigError, match=r"--certify 0.0001: FFL\(64, 0.98\) needs at least"):
        certify.certify(lstm(), Spec.ffl(0.98, 64), 1e-4, 1000)
    with pytest.raises(ConfigError, match="--certify 2: expected a rate between 0 and 1"):
        certify.check(Spec.ffl(0.98, 64), 2, 1000)


def test_a_string_of_an_automaton_has_no_more_reads_than_are_counted_on() -> None:
    for arguments in ([], ["reads=every"]):
        spec = registry.get("q8", arguments).spec(12)
        draws = certify._draws(spec, 0.1)
        assert spec.sample(0, 0, 300).is_read.sum(1).max() <= draws.most_reads
    assert draws.most_reads == 12


def test_the_command_certifies_and_the_file_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m"
    words = ["train", "lstm", "--length=16", "--steps=3", "--batch=2", "--final-strings=40", "--evaluate-every=0"]
    words += ["--certify=0.1", "--certify-strings=5000", "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.count("glitch rate above 0.1 shown at 95%: at least") == 3
    kept = files.load(files.resolve(str(out)))
    certificates = [one.certificate for one in kept.evaluation]
    assert {one.decision for one in certificates if one} == {"above"} and len(certificates) == 3
    for one in kept.evaluation:
        assert Evaluation.from_record(json.loads(json.dumps(one.record()))) == one
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert [line["certificate"]["bound"] for line in lines if line["event"] == "evaluation"] == [0.1] * 3
    assert main([*words, "--resume"]) == 0
    assert main([*words[:-4], "--certify=0.2", "--out", str(out), "--resume"]) == 2
    assert "finished, with --certify 0.1, not 0.2" in capsys.readouterr().err


def test_an_impossible_bound_is_refused_before_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m"
    assert main(["train", "lstm", "--length=16", "--certify=1e-9", "--out", str(out)]) == 2
    assert "--certify 1e-09: FFL(16, 0.8) needs at least" in capsys.readouterr().err
    assert not out.exists()
    assert given()["certify"] is None


def test_a_number_of_strings_for_a_certificate_needs_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "lstm", "--steps", "1", "--certify-strings", "10", "--out", str(tmp_path / "m")]) == 2
    assert "--certify-strings 10: goes with --certify" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
