"""``ffprompt.evaluate`` and the run that it returns: the numbers of the command line, in Python."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ffprompt
from ffprompt.backends.base import Capabilities, Failure, Reply, Request, Scores
from ffprompt.backends.from_name import OLD_HUB_NAMES, SHIPPED_NAMES, backend_for, reference_names, scripted_names
from ffprompt.backends.identity import Identity
from ffprompt.backends.local.weights import SHIPPED
from ffprompt.cli.main import main
from ffprompt.config.settings import BY_NAME
from ffprompt.errors import ConfigError, FFPromptError, ModelError, StoreError, UsageError
from ffprompt.evaluation.worker import Progress
from ffprompt.interface import keywords, progress, signature
from ffprompt.runs.folder import RunFolder

QUICK: dict[str, Any] = {"length": [20, 30], "trials": 5, "elicitation": "forced", "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ffprompt.Run:
    """A run of a model that errs at times, made in Python."""
    return ffprompt.evaluate("coin", out=tmp_path_factory.mktemp("results"), **QUICK)


def test_a_run_in_python_is_the_run_of_the_command_line(run: ffprompt.Run, tmp_path: Path) -> None:
    flags = "--backend scripted --model coin --length 20 30 --trials 5 --elicitation forced --no-report"
    assert main(["run", *flags.split(), "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    other = RunFolder.open(path)
    assert other.info.plan_digest == run.info["plan_digest"]
    assert [row.to_json() for row in other.info.results or ()] == run.info["results"]
    assert (path / "reads.parquet").read_bytes() == (run.path / "reads.parquet").read_bytes()


def test_the_table_holds_the_numbers_of_the_record(run: ffprompt.Run) -> None:
    table = run.table
    assert table.length.tolist() == [20, 30]
    assert table.p_ignore.tolist() == [0.6, 0.6]
    for row, result in zip(table.to_dict("records"), run.info["results"], strict=True):
        assert {name: row[name] for name in ("condition", "accuracy", "floor", "reads", "strings")} == {
            name: result[name] for name in ("condition", "accuracy", "floor", "reads", "strings")
        }
        assert {name: row[name] for name in result["outcomes"]} == result["outcomes"]
    counted = run.reads.groupby("length").outcome.agg(lambda found: (found == "correct").mean())
    assert counted.tolist() == table.accuracy.tolist()
    assert len(run.trials) == 10
    assert table.against_floor.tolist() == [verdict.word for verdict in run.verdicts]


def test_a_notebook_shows_the_table(run: ffprompt.Run) -> None:
    page = run._repr_html_()
    assert page.count("<tr>") == 3
    assert f"{run.table.accuracy[0]:.4f}" in page
    assert "game/0-shot/forced/completion/FFL(30, 0.6)" in page
    assert run.verdict.sentence in page


def test_what_comes_from_outside_is_escaped_in_a_notebook(run: ffprompt.Run, tmp_path: Path) -> None:
    content = run.info | {"config": run.info["config"] | {"model": "<script>"}}
    (tmp_path / "run.json").write_text(json.dumps(content))
    page = ffprompt.Run(RunFolder.open(tmp_path))._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_report_is_written_where_it_was_asked_for(run: ffprompt.Run, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    assert run.report() == run.path / "report.html"
    assert run.report(tmp_path / "mine.html").read_text().startswith("<!")
    with pytest.raises(StoreError, match=r"must end in \.html"):
        run.report(tmp_path / "mine.pdf")
    with pytest.raises(StoreError, match="is not there"):
        run.report(tmp_path / "no" / "mine.html")


@pytest.mark.parametrize("kind", [str, Path, ffprompt.load], ids=["text", "path", "run"])
def test_every_function_takes_a_run_or_its_path(run: ffprompt.Run, kind: Any) -> None:
    one = kind(run.path)
    assert ffprompt.load(one).path == run.path
    assert ffprompt.anatomy(one).run_id == run.info["run_id"]
    assert len(ffprompt.compare([one, one]).rows) == 2
    with pytest.raises(ConfigError):  # there is nothing in one run that its conditions could be compared by
        ffprompt.compare(one, by="shots")
    assert ffprompt.gate(one, one, margin=0.3).verdict in ("pass", "inconclusive")
    assert ffprompt.gate([one], [one], margin=0.3).checks
    results = one.path.parent if isinstance(one, ffprompt.Run) else kind(run.path.parent)
    assert ffprompt.trend(results).points


@pytest.mark.parametrize("wrong", [3, None, b"run", [], {}, 2.5], ids=repr)
@pytest.mark.parametrize("function", [ffprompt.load, ffprompt.anatomy, ffprompt.trend, ffprompt.compare])
def test_what_is_no_run_is_refused_in_one_line(function: Any, wrong: Any) -> None:
    with pytest.raises(UsageError) as caught:
        function(wrong)
    assert len(str(caught.value).splitlines()) == 1


def test_a_gate_of_something_else_is_refused_in_one_line(run: ffprompt.Run) -> None:
    for wrong in (3, None, [3], [None]):
        with pytest.raises(UsageError):
            ffprompt.gate(run, wrong, margin=0.1)  # type: ignore[arg-type]


def test_a_resumed_run_is_continued_and_a_finished_one_returned(run: ffprompt.Run) -> None:
    again = ffprompt.evaluate("coin", out=run.path.parent, resume=True, **QUICK)
    assert again.path == run.path
    content = json.loads((run.path / "run.json").read_text())
    log = (run.path / "trials.jsonl").read_bytes()
    whole = (run.path / "reads.parquet").read_bytes()
    (run.path / "run.json").write_text(json.dumps(content | {"status": "interrupted"}))
    (run.path / "trials.jsonl").write_bytes(b"".join(log.splitlines(keepends=True)[:-2]))
    again = ffprompt.evaluate("coin", out=run.path.parent, resume=True, **QUICK)
    assert (again.path, again.complete) == (run.path, True)
    assert (run.path / "reads.parquet").read_bytes() == whole


def test_progress_comes_to_a_function(tmp_path: Path) -> None:
    seen: list[int] = []
    settings = QUICK | {"progress": lambda state: seen.append(state.trials)}
    ffprompt.evaluate("oracle", out=tmp_path, **settings)
    assert seen[-1] == 10


def test_a_run_starts_under_the_event_loop_of_a_notebook(tmp_path: Path) -> None:
    async def cell() -> ffprompt.Run:
        return ffprompt.evaluate("oracle", out=tmp_path, **QUICK)

    assert asyncio.run(cell()).complete


def test_an_interruption_in_a_notebook_keeps_what_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's interruption reaches the main thread, which waits, and ends the one that asks."""
    from concurrent.futures import Future

    real = Future.result

    def interrupted(self: Future[Any], timeout: float | None = None) -> Any:
        monkeypatch.setattr(Future, "result", real)
        raise KeyboardInterrupt

    async def cell() -> None:
        settings = QUICK | {"trials": 200}
        ffprompt.evaluate("slow", out=tmp_path, **settings)

    monkeypatch.setattr("concurrent.futures._base.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())
    (path,) = tmp_path.iterdir()
    assert RunFolder.open(path).info.status == "interrupted"


# ------------------------------------------------------------------------------------------------------- settings


def test_keywords_are_those_of_the_table() -> None:
    assert Path(keywords.__file__).read_text(encoding="utf-8") == signature.page(), (
        "make it again: python -m ffprompt.interface.signature > ffprompt/interface/keywords.py"
    )
    shown = inspect.signature(ffprompt.evaluate).parameters
    assert set(shown) == {"out", "resume", "progress", *BY_NAME}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lenght": 20}, ["lenght: unknown setting; did you mean 'length'?"]),
        ({"length": 7}, ["length 7", "even"]),
        ({"length": "many"}, ["length many: expected an even number of at least 4"]),
        ({"length": [20, 20]}, ["length 20 20: expected each value once"]),
        ({"p_ignore": 1.5}, ["p_ignore 1.5", "probability"]),
        ({"p_write": 0.2}, ["p_write: also give p_read"]),
        ({"trials": 0}, ["trials 0: expected a whole number from 1 to 100000000"]),
        ({"template": "gmae"}, ["'gmae' is unknown; did you mean 'game'?"]),
        ({"template": 3}, ["template 3: expected a text"]),
        ({"elicitation": "forcde"}, ["elicitation forcde", "did you mean 'forced'?"]),
        ({"backend": "vlm"}, ["backend vlm: unknown backend; did you mean 'vllm'?"]),
        ({"backend": 7}, ["backend 7: expected a text"]),
        ({"max_usd": 1}, ["max_usd 1.0: the scripted backend has no such setting"]),
        ({"out": 3}, ["out 3: expected the path of a results folder"]),
    ],
)
def test_a_wrong_setting_is_named_as_a_keyword(tmp_path: Path, settings: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        ffprompt.evaluate("oracle", **({"out": tmp_path} | settings))
    message = str(caught.value)
    assert all(part in message for part in told), message
    assert "--" not in message
    assert not list(tmp_path.iterdir())


def test_values_of_numpy_ranges_and_paths_are_plain(tmp_path: Path) -> None:
    run = ffprompt.evaluate(
        "oracle", out=str(tmp_path), length=range(10, 31, 10), p_ignore=np.array([0.5]), trials=np.int64(2),
        elicitation="forced", seed=np.int32(3), progress=False,
    )  # fmt: skip
    assert run.info["config"]["length"] == [10, 20, 30]
    assert run.info["config"]["p_ignore"] == [0.5]
    assert (run.info["config"]["trials"], run.info["config"]["seed"]) == (2, 3)


# -------------------------------------------------------------------------------------------------------- backends


@pytest.mark.parametrize(
    ("model", "backend"),
    [
        ("oracle", "scripted"), ("glitch-0.1", "scripted"), ("constant-1", "scripted"), ("lstm", "reference"),
        ("smollm2-135m", "transformers"), ("gpt2", "transformers"), ("EleutherAI/pythia-12b", "transformers"),
        ("gpt-5-mini", "openai"), ("o4-mini", "openai"), ("claude-haiku-4-5", "anthropic"),
    ],
)  # fmt: skip
def test_a_name_tells_its_backend(model: str, backend: str) -> None:
    assert backend_for(model) == backend


def test_a_folder_tells_its_backend(tmp_path: Path) -> None:
    assert backend_for(str(tmp_path)) == "transformers"
    (tmp_path / "training.json").touch()
    assert backend_for(str(tmp_path)) == "reference"


def test_a_name_that_tells_nothing_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"no backend follows from this name; give one of .*did you mean 'lstm'\?"):
        backend_for("lstmm")


