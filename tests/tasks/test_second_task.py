"""A second task goes the whole way of a run with nothing but a module and a template of its own: parity.

flip keep flip read     the state is 0 at first, a flip changes it: the answer is 0
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ffprompt.analysis.error_analysis import anatomy
from ffprompt.backends.base import Capabilities
from ffprompt.cli.main import main
from ffprompt.comparison.compare import compare
from ffprompt.config.run_config import make
from ffprompt.errors import ConfigError, SpecError, StringError, TemplateError
from ffprompt.evaluation.plan import Plan
from ffprompt.report import data
from ffprompt.tasks import datasets, registry
from ffprompt.tasks.base import Rule, Task
from ffprompt.tasks.events import U8, Event, Ints
from ffprompt.tasks.strings import Strings
from ffprompt.templates.loading import load
from tests.conftest import only_run

# ------------------------------------------------------------------------------------------------ the task's module

FLIP, KEEP, READ = range(3)
EVENTS = (Event("flip", "f", "step"), Event("keep", "k", "idle"), Event("read", "r", "read"))


@dataclass(frozen=True)
class Spec:
    """Parity strings of ``length`` events."""

    length: int
    p_keep: float
    p_read: float
    symbols: int = 2

    def __post_init__(self) -> None:
        if self.length < 2 or self.symbols != 2 or not 0 <= self.p_keep + self.p_read <= 1:
            raise SpecError(f"{self}: expected at least 2 events, 2 symbols and probabilities that sum to at most 1")

    def __str__(self) -> str:
        return f"parity({self.length}, {self.p_keep}, {self.p_read})"

    @property
    def task(self) -> Parity:
        return PARITY

    @property
    def instructions(self) -> int:
        return self.length

    @property
    def probabilities(self) -> Mapping[str, float]:
        return {"ignore": self.p_keep, "read": self.p_read}

    @property
    def expected_reads(self) -> float:
        return 1 + (self.length - 2) * self.p_read

    @property
    def preset(self) -> str | None:
        return None

    def with_length(self, length: int) -> Spec:
        return Spec(length, self.p_keep, self.p_read)

    def sample(self, seed: int, start: int, stop: int, stream: str = "strings") -> Strings:
        events = np.empty((stop - start, self.length), np.uint8)
        for row, number in enumerate(range(start, stop)):
            key = hashlib.sha256(f"{self}|{seed}|{stream}|{number}".encode()).digest()
            uniform = np.random.default_rng(int.from_bytes(key[:8])).random(self.length)
            events[row] = np.where(uniform < self.p_keep, KEEP, FLIP)
            events[row, 1:][uniform[1:] >= 1 - self.p_read] = READ
        events[:, -1] = READ
        return strings_of(events)


class Parity(Task):
    name = "parity"
    events = EVENTS
    stride = 1
    presets: Mapping[str, Spec] = {}
    rule_names = ("last-event",)

    def spec(self, length: int, symbols: int = 2, probabilities: Mapping[str, float] | None = None) -> Spec:
        given = {"ignore": 0.5, "read": 0.2} | dict(probabilities or {})
        return Spec(length, given["ignore"], given["read"], symbols)

    def parse_spec(self, text: str, symbols: int | None = None) -> Spec:
        match = re.fullmatch(r"parity\((\d+), ([\d.]+), ([\d.]+)\)", text)
        if match is None:
            raise SpecError(f"spec {text!r}: expected parity(T, p_keep, p_read)")
        return Spec(int(match[1]), float(match[2]), float(match[3]))

    def parse(self, text: str, symbols: int = 2) -> Strings:
        pieces = re.findall(r"f|k|r[01]", text)
        if "".join(pieces) != text.replace(" ", ""):
            raise StringError(f"{text[:40]!r}: no parity string")
        strings = strings_of(np.array([["fkr".index(piece[0]) for piece in pieces]], np.uint8))
        if strings.texts() != ["".join(pieces)]:
            raise StringError(f"{text[:40]!r}: a read is wrong")
        return strings

    def contains(self, strings: Strings) -> bool:
        return bool((strings.answers == strings_of(strings.events).answers)[strings.is_read].all())

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        before = np.roll(strings.events, 1, axis=1)
        constant = {f"constant-{k}": np.full(strings.events.shape, k, np.uint8) for k in range(2)}
        return {"last-event": (before == FLIP).astype(np.uint8), **constant}

    def rules(self, strings: Strings, see_reads: bool = True) -> dict[str, Rule]:
        everywhere = np.ones(strings.events.shape, np.bool_)
        return {name: Rule(answers, everywhere) for name, answers in self.floors(strings, see_reads).items()}

    def answers_everywhere(self, strings: Strings) -> U8 | None:
        return strings.answers

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        return {"gap": np.cumsum(strings.events == FLIP, axis=1)}


PARITY = Parity()


def strings_of(events: U8) -> Strings:
    answers = (np.cumsum(events == FLIP, axis=1) % 2).astype(np.uint8)
    return Strings(PARITY, events, np.zeros_like(events), answers)


# ----------------------------------------------------------------------------------------------------- its template

TEMPLATE = """\
name = "coin"
version = 1
summary = "A coin is turned over: which side is up?"
task = "parity"
values = ["heads", "tails"]

