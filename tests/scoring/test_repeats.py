"""The same prompt asked several times: --repeats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ffprompt.analysis.error_analysis import anatomy
from ffprompt.backends.base import Request
from ffprompt.backends.scripted import ScriptedBackend
from ffprompt.cli.main import main
from ffprompt.comparison.compare import compare
from ffprompt.config.run_config import make
from ffprompt.cost.usage import Bound
from ffprompt.errors import ConfigError
from ffprompt.evaluation.early_stopping import Course, fewest
from ffprompt.evaluation.estimate import of_plan
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import plan_of, rebuild
from ffprompt.evaluation.runner import make_plan
from ffprompt.interface.run import load
from ffprompt.report.data import build
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.aggregate import Tally
from ffprompt.scoring.repeats import Repeats
from ffprompt.scoring.response_records import ReplyRecord
from ffprompt.scoring.score import Judged, Outcome
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import korn_graubard
from tests.conftest import ROOT, only_run
from tests.support import tiny
from tests.support.batch_server import BatchServer
from tests.support.faulty_server import KEY, FaultyServer
from tests.support.flags import replaced


def run(out: Path, model: str, *more: object, elicitation: str = "list", length: int = 20) -> int:
    words = ["--backend", "scripted", "--model", model, "--length", length, "--template", "game", "--no-report"]
    return main(["run", *replaced(*words, "--elicitation", elicitation, "--temperature", 1, *more, "--out", out)])


def info(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((only_run(out) / "run.json").read_text())
    return found


def row(out: Path) -> dict[str, Any]:
    (found,) = info(out)["results"]
    assert isinstance(found, dict)
    return found


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (only_run(out) / "trials.jsonl").read_text().splitlines()]


def plan(repeats: int, trials: int = 6, **more: Any) -> Plan:
    given = {"backend": "scripted", "model": "glitch-0.2", "length": 20, "template": "game", "elicitation": "list"}
    return make_plan(make(given | {"trials": trials, "repeats": repeats} | more), ScriptedBackend("glitch-0.2"))


def asked(made: Plan, condition: int, start: int, stop: int) -> list[Request]:
    return [one.request for one in made.questions(made.batch(made.conditions[condition], start, stop))]


# ------------------------------------------------------------------------------------------------------------- plan


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_repeats_follow_one_another_with_the_same_prompt_and_seeds_of_their_own(size: int) -> None:
    made, once = plan(3, shots=(0, 2)), plan(1, shots=(0, 2))
    assert (len(made), made.trials, made.string_count) == (36, 18, 6)
    requests = [one.request for where in made.batches(size) for one in made.questions(made.batch(*where))]
    single = [one.request for where in once.batches(size) for one in once.questions(once.batch(*where))]
    assert len({one.key for one in requests}) == len({one.seed for one in requests}) == 36
    for trial, request in enumerate(requests):
        assert (request.messages, request.hints) == (single[trial // 3].messages, single[trial // 3].hints)
        suffix = f"/repeat-{trial % 3}" if trial % 3 else ""
        assert request.key == single[trial // 3].key + suffix
    # The first repeat is the trial of a run without repeats, so that its sampled reply is the same.
    assert requests[::3] == single


def test_rows_of_a_batch_know_their_string_and_repeat() -> None:
    made = plan(3)
    batch = made.batch(made.conditions[0], 4, 9)
    assert [(batch.string(n), batch.repeat(n)) for n in range(5)] == [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert batch.digests == [made.once.batch(made.conditions[0], n, n + 1).digests[0] for n in (1, 1, 2, 2, 2)]
    assert made.data_digest() == plan(1).data_digest()


def test_a_run_without_repeats_is_recorded_as_before() -> None:
    config = plan(1).config
    assert "repeats" not in config.plain()
    assert plan(2).config.plain()["repeats"] == 2


@pytest.mark.parametrize("elicitation", [{"elicitation": "forced"}, {"elicitation": ("next", "forced")}])
def test_forced_is_refused_in_one_line(elicitation: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^--repeats 2: forced samples nothing.*use --elicitation next"):
        plan(2, **elicitation)


def test_forced_is_refused_where_a_backend_asks_it_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--backend", "reference", "--model", "handbuilt", "--repeats", "2"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "--repeats 2: forced samples nothing" in said


@pytest.mark.parametrize("trials", [6, 1500])
def test_what_repeats_cost_is_as_many_times_as_much(trials: int) -> None:
    def max_usage(request: Request) -> Bound:
        return Bound(len(request.messages[0].text), request.max_tokens)

    backend: Any = SimpleNamespace(max_usage=max_usage, thinks=False)
    (three,), (one,) = of_plan(plan(3, trials), backend), of_plan(plan(1, trials), backend)
    assert (three.calls, three.prompt_most, three.reply_most) == (
        3 * one.calls,
        3 * one.prompt_most,
        3 * one.reply_most,
    )
    assert (three.prompt, three.reply) == pytest.approx((3 * one.prompt, 3 * one.reply))


# ------------------------------------------------------------------------------------------------------- statistics

GOOD, BAD, NONE, FAILED = Outcome.CORRECT, Outcome.WRONG, Outcome.INVALID, Outcome.ERROR


def tallied(
    trials: list[tuple[int, list[Outcome]]], order: list[int] | None = None, repeats: int = 3
) -> dict[str, Any]:
    """The row of trials, each the number of its string and its outcomes; answers are of two symbols."""
    made = plan(repeats, 40, elicitation="list")
    counted = Tally(repeats=Repeats(repeats))
    seen: dict[int, int] = {}
    numbered = []
    for string, outcomes in trials:
        numbered.append((string * repeats + seen.get(string, 0), outcomes))
        seen[string] = seen.get(string, 0) + 1
    for at in order or range(len(numbered)):
        trial, outcomes = numbered[at]
        batch = made.batch(made.conditions[0], trial, trial + 1)
        answers = [{GOOD: 1, BAD: 0}.get(outcome) for outcome in outcomes]
        counted.add(batch.string(0), Judged(answers, outcomes), ReplyRecord(reply="", stop="stop"), {})
    return counted.result().to_json()


HAND = [
    # Two reads: the first agrees in 1 of 3 pairs, the second in all 3. Not always right.
    (0, [GOOD, GOOD]), (0, [GOOD, GOOD]), (0, [BAD, GOOD]),
    # One read, always right.
    (1, [GOOD]), (1, [GOOD]), (1, [GOOD]),
    # A pair without an answer is left out, one with a single answer does not agree: 0 of 2 pairs.
    (4, [NONE]), (4, [NONE]), (4, [GOOD]),
    # A failed call says nothing: 1 pair, which agrees; whether always right is not known.
    (2, [GOOD]), (2, [FAILED]), (2, [GOOD]),
]  # fmt: skip


def test_self_agreement_by_hand() -> None:
    found = tallied(HAND)
    # Pairs a string: 6, 3, 2, 1; apart: 2, 0, 2, 0.
    assert (found["repeats"], found["repeat_pairs"]) == (3, 12)
    assert found["self_agreement"] == pytest.approx(8 / 12)
    interval = korn_graubard(Clusters(np.array([2, 0, 2, 0]), np.array([6, 3, 2, 1])))
    assert interval is not None
    assert found["self_agreement_low"] == pytest.approx(1 - interval.high)
    assert found["self_agreement_high"] == pytest.approx(1 - interval.low)
    assert (found["whole_strings"], found["always_right"]) == (3, 1 / 3)
    assert found["always_right_low"] < 1 / 3 < found["always_right_high"]


def test_all_repeats_of_a_string_are_one_cluster() -> None:
    found = tallied(HAND)
    assert (found["reads"], found["strings"], found["perfect_strings"]) == (15, 4, 2)
    assert found["accuracy"] == 11 / 14
    interval = korn_graubard(Clusters(np.array([1, 0, 2, 0]), np.array([6, 3, 3, 2])))
    assert interval is not None
    assert found["interval_low"] == pytest.approx(1 - interval.high)
    assert found["strings_with_an_error"]["count"] == 2


def test_the_order_of_arrival_changes_no_number() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert tallied(HAND, rng.permutation(len(HAND)).tolist()) == tallied(HAND)


def test_pairs_of_a_string_that_lacks_a_repeat_count() -> None:
    found = tallied(HAND[:2])
    assert (found["repeat_pairs"], found["self_agreement"]) == (2, 1.0)
    assert found["whole_strings"] == 0
    assert found["always_right"] is found["always_right_low"] is None


def test_a_model_that_gives_no_answers_neither_agrees_nor_disagrees() -> None:
    found = tallied([(string, [NONE, NONE]) for string in (0, 0, 0, 3, 3, 3)])
    assert (found["repeat_pairs"], found["self_agreement"], found["always_right"]) == (0, None, 0.0)


def test_without_repeats_there_is_no_agreement() -> None:
    found = tallied([(0, [GOOD]), (1, [BAD])], repeats=1)
    assert found["self_agreement"] is found["self_agreement_low"] is found["self_agreement_high"] is None
    assert (found["always_right"], found["whole_strings"]) == (0.5, 2)
    assert tallied([])["self_agreement"] is None


# ------------------------------------------------------------------------------------------------------------- runs


def test_a_run_logs_every_repeat_and_its_table_is_that_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "glitch-0.2", "--trials", 15, "--repeats", 3) == 0
    said = capsys.readouterr()
    logged = lines(tmp_path)
    assert [(line["trial"], line["index"], line["repeat"]) for line in logged] == [
        (n, n // 3, n % 3) for n in range(45)
    ]
    assert len({line["trial_id"] for line in logged}) == 45
    agree = pairs = 0
    for a in logged:
        for b in logged:
            if a["index"] == b["index"] and a["repeat"] < b["repeat"]:
                assert (a["prompt"], a["string"]) == (b["prompt"], b["string"])
                pairs += len(a["answers"])
                agree += sum(x == y for x, y in zip(a["answers"], b["answers"], strict=True))
    found = row(tmp_path)
    right = sum(all(set(one["outcomes"]) == {"correct"} for one in logged[n : n + 3]) for n in range(0, 45, 3))
    assert 0 < right < 15
    assert (found["repeat_pairs"], found["strings"], found["whole_strings"]) == (pairs, 15, 15)
    assert found["self_agreement"] == pytest.approx(agree / pairs)
    assert found["always_right"] == found["perfect_strings"] / 15 == right / 15
    shown = " ".join(said.out.split())
    assert f"self-agreement {agree / pairs:.4f} (" in shown
    assert f"always right {right / 15:.4f} (" in shown
    assert "self-agreement: how often two repeats of a read give the same answer" in shown
    assert "15 strings x 3 repeats = 45 trials" in said.out
    reads = load(only_run(tmp_path)).reads
    assert "repeat" in reads.columns
    assert reads.repeat.dtype == "int16"
    assert sorted(set(reads.repeat)) == [0, 1, 2]


@pytest.mark.slow
def test_a_model_that_glitches_agrees_as_often_as_its_rate_says(tmp_path: Path) -> None:
    assert run(tmp_path, "glitch-0.2", "--trials", 400, "--repeats", 4) == 0
    found = row(tmp_path)
    assert found["self_agreement_low"] < 0.2**2 + 0.8**2 < found["self_agreement_high"]
    assert found["interval_low"] < 0.8 < found["interval_high"]


def test_a_run_without_repeats_shows_nothing_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "glitch-0.2", "--trials", 5) == 0
    said = capsys.readouterr().out
    assert "agreement" not in said
    assert "always right" not in said
    assert "repeat" not in lines(tmp_path)[0]
    assert set(load(only_run(tmp_path)).reads.repeat) == {0}


def test_the_first_repeats_are_the_run_without_repeats(tmp_path: Path) -> None:
    run(tmp_path / "one", "coin", "--trials", 5)
    run(tmp_path / "three", "coin", "--trials", 5, "--repeats", 3)
    first = [line["reply"] for line in lines(tmp_path / "three") if line["repeat"] == 0]
    assert first == [line["reply"] for line in lines(tmp_path / "one")]


def test_a_greedy_model_is_told_to_give_the_same_and_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "first-write", "--trials", 5, "--repeats", 2, "--temperature", 0, elicitation="next") == 0
    assert (
        "--repeats 2 at temperature 0: a deterministic model gives the same answer 2 times" in capsys.readouterr().out
    )
    found = row(tmp_path)
    assert found["self_agreement"] == 1.0
    assert found["self_agreement_low"] < 1.0


def test_dialogues_are_repeated_with_other_draws(tmp_path: Path) -> None:
    assert run(tmp_path, "coin", "--trials", 8, "--repeats", 2, elicitation="dialogue") == 0
    replies = [[turn["reply"] for turn in line["turns"]] for line in lines(tmp_path)]
    assert any(a != b for a, b in zip(replies[::2], replies[1::2], strict=True))
    assert 0 < row(tmp_path)["self_agreement"] < 1


@pytest.mark.parametrize("kept", [0, 1, 4, 20])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(tmp_path: Path, kept: int) -> None:
    flags = ("glitch-0.2", "--trials", 12, "--repeats", 3)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    assert run(calm, *flags) == run(rough, *flags) == 0
    log = only_run(rough) / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:kept]))
    assert main(["score", str(only_run(rough))]) == 3
    assert row(rough)["missing_trials"] == 36 - kept
    assert run(rough, *flags, "--resume") == 0
    assert row(rough) == row(calm)
    assert (only_run(rough) / "reads.parquet").read_bytes() == (only_run(calm) / "reads.parquet").read_bytes()


def test_a_run_of_an_earlier_version_is_read_as_asked_once(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for name in ("old", "new"):
        assert run(tmp_path / name, "glitch-0.2" if name == "old" else "coin", "--trials", 40) == 0
    path = only_run(tmp_path / "old")
    record = info(tmp_path / "old")
    assert "repeats" not in record["config"]
    for name in [key for key in record["results"][0] if key.startswith(("repeat", "self_", "always_", "whole_"))]:
        del record["results"][0][name]
    (path / "run.json").write_text(json.dumps(record))
    reads = path / "reads.parquet"
    pq.write_table(pq.read_table(reads).drop_columns("repeat"), reads)
    (both,) = compare([path, only_run(tmp_path / "new")]).rows
    assert both.n_strings == 40
    (part,) = anatomy(path).conditions
    assert (part.all.strings, part.missing_trials) == (40, 0)
    assert build([path]).trials_in_all == 40
    folder = RunFolder.open(path)
    assert plan_of(folder).repeats == 1
    rows, differing = rebuild(folder, plan_of(folder))
    assert (rows[0].accuracy, differing) == (record["results"][0]["accuracy"], 0)


# ------------------------------------------------------------------------------------------- stopping, API, batches


def test_a_string_counts_towards_a_bound_when_all_its_repeats_are_in() -> None:
    made = plan(2, 5000, certify=0.02)
    course = Course.of(made, made.conditions[0])
    for trial in range(0, 128, 2):
        course.note(trial, ["correct"] * 3)
    assert course.drawn == 0
    for trial in range(1, 128, 2):
        course.note(trial, ["correct", "wrong", "correct"] if trial < 3 else ["correct"] * 3)
        course.note(trial, ["wrong"] * 3)  # of several answers to one trial the first counts
    assert (course.drawn, course.record().reads, course.record().errors) == (64, 384, 1)
    assert [where for _, *where in course.batches(50)] == [[128, 178], [178, 228], [228, 256]]


@pytest.mark.parametrize("elicitation", ["list", "next"])
def test_repeating_what_always_agrees_certifies_nothing_sooner(tmp_path: Path, elicitation: str) -> None:
    """Repeats of a deterministic model are no evidence: the same strings are needed, with any number of repeats."""
    made = [plan(repeats, 5000, certify=0.05, elicitation=elicitation) for repeats in (1, 4)]
    assert fewest(made[0], made[0].conditions[0]) == fewest(made[1], made[1].conditions[0])
    flags = ("oracle", "--certify", 0.05, "--trials", 5000, "--repeats", 4)
    assert run(tmp_path, *flags, elicitation=elicitation) == 0
    found = row(tmp_path)
    assert found["stopping"]["strings"] == fewest(made[0], made[0].conditions[0]) == found["strings"]
    assert (found["missing_trials"], len(lines(tmp_path))) == (0, 4 * found["strings"])
    assert (found["self_agreement"], found["self_agreement_low"], found["always_right_high"]) == (1.0, None, None)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def api(server: FaultyServer, out: Path, *more: object) -> list[str]:
    return [
        "run", "--backend", "openai", "--model", "a-model", "--base-url", server.v1, "--length", "12", "--no-report",
        "--template", "game", "--elicitation", "next", "--temperature", "1", "--out", str(out), *map(str, more),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_goes_on_and_pays_for_no_answer_twice(tmp_path: Path) -> None:
    flags = ("--trials", 40, "--repeats", 3, "--max-concurrency", 8)
    with FaultyServer(latency=0.05, reply="1") as server:
        assert main(api(server, tmp_path / "calm", *flags)) == 0
        words = [sys.executable, "-m", "ffprompt", *api(server, tmp_path / "rough", *flags), "--resume"]
        process = subprocess.Popen(words, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("rough/*/trials.jsonl")) < 40:
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.01)
        process.kill()
        process.wait()
        server.settle()
        (log,) = tmp_path.glob("rough/*/trials.jsonl")
        kept, asked_before = log.read_bytes().count(b"\n"), len(server.posted)
        assert main(words[3:]) == 0
        assert len(server.posted) - asked_before == 120 - kept
    assert sorted(line["trial"] for line in lines(tmp_path / "rough")) == list(range(120))
    same = {name: value for name, value in row(tmp_path / "calm").items() if name != "usd"}
    assert {name: value for name, value in row(tmp_path / "rough").items() if name != "usd"} == same


def test_batches_hand_over_every_repeat_once_and_give_the_table_of_a_live_run(tmp_path: Path) -> None:
    flags = ("--trials", 10, "--repeats", 3)
    with BatchServer() as server:
        assert main(api(server, tmp_path / "batch", *flags, "--batch", "--batch-part", 7)) == 0
        bodies = [one["body"] for made in server.batches.values() for one in made.requests]
        assert main(api(server, tmp_path / "live", *flags)) == 0
    assert len({json.dumps(body, sort_keys=True) for body in bodies}) == 30  # seeds of their own
    assert len({json.dumps(body["messages"]) for body in bodies}) == 10
    assert row(tmp_path / "batch") == row(tmp_path / "live")
    assert sorted(line["trial"] for line in lines(tmp_path / "batch")) == list(range(30))


# -------------------------------------------------------------------------------------------- comparison and report


def test_runs_with_as_many_repeats_are_compared_string_by_string(tmp_path: Path) -> None:
    for name, model in (("a", "glitch-0.3"), ("b", "glitch-0.1")):
        assert run(tmp_path / name, model, "--trials", 60, "--repeats", 3) == 0
    (found,) = compare([only_run(tmp_path / "a"), only_run(tmp_path / "b")]).rows
    a, b = row(tmp_path / "a"), row(tmp_path / "b")
    assert (found.n_strings, found.n_reads, found.only_a, found.only_b) == (60, a["reads"], 0, 0)
    assert found.difference is not None
    assert found.difference.estimate == pytest.approx(b["accuracy"] - a["accuracy"])


def test_other_numbers_of_repeats_are_not_compared(tmp_path: Path) -> None:
    run(tmp_path / "a", "glitch-0.3", "--trials", 5, "--repeats", 3)
    run(tmp_path / "b", "glitch-0.1", "--trials", 5)
    with pytest.raises(ConfigError, match=r"repeats is 3 in .* and 1 in .*; such runs cannot be paired"):
        compare([only_run(tmp_path / "a"), only_run(tmp_path / "b")])


def test_templates_of_a_run_are_compared_read_by_read(tmp_path: Path) -> None:
    assert run(tmp_path, "coin", "--trials", 40, "--repeats", 2, "--template", "game", "raw-spaced") == 0
    found = anatomy(only_run(tmp_path))
    (spread,) = found.templates
    assert spread.difference.reads == found.conditions[0].all.reads
    assert spread.difference.strings == 40
    assert spread.difference.estimate == pytest.approx(spread.spread)
    assert [one.missing_trials for one in found.conditions] == [0, 0]


def test_a_report_shows_agreement_and_the_repeat_of_each_trial(tmp_path: Path) -> None:
    assert run(tmp_path, "glitch-0.2", "--trials", 10, "--repeats", 3) == 0
    data = build([only_run(tmp_path)])
    assert data.trials_in_all == 30
    assert sorted((one["string"], one["repeat"]) for one in data.trials) == [(n // 3, n % 3) for n in range(30)]
    replies = {(line["index"], line["repeat"]): line["reply"] for line in lines(tmp_path)}
    assert all(one["said"] == [replies[one["string"], one["repeat"]]] for one in data.trials)
    assert main(["report", str(only_run(tmp_path))]) == 0
    page = (only_run(tmp_path) / "report.html").read_text()
    assert f"self-agreement {row(tmp_path)['self_agreement']:.4f} (" in page
    assert "always right: strings with every read right" in page


# ------------------------------------------------------------------------------------------------------- real model


def test_a_sampled_model_answers_each_repeat_anew_and_resumes_the_same(tmp_path: Path) -> None:
    model = tiny.make(tmp_path / "model", "llama")

    def go(out: Path, *more: object) -> None:
        words = ["run", "--backend", "transformers", "--model", model, "--template", "raw-spaced", "--shots", 0]
        words += ["--elicitation", "next", "--length", 12, "--trials", 4, "--repeats", 3, "--no-report"]
        assert main([*map(str, [*words, "--temperature", 1, "--max-tokens", 8, "--out", out, *more])]) == 0

    go(tmp_path / "a")
    replies = [line["reply"] for line in lines(tmp_path / "a")]
    assert len(replies) == len(set(replies)) == 12
    log = only_run(tmp_path / "a") / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:5]))
    assert main(["score", str(log.parent)]) == 3
    go(tmp_path / "a", "--resume")
    assert [line["reply"] for line in sorted(lines(tmp_path / "a"), key=lambda line: line["trial"])] == replies
