"""What is said about a server that is not what it should be, before a run begins or when it stops: one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ffprompt.cli.main import main
from tests.conftest import only_run
from tests.support.faulty_server import KEY, FaultyServer


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)


class Asked:
    """``python run_eval.py`` with some flags, on short strings."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], url: str, *flags: str) -> None:
        self.folder = folder / "results"
        words = ["run", "--model", "a-model", "--base-url", url, "--length", "12", "--trials", "20", "--shots", "0"]
        words += ["--max-concurrency", "4", "--out", str(self.folder)]
        if "--backend" not in flags:
            words += ["--backend", "openai"]
        self.code = main([*words, *flags], prog="run_eval.py")
        self.error = capsys.readouterr().err

    @property
    def line(self) -> str:
        """The one line of its error."""
        (line,) = [line for line in self.error.splitlines() if "error: " in line]
        assert KEY not in line
        return line


FORCED = ("--api", "completions", "--elicitation", "forced", "--template", "raw-spaced")


@pytest.mark.parametrize(
    ("echo", "says"),
    [
        ("refused", "the server refuses echo with logprobs: HTTP 400"),
        ("generated", "the server echoes no log-probabilities of the prompt"),
        ("nulls", "the server leaves log-probabilities of the prompt out"),
        ("same", "the server makes its log-probabilities up: every token has -1"),
        ("logits", "makes its log-probabilities up: every token has -1"),
    ],
)
def test_forced_on_an_endpoint_that_cannot_score_says_why_and_what_to_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], echo: str, says: str
) -> None:
    with FaultyServer(echo=echo) as server:
        asked = Asked(tmp_path, capsys, server.v1, *FORCED)
        assert len(server.posted) <= 2  # the probe's
    assert asked.code == 2
    assert says in asked.line
    assert "use --elicitation next, list" in asked.line
    assert not asked.folder.exists()


def test_forced_on_a_chat_api_names_the_one_that_may_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer() as server:
        asked = Asked(tmp_path, capsys, server.v1, "--elicitation", "forced")
    assert asked.code == 2
    assert "--elicitation next, list" in asked.line
    assert "--api completions" in asked.line


@pytest.mark.parametrize("echo", ["refused", "same"])
def test_an_endpoint_that_cannot_score_is_asked_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], echo: str
) -> None:
    with FaultyServer(echo=echo) as server:
        asked = Asked(tmp_path, capsys, server.v1, "--api", "completions", "--elicitation", "next")
    assert asked.code == 0, asked.error


@pytest.mark.parametrize(
    ("echo", "flags", "sent", "says"),
    [
        ("full", (), 20, None),
        ("full", ("--top-logprobs", "7"), 7, None),
        ("five", (), 5, None),
        ("five", ("--top-logprobs", "5"), 5, None),
        ("five", ("--top-logprobs", "9"), 9, "refuses echo with logprobs and --top-logprobs 9: HTTP 400"),
        ("capped", (), 20, None),
        ("capped", ("--top-logprobs", "9"), 9, "--top-logprobs 9: the server shows 2"),
    ],
)
def test_fewer_of_the_most_probable_tokens_than_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], echo: str, flags: tuple[str, ...], sent: int, says: str | None
) -> None:
    with FaultyServer(echo=echo) as server:
        asked = Asked(tmp_path, capsys, server.v1, *FORCED, *flags)
        assert server.posted[-1]["logprobs"] == sent
    if says is not None:
        assert asked.code == 2
        assert says in asked.line
        return
    assert asked.code == 0, asked.error
    assert json.loads((only_run(asked.folder) / "run.json").read_text())["model"]["top_logprobs"] == sent


def test_an_answer_that_is_not_among_those_shown_is_an_error_with_the_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultyServer(echo="capped") as server:
        asked = Asked(tmp_path, capsys, server.v1, *FORCED, "--symbols", "4")
    assert asked.code == 3
    log = (only_run(asked.folder) / "trials.jsonl").read_text()
    assert "most probable tokens that the server shows" in log
    assert "raise --top-logprobs" in log


