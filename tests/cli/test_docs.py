"""``ffprompt docs`` says where the pages are, and shows one."""

from __future__ import annotations

from tests.conftest import ROOT, Command


def test_the_folder_and_the_pages_are_listed(command: Command) -> None:
    done = command("docs", prog="ffprompt")
    assert done.returncode == 0
    assert str(ROOT / "docs") in done.stdout
    assert "guides/compare" in done.stdout and "Compare and gate" in done.stdout


def test_a_page_is_shown_by_its_last_name(command: Command) -> None:
    text = (ROOT / "docs" / "guides" / "compare.md").read_text(encoding="utf-8")
    assert command("docs", "compare", prog="ffprompt").stdout == text
    assert command("docs", "guides/compare.md", prog="ffprompt").stdout == text
    assert command("docs", "concepts", prog="ffprompt").stdout.startswith("# Concepts")


def test_an_unknown_page_names_the_nearest(command: Command) -> None:
    done = command("docs", "guides/compere", prog="ffprompt")
    assert done.returncode == 2
    assert "guides/compare" in done.stderr
    assert command("docs", "reference", prog="ffprompt").stdout.startswith("# `--backend reference`")
