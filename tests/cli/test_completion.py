"""Completion in real shells, and ``ffprompt help``."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ffprompt.cli import completion, completion_scripts
from ffprompt.cli.main import COMMANDS, main
from ffprompt.cli.topics import text, topics
from ffprompt.config.settings import ROWS
from ffprompt.tasks import registry
from ffprompt.templates.loading import names
from tests.conftest import ROOT

_BASH = """
source {script}
complete_words() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _ffprompt; echo "${{COMPREPLY[*]}}"; }}
"""
CASES = [
    (["pro"], {"prompts"}),
    (["co"], {"compare", "completion"}),
    (["run", "--backend", "v"], {"vllm"}),
    (["run", "--backend", "scripted", "--model", "orac"], {"oracle"}),
    (["run", "--model", "smollm2"], {"smollm2-135m"}),
    (["run", "--template", "game", "light"], {"light-switch", "light-switch-header"}),
    (["run", "--elicitation", "forced", "n"], {"next"}),
    (["run", "--template", "game", "--sh"], {"--shard", "--shots", "--shot-length", "--shared-shots"}),
    (["run", "--dry-run", "--no-rep"], {"--no-report"}),
    (["run", "--suite", "qui"], {"quick"}),
    (["batch", "submit", "--backend", "ope"], {"openai"}),
    (["prompts", "sh"], {"show"}),
    (["prompts", "show", "html"], {"html"}),
    (["help", "flo"], {"floors"}),
    (["help", "scor"], {"score"}),
    (["completion", "z"], {"zsh"}),
    (["doctor", "--backend", "anth"], {"anthropic"}),
]
IDS = [" ".join(words) for words, _ in CASES]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where the script of a shell is."""
    folder, words = tmp_path_factory.mktemp("scripts"), completion.commands()

    def write(shell: str) -> Path:
        path = folder / f"ffprompt.{shell}"
        path.write_text(completion_scripts.SHELLS[shell](words))
        return path

    return write


