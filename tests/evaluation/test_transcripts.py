"""What a model was shown: in the log, in the record of a run, and in comparisons."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from ffprompt.backends.base import Message, Request
from ffprompt.backends.local.chat_template import _at as at
from ffprompt.backends.scripted import ScriptedBackend
from ffprompt.cli.main import main
from ffprompt.comparison.compare import compare
from ffprompt.elicitation.question import Turn
from ffprompt.evaluation.transcripts import digest
from tests.backends.test_chat_templates import CLOCK, OPENING, PLAIN
from tests.support import tiny
from tests.support.elicitations import dialogue
from tests.support.flags import replaced

RUN = ("--template", "game", "--trials", "2", "--length", "8", "--shots", "0", "--no-report", "--max-tokens", "2")


def run(out: Path, *flags: str) -> Path:
    before = set(out.glob("*"))
    assert main(["run", *replaced(*RUN, "--out", out, *flags)]) == 0
    (made,) = set(out.glob("*")) - before
    return made


def model(folder: Path, template: str) -> Path:
    tiny.make(folder, "llama")
    words = tiny.tokenizer()
    words.chat_template = template
    words.save_pretrained(folder)
    return folder


def record(folder: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads((folder / "run.json").read_text())
    return found


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("clock") / "model", CLOCK)


def local_run(out: Path, folder: Path, day: int, *flags: str) -> Path:
    with at(dt.datetime(2026, 11, day)):
        return run(out, "--backend", "transformers", "--model", str(folder), "--device", "cpu", *flags)


def test_every_condition_has_a_sample_and_every_read_a_digest(tmp_path: Path) -> None:
    made = run(tmp_path, "--backend", "scripted", "--model", "oracle", "--elicitation", "list", "next", "dialogue")
    samples = record(made)["samples"]
    assert [sample["condition"].split("/")[2] for sample in samples] == ["list", "next", "dialogue"]
    assert "write" in samples[0]["messages"][-1]["text"] and samples[0]["tokens"] is None  # type: ignore[index]
    assert "write" in samples[1]["prompt"]
    reads = pd.read_parquet(made / "reads.parquet")
    assert list(reads.columns)[-4:] == ["prompt", "condition", "final_answer", "proposed"]
    assert reads.prompt.drop_duplicates().tolist() == [line["prompt"] for line in lines(made)]


def test_the_digest_is_of_what_the_model_sees(tmp_path: Path, local: Path) -> None:
    made = local_run(tmp_path, local, 26, "--elicitation", "list")
    (sample,) = record(made)["samples"]
    assert sample["prompt"].startswith("Today is 26 Nov 2026.\n<|im_start|>user\n")
    assert sample["prompt"].endswith("<|im_start|>assistant\n") and int(sample["tokens"]) > 50
    first = lines(made)[0]
    assert first["prompt"] == sample["digest"] == hashlib.sha256(sample["prompt"].encode()).hexdigest()[:16]
    assert "writes the date or time" in record(made)["audit"][0]["notes"][0]


def test_a_long_prompt_is_cut_in_the_middle_of_its_sample(tmp_path: Path) -> None:
    made = run(tmp_path, "--backend", "scripted", "--model", "oracle", "--elicitation", "list", "--length", "2000")
    text = record(made)["samples"][0]["messages"][0]["text"]  # type: ignore[index]
    assert 4000 < len(text) < 4100 and "characters left out" in text


@pytest.mark.parametrize("elicitation", ["list", "next", "dialogue"])
def test_a_comparison_says_that_prompts_differ(tmp_path: Path, local: Path, elicitation: str) -> None:
    flags = ("--elicitation", elicitation, *(("--form", "chat") if elicitation == "next" else ()))
    one, same, other = (local_run(tmp_path, local, day, *flags) for day in (26, 26, 27))
    said = "the settings are the same and 2 of 2 prompts are not"
    assert any(said in warning for row in compare([one, other]).rows for warning in row.warnings)
    assert not any("prompts" in warning for row in compare([one, same]).rows for warning in row.warnings)
    assert said in json.dumps(compare([one, other]).to_json())
    # An earlier version's run has another kind of digest, and does not know its chat template.
    info = record(one)
    del info["model"]["chat_template"]  # type: ignore[call-overload]
    (one / "run.json").write_text(json.dumps(info))
    assert not any("prompts" in warning for row in compare([one, other]).rows for warning in row.warnings)


def test_other_settings_or_another_chat_template_are_no_surprise(tmp_path: Path, local: Path) -> None:
    one = local_run(tmp_path, local, 26, "--elicitation", "list")
    warm = local_run(tmp_path, local, 27, "--elicitation", "list", "--temperature", "0.5")
    plain = local_run(tmp_path, model(tmp_path / "model", PLAIN), 26, "--elicitation", "list")
    for other, by in ((warm, "temperature"), (plain, "model")):
        assert not any("prompts" in warning for row in compare([one, other], by).rows for warning in row.warnings)


def test_a_dialogue_has_the_same_digest_whatever_the_model_replies() -> None:
    turns = tuple(Turn((Message("user", text),), 1, "0") for text in ("w0 r?", "i1 r?"))
    question = dialogue(turns, "k")

    class Local(ScriptedBackend):
        def rendered(self, request: Request) -> str:
            return " | ".join(f"{message.role} {message.text}" for message in request.messages)

    shown = "user w0 r? | assistant 0 | user i1 r?"
    assert digest(question, Local("oracle")) == hashlib.sha256(shown.encode()).hexdigest()[:16]
    assert digest(question, ScriptedBackend("oracle")) == digest(question)


def test_thinking_is_said_and_its_room_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model(tmp_path / "model", OPENING)
    own = local_run(tmp_path / "r", folder, 26, "--elicitation", "list", "--reasoning-room", "3")
    off = local_run(tmp_path / "r", folder, 26, "--elicitation", "list", "--thinking", "off")
    assert record(own)["model"]["thinking"] == "the template's own"  # type: ignore[call-overload]
    assert record(off)["model"]["thinking"] == "off"  # type: ignore[call-overload]
    assert lines(own)[0]["reply"].startswith("<think>\n") and int(lines(own)[0]["reply_tokens"]) == 5
    assert not lines(off)[0]["reply"].startswith("<think>") and int(lines(off)[0]["reply_tokens"]) == 2
    shown = capsys.readouterr().out
    assert "thinking: the template's own; replies may take 3 tokens more" in shown and "thinking: off" in shown


def test_a_number_of_thinking_tokens_is_for_apis(capsys: pytest.CaptureFixture[str], local: Path) -> None:
    arguments = ["run", "--backend", "transformers", "--model", str(local), "--thinking", "100"]
    assert main([*arguments]) == 2
    assert "--thinking 100: a number of tokens is for models behind an API" in capsys.readouterr().err