def test_the_names_that_tell_a_backend_are_those_that_backends_know() -> None:
    from ffprompt.reference.checkpoints.checkpoint import bundled

    assert set(SHIPPED_NAMES) == set(SHIPPED)
    assert set(reference_names()) == set(bundled())
    assert {"oracle", "majority", "coin"} < set(scripted_names())
    assert "gpt2" in OLD_HUB_NAMES


class Always:
    """A model of one's own: it writes one text, whatever it is asked."""

    capabilities = Capabilities(scores=False, completes=True, chats=True)
    chunk = 8

    def __init__(self, text: str) -> None:
        self.text = text
        self.identity = Identity(backend="mine", model=f"always-{text}")
        self.closed = False

    def check(self, requests: Sequence[Request]) -> Mapping[str, Any]:
        return {"audited": len(requests)}

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        raise AssertionError

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        return [Reply(self.text, "stop") for _ in requests]

    def close(self) -> None:
        self.closed = True


def test_an_object_is_a_model(tmp_path: Path) -> None:
    model = Always("1")
    run = ffprompt.evaluate(model, out=tmp_path, length=20, trials=30, elicitation="next", progress=False)
    assert not model.closed
    assert run.info["model"] == {"backend": "mine", "model": "always-1"}
    assert run.complete
    reads = run.reads
    assert ((reads.outcome == "correct") == (reads.truth == 1)).all()
    assert ffprompt.anatomy(run).model == "always-1"
    assert main(["score", str(run.path)]) == 0
    again = ffprompt.evaluate(model, out=tmp_path, length=20, trials=30, elicitation="next", resume=True)
    assert again.path == run.path


