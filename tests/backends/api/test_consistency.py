"""What a server says is compared with what it was sent. Every check has an input that nothing else refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffprompt.backends.api import openai_probe
from ffprompt.backends.api.consistency import Consistency
from ffprompt.backends.api.echo import Token, echoed
from ffprompt.backends.api.echo_checks import PLANTED, PROBE, doubt, shifts
from ffprompt.backends.api.error_hints import api_named, likely_cure
from ffprompt.backends.api.probe import wait_until_ready
from ffprompt.backends.api.prompt_tokens import PromptTokens, least
from ffprompt.backends.api.served_model import ServedModel, same_model
from ffprompt.backends.base import Failure, Message, Request, Scores
from ffprompt.cli.main import main
from ffprompt.errors import ModelError, RunFailedError
from tests.conftest import ROOT, only_run
from tests.support.odd_echoes import (
    Change,
    beyond_the_list,
    each,
    five_words,
    list_of_next,
    one_place_late,
    one_place_off,
    own_is_another,
    same_lists,
    written,
)
from tests.support.odd_server import MODELS, Body, Columns, OddServer, copier, echoes, prompt_of, replies

LIST = ["game", "--elicitation", "list"]
FORCED = ["raw-spaced", "--api", "completions", "--elicitation", "forced", "--shots", "0"]
TEXT = "w 1 i 0 r 1 w 0 i 1 i 1 r 0 r 0 w 1 i 0 r 1"
READS = tuple((place + 2, place + 3) for place, letter in enumerate(TEXT) if letter == "r")


def body_of(columns: Columns) -> dict[str, Any]:
    tokens, logprobs, tops = columns
    return {"choices": [{"logprobs": {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops}}]}


def tokens_of(columns: Columns, text: str = PROBE) -> list[Token]:
    return echoed(body_of(columns), text)


def request(text: str = TEXT, reads: tuple[tuple[int, int], ...] = READS) -> Request:
    return Request("raw-spaced/0-shot/forced/completion/FFL(30)", text, reads=reads, surfaces=("0", "1"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (five_words, "is above the least of the most probable tokens"),
        (same_lists, "the same at every place"),
        (list_of_next, "20 tokens were asked for and it is shown beyond them"),
        (one_place_off, "0 times the one that stands there"),
        (one_place_late, "1 before"),
        (own_is_another, "as its own log-probability and"),
        (beyond_the_list, "20 tokens were asked for and it is shown beyond them"),
        (each(lambda _, value: math.exp(value)), "which is no log-probability"),
        (each(lambda _, value: -value), "which is no log-probability"),
        (each(lambda name, value: math.nan if name == " 1" else value), "which is no log-probability"),
        (each(lambda name, value: math.inf if name == " 1" else value), "which is no log-probability"),
        (each(lambda _, value: value / math.log(10)), "the probabilities of one place sum to"),
        (each(lambda _, value: value / math.log(2)), "logarithms are to base 2"),
        (each(lambda _, value: value - 30), "its numbers are no log-probabilities"),
        (written(lambda n, _: -0.01 - 0.0001 * n), "do not follow the text"),
        (written(lambda _, value: value if value > -1 else -3.0, less=1.5), "4 different unexpected words have -3"),
        (written(lambda *_: -0.01), "every token has -0.01"),
    ],
)
def test_an_echo_that_contradicts_itself_is_doubted(change: Change, says: str) -> None:
    assert says in doubt(tokens_of(change(copier(PROBE, 20), 20)), 20, None)


@pytest.mark.parametrize("most", [2, 5, 20])
def test_a_model_that_copies_is_believed(most: int) -> None:
    tokens = tokens_of(copier(PROBE, most))
    assert doubt(tokens, most, None) == ""
    assert shifts(tokens)[0] > 25 and shifts(tokens)[1] == 0
    assert all(word in PROBE for word in PLANTED)


def test_a_real_models_echo_is_believed() -> None:
    """SmolLM2-135M through vLLM 0.32: the values of the probe's echo, five shown."""
    body = json.loads((ROOT / "tests" / "support" / "vllm_echo.json").read_text())
    assert doubt(echoed(body, PROBE), 5, None) == ""


