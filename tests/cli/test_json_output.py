"""What ``--json`` writes to standard output is alone there, so that a program can read it."""

from __future__ import annotations

import json

from tests.conftest import only_run


def test_json_on_standard_output_is_alone_there_however_quiet_a_command_is(command, tmp_path):
    run = ("run", "--backend", "scripted", "--model", "oracle", "--trials", 5, "--out", tmp_path / "a")
    done = command(*run, "--quiet", "--json", prog="ffprompt")
    assert json.loads(done.stdout)["runs"][0]["folder"] == str(only_run(tmp_path / "a"))
    assert "oracle: " in done.stderr
    small = ("--layers", 1, "--width", 8, "--heads", 2, "--steps", 2, "--length", 16, "--threads", 1)
    trained = ("train", "transformer", *small, "--final-strings", 5, "--out", tmp_path / "model")
    done = command(*trained, "--quiet", "--json", prog="ffprompt")
    assert len(json.loads(done.stdout)["evaluation"]) == 3
    assert "FFL(16, 0.8): " in done.stderr
    looked = ("diagnose", tmp_path / "model", "--backend", "reference", "--length", 16, "--strings", 5)
    done = command(*looked, "--out", tmp_path / "b", "--no-report", "--quiet", "--json", prog="ffprompt")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["conclusions"]
    assert done.stderr
