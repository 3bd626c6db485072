"""The Slurm script and the SkyPilot file of the guide do what it says, with another model and fewer trials.

Both run as a node would run them: in a shell that knows nothing but what the batch system sets.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ffprompt.runs.folder import RunFolder
from tests.conftest import ROOT, Command, Done, only_run
from tests.docs.pages import DOCS

PAGE = (DOCS / "guides" / "clusters.md").read_text(encoding="utf-8")
ASKED = "--backend vllm --model meta-llama/Llama-3.1-70B --tensor-parallel-size 8 --trials 1000000"
SMALL = "--backend scripted --model glitch-0.1 --template game --elicitation list --length 20 --trials 700"
Shell = Callable[..., Done]


def block(beginning: str) -> str:
    """A block of the page, for the small model and three parts in place of eight."""
    found = re.search(rf"^```{beginning}\n(.*?)^```$", PAGE, re.M | re.S)
    assert found, beginning
    text = found[1]
    assert "ffprompt merge" in text or ASKED in text
    return text.replace(ASKED, SMALL).replace("/8", "/3")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run a script in an empty environment, with ``ffprompt`` on the path. Its folder is that of the test."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "ffprompt"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m ffprompt "$@"\n')
    program.chmod(0o755)

    def run(script: str, **given: str) -> Done:
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), **given}
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture
def whole(command: Command, tmp_path: Path) -> Path:
    """The same run without parts."""
    assert command(*SMALL.split(), "--out", tmp_path / "whole").returncode == 0
    return only_run(tmp_path / "whole")


def same(one: Path, other: Path) -> bool:
    return (one / "reads.parquet").read_bytes() == (other / "reads.parquet").read_bytes()


def test_the_slurm_script_makes_every_part_and_goes_on_when_it_is_queued_again(
    shell: Shell, whole: Path, tmp_path: Path
) -> None:
    script, merge = block('bash title="needs Slurm"'), block('bash title="needs the parts"')
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    head = script.splitlines()
    assert head[0] == "#!/bin/bash"
    options = [line for line in head[1:] if line.startswith("#")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in options)
    assert "#SBATCH --array=1-8" in PAGE
    for number in ("1", "2", "3"):
        done = shell(script, SLURM_ARRAY_TASK_ID=number, SLURM_ARRAY_JOB_ID="7")
        assert done.returncode == 0, done.stderr
    part = only_run(tmp_path / "parts" / "2")
    before, log = (part / "reads.parquet").read_bytes(), part / "trials.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:90]))  # as a job that was preempted leaves it
    folder = RunFolder.open(part)
    folder.update(status="running")
    folder.save()
    done = shell(merge)
    assert done.returncode == 2
    assert "shard 2/3 is not finished (running); finish it with --resume" in done.stderr
    again = shell(script, SLURM_ARRAY_TASK_ID="2")
    assert again.returncode == 0, again.stderr
    assert "going on, 166 of 256 trials are left" in again.stdout
    assert (only_run(tmp_path / "parts" / "2") / "reads.parquet").read_bytes() == before
    finished = shell(script, SLURM_ARRAY_TASK_ID="2")
    assert finished.returncode == 0
    assert "nothing to resume" in finished.stdout
    done = shell(f"{merge.strip()} --out merged")
    assert done.returncode == 0, done.stderr
    assert same(only_run(tmp_path / "merged"), whole)


def test_a_slurm_job_outside_of_an_array_asks_nothing(shell: Shell, tmp_path: Path) -> None:
    done = shell(block('bash title="needs Slurm"'))
    assert done.returncode == 2
    assert "--shard /3: expected I/N" in done.stderr
    assert not (tmp_path / "parts").exists()


def test_the_skypilot_file_makes_every_part(shell: Shell, whole: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    task = yaml.safe_load(block("yaml"))
    assert set(task) == {"resources", "file_mounts", "setup", "run"}
    assert task["file_mounts"]["/results"]["mode"] == "MOUNT_CACHED"
    script = task["run"].replace("/results", str(tmp_path / "bucket"))
    for number in ("1", "2", "3"):
        done = shell(script, SHARD=f"{number}/3")
        assert done.returncode == 0, done.stderr
    parts = [only_run(tmp_path / "bucket" / number) for number in "123"]
    done = shell(f"ffprompt merge {' '.join(map(str, parts))} --out merged")
    assert done.returncode == 0, done.stderr
    assert same(only_run(tmp_path / "merged"), whole)
