"""The page of the docs that lists all modes, made from them."""

# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.odd_modes.mode import Mode

TOP = """# Odd servers, and what becomes of them

Real servers, gateways and providers do all of what is listed here. Each line is a whole run against a local server that is
odd in this one way, through the official SDKs. The server knows the right answers, so a read that is not `correct` is its
doing. Nothing ends in a wrong read by a fault of the server, in a lost answer or in a traceback. What can be read in more
than one way is `invalid`, which counts against the model, and the terminal quotes such a reply.

*What must come of it* has the outcomes of the reads, the exit code where it is not 0, and words of the line that says why.
A run that stops in the middle keeps what was answered before: those reads are the outcomes shown. In `forced`, and
where a text is continued, the local model is sometimes wrong, so a good server gives both `correct` and `wrong`. Where the exit code is 2 or 3 without an outcome,
nothing was asked or kept.

This page is made by `python -m tests.support.odd_modes > docs/backends/odd-servers.md`, and `tests/backends/api/test_odd_modes.py` runs every line of it.
"""

ELSEWHERE = """## What is no server's doing

These are tried with files and models in place of a server.

| what | what comes of it | tried in |
|---|---|---|
| a chat template that opens a block of reasoning in its prompt | `forced` and `next` close the block first, or are refused | `tests/backends/test_chat_templates.py` |
| a chat template that writes the date | the digest is of the rendered prompt, and the run remarks on the clock | `tests/backends/test_chat_templates.py` |
| a chat template without a system role | the text goes into the first user turn, and the run says so | `tests/backends/test_chat_templates.py` |
| weights with NaN or infinite values | an error in every elicitation | `tests/backends/test_odd_models.py` |
| a pad token beyond the embedding matrix | padded with an id that the matrix has | `tests/backends/test_odd_models.py` |
| a Git LFS pointer, a cut file or a web page in place of weights | named as such, with the cure | `tests/backends/test_odd_models.py` |
| a template or configuration with a byte order mark or in UTF-16 | read, or named as such | `tests/cli/test_user_files.py` |
| a proxy in the environment that is no URL | one line that names the variable | `tests/_util/test_crash.py` |
| prices that are not known, or that depend on reasoning | no price and no expectation, never 0 | `tests/cost/test_genai_prices.py`, `tests/cost/test_prices.py` |
"""


def page(kinds: Mapping[str, Sequence[Mode]]) -> str:
    """Return the whole page."""
    parts = [TOP]
    for kind, modes in kinds.items():
        rows = "\n".join(f"| {_cell(mode.name)} | {_cell(mode.server)} | {_cell(mode.happens)} |" for mode in modes)
        parts.append(f"## {kind}\n\n| mode | what the server does | what must come of it |\n|---|---|---|\n{rows}\n")
    return "\n".join([*parts, ELSEWHERE])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
