"""The code blocks of a page of the documentation, run one after another in a folder of their own.

A block says by its language what it is::

    bash      commands, each of which must end with exit code 0
    console   commands after ``$`` with what they print, which ``python -m tests.docs`` writes anew
    python    statements
    pycon     statements after ``>>>`` with what they print
    toml      shown; with ``title="NAME"``, also in Python, a file that the next commands find

All other languages are shown and not run. A command that ends with another exit code than 0 is followed by
``$ echo $?``. A block whose title begins with ``needs`` (a GPU, a key, a server, …) is not run, but its flags are
checked.
``<!-- slow -->`` in a page puts the whole page among the slow tests. A block after ``<!-- command: NAME -->`` is one of
the README's two, which ``.ci/run`` runs.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

DOCS = ROOT / "docs"
WIDTH = 100  # columns of the terminal whose output the pages show
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)
_RUN = ("bash", "console", "python", "pycon", "toml")
# What is another each time that a command runs, and by what it is replaced in a page.
_VOLATILE = (
    (re.compile(r"\b20\d{6}-\d{6}(?=-)"), "20261127-090000"),
    (re.compile(r"\b20\d\d-\d\d-\d\d([ T])\d\d:\d\d(:\d\d)?"), r"2026-11-27\g<1>09:00\g<2>"),
    (re.compile(r"\b20\d\d-\d\d-\d\d\b"), "2026-11-27"),
)
# What depends on the machine: it is kept as the page has it.
_MACHINE = (
    re.compile(r"\b[\d,.]+ reads/s"),
    re.compile(r"\b[\d,]+ bytes"),
    re.compile(r"\b[\d.]+ (s|min|h|seconds|minutes)\b"),
    re.compile(r"\b\d+\.\d+\.\d+(\+\w+)?"),  # a version
    re.compile(r"(?<=-)[0-9a-f]{6}\b"),  # a digest of the plan, in the name of a run
    re.compile(r"(?m)^.*Warning: .*\n"),
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, title and text, and where the text stands in the page."""

    page: Path
    line: int
    language: str
    title: str
    body: str
    start: int
    end: int
    indent: str

    @property
    def needs(self) -> bool:
        """Whether it needs what a machine that tests does not have, so that its flags are checked and nothing runs."""
        return self.title.startswith("needs ")


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """The blocks of a page that are run or whose flags are checked."""
    text = page.read_text(encoding="utf-8") if text is None else text
    found = []
    for match in _FENCE.finditer(text):
        if match["language"] in _RUN:
            title = re.search(r'title="([^"]*)"', match["rest"])
            indent = match["indent"]
            body = re.sub(rf"^{indent}", "", match["body"], flags=re.M)
            where = text.count("\n", 0, match.start()) + 1
            name = title[1] if title else ""
            if re.search(r"<!-- command: \w+ -->\s*$", text[: match.start()]):
                name = "needs a new environment"
            found.append(
                Block(page, where, match["language"], name, body, match.start("body"), match.end("body"), indent)
            )
    return found


def pages() -> list[Path]:
    """The README and every page of the documentation that has a block to run."""
    every = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [page for page in every if not _of_servers(page) and blocks(page)]


def _of_servers(page: Path) -> bool:
    """The page of servers has tests of its own, in tests/backends/api/test_servers.py."""
    return page == DOCS / "backends" / "servers.md"


