"""What is said of replies that gave no answer: under the table, and in invalid.md beside the run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ffprompt.backends.base import Reply, Talk
from ffprompt.cli.main import main
from ffprompt.evaluation.rescore import plan_of, rebuild
from ffprompt.report.wording import notes
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.aggregate import Tally
from ffprompt.scoring.invalid_replies import UnreadReplies, invalid_md
from ffprompt.scoring.response_records import FailureRecord, record
from ffprompt.scoring.score import Judged, Outcome, Reading, judge
from tests.conftest import only_run

BITS = ["0", "1"]


def noted(*replies: Reply | Talk, truth: tuple[int, ...] = (1, 0, 1), tags: tuple[str, ...] = ()) -> UnreadReplies:
    unread = UnreadReplies(tags)
    for number, reply in enumerate(replies):
        line = record(reply)
        judged = judge(line, truth, Reading(BITS, one=len(truth) == 1, tags=tags))
        unread.note(f"t/{number}", judged, line, lambda reads: 256 + 8 * reads)
    return unread


def said(unread: UnreadReplies) -> str:
    found = replace(Tally().result(), unread=unread.summary(), reasoning_tags=unread.tags_used())
    return "\n".join(notes([("m", replace(found, condition="c"))]))


def run(tmp_path: Path, *flags: str, model: str = "oracle") -> Path:
    settings = ["--backend", "scripted", "--model", model, "--trials", "6", "--length", "20", "--no-report"]
    main(["run", *settings, "--out", str(tmp_path / "results"), *flags])
    return only_run(tmp_path / "results")


def test_one_reason_of_most_trials_is_said_with_a_reply_and_where_more_are() -> None:
    text = said(noted(Reply("I  lost\ncount.", "stop"), Reply("I lost count.", "stop"), Reply("1, 0, 1", "stop")))
    assert "2 of 3 trials are invalid for one reason: no list of N answers" in text
    assert '"I lost count."' in text
    assert "invalid.md" in text


def test_a_reason_of_no_more_than_half_the_trials_is_not_said() -> None:
    assert said(noted(Reply("I lost count.", "stop"), Reply("1, 0, 1", "stop"))) == ""
    assert said(noted(Reply("hm", "stop"), Reply("", "stop"), Reply("1, 0, 1", "stop"))) == ""


def test_a_call_that_failed_is_no_trial_of_these() -> None:
    unread = noted(Reply("hm", "stop"))
    unread.note("t/9", Judged([None], [Outcome.ERROR]), FailureRecord(error="reset"), lambda reads: 8)
    assert "1 of 1 trial is invalid" in said(unread)


def test_most_replies_cut_off_name_the_limit_and_the_flag() -> None:
    text = said(noted(Reply("1, 0,", "length"), Reply("1, 0,", "length"), Reply("1, 0, 1", "stop")))
    assert "2 of 3 trials were cut off at the limit of 280 tokens" in text
    assert '"1, 0,"' in text
    assert "--max-tokens" in text
    assert "--thinking" not in text
    assert "invalid.md" not in text


@pytest.mark.parametrize(
    "reply",
    [Reply("<think>Let me see", "length"), Reply("", "length", reasoning="Let me see"), Reply("[THINK]", "length")],
)
def test_replies_that_were_cut_off_while_thinking_name_the_flags_for_that(reply: Reply) -> None:
    assert "--thinking off" in said(noted(reply))
    assert "--reasoning-room" in said(noted(reply))


def test_tags_that_no_reply_has_are_said_and_tags_that_one_has_are_not() -> None:
    tags = ("((", "))")
    assert "--reasoning-tags (( ))" in said(noted(Reply("1, 0, 1", "stop"), tags=tags))
    assert said(noted(Reply("((hm))1, 0, 1", "stop"), Reply("1, 0, 1", "stop"), tags=tags)) == ""
    assert said(noted(Reply("1, 0, 1", "stop"))) == ""


def shown(unread: UnreadReplies) -> str:
    return invalid_md("run", [("c", unread)]) or ""


@pytest.mark.parametrize("text", ["```\nx", "````text\n# a\n`````", "`", "~~~\n", "</pre>\n```"])
def test_no_reply_breaks_its_fence(text: str) -> None:
    made = shown(noted(Reply(text, "stop")))
    (fence,) = re.findall(r"(?m)^(`{3,})text$", made)[:1]
    assert f"{fence}text\n{text}\n{fence}\n" in made
    assert fence not in text


def test_equal_replies_are_counted_together_and_the_commonest_stand_first() -> None:
    made = shown(noted(*[Reply("hm", "stop")] * 5, Reply("rare", "stop"), *[Reply(f"{n}?", "stop") for n in "789"]))
    assert "9 of 9 trials" in made
    assert made.index("5 times: `t/0`, `t/1`, `t/2` and 2 more") < made.index("1 time: ")
    assert made.count(" time: ") + made.count(" times: ") == 3


def test_a_long_reply_is_cut_at_a_length_that_is_said() -> None:
    made = shown(noted(Reply("x" * 5000, "stop")))
    assert "x" * 2000 in made
    assert "x" * 2001 not in made
    assert "cut after 2,000 of 5,000 characters" in made


def test_a_dialogue_shows_the_turns_that_cannot_be_read() -> None:
    talk = Talk((Reply("1", "stop"), Reply("hm", "stop")), (1, 2), ("1", "hm"))
    made = shown(noted(talk))
    assert "`t/0, turn 2`" in made
    assert "2 reads in 1 of 1 trial" in made


def test_invalid_md_comes_and_goes_with_the_invalid_reads(tmp_path: Path) -> None:
    path = run(tmp_path, model="malformed")
    assert "I kept track of the memory" in (path / "invalid.md").read_text()
    log = path / "trials.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["reply"] = "\ud83d"  # half an emoji
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = RunFolder.open(path)
    rebuild(folder, plan_of(folder))
    assert "\\ud83d" in (path / "invalid.md").read_text()
    for line in lines:
        line["reply"], line["stop"] = "", "refusal"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rebuild(folder, plan_of(folder), write=False)
    assert (path / "invalid.md").exists()
    rebuild(folder, plan_of(folder))
    assert not (path / "invalid.md").exists()


@pytest.mark.parametrize("model", ["malformed", "truncating", "refusing"])
def test_reads_without_an_answer_are_not_called_wrong(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, model=model)
    printed = capsys.readouterr().out
    assert "every read was wrong" not in printed
    assert "no result: " in printed


def test_a_low_answer_mass_is_said_once() -> None:
    row = replace(Tally().result(), condition="c")
    assert notes([("m", row)]) == []
    (line,) = notes([("m", replace(row, mean_answer_mass=mass)) for mass in (0.01, 0.0)])
    assert "answer mass 0 to 0.01" in line
    assert "and 1 more" in line
    assert notes([("m", replace(row, mean_answer_mass=0.05))]) == []