def test_no_command_opens_an_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["--backend", "object", "--model", "always-1", "--out", str(tmp_path)]
    assert main(["run", *flags]) == 2
    assert "is an object of a Python program" in capsys.readouterr().err


@pytest.mark.parametrize("model", [None, 3, b"oracle", object, str.upper], ids=str)
def test_what_is_no_model_is_refused_in_one_line(model: Any) -> None:
    with pytest.raises(ModelError, match="expected a name, a path, or an object") as caught:
        ffprompt.evaluate(model)
    assert len(str(caught.value).splitlines()) == 1


def test_an_object_has_its_backend_already() -> None:
    with pytest.raises(ConfigError, match="leave it out where the model is an object"):
        ffprompt.evaluate(Always("1"), backend="transformers")


def test_the_errors_of_the_interface_are_of_the_one_tree(tmp_path: Path) -> None:
    with pytest.raises(FFPromptError, match="model_name: unknown setting; did you mean"):
        ffprompt.evaluate("oracle", model_name="x")  # type: ignore[call-arg]


# -------------------------------------------------------------------------------------------------------- progress


def test_a_notebook_has_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for IPython: the kernel's display, which a cell's line is put into and changed."""
    shown: list[str] = []

    class Handle:
        def update(self, text: str) -> None:
            shown.append(text)

    class Shell:
        kernel = object()

    import sys
    import types

    ipython, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = Shell  # type: ignore[attr-defined]
    module.HTML = str  # type: ignore[attr-defined]

    def display(text: str, display_id: bool) -> Handle:
        shown.append(text)
        return Handle()

    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    assert progress.in_notebook()
    with progress.watching(20, None) as watch:
        watch(Progress(trials=5, reads=9, condition="<game>", counts={"<game>": (8, 9)}))
    assert shown[0] == "0 of 20 trials"
    assert "5 of 20 trials" in shown[1]
    assert "&lt;game&gt;, accuracy 0.8889 so far" in shown[1]
    assert shown[-1] == ""


def test_a_script_shows_nothing_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = {name: value for name, value in QUICK.items() if name != "progress"}
    ffprompt.evaluate("oracle", out=tmp_path, **settings)
    assert capsys.readouterr() == ("", "")
    ffprompt.evaluate("oracle", out=tmp_path, progress=True, **settings)
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(":")[0] for line in said.err.splitlines()] != []


# --------------------------------------------------------------------------------------------------- odd values

SPEC = ffprompt.Spec.ffl(0.5, 10)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda run: ffprompt.evaluate("oracle", resume="yes"), "resume 'yes': expected True or False"),
        (lambda run: ffprompt.evaluate("oracle", out="a\0b", trials=2), "results folder a"),
        (lambda run: ffprompt.evaluate("oracle", data=""), "data : expected a file or owner"),
        (lambda run: ffprompt.evaluate("oracle", length=10**30), "at most 1,000,000 symbols"),
        (lambda run: ffprompt.evaluate("oracle", trials=10**30), "expected a whole number from 1"),
        (lambda run: ffprompt.evaluate("x" * 5000), "no backend follows from this name"),
        (lambda run: ffprompt.evaluate("~nobody-here/x", backend="transformers"), "no such file or folder"),
        (lambda run: ffprompt.evaluate("", backend="transformers"), "no such file or folder"),
        (lambda run: ffprompt.evaluate("", backend="reference"), "reference model ''"),
        (lambda run: ffprompt.trend("x" * 5000), "not there"),
        (lambda run: ffprompt.trend("a\0b"), "not there"),
        (lambda run: ffprompt.compare([run, run], by=3), "by 3: expected a list of names"),
        (lambda run: ffprompt.compare([run, run], by=[3]), "expected a list of names"),
        (lambda run: ffprompt.compare([run, run], allow=0), "allow 0: expected a list of names"),
        (lambda run: ffprompt.compare([run, run], level="high"), "level 'high': expected a confidence level"),
        (lambda run: ffprompt.gate(run, run, margin="small"), "margin 'small': expected a loss"),
        (lambda run: ffprompt.gate(run, run, margin=0.1, level=b"x"), "level b'x'"),
        (lambda run: run.report(3), "report 3: expected the path"),
        (lambda run: ffprompt.sample(SPEC, "0", 0, 1), "seed '0': expected a whole number"),
        (lambda run: ffprompt.sample(SPEC, 0, 0.0, 1), "strings 0.0 to 1"),
        (lambda run: ffprompt.sample(SPEC, 0, 0, 10**40), "too many at once"),
        (lambda run: ffprompt.sample("FFL(0.5)", 0, 0, 1), "expected a Spec"),
        (lambda run: ffprompt.parse(3), "string 3: expected a text"),
        (lambda run: ffprompt.parse("w1r1", symbols="2"), "symbols '2'"),
        (lambda run: ffprompt.Spec.ffl("0.5"), "p_ignore '0.5'"),
        (lambda run: ffprompt.Spec(10, "a", 0.5, 0.5), "p_write 'a'"),
        (lambda run: ffprompt.Spec.parse(3), "spec 3: expected a text"),
    ],
)
def test_an_odd_value_is_refused_in_one_line(run: ffprompt.Run, call: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(run)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