[instructions]
flip = "Turn it over."
keep = "Leave it."
read = "It shows {{ answer }}."

[completion]
list_string = "{{ events }}\\nMissing: {{ answers }}"

[chat]
list = "The coin shows heads.\\n{{ events }}\\nName the {{ count }} missing words."
list_again = "{{ events }}\\nName the {{ count }} missing words."
next = "{{ events }}\\nWhich word is missing?"
next_again = "{{ events }}\\nWhich word is missing?"
dialogue = "The coin shows heads.\\n{{ events }}"
dialogue_again = "{{ events }}"
"""


@pytest.fixture(autouse=True)
def parity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    registry.register(PARITY)
    yield


@pytest.fixture
def coin(tmp_path: Path) -> str:
    path = tmp_path / "coin.toml"
    path.write_text(TEMPLATE)
    return str(path)


@dataclass
class Run:
    path: Path

    @property
    def row(self) -> dict[str, Any]:
        (row,) = json.loads((self.path / "run.json").read_text())["results"]
        return dict(row)

    @property
    def reads(self) -> pd.DataFrame:
        return pd.read_parquet(self.path / "reads.parquet")


def evaluated(tmp_path: Path, model: str, coin: str, *flags: object) -> Run:
    settings = ["--backend", "scripted", "--model", model, "--task", "parity", "--template", coin, "--length", 6]
    arguments = ["run", *settings, "--p-ignore", 0.6, *flags, "--out", tmp_path / model, "--no-report"]
    assert main([str(one) for one in arguments]) == 0
    return Run(only_run(tmp_path / model))


# --------------------------------------------------------------------------------------------------------- what holds


def test_its_specs_and_strings_are_printed_and_parsed_back() -> None:
    spec = PARITY.spec(8, 2, {"ignore": 0.6})
    assert PARITY.parse_spec(str(spec)) == spec
    strings = spec.sample(3, 0, 50)
    assert strings.length == 8
    for row, text in enumerate(strings.texts()):
        assert PARITY.parse(text).digests() == strings[row : row + 1].digests()
    assert strings_of(np.array([[FLIP, KEEP, READ, FLIP, READ]], np.uint8)).texts() == ["fkr1fr0"]


def test_its_strings_go_into_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "parity.jsonl"
    datasets.write(path, PARITY.spec(6), 0, 20)
    assert datasets.read(str(path), 20, task=PARITY).digests() == PARITY.spec(6).sample(0, 0, 20).digests()
    with pytest.raises(StringError, match="row 1"):
        datasets.read(str(path), 20)  # of another task


def test_its_prompt_words_its_events(coin: str) -> None:
    settings = {"backend": "scripted", "model": "oracle", "task": "parity", "template": coin, "length": 5}
    config = make({**settings, "elicitation": ["forced", "list"], "shots": 1, "shot_length": 4, "trials": 3})
    assert config.plain()["task"] == "parity"
    plan = Plan(config, Capabilities(scores=True, completes=True, chats=True))
    batch = plan.batch(plan.conditions[0], 0, 3)
    for row in range(3):
        said = {FLIP: "Turn it over.", KEEP: "Leave it.", READ: "It shows {}."}
        texts = [
            "\n".join(said[e].format(("heads", "tails")[a]) for e, a in zip(one.events, one.answers, strict=True))
            for one in (batch.shots[0].string(row), batch.strings.string(row))
        ]
        prompt = plan.prompt(batch, row)
        assert prompt.text == "\n\n".join(texts).removesuffix(".")
        assert [prompt.text[start:end] for start, end in prompt.reads] == [
            ("heads", "tails")[answer] for answer in batch.truth(row)
        ]


@pytest.mark.parametrize("elicitation", ["forced", "next", "list", "dialogue", "trace"])
def test_the_oracle_is_always_right(tmp_path: Path, coin: str, elicitation: str) -> None:
    found = evaluated(tmp_path, "oracle", coin, "--elicitation", elicitation, "--trials", 30, "--shots", 1)
    row = found.row
    assert (row["accuracy"], row["strings"]) == (1.0, 30)
    assert row["language"] == "parity(6, 0.6, 0.2)"
    assert set(row["floors"]) == {"last-event", "constant-0", "constant-1"}


def test_a_rule_writes_its_own_trace(tmp_path: Path, coin: str) -> None:
    row = evaluated(tmp_path, "last-event", coin, "--elicitation", "trace", "--trials", 300).row
    assert row["accuracy"] == row["floors"]["last-event"] < 0.9
    assert (row["traces"], row["contradicting_traces"]) == (300, 0)


def test_a_task_whose_reads_ask_for_different_things_has_no_trace(
    tmp_path: Path, coin: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Parity, "answers_everywhere", Task.answers_everywhere)
    flags = ["--backend", "scripted", "--model", "oracle", "--task", "parity", "--template", coin, "--length", "6"]
    assert main(["run", *flags, "--elicitation", "trace", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the reads of task parity ask for different things" in line and "use --elicitation next, list" in line
    assert not list(tmp_path.glob("out/*/trials.jsonl"))


def test_a_wrong_rule_is_right_at_its_analytic_rate(tmp_path: Path, coin: str) -> None:
    found = evaluated(tmp_path, "last-event", coin, "--elicitation", "next", "--trials", 2000, "--form", "chat")
    row = found.row
    # Right where the flips before the last event are even in number: one at p = 0.4, three at p = 0.2.
    expected = (1 + (1 - 2 * 0.4) * (1 - 2 * 0.2) ** 3) / 2
    assert abs(row["accuracy"] - expected) < 4 * np.sqrt(expected * (1 - expected) / 2000)
    assert row["floors"]["last-event"] == row["accuracy"]
    assert row["floor_rule"] in ("last-event", "constant-0")


def test_its_reads_table_anatomy_and_report_are_made(tmp_path: Path, coin: str) -> None:
    found = evaluated(tmp_path, "last-event", coin, "--elicitation", "list", "--trials", 200, "--form", "chat")
    reads = found.reads
    assert reads.contradictions.isna().all()
    assert reads.p_write.isna().all()
    assert (reads.p_ignore == 0.6).all()
    assert (reads.gap % 2 == reads.truth).all()
    (condition,) = anatomy(found.path).conditions
    assert condition.by_contradictions == condition.by_earlier_read == []
    assert condition.rules.best == ["last-event"]
    assert sum(gap.reads for gap in condition.by_gap) == len(reads)
    made = data.build([found.path])
    assert [row.result.language for row in made.rows] == ["parity(6, 0.6, 0.2)"]
    assert [row.result.accuracy for row in made.rows] == [found.row["accuracy"]]
    assert [row.letters for row in made.rows] == [{"read": "r", "reset": ""}]
    assert len(made.trials) == 200
    assert main(["report", str(found.path), "--output", str(tmp_path / "report.html")]) == 0


def test_two_of_its_runs_can_be_compared(tmp_path: Path, coin: str) -> None:
    flags = ("--elicitation", "list", "--trials", 100, "--form", "chat")
    right, wrong = (evaluated(tmp_path, model, coin, *flags) for model in ("oracle", "constant-0"))
    (row,) = compare([right.path, wrong.path]).rows
    assert row.difference is not None
    assert row.difference.estimate < 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('task = "parity"', 'task = "pariti"'), ["task pariti: unknown task", "did you mean 'parity'?"]),
        (('keep = "Leave it."\n', ""), ["instructions.keep is missing"]),
        (('keep = "', 'write = "Write."\nkeep = "'), ["instructions.write: unknown key", "flip, keep"]),
        (('"Leave it."', '"Leave it {{ value }}."'), ["instructions.keep: unknown name 'value'"]),
        (('"Leave it."', '["Leave it.", "Leave."]'), ["instructions.keep: 2 texts"]),
        (('"Leave it."', '"Turn it over."'), ["instructions: flip and keep both read 'Turn it over.'"]),
    ],
)
def test_a_template_words_the_events_of_its_task(tmp_path: Path, change: tuple[str, str], said: list[str]) -> None:
    path = tmp_path / "changed.toml"
    path.write_text(TEMPLATE.replace(*change))
    with pytest.raises(TemplateError) as caught:
        load(str(path))
    assert [part for part in said if part not in str(caught.value)] == []


def test_a_template_of_another_task_is_refused() -> None:
    config = make({"backend": "scripted", "model": "oracle", "task": "parity", "template": "game", "length": 6})
    with pytest.raises(ConfigError, match="template game: words task flipflop, not parity"):
        Plan(config, Capabilities(scores=True, completes=True, chats=True))


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--task pariti: unknown task; did you mean 'parity'\?"):
        make({"backend": "scripted", "model": "oracle", "task": "pariti"})
