"""A run over unlike devices says how accurate each was, and how many reads their arithmetic may have decided."""

from __future__ import annotations

import json

from ffprompt.report.wording import audit_notes
from ffprompt.runs.folder import RunFolder
from tests.conftest import only_run


def test_a_run_over_unlike_devices_names_them_and_the_near_ties(command, tmp_path):
    words = ("--backend", "scripted", "--model", "oracle", "--elicitation", "forced", "--length", 20, "--shots", 0)
    command(*words, "--template", "raw-compact", "--trials", 10)
    run = only_run(tmp_path / "results")
    lines = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line["device"] = "an H100" if number < 4 else "an A100"
    lines[0]["logprobs"][0] = [-0.69315, -0.69314]
    (run / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = command("score", run, prog="ffprompt")
    (row,) = RunFolder.open(run).info.results
    reads = [sum(len(line["outcomes"]) for line in some) for some in (lines[4:], lines[:4])]
    assert {name: counts[0] for name, counts in row.devices.items()} == {"an A100": reads[0], "an H100": reads[1]}
    (note,) = audit_notes(RunFolder.open(run).info.to_json())
    assert f"1.0000 of {reads[0]:,} reads on an A100" in note
    assert "1 near ties may differ between them" in note
    assert "unlike devices" in done.stdout


def test_a_run_on_one_kind_of_device_says_nothing(command, tmp_path):
    command("--backend", "scripted", "--model", "oracle", "--elicitation", "list", "--length", 20, "--trials", 3)
    run = only_run(tmp_path / "results")
    assert "devices" not in json.loads((run / "run.json").read_text())["results"][0]