class Session:
    """What a page's commands share: a folder, the environment, the names of Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.exit_code = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[Session]:
        """Go into the folder, with a terminal of ``WIDTH`` columns and without colour."""
        before, environment = Path.cwd(), dict(os.environ)
        os.chdir(self.folder)
        os.environ |= {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TTY_COMPATIBLE": "0", "MPLBACKEND": "Agg"}
        for name in ("FORCE_COLOR", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            os.environ.pop(name, None)
        try:
            yield self
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)

    def run(self, block: Block) -> str:
        """Run a block and return what its text is now. Raises AssertionError naming the line that failed."""
        if block.title:
            Path(block.title).write_text(block.body, encoding="utf-8")
        if block.title or block.language == "toml":
            return block.body
        if block.language == "python":
            self.python(block.body)
            return block.body
        if block.language == "pycon":
            return self._interactive(block)
        return self._shell(block)

    def python(self, source: str) -> str:
        """Run statements and return what they print. The value of a last expression is printed too."""
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with _screen() as out:
            exec(compile(tree, "<page>", "exec"), self.names)
            if last is not None:
                assert isinstance(last, ast.Expr)
                value = eval(compile(ast.Expression(last.value), "<page>", "eval"), self.names)
                if value is not None:
                    self.names["_"] = value
                    out.write(f"{value!r}\n")
        return out.getvalue()

    def _interactive(self, block: Block) -> str:
        said = []
        for statement in re.findall(r"^>>> .*\n(?:^\.\.\. .*\n)*", block.body, re.M):
            source = re.sub(r"^(>>>|\.\.\.) ", "", statement, flags=re.M)
            said.append(statement + _plain(self.python(source)))
        return "".join(said)

    def _shell(self, block: Block) -> str:
        said = []
        commands = list(_commands(block))
        for number, (shown, command) in enumerate(commands):
            asked = number + 1 < len(commands) and commands[number + 1][1].strip() == "echo $?"
            if command.strip() == "echo $?":
                said.append(f"{shown}\n{self.exit_code}\n")
                continue
            output = _plain(self.command(command))
            if not asked:
                assert self.exit_code == 0, f"{block.page}:{block.line}: {command}: {self.exit_code}\n{output}"
            said.append(f"{shown}\n{output}")
        return "".join(said) if block.language == "console" else block.body

    def command(self, line: str) -> str:
        """Run one line of a shell and return what it prints."""
        words = [name for word in _words(line) for name in _matching(word)]
        name, rest = words[0], words[1:]
        self.exit_code = 0
        if name == "export":
            os.environ |= {key: os.path.expandvars(value) for key, value in (word.split("=", 1) for word in rest)}
            return ""
        if name == "cat":
            return "".join(Path(word).read_text(encoding="utf-8") for word in rest)
        if name == "ls":
            return "".join(f"{path}\n" for path in sorted(file.name for file in Path(*rest).iterdir()))
        if name == "cp":
            shutil.copyfile(rest[0], rest[1])
            return ""
        if name == "mkdir":
            Path(rest[-1]).mkdir(parents=True)
            return ""
        if name == "head":
            count, path = int(rest[0].removeprefix("-").removeprefix("n") or rest[1]), rest[-1]
            return "".join(Path(path).read_text(encoding="utf-8").splitlines(keepends=True)[:count])
        if name in ("pip", "git", "source", "sudo", "chmod"):
            check(line)
            return ""
        arguments, program = _program(words)
        with _screen() as out:
            from ffprompt.cli.main import main

            self.exit_code = main(arguments, prog=program)
        return out.getvalue()


class _Screen(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def _screen() -> Iterator[io.StringIO]:
    """Standard output as a terminal, and what is said on standard error after it but for progress."""
    out, err = _Screen(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out
    out.write("".join(line for line in err.getvalue().splitlines(keepends=True) if _worth_showing(line)))


def _worth_showing(line: str) -> bool:
    return bool(re.match(r"(ffprompt|run_eval\.py): ", line))


def _program(words: list[str]) -> tuple[list[str], str]:
    """The arguments of ffprompt, and its name, in a command line."""
    if words[0] == "ffprompt":
        return words[1:], "ffprompt"
    if words[:2] == ["python", "run_eval.py"]:
        return ["run", *words[2:]], "run_eval.py"
    raise AssertionError(f"a page must not run {words[0]!r}")


def check(line: str) -> None:
    """Check the flags of a command that is not run."""
    words = _words(line)
    if words[0] == "pip":
        for extras in re.findall(r"ffprompt\[([^\]]*)\]|\.\[([^\]]*)\]", line):
            unknown = set(",".join(extras).strip(",").split(",")) - extra_names()
            assert not unknown, f"{line}: no extra {unknown}"
        return
    if words[0] not in ("ffprompt", "python"):
        return
    if words[:2] == ["python", "-m"] or words[:2] == ["python", "-"]:
        return
    from ffprompt.cli.main import _parser

    arguments, program = _program(words)
    try:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            _parser(program, program == "run_eval.py", arguments).parse(arguments)
    except SystemExit as end:
        raise AssertionError(f"{line}: {err.getvalue()}") from end


def extra_names() -> set[str]:
    """The extras of the package."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def _commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a block: as they stand there, and as one line."""
    if block.language == "console":
        found = re.findall(r"^\$ (?:.*\\\n)*.*$", block.body, re.M)
        texts = [(text, text.removeprefix("$ ")) for text in found]
    else:
        texts = [(text, text) for text in re.findall(r"^(?:.*\\\n)*.*$", block.body, re.M)]
    for shown, text in texts:
        joined = re.sub(r"\s*\\\n\s*", " ", text)
        if joined.strip() and not joined.lstrip().startswith("#"):
            for part in joined.split(" && "):
                yield shown, part


def commands(block: Block) -> list[str]:
    """The commands of a block, each in one line."""
    return [command for _, command in _commands(block)]


def _matching(word: str) -> list[str]:
    """The files that a pattern stands for, or the word itself."""
    return sorted(str(path) for path in Path().glob(word)) or [word] if "*" in word else [word]


def _words(line: str) -> list[str]:
    return shlex.split(os.path.expandvars(line), comments=True)


def _plain(text: str) -> str:
    """What a command printed, without what is another each time."""
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    text = text.replace(str(ROOT), "CHECKOUT")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def same(old: str, new: str) -> bool:
    """Whether two texts of a block say the same but for what depends on the machine."""
    for pattern in _MACHINE:
        old, new = pattern.sub("·", old), pattern.sub("·", new)
    return old.split() == new.split()  # columns move with the width of what depends on the machine


def renewed(page: Path, folder: Path) -> tuple[str, dict[str, bytes]]:
    """Run a page in a folder. Returns its text with what its commands print now, and the pictures that they made."""
    text = page.read_text(encoding="utf-8")
    changes = []
    with Session(folder).open() as session:
        for block in blocks(page, text):
            if block.needs:
                for command in commands(block) if block.language in ("bash", "console") else ():
                    check(command)
                continue
            new = session.run(block)
            if not same(block.body, new):
                changes.append((block, new))
        pictures = {name: Path(name).read_bytes() for name in re.findall(r"!\[[^\]]*\]\((\w[\w-]*\.png)\)", text)
                    if Path(name).exists()}  # fmt: skip
    for block, new in reversed(changes):
        body = "".join(f"{block.indent}{line}".rstrip() + "\n" for line in new.splitlines())
        text = text[: block.start] + body + text[block.end :]
    return text, pictures


def is_slow(page: Path) -> bool:
    """Whether a page takes too long for the tests that run by default."""
    return "<!-- slow -->" in page.read_text(encoding="utf-8")


def notebook(cells: list[dict[str, Any]]) -> str:
    """The text of a Jupyter notebook with these cells."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.writelines(f"{page.relative_to(ROOT)}\n" for page in pages())
