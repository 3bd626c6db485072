"""A new elicitation is one object and one line that registers it: it goes the whole way without a change elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ffprompt.backends.base import Capabilities
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.config.settings import ROWS
from ffprompt.elicitation import base
from ffprompt.elicitation.base import elicitation_names, find_elicitation, register
from ffprompt.elicitation.question import Prompt, PromptParts
from ffprompt.elicitation.replies import ReplyElicitation
from ffprompt.elicitation.wording import events, solved_in_place
from ffprompt.errors import ConfigError
from ffprompt.evaluation.plan import Plan


class Last(ReplyElicitation):
    """The last read alone, by completing a text in which all earlier reads are blank."""

    name = "last"
    asks_one_read = True

    def asked(self, count: int, which: str = "last", digest: str = "0") -> tuple[int, ...]:
        """Return the number of the last read."""
        return (count - 1,)

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render the string up to its last read."""
        words, string, shots = parts.words, parts.string, parts.shots
        read = string.read_count - 1
        text = solved_in_place(words, string, shots) + events(words, string, blank=True, until=read)[0]
        return Prompt(text.rstrip(" "), (), (), (read,))


@pytest.fixture
def last(monkeypatch: pytest.MonkeyPatch) -> Last:
    monkeypatch.setattr(base, "_REGISTERED", dict(base._REGISTERED))
    found = Last()
    register(found)
    return found


def run(out: Path, model: str, *flags: str) -> Path:
    words = ("--elicitation", "last", "--form", "completion", "--template", "raw-spaced", "--shots", "0", "--length")
    assert main(["run", "--backend", "scripted", "--model", model, "--out", str(out), *words, "20", *flags]) == 0
    (folder,) = out.iterdir()
    return folder


def test_a_new_elicitation_goes_from_the_plan_to_the_table(last: Last, tmp_path: Path) -> None:
    folder = run(tmp_path, "glitch-0.3", "--trials", "200", "--no-report")
    info = json.loads((folder / "run.json").read_text())
    (row,) = info["results"]
    assert (row["elicitation"], row["condition"]) == ("last", "raw-spaced/0-shot/last/completion/FFL(20, 0.6)")
    assert (row["reads"], row["strings"], row["outcomes"]["invalid"]) == (200, 200, 0)
    assert 0.55 < row["accuracy"] < 0.85
    # Blank reads are nothing that a rule could copy.
    assert "copy-last-read" not in row["floors"]
    prompt = info["samples"][0]["prompt"]
    assert prompt.endswith(" r") and "r ?" in prompt
    reads = pd.read_parquet(folder / "reads.parquet")
    assert set(reads["elicitation"]) == {"last"} and reads["next_read"].isna().all()
    assert (reads["temperature"] == 0).all()


def test_a_new_elicitation_is_shown_scored_compared_reported_and_stops_early(last: Last, tmp_path: Path) -> None:
    folder = run(tmp_path / "a", "glitch-0.3", "--trials", "64", "--no-report")
    other = run(tmp_path / "b", "oracle", "--trials", "64", "--no-report")
    table = (folder / "reads.parquet").read_bytes()
    assert main(["score", str(folder)]) == 0
    assert (folder / "reads.parquet").read_bytes() == table
    assert main(["compare", str(folder), str(other)]) == 0
    assert main(["report", str(folder), str(other), "--output", str(tmp_path / "report.html")]) == 0
    assert "last, completion" in (tmp_path / "report.html").read_text()
    assert main(["anatomy", str(folder)]) == 0
    assert main(["prompts", "show", "raw-spaced", "--elicitation", "last", "--form", "completion"]) == 0
    run(tmp_path / "c", "oracle", "--trials", "2000", "--certify", "0.05", "--no-report")


def test_a_new_elicitation_is_a_name_that_settings_know(last: Last) -> None:
    settings = {"backend": "scripted", "model": "oracle", "template": "raw-spaced", "length": 20, "trials": 2}
    plan = Plan(make(settings | {"elicitation": "last"}), Capabilities(scores=False, completes=True, chats=False))
    assert plan.conditions[0].elicitation is last
    with pytest.raises(ConfigError, match=f"expected one of {', '.join(elicitation_names())}; did you mean 'last'"):
        make(settings | {"elicitation": "lasst"})


def test_an_elicitation_that_nobody_registered_is_refused() -> None:
    assert "last" not in elicitation_names()
    with pytest.raises(ConfigError, match="elicitation 'lisst' is unknown; did you mean 'list'"):
        find_elicitation("lisst")


def test_the_bundled_elicitations_bear_the_names_they_are_found_by() -> None:
    assert [find_elicitation(name).name for name in base._BUNDLED] == list(base._BUNDLED)


def test_every_setting_that_depends_on_the_elicitation_plays_a_part_in_one_and_the_other_way_round() -> None:
    rows = {row.name for row in ROWS if row.used_with == "elicitation"}
    assert rows == {setting for name in base._BUNDLED for setting in find_elicitation(name).settings}
