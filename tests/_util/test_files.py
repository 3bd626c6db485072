"""Text from outside on its way into files: whatever it is, nothing is lost and nothing fails."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprompt._util.files import json_bytes, printable, shortened, well_formed
from ffprompt._util.jsonl import read_lines
from ffprompt.backends.base import Message, Reply
from ffprompt.cli.main import main
from ffprompt.comparison import gate_report
from ffprompt.comparison.gate import GateCheck, GateReport
from ffprompt.elicitation.dialogue import Dialogue
from ffprompt.elicitation.question import Turn
from ffprompt.runs.batch_journal import Journal, parts
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import Log, trials_of
from tests.conftest import only_run
from tests.support.elicitations import dialogue
from tests.support.faulty_server import KEY, FaultyServer
from tests.support.records import run_content, trial

ODD = {
    "half an emoji": "\ud83d",
    "the other half": "\ude00 and more",
    "NUL": "a\x00b",
    "control characters": "\x1b[2J\x07\x08\x7f\x85",
    "line ends": "\r\n\u2028\u2029\v\f",
    "not a character": "\ufffe\uffff\ufeff",
    "outside the BMP": "\U0001f600\U0010ffff",
    "markup": "</script><b>&\"'[bold]⟦|$_%\\",
    "long": "x" * 20_000,
}
odd = pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())


class OddServer(FaultyServer):
    """A server whose every text is odd: of replies, of the model, of errors."""

    def __init__(self, text: str, reply: str, **more: Any) -> None:
        super().__init__(reply=reply, **more)
        self.text = text

    def _chat(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        return super()._chat(body, fault) | {"model": self.text, "id": self.text}

    async def _error(
        self, writer: asyncio.StreamWriter, status: str, headers: Mapping[str, str], detail: str = ""
    ) -> bool:
        body = {"error": {"message": f"broke at {self.text}", "type": self.text, "code": None, "param": self.text}}
        return await self._send(writer, int(status), json.dumps(body))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def run(server: FaultyServer, out: Path, *more: str) -> int:
    words = [
        "run", "--backend", "openai", "--model", "a-model", "--base-url", server.v1, "--template", "game",
        "--elicitation", "list", "--length", "12", "--trials", "8", "--out", str(out), *more,
    ]  # fmt: skip
    return main(words)


@given(st.text(st.characters()))
def test_every_text_reads_back_from_a_line_as_it_was(text: str) -> None:
    line = json_bytes({"text": text})
    assert json.loads(line)["text"] == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert len(line.decode().splitlines()) == 1


@given(st.text(st.characters()))
def test_printable_text_fits_into_xml_and_utf_8(text: str) -> None:
    shown = printable({"a": [text, (text, 1)]})
    element = ET.Element("a")
    element.text = shown["a"][0]
    ET.fromstring(ET.tostring(element, encoding="unicode"))


def test_text_that_can_be_written_is_not_changed() -> None:
    text = "1, 0 – “off” 😀 \t\n ⟦"
    assert printable(text) == well_formed(text) == shortened(text) == text
    assert json_bytes({"a": text}).decode() == json.dumps({"a": text}, ensure_ascii=False)


def test_a_line_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", run_content())
    bad = [replace(trial(1, "1"), seconds=float("nan")), replace(trial(2, "1"), spec={1})]  # type: ignore[arg-type]
    with Log(folder) as log, pytest.raises((ValueError, TypeError)):
        log.append([trial(0, "1"), *bad, trial(3, "\ud83d")])
    assert [(line["trial"], line["reply"]) for _, _, line in read_lines(folder.trials_path)] == [
        (0, "1"),
        (3, "\ud83d"),
    ]
    assert [one for _, one in trials_of(folder)] == [trial(0, "1"), trial(3, "\ud83d")]


def test_a_run_with_odd_replies_is_logged_scored_resumed_and_reported(tmp_path: Path) -> None:
    text = " ".join(ODD.values())

    def fault(number: int) -> str | None:
        return "400" if number == 3 else None

    with OddServer(text, f"1, 0 {text}", faults=fault) as server:
        assert run(server, tmp_path, "--no-report") == 3
        folder = only_run(tmp_path)
        found = {line["trial"]: line for _, _, line in read_lines(folder / "trials.jsonl")}
        assert len(found) == 8
        assert [line for line in found.values() if "error" in line]
        replies = [line["reply"] for line in found.values() if "reply" in line]
        assert replies == [f"1, 0 {text}"] * 7
        assert run(server, tmp_path, "--resume") == 0
        assert len(server.posted) == 9
    assert main(["score", str(folder)]) == 0
    assert pq.read_table(folder / "reads.parquet").num_rows
    table, figures = tmp_path / "table.tex", tmp_path / "figures"
    assert main(["report", str(folder), "--table", str(table), "--figures", str(figures)]) == 0
    (folder / "report.html").read_text(encoding="utf-8")
    for path in figures.glob("*.svg"):
        ET.parse(path)
    assert main(["anatomy", str(folder), "--json", str(tmp_path / "anatomy.json")]) == 0


@odd
def test_odd_text_is_in_the_log_and_in_the_table_of_reads(tmp_path: Path, text: str) -> None:
    with OddServer(text, f"1, 0 {text}", faults=lambda number: "400" if number else None) as server:
        assert run(server, tmp_path, "--trials", "4", "--no-report") == 3
    found = [line for _, _, line in read_lines(only_run(tmp_path) / "trials.jsonl")]
    assert [line["reply"] for line in found if "reply" in line] == [f"1, 0 {text}"]
    reasons = pq.read_table(only_run(tmp_path) / "reads.parquet")["reason"].to_pylist()
    assert any("broke at" in reason for reason in reasons if reason)


@odd
def test_a_record_and_a_journal_hold_any_text(tmp_path: Path, text: str) -> None:
    folder = RunFolder.create(tmp_path, "run", run_content(command=[text]) | {text: 1})
    assert RunFolder.open(folder.path).info.to_json()["command"] == [text]
    with Log(folder), Journal(folder) as journal:
        part = journal.begin("marker", [0, 1], dt.datetime.now(dt.UTC))
        journal.note(part, void=text)
    assert parts(folder)[0].void == text


@odd
def test_a_gate_writes_files_that_other_programs_can_read(tmp_path: Path, text: str) -> None:
    check = GateCheck(text, text, text, "inconclusive", text, 0, 0, None, None, None, None, None, 0, 0, 0)
    report = GateReport("inconclusive", 0.01, 0.95, 0.95, (check,), (text,))
    gate_report.to_junit(tmp_path / "junit.xml", report)
    gate_report.to_markdown(tmp_path / "gate.md", report)
    gate_report.to_json(tmp_path / "gate.json", {"text": text, "nan": float("nan")})
    gate_report.to_csv(tmp_path / "gate.csv", [[text]])
    ET.parse(tmp_path / "junit.xml")
    assert json.loads((tmp_path / "gate.json").read_bytes()) == {"text": text, "nan": None}
    for path in tmp_path.iterdir():
        path.read_text(encoding="utf-8")


def test_a_reply_goes_back_into_a_dialogue_as_text_that_can_be_sent() -> None:
    turn = Turn((Message("user", "r?"),), 1, "0")
    held = Dialogue(dialogue((turn, turn)), [Reply("0 \ud83d", "stop", None, None, None)])
    request = held.request
    assert request is not None
    assert [message.text for message in request.messages] == ["r?", "0 \ufffd", "r?"]
    assert held.talk().replies[0].text == "0 \ud83d"


def test_run_json_is_read_as_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", run_content(name="⟦é⟧"))
    assert os.fsencode("⟦é⟧") in (folder.path / "run.json").read_bytes()
    assert RunFolder.open(folder.path).info.to_json()["name"] == "⟦é⟧"
