"""``ffprompt diagnose`` on reference models: runs, files, ablation, refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

import ffprompt
from ffprompt.backends.local.attention import ROLES
from ffprompt.cli.main import main
from ffprompt.errors import ConfigError, FFPromptError, ModelError

SMALL = {"length": 20, "p_ignore": 0.4, "strings": 12}


def test_the_known_head_comes_out_on_top_and_taking_it_away_destroys_the_model(tmp_path: Path) -> None:
    found = ffprompt.diagnose("handbuilt", out=tmp_path, remove=1, **SMALL | {"strings": 40})
    (one,) = found.conditions
    assert one.heads.best[0].name == "L1H0"
    assert one.heads.best[0].write is not None
    assert one.heads.best[0].write.estimate == pytest.approx(1)
    assert one.error is not None
    assert one.error.estimate == 0
    assert one.difference is not None
    assert one.difference < 1e-4
    assert one.ablation is not None
    assert one.ablation.whole is not None
    assert one.ablation.whole.estimate == 0
    assert one.ablation.removed[0].error is not None
    assert one.ablation.removed[0].error.estimate > 0.2
    assert one.ablation.removed[0].unmatched == [1]  # a layer of one head has no other to compare with
    cuts = {cut.role: cut.error.estimate for cut in one.ablation.cuts if cut.error is not None}
    assert cuts["write"] > 0.2
    assert any("when reads do not see the write (+" in said for said in found.conclusions)
    assert not any("ignored values" in said for said in found.conclusions)
    assert cuts["ignored"] == cuts["first"] == 0


def test_rows_on_disk_sum_to_one_and_are_keyed_by_trial_and_read(tmp_path: Path) -> None:
    found = ffprompt.diagnose("transformer-4x128", out=tmp_path, lens=True, **SMALL)
    (one,) = found.conditions
    assert one.lens is not None
    last = one.lens.right[-1]
    assert last is not None
    assert one.error is not None
    assert last.estimate == pytest.approx(1 - one.error.estimate)
    rows = pd.read_parquet(Path(found.folder) / "attention.parquet")
    assert (rows[[*ROLES, "sink"]].sum(axis=1) - 1).abs().max() < 1e-4
    assert not rows.duplicated(["trial", "read_index", "layer", "head"]).any()
    assert len(rows) == found.conditions[0].reads * len(found.layers) * found.heads
    reads = ffprompt.load(found.folder).reads
    joined = rows.merge(reads, on=["string_index", "read_index"], suffixes=("", "_of_run"))
    assert len(joined) == len(rows)
    assert (joined.gap == joined.gap_of_run).all()
    assert (joined.wrong == (joined.outcome == "wrong")).all()
    assert json.loads((Path(found.folder) / "diagnosis.json").read_text()) == found.to_json()


def test_a_run_is_diagnosed_as_it_is(tmp_path: Path) -> None:
    run = ffprompt.evaluate(
        "transformer-4x128", out=tmp_path, length=[20, 40], p_ignore=0.4, trials=6, elicitation="forced"
    )
    found = ffprompt.diagnose(run, strings=4)
    assert [one.strings for one in found.conditions] == [4, 4]
    assert [len(group.conditions) for group in found.dilution] == [2]
    with pytest.raises(ConfigError, match=r"length: .* is a run and has its own settings"):
        ffprompt.diagnose(run, length=10)


def test_what_cannot_be_diagnosed_is_refused_before_a_run(tmp_path: Path) -> None:
    for model, error, words in (
        ("lstm", ModelError, "no softmax attention"),
        ("oracle", ModelError, "cannot be looked at"),
    ):
        with pytest.raises(error, match=words):
            ffprompt.diagnose(model, out=tmp_path, strings=2)
    assert not list(tmp_path.iterdir())
    run = ffprompt.evaluate("transformer-4x128", out=tmp_path, length=20, p_ignore=0.4, trials=2, elicitation="next")
    with pytest.raises(FFPromptError, match="use a run with forced"):
        ffprompt.diagnose(run)
    with pytest.raises(ConfigError, match="remove 0: expected"):
        ffprompt.diagnose("handbuilt", out=tmp_path, remove=0)


def test_the_screen_fits_and_refuses_to_call_attention_a_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--length", "20", "30", "--p-ignore", "0.4", "--strings", "8", "--out", str(tmp_path)]
    assert main(["diagnose", "transformer-4x128", *flags]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 25
    assert "no evidence of a cause" in said
    assert re.search(r"L\dH\d", said)
    assert main(["diagnose", "transformer-4x128", *flags, "--ablate", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    removed = document["conditions"][0]["ablation"]["removed"][0]
    assert removed["count"] == len(removed["heads"]) == 2
    assert 1 <= len(removed["random"]) <= 20
    assert main(["diagnose", "transformer-4x128", *flags, "--ablate", "99"]) == 2
    assert "--ablate 99: expected 1 to" in capsys.readouterr().err
    assert main(["diagnose", "transformer-4x128", "--strings", "x"]) == 2
    assert "--strings x: expected a whole number" in capsys.readouterr().err