@pytest.fixture(scope="module")
def in_bash(script: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], set[str]]:
    """What bash completes, from one bash for all cases."""
    lines = [" ".join(["complete_words ffprompt", *(f"'{word}'" for word in words)]) for words, _ in CASES]
    said = subprocess.run(
        ["bash", "--norc", "-c", _BASH.format(script=script("bash")) + "\n".join(lines)],
        cwd=tmp_path_factory.mktemp("empty"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stderr == ""
    found = {tuple(words): set(line.split()) for (words, _), line in zip(CASES, said.stdout.splitlines(), strict=True)}
    return lambda words: found[tuple(words)]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(("words", "expected"), CASES, ids=IDS)
def test_bash_completes(in_bash: Callable[[list[str]], set[str]], words: list[str], expected: set[str]) -> None:
    assert in_bash(words) == expected


# A second value of a flag is nothing that fish's rules can tell apart.
_IN_FISH = [case for case in CASES if not ({"game", "forced"} & set(case[0])) or "--sh" in case[0]]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("words", "expected"), _IN_FISH, ids=[" ".join(words) for words, _ in _IN_FISH])
def test_fish_completes(script: Callable[[str], Path], words: list[str], expected: set[str], tmp_path: Path) -> None:
    command = f"source {script('fish')}; complete -C 'ffprompt {' '.join(words)}'"
    environment = os.environ | {"HOME": str(tmp_path)}
    said = subprocess.run(
        ["fish", "-N", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True, env=environment
    )
    assert {line.split("\t")[0] for line in said.stdout.splitlines()} == expected


@pytest.fixture
def zsh(script: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """An interactive zsh that a line is typed into, and what stands there after a tab."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-f", "-i"], os.environ | {"TERM": "dumb", "HOME": str(tmp_path)})

    def until(mark: str, seconds: float = 20) -> str:
        seen, end = "", time.monotonic() + seconds
        while mark not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.05)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")
        return seen

    def type_in(line: str) -> str:
        os.write(terminal, line.encode() + b"\t")
        time.sleep(1)
        os.write(terminal, b"END\n")
        return until("END")

    start = f"PS1=; stty -echo cols 200; autoload -U compinit; compinit -u -D; source {script('zsh')}; print REA''DY\n"
    os.write(terminal, start.encode())
    assert "READY" in until("READY")
    yield type_in
    os.close(terminal)
    os.waitpid(pid, 0)


@pytest.mark.skipif(shutil.which("zsh") is None or sys.platform == "win32", reason="zsh is not installed")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("ffprompt promp", "ffprompt prompts"),
        ("ffprompt run --backend vl", "--backend vllm"),
        ("ffprompt prompts show gam", "show game"),
    ],
)
def test_zsh_completes(zsh: Callable[[str], str], line: str, completed: str) -> None:
    assert completed in zsh(line)


def test_a_script_knows_every_command_flag_and_template() -> None:
    words = completion.commands()
    assert list(words.actions) == [command.name for command in COMMANDS]
    flags = {name for flag in words.actions["run"].flags for name in flag.names}
    assert {row.flag for row in ROWS} <= flags
    (template,) = (flag for flag in words.actions["run"].flags if flag.names == ("--template",))
    assert list(template.values) == names()
    assert (template.takes, template.files) == (2, True)
    for shell in completion_scripts.SHELLS.values():
        made = shell(words)
        assert all(command.name in made for command in COMMANDS)
        assert "light-switch-header" in made


def test_completion_loads_no_model_library() -> None:
    code = (
        "from ffprompt.cli.main import main; main(['completion', 'bash'])\n"
        "import sys; print('loaded:', sorted({'torch', 'transformers', 'pandas', 'openai', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


# -------------------------------------------------------------------------------------------------------------- help


def test_help_lists_its_topics(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[: len(topics())]] == list(topics())


@pytest.mark.parametrize("topic", topics())
def test_a_topic_is_short(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", topic]) == 0
    assert capsys.readouterr().out == text(topic)
    lines = text(topic).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 88
    assert not any(line.rstrip() != line for line in lines)


def test_topics_that_people_look_for_are_there() -> None:
    wanted = {"concepts", "elicitations", "outcomes", "floors", "models", "costs", "exit-codes", "templates", "python"}
    assert wanted <= set(topics())


def test_commands_and_flags_in_topics_exist() -> None:
    """What a text tells to type is known to the parser."""
    words = completion.commands()
    commands = {command.name for command in COMMANDS}
    known = {name for one in words.actions.values() for flag in one.flags for name in flag.names}
    known |= {
        name for one in words.actions.values() for two in one.actions.values() for f in two.flags for name in f.names
    }
    for topic in topics():
        for command in re.findall(r"(?:^    |\()ffprompt ([a-z]+)", text(topic), re.MULTILINE):
            assert command in commands, (topic, command)
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text(topic)):
            assert flag in known, (topic, flag)


def test_every_elicitation_and_outcome_has_a_line() -> None:
    from ffprompt.elicitation.base import elicitation_names
    from ffprompt.scoring.score import Outcome

    assert all(f"\n{name} " in text("elicitations") for name in elicitation_names())
    assert all(f"\n{name} " in text("outcomes") for name in Outcome)


def test_every_task_has_a_line() -> None:
    shown = text("tasks")
    missing = [name for name in registry.names() if not re.search(rf"(?m)^(.*, )?{_pattern(name)}[ ,]", shown)]
    assert missing == []


def _pattern(name: str) -> str:
    """A task's name with letters in the place of its sizes: ``counter-N`` for counter-3."""
    return "[A-Z]".join(map(re.escape, re.split(r"(?<=-)\d+|(?<=^[sa])\d+", name)))


def test_an_unknown_topic_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "florrs"]) == 2
    assert "did you mean 'floors'?" in capsys.readouterr().err


def test_a_command_is_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "score"]) == 0
    assert "usage: ffprompt score" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------ did you mean


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?"),
        (["prompts", "shwo", "game"], "unknown action 'shwo'; did you mean 'show'?"),
        (["batch", "sumbit"], "unknown action 'sumbit'; did you mean 'submit'?"),
        (["suites", "lst"], "unknown action 'lst'; did you mean 'list'?"),
        (["completion", "bsh"], "unknown shell 'bsh'; did you mean 'bash'?"),
        (["run", "--backed", "scripted"], "unknown flag --backed; did you mean '--backend'?"),
        (["prompts", "show", "gmae"], "did you mean 'game'?"),
        (["run", "--suite", "quikc"], "did you mean 'quick'?"),
        (["run", "--backend", "scripted", "--model", "oralce"], "did you mean 'oracle'?"),
        (["run", "--backend", "reference", "--model", "lstmm"], "did you mean 'lstm'?"),
        (["run", "--backend", "scripted", "--model", "oracle", "--task", "flipfolp"], "did you mean 'flipflop'?"),
        (["run", "--backend", "scripted", "--model", "oracle", "--elicitation", "nxt"], "did you mean 'next'?"),
    ],
)
def test_what_is_misspelt_gets_a_hint(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