def test_a_model_that_knows_no_words_is_not_blamed_for_it() -> None:
    vocabulary = [f"t{n}" for n in range(20)]
    tokens, _, _ = copier(PROBE, 20)
    rng = np.random.default_rng(0)
    tops = [None, *({name: -10.8 - float(rng.random()) for name in vocabulary} for _ in tokens[1:])]
    values = [None, *(-12.0 - float(rng.random()) for _ in tokens[1:])]
    assert doubt(tokens_of((tokens, values, tops)), 20, None) == ""


def test_the_order_and_the_shape_of_lists_do_not_matter() -> None:
    tokens, logprobs, tops = copier(TEXT, 20)
    plain = Consistency("m").scores(request(), body_of((tokens, logprobs, tops)), 20)
    assert isinstance(plain, Scores)
    lists: list[Any] = [
        top and [{"token": name, "logprob": top[name], "bytes": None} for name in sorted(top)] for top in tops
    ]
    content = [
        {"token": token, "logprob": value, "top_logprobs": top or []}
        for token, value, top in zip(tokens, logprobs, lists, strict=True)
    ]
    for body in (body_of((tokens, logprobs, lists)), {"choices": [{"logprobs": {"content": content}}]}):
        found = Consistency("m").scores(request(), body, 20)
        assert isinstance(found, Scores)
        np.testing.assert_array_equal(found.answers, plain.answers)


def test_tokens_that_are_parts_of_a_character_spell_it() -> None:
    tokens = ["é", "bytes:\\xe2", "bytes:\\x80\\x94", " 1"]
    found = echoed(body_of((tokens, [None, -1.0, -1.0, -1.0], [None, {}, {}, {}])), "é— 1")
    assert [token.start for token in found] == [0, 1, 1, 2]
    with pytest.raises(ValueError, match="token 1 of the echo"):
        echoed(body_of((["é", "bytes:\\xe3", " 1"], [None, -1.0, -1.0], [None, {}, {}])), "é— 1")


def scored(change: Change, consistency: Consistency | None = None, text: str = TEXT) -> Scores | Failure:
    body = body_of(change(copier(text, 20), 20))
    return (consistency or Consistency("a-model")).scores(request(text), body, 20)


@pytest.mark.parametrize("change", [five_words, same_lists, own_is_another, beyond_the_list])
def test_a_contradiction_in_an_answer_stops_the_run(change: Change) -> None:
    with pytest.raises(RunFailedError, match=r"a-model: the server contradicts itself: .*; score with --backend vllm"):
        scored(change)


def test_one_damaged_place_is_a_failed_trial() -> None:
    def one_place(columns: Columns, most: int) -> Columns:
        tokens, logprobs, tops = five_words(columns, most)
        return tokens, logprobs, [*copier(TEXT, 20)[2][:-1], tops[-1]]

    found = scored(one_place)
    assert isinstance(found, Failure) and "the server contradicts itself" in found.error
    assert isinstance(scored(lambda columns, _: columns), Scores)


def test_two_tokens_written_alike_cost_one_read_and_no_run() -> None:
    def alike(columns: Columns, most: int) -> Columns:
        tokens, logprobs, tops = columns
        return tokens, [*logprobs[:-1], (logprobs[-1] or 0) - 0.5], tops

    found = scored(alike)
    assert isinstance(found, Failure) and "two tokens are written ' 1'" in found.error


def test_numbers_that_slip_one_place_in_the_middle_of_a_run_stop_it() -> None:
    consistency = Consistency("a-model")
    with pytest.raises(RunFailedError, match="stand 1 place off"):
        for number in range(20):
            scored(one_place_off, consistency, TEXT.replace("w 1", f"w {number % 2}", 1))


