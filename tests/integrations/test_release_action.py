"""The GitHub Action, by its own steps in a clean shell, and the container file by what it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Command, only_run

ACTION = ROOT / ".github" / "actions" / "release-check" / "action.yml"
CONTAINER = ROOT / "docs" / "deploy" / "Containerfile"
SUITE = """name = "check"
summary = "a check"

[[run]]
template = "game"
elicitation = "list"
length = 20
trials = {trials}

[gate]
margin = {margin}
"""
# A gh that lists no comment, or one that it was told of, and writes down what it is asked.
GH = """#!/bin/bash
echo "$@" >> "$HOME/gh.txt"
for word in "$@"; do [[ $word == body=@* ]] && cat "${word#body=@}" >> "$HOME/comment.md"; done
if [[ "$*" == *--paginate* ]]; then cat "$HOME/old.txt" 2> /dev/null || true; fi
"""


@dataclass
class Job:
    """A job that uses the action, run step by step as a runner does it."""

    folder: Path
    inputs: dict[str, str]
    event: str = "pull_request"
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    def run(self) -> int:
        """Run every step. Returns the exit code of the first that fails, or 0."""
        action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
        given = {name: str(each.get("default", "")) for name, each in action["inputs"].items()} | self.inputs
        assert set(self.inputs) <= set(action["inputs"])
        missing = [name for name, each in action["inputs"].items() if each.get("required") and not given[name]]
        assert not missing
        for step in action["runs"]["steps"]:
            assert step["shell"] == "bash"
            if not self._is_run(step.get("if"), given):
                continue
            if code := self._step(step, given):
                return code
        return 0

    def _is_run(self, condition: str | None, given: Mapping[str, str]) -> bool:
        for part in (condition or "").split(" && ") if condition else []:
            name, wanted = re.fullmatch(r"([\w.-]+) == '([^']*)'", part).groups()  # type: ignore[union-attr]
            if self._value(name, given) != wanted:
                return False
        return True

    def _value(self, name: str, given: Mapping[str, str]) -> str:
        github = {
            "github.event_name": self.event,
            "github.token": "token",
            "github.repository": "me/models",
            "github.event.pull_request.number": "7",
        }
        if name.startswith("inputs."):
            return given[name.removeprefix("inputs.")]
        if name.startswith("steps."):
            _, step, _, output = name.split(".")
            return self.outputs[step][output]
        return github[name]

    def _step(self, step: Mapping[str, Any], given: Mapping[str, str]) -> int:
        def filled(text: str) -> str:
            return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: self._value(found[1], given), text)

        assert "${{" not in step["run"]  # inputs reach a script through its environment alone
        output = self.folder / "output.txt"
        output.write_text("")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_ACTION_PATH": str(ACTION.parent),
            "RUNNER_TEMP": str(self.folder),
            **{name: filled(filled(str(text))) for name, text in step.get("env", {}).items()},
        }
        script = self.folder / "script.sh"
        script.write_text(step["run"])
        words = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True)
        self.log += done.stdout + done.stderr
        if "id" in step:
            self.outputs[step["id"]] = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return done.returncode


def job(command: Command, folder: Path, model: str, trials: int = 80, margin: float = 0.1, **inputs: str) -> Job:
    """A job whose baseline is the oracle."""
    (folder / "bin").mkdir()
    (folder / "bin" / "gh").write_text(GH)
    (folder / "bin" / "gh").chmod(0o755)
    (folder / "check.toml").write_text(SUITE.format(trials=trials, margin=margin))
    suite = ["--suite", folder / "check.toml", "--backend", "scripted", "--model", "oracle"]
    assert command(*suite, "--out", folder / "results").returncode == 0
    run = only_run(folder / "results")
    stored = command("baseline", "set", run, "--suite", "check", "--out", folder / "results", prog="ffprompt")
    assert stored.returncode == 0, stored.stderr
    given = {"suite": "check.toml", "backend": "scripted", "model": model, "install": "false"}
    return Job(folder, {**given, "arguments": "--no-report", **inputs})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "trials", "code", "verdict"),
    [
        ("oracle", 80, 0, "pass"),
        ("glitch-0.5", 80, 1, "regression"),
        ("oracle", 5, 3, "inconclusive"),
        ("no-such", 5, 2, "error"),
    ],
)
def test_the_job_ends_as_the_gate_does(
    model: str, trials: int, code: int, verdict: str, command: Command, tmp_path: Path
) -> None:
    made = job(command, tmp_path, model, trials)
    assert made.run() == code, made.log
    assert made.outputs["gate"]["verdict"] == verdict
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith(f"### ffprompt gate: {verdict}")
    comment = (tmp_path / "comment.md").read_text()
    assert comment == f"<!-- ffprompt check.toml {model} -->\n{summary}"
    assert "POST repos/me/models/issues/7/comments" in (tmp_path / "gh.txt").read_text()
    assert ("::error::" in made.log) == (code != 0)


@pytest.mark.slow
def test_a_later_run_replaces_the_comment_and_an_inconclusive_one_may_pass(command: Command, tmp_path: Path) -> None:
    made = job(command, tmp_path, "oracle", trials=5, inconclusive="pass")
    (tmp_path / "old.txt").write_text("11\n12\n")
    assert made.run() == 0, made.log
    assert "::warning::ffprompt: inconclusive" in made.log
    assert "PATCH repos/me/models/issues/comments/12" in (tmp_path / "gh.txt").read_text()


def test_an_input_is_no_shell_and_a_comment_that_fails_changes_no_verdict(command: Command, tmp_path: Path) -> None:
    made = job(command, tmp_path, "oracle; touch evil", trials=5, arguments="$(touch worse) --no-report")
    (tmp_path / "bin" / "gh").write_text("#!/bin/bash\nexit 1\n")
    assert made.run() == 2
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "worse").exists()
    assert "could not be commented" in made.log


def test_what_the_action_and_the_container_install_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    text = CONTAINER.read_text(encoding="utf-8")
    (brought,) = re.findall(r"^ARG EXTRAS=(.*)$", text, re.M)
    for names in (action["inputs"]["extras"]["default"], brought, *re.findall(r"EXTRAS=([\w,]+)", text)):
        assert set(names.split(",")) <= set(extras)
    (install,) = (step["run"] for step in action["runs"]["steps"] if step["name"] == "Install")
    folder = re.search(r'"\$GITHUB_ACTION_PATH(.*)\[', install)
    assert folder is not None
    assert (Path(os.path.normpath(f"{ACTION.parent}{folder[1]}")) / "pyproject.toml").is_file()
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()]
    assert {"pyproject.toml", "ffprompt", "prompts", "suites", "docs"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