def test_a_server_without_a_list_of_models_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(models="404") as server:
        assert Asked(tmp_path, capsys, server.v1, *FORCED).code == 0
    with FaultyServer(models="html") as server:
        assert Asked(tmp_path / "page", capsys, server.v1).code == 0


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_base_url_without_v1_is_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str], slash: str) -> None:
    with FaultyServer() as server:
        asked = Asked(tmp_path, capsys, server.url + slash)
        assert server.posted == []
    assert asked.code == 2
    assert (
        f"no API is at this base URL (HTTP 404: a fault of kind 404 for Bearer [redacted]); did you mean {server.v1}?"
        in (asked.line)
    )


def test_a_web_page_at_the_base_url_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(lambda _: "html", models="html") as server:
        asked = Asked(tmp_path, capsys, server.v1)
        assert len(server.posted) == 1
    assert asked.code == 2
    assert "a web page and no API is at this base URL (text/html)" in asked.line


def test_anthropics_base_url_has_no_v1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer() as server:
        asked = Asked(tmp_path, capsys, server.v1, "--backend", "anthropic")
        assert server.posted == []
    assert asked.code == 2
    assert "leave /v1 out" in asked.line


@pytest.mark.parametrize(
    ("key", "says"), [("", "is empty"), ("sk-se cret", "is malformed"), ("sk-sécret", "malformed")]
)
@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_key_that_cannot_be_one_is_told_and_not_shown(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    key: str,
    says: str,
) -> None:
    variable = f"{backend.upper()}_API_KEY"
    monkeypatch.setenv(variable, key)
    with FaultyServer() as server:
        asked = Asked(tmp_path, capsys, server.url, "--backend", backend)
        assert server.posted == []
    assert asked.code == 2
    assert variable in asked.line
    assert says in asked.line
    assert "cret" not in asked.line


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_context_that_is_too_short_stops_the_run_with_the_servers_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    with FaultyServer(lambda _: "400 context") as server:
        url = server.v1 if backend == "openai" else server.url
        asked = Asked(tmp_path, capsys, url, "--backend", backend, "--elicitation", "list", "--template", "game")
        assert len(server.posted) <= 5 + 4  # those in flight when the fifth has failed
    assert asked.code == 3
    assert "5 calls in a row failed alike: HTTP 400: the context of 4097 tokens is too short for your" in asked.line
    lines = [json.loads(line) for line in (only_run(asked.folder) / "trials.jsonl").read_text().splitlines()]
    assert lines
    assert all(line["error"].startswith("HTTP 400: the context of 4097 tokens is too short") for line in lines)
    assert all(set(line["outcomes"]) == {"error"} for line in lines)


def test_only_the_trials_that_do_not_fit_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(lambda number: "400 context" if number % 4 == 2 else None) as server:
        asked = Asked(tmp_path, capsys, server.v1, "--elicitation", "list", "--template", "game")
    assert asked.code == 3
    lines = [json.loads(line) for line in (only_run(asked.folder) / "trials.jsonl").read_text().splitlines()]
    assert sum("error" in line for line in lines) == 5
    assert len({line["trial"] for line in lines}) == 20


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--top-logprobs", "9"), "--top-logprobs 9: only --api completions scores"),
        (("--backend", "anthropic", "--top-logprobs", "9"), "the anthropic backend has no such setting"),
        (("--timeout", "0"), "--timeout 0: expected a number above 0"),
    ],
)
def test_a_setting_without_use_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    with FaultyServer() as server:
        asked = Asked(tmp_path, capsys, server.v1, *flags)
        assert server.posted == []
    assert asked.code == 2
    assert says in asked.line


def test_the_room_for_reasoning_is_part_of_what_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--reasoning-effort", "low", "--elicitation", "next", "--template", "game", "--max-tokens", "5")
    with FaultyServer() as server:
        asked = Asked(tmp_path, capsys, server.v1, *words, "--reasoning-room", "77")
        assert server.posted[-1]["max_completion_tokens"] == 82
    assert asked.code == 0, asked.error
    assert json.loads((only_run(asked.folder) / "run.json").read_text())["model"]["reasoning_room"] == 77