def test_an_answer_to_another_prompt_stops_the_run() -> None:
    consistency, other = Consistency("a-model"), "w 0" + TEXT[3:]
    assert isinstance(scored(lambda columns, _: columns, consistency), Scores)
    assert isinstance(scored(lambda columns, _: columns, consistency, other), Scores)
    assert isinstance(scored(lambda columns, _: columns, consistency, other), Scores)  # asked again, for a good reason

    def cached(columns: Columns, most: int) -> Columns:
        return columns[0], *copier(other, 20)[1:]

    with pytest.raises(RunFailedError, match="two prompts that differ from character 2 on have the same"):
        scored(cached, consistency)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("claude-3-haiku-20240307", "us.anthropic.claude-3-haiku-20240307-v1:0", True),
        ("/models/SmolLM2-135M", "SmolLM2-135M", True),
        ("m", "m-2099", True),
        ("smollm2.Q4_K_M.gguf", "smollm2", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4", "gpt-4.1", False),
        ("llama-3-8b", "llama-3-8b-instruct", False),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", False),
    ],
)
def test_names_of_one_model(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same_model(other, one) is same


def test_an_alias_is_remarked_on_and_another_model_stops_the_run() -> None:
    served = ServedModel()
    assert served.differs("gpt-x") == served.differs("gpt-x-2026-01-01") == served.differs(None) == ""
    assert served.remarks("gpt-x") == []
    assert served.remarks("my-deployment") == ["the server says that it answers with 'gpt-x-2026-01-01'"]
    assert "answers with 'gpt-x-2026-02-02' after answering with 'gpt-x-2026-01-01'" in served.differs(
        "gpt-x-2026-02-02"
    )


def chat(text: str, key: str = "game/0-shot/list/chat/FFL(20)") -> Request:
    return Request(key, "", (Message("user", text),))


WORDS = "write 1, ignore 0, read ?, "


def test_what_is_odd_about_prompt_tokens() -> None:
    for count in (None, 0, 150):
        assert PromptTokens().suspicion(chat(WORDS * 20), count) == ""
    assert "which has at least" in PromptTokens().suspicion(chat(WORDS * 20), 11)
    for count in (512, 2048, 4000, 2048 - 9):
        assert "the size of a context" in PromptTokens().suspicion(chat(WORDS * 20), count)
    found = PromptTokens()
    assert [bool(found.suspicion(chat(WORDS * 20 + "." * n), 2003)) for n in range(3)] == [False, False, True]
    found = PromptTokens()
    assert found.suspicion(chat(WORDS * 20), 2003) == ""
    assert "2,003 for one of 540" in found.suspicion(chat(WORDS * 40, "game/0-shot/list/chat/FFL(40)"), 2001)
    assert found.suspicion(chat(WORDS * 40, "code/0-shot/list/chat/FFL(40)"), 2001) == ""
    assert not found.grows(2003, 2040, 80)
    assert found.grows(2003, 2090, 80) and found.suspicion(chat(WORDS * 50), 2048) == ""


@pytest.mark.weights
def test_no_real_tokenizer_is_below_the_bound() -> None:
    """Of larger vocabularies tokens are at most a third longer."""
    from tokenizers import Tokenizer

    from ffprompt.backends.local.weights import locate

    tokenizer = Tokenizer.from_file(str(Path(locate("smollm2-135m").source) / "tokenizer.json"))
    for text in (PROBE, TEXT * 40, WORDS * 99, "w1i0r1" * 50, "The light is turned on.\n" * 30, " " * 400, "=" * 300):
        assert least(text) < 0.75 * len(tokenizer.encode(text).ids)


class Run:
    """``python run_eval.py`` against an odd server."""

    def __init__(self, capsys: Any, tmp_path: Path, url: str, *flags: str, trials: int = 6, length: int = 20) -> None:
        words = ["run", "--backend", "openai", "--model", "m", "--base-url", url, "--out", str(tmp_path), "--no-report"]
        words += ["--trials", str(trials), "--length", str(length), "--template", *flags]
        self.code = main(words, prog="run_eval.py")
        printed = capsys.readouterr()
        self.out, self.error = printed.out, printed.err
        self.line = next((line for line in self.error.splitlines() if "error: " in line), "")
        self.folder = tmp_path


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "sk-test")


Fixture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("change", [five_words, one_place_off])
def test_forced_is_refused_before_anything_is_asked(tmp_path: Path, capsys: Fixture, change: Change) -> None:
    with OddServer(echoes(change)) as server:
        run = Run(capsys, tmp_path, server.v1, *FORCED)
        assert len(server.posted) == 1
    assert run.code == 2 and "use --elicitation next, list" in run.line and not list(tmp_path.iterdir())


def test_forced_stops_when_the_numbers_turn_bad_in_the_middle(tmp_path: Path, capsys: Fixture) -> None:
    calls = iter(range(99))
    with OddServer(echoes(lambda columns, most: five_words(columns, most) if next(calls) > 3 else columns)) as server:
        run = Run(capsys, tmp_path, server.v1, *FORCED, "--max-concurrency", "1")
    assert run.code == 3 and "the server contradicts itself" in run.line
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "failed"


def test_a_good_echo_is_scored(tmp_path: Path, capsys: Fixture) -> None:
    with OddServer(echoes()) as server:
        run = Run(capsys, tmp_path, server.v1, *FORCED)
    assert run.code == 0, run.error


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic", "completions"])
def test_a_server_that_cuts_prompts_ends_in_a_line(tmp_path: Path, capsys: Fixture, api: str) -> None:
    with OddServer(replies("1, 0", lambda body: min(2048, len(prompt_of(body)) // 2))) as server:
        url, flags = (server.url, ["--backend", "anthropic"]) if api == "anthropic" else (server.v1, ["--api", api])
        run = Run(capsys, tmp_path, url, *LIST, *flags, length=1000, trials=12)
    assert run.code == 3
    assert "the server cuts prompts: it reports 2,048 tokens for a prompt of" in run.line
    assert "larger context (Ollama: num_ctx" in run.line


def test_a_count_that_no_context_has_is_found_out_too(tmp_path: Path, capsys: Fixture) -> None:
    with OddServer(replies("1, 0", lambda body: min(1777, len(prompt_of(body)) // 2))) as server:
        run = Run(capsys, tmp_path, server.v1, *LIST, length=1000, trials=12)
    assert run.code == 3 and "and for 2 of other lengths" in run.line


def test_prompts_that_happen_to_have_the_same_count_cost_one_more_question(tmp_path: Path, capsys: Fixture) -> None:
    def words(body: Body) -> int:
        return 2048 + 999 * ("Note 1: " in prompt_of(body))

    with OddServer(replies("1, 0", words)) as server:
        run = Run(capsys, tmp_path, server.v1, *LIST, trials=12)
        assert len(server.posted) == 12 + 1
    assert run.code == 0 and "tokens for prompts of any length" not in run.error


def test_a_longer_prompt_that_is_refused_is_no_cut_one(tmp_path: Path, capsys: Fixture) -> None:
    good = replies("1, 0", lambda _: 2048)
    too_long = (400, {"error": {"message": "the prompt is too long"}})
    with OddServer(lambda path, body: too_long if "Note " in prompt_of(body) else good(path, body)) as server:
        assert Run(capsys, tmp_path, server.v1, *LIST, trials=12).code == 0


@pytest.mark.parametrize("count", [None, 0])
def test_servers_that_do_not_count_are_left_alone(tmp_path: Path, capsys: Fixture, count: int | None) -> None:
    with OddServer(replies("1, 0", lambda _: count)) as server:
        run = Run(capsys, tmp_path, server.v1, *LIST, length=200)
        assert (run.code, len(server.posted)) == (0, 6), run.error
    assert "note on" not in run.error + run.out


def test_a_count_that_is_made_up_is_remarked_on(tmp_path: Path, capsys: Fixture) -> None:
    with OddServer(replies("1, 0", lambda _: 7)) as server:
        run = Run(capsys, tmp_path, server.v1, *LIST, length=200)
        assert len(server.posted) == 6 + 2
    assert run.code == 0 and "reports the same number of tokens for prompts of any length" in run.error + run.out


def test_a_dialogue_whose_count_does_not_grow_is_cut(tmp_path: Path, capsys: Fixture) -> None:
    with OddServer(replies("1", lambda body: min(300, len(prompt_of(body)) // 2))) as server:
        run = Run(capsys, tmp_path, server.v1, "game", "--elicitation", "dialogue", length=100, trials=2)
    assert run.code == 3 and "the server cuts prompts" in run.line


def test_an_alias_stands_under_the_table_and_in_the_record(tmp_path: Path, capsys: Fixture) -> None:
    with OddServer(replies("1, 0", model="another-one")) as server:
        run = Run(capsys, tmp_path, server.v1, *LIST)
    assert run.code == 0
    assert "note on m: the server says that it answers with 'another-one'" in run.error + run.out
    assert "another-one" in json.dumps(json.loads((only_run(tmp_path) / "run.json").read_text())["audit"])


@pytest.mark.parametrize("flags", [LIST, FORCED])
def test_a_router_that_falls_back_stops_the_run(tmp_path: Path, capsys: Fixture, flags: list[str]) -> None:
    names = iter(["m", "m-2026-01-01", *["other"] * 99])
    answer = (echoes if flags is FORCED else replies)(model=lambda _: next(names))
    with OddServer(answer) as server:
        run = Run(capsys, tmp_path, server.v1, *flags, "--max-concurrency", "1")
    assert run.code == 3
    assert "answers with 'other' after answering with 'm" in run.line and "fallbacks" in run.line


def unexpected(path: str, body: Body | None = None) -> Any:
    """A wrong path is answered with HTTP 200, as LM Studio does."""
    if not path.startswith("/v1/"):
        return {"error": f"Unexpected endpoint or method. ({path})"}
    return MODELS if body is None else replies("1, 0")(path, body)


def test_an_error_in_place_of_models_leads_to_v1(tmp_path: Path, capsys: Fixture) -> None:
    with OddServer(unexpected, unexpected) as server:
        run = Run(capsys, tmp_path, server.url, *LIST)
        assert run.code == 2 and server.posted == []
        assert "no API is at this base URL (HTTP 200 with an error: Unexpected endpoint" in run.line
        assert run.line.endswith(f"did you mean {server.v1}?")
        assert Run(capsys, tmp_path, server.v1, *LIST).code == 0


def test_a_server_that_is_loading_is_waited_for(
    tmp_path: Path, capsys: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, waits = (503, {"error": {"message": "Loading model", "code": 503}}), list[float]()
    monkeypatch.setattr(openai_probe, "sleep", waits.append)
    with OddServer(
        lambda path, body: echoes()(path, body) if len(waits) > 2 else loading,
        lambda path: MODELS if len(waits) > 2 else loading,
    ) as server:
        run = Run(capsys, tmp_path, server.v1, *FORCED)
    assert run.code == 0, run.error
    assert waits == [1.0, 1.5, 2.25]
    assert run.error.count("Loading model; waiting up to 600 s") == 1


def test_a_server_that_never_loads_is_given_up() -> None:
    waits: list[float] = []
    with pytest.raises(ModelError, match=r"not ready after 6\d\d s: Loading"):
        wait_until_ready("m", lambda: "Loading", waits.append)
    assert max(waits) == 15 and 600 <= sum(waits) < 620


@pytest.mark.parametrize(
    ("text", "api"),
    [
        ("This model is only supported in v1/responses and not in v1/chat/completions.", "responses"),
        ("This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use "
         "v1/completions?", "completions"),
        ("This is a chat model and not supported in the v1/completions endpoint. Did you mean to use "
         "v1/chat/completions?", "chat"),
        ("The model `x` does not support Chat Completions API", "completions"),
        ("The model does not support Completions API", "chat"),
        ("default chat template is no longer allowed, so you must provide a chat template", "completions"),
        ("o3-pro: please use the Responses API instead", "responses"),
        ("The model `nobody` does not exist", None),
        ("Invalid URL (POST /v1/responses)", None),
        ("Use v1/chat/completions or v1/completions", None),
    ],
)  # fmt: skip
def test_the_api_that_an_error_names(text: str, api: str | None) -> None:
    assert api_named(text) == api
    assert ("--api" in likely_cure(404, text)) == (api is not None)


def test_a_model_of_another_api_and_a_missing_key_are_told(
    tmp_path: Path, capsys: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"error": {"message": "This model is only supported in v1/responses and not in v1/chat/completions."}}
    with OddServer(lambda *_: (404, error)) as server:
        assert "(use --api responses)" in Run(capsys, tmp_path, server.v1, *LIST).line
    monkeypatch.delenv("OPENAI_API_KEY")
    with OddServer(lambda *_: (400, {"error": {"message": "No connected db."}})) as server:
        run = Run(capsys, tmp_path, server.v1, *LIST)
    assert "No connected db. (no key is set, so that 'no-key' was sent" in run.line and "OPENAI_API_KEY" in run.line
