"""Dialogues: what is said in each turn, what stands in the conversation, and what is judged in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprompt.backends.api import anthropic, openai
from ffprompt.backends.base import Capabilities, Failure, Message, Reply, Request, Talk
from ffprompt.config.run_config import make
from ffprompt.elicitation.dialogue import Dialogue, chunks, converse, converse_together, fullest
from ffprompt.elicitation.question import Prompt, Question, Turn
from ffprompt.errors import ConfigError, ModelError, TemplateError
from ffprompt.evaluation.plan import Plan
from ffprompt.scoring.response_records import record
from ffprompt.scoring.score import Reading, judge
from ffprompt.tasks.flipflop import READ, Spec, parse, sample
from ffprompt.tasks.strings import String, Strings
from ffprompt.templates.loading import load, names
from ffprompt.templates.renderer import Renderer
from ffprompt.templates.schema import Template
from tests.conftest import ROOT
from tests.support.elicitations import dialogue, prompt
from tests.support.hypothesis_profile import examples

# The bundled templates that word the flip-flop.
FLIP_FLOP = [name for name in names() if load(name).task == "flipflop"]

CHATS = Capabilities(scores=False, completes=False, chats=True, wants_hints=True)
TURNS = (
    Turn((Message("user", "w1 r?"),), 1, "1"),
    Turn((Message("user", "w0"), Message("assistant", "OK."), Message("user", "r?, w1 r?")), 2, "0, 1"),
    Turn((Message("user", "i0 r?"),), 1, "1"),
)
QUESTION = dialogue(
    TURNS, "t", (Message("system", "Remember."),), limits=(10, 20, 10), truth=(1, 0, 1, 1), silence="(no answer)"
)


def said(request: Request) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in request.messages]


def held(question: Question, *responses: Reply | Failure | str) -> tuple[Talk, list[Request]]:
    """A dialogue with a model that answers so, and every request that it was sent."""
    sent: list[Request] = []
    answers = [Reply(one, "stop") if isinstance(one, str) else one for one in responses]

    async def ask(request: Request) -> Reply | Failure:
        sent.append(request)
        return answers[len(sent) - 1]

    return asyncio.run(converse(ask, Dialogue(question), lambda _: None)), sent


def outcomes(talk: Talk, truth: Sequence[int] = (1, 0, 1, 1)) -> list[str]:
    return [str(one) for one in judge(record(talk), truth, Reading(["0", "1"])).outcomes]


def solved(text: str, symbols: int = 2) -> String:
    strings = parse(text, symbols)
    return strings.string(0)


def spoken(name: str, text: str, size: int | None = None, shots: Sequence[str] = ()) -> Prompt:
    return prompt(
        Renderer(load(name), 2), "dialogue", "chat", solved(text), [solved(one) for one in shots], -1, size
    )  # fmt: skip


# --------------------------------------------------------------------------------------------- what stands in a turn


def test_the_models_own_answers_stay_as_it_wrote_them_right_or_wrong() -> None:
    talk, sent = held(QUESTION, " It is 0.\n", "0, 1", "1")
    assert said(sent[0]) == [("system", "Remember."), ("user", "w1 r?")]
    assert said(sent[1]) == [
        *said(sent[0]),
        ("assistant", " It is 0.\n"),
        ("user", "w0"),
        ("assistant", "OK."),
        ("user", "r?, w1 r?"),
    ]
    assert said(sent[2]) == [*said(sent[1]), ("assistant", "0, 1"), ("user", "i0 r?")]
    assert outcomes(talk) == ["wrong", "correct", "correct", "correct"]


def test_each_turn_is_a_request_of_its_own() -> None:
    _, sent = held(QUESTION, "1", "0, 1", "1")
    assert [one.max_tokens for one in sent] == [10, 20, 10]
    assert [one.hints["oracle"] for one in sent] == [(1,), (0, 1), (1,)]
    assert len({one.key for one in sent}) == len({one.seed for one in sent}) == 3
    assert all(one.surfaces == ("0", "1") and one.is_chat for one in sent)


@pytest.mark.parametrize("empty", [Reply("", "stop"), Reply(" \n", "stop"), Reply("", "refusal"), Reply("", "length")])
def test_where_the_own_reply_is_empty_a_visible_stand_in_is_shown_and_recorded(empty: Reply) -> None:
    talk, sent = held(QUESTION, empty, "0, 1", "1")
    assert ("assistant", "(no answer)") in said(sent[1])
    first, second, _ = record(talk).to_json()["turns"]
    assert (first["reply"], first["shown"]) == (empty.text, "(no answer)")
    assert "shown" not in second


def test_a_refusal_or_a_cut_off_is_the_outcome_of_its_turn_alone() -> None:
    talk, sent = held(QUESTION, Reply("I will not.", "refusal"), Reply("0, ", "length"), "1")
    assert ("assistant", "I will not.") in said(sent[1])
    assert ("assistant", "0, ") in said(sent[2])
    assert outcomes(talk) == ["refused", "truncated", "truncated", "correct"]


def test_a_turn_with_several_reads_is_read_as_a_list_and_reasons_stay_with_their_turn() -> None:
    talk, _ = held(QUESTION, "1", "0", "It is 1")
    judged = judge(record(talk), (1, 0, 1, 1), Reading(["0", "1"]))
    assert outcomes(talk) == ["correct", "invalid", "invalid", "correct"]
    assert [reason is None for reason in judged.reasons] == [True, False, False, True]
    assert judged.reason == judged.reasons[1]


def test_a_failed_call_ends_the_dialogue_keeps_what_was_answered_and_is_no_wrong_answer() -> None:
    talk, sent = held(QUESTION, Reply("1", "stop", "m-1", 5, 1), Failure("reset"))
    assert len(sent) == 2
    line = record(talk).to_json()
    assert (line["error"], line["prompt_tokens"], line["reply_tokens"]) == ("reset", 5, 1)
    assert [turn["reply"] for turn in line["turns"]] == ["1"]
    assert outcomes(talk) == ["error"] * 4


def test_a_dialogue_goes_on_from_the_replies_that_are_there() -> None:
    request = Dialogue(QUESTION, [Reply("0", "stop"), Reply("", "stop")]).request
    assert request is not None
    assert said(request) == said(held(QUESTION, "0", "", "1")[1][2])
    assert request.seed == held(QUESTION, "0", "", "1")[1][2].seed


def test_every_reply_but_the_last_is_handed_on_to_be_kept() -> None:
    kept: list[Talk] = []

    async def ask(request: Request) -> Reply:
        return Reply("1", "stop")

    asyncio.run(converse(ask, Dialogue(QUESTION), kept.append))
    assert [len(talk.replies) for talk in kept] == [1, 2]


def test_tokens_are_those_of_all_turns() -> None:
    talk, _ = held(QUESTION, Reply("1", "stop", "m", 5, 1), Reply("0, 1", "stop", "m", 9, 3), Reply("1", "stop"))
    assert (record(talk).to_json()["prompt_tokens"], record(talk).to_json()["reply_tokens"]) == (14, 4)
    assert record(held(QUESTION, "1", "0, 1", "1")[0]).to_json()["prompt_tokens"] is None


def test_many_dialogues_advance_together_and_each_hears_its_own_replies() -> None:
    batches: list[list[str]] = []
    short = dialogue(TURNS[:1], "short")

    async def complete(requests: Sequence[Request]) -> list[Reply | Failure]:
        batches.append([request.key for request in requests])
        return [Failure("broke") if "bad/turn-1" in one.key else Reply(one.key, "stop") for one in requests]

    bad = dialogue(TURNS, "bad")
    talks = asyncio.run(converse_together(complete, [Dialogue(QUESTION), Dialogue(short), Dialogue(bad)]))
    assert batches == [["t/turn-0", "short/turn-0", "bad/turn-0"], ["t/turn-1", "bad/turn-1"], ["t/turn-2"]]
    assert [reply.text for reply in talks[0].replies] == ["t/turn-0", "t/turn-1", "t/turn-2"]
    assert [(len(talk.replies), talk.failure is not None) for talk in talks[1:]] == [(1, False), (1, True)]


# -------------------------------------------------------------------------------------------- what is counted before


def test_the_calls_of_a_dialogue_are_those_of_a_model_that_is_always_right() -> None:
    assert list(QUESTION.calls) == held(QUESTION, "1", "0, 1", "1")[1]


def test_the_fullest_request_holds_every_turn_and_has_room_for_every_reply() -> None:
    fullest_one = fullest(QUESTION)
    assert fullest_one.max_tokens == 40
    longest = held(QUESTION, "", "", "")[1][-1]
    assert [role for role, _ in said(fullest_one)] == [role for role, _ in said(longest)]
    assert all(len(full) >= len(text) for (_, full), (_, text) in zip(said(fullest_one), said(longest), strict=True))


# ------------------------------------------------------------------------------------------------------- payloads

TURN_1 = [("user", "w1 r?")]
TURN_3 = [
    *TURN_1, ("assistant", "0"), ("user", "w0"), ("assistant", "OK."), ("user", "r?, w1 r?"), ("assistant", "0, 1"),
    ("user", "i0 r?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "key", "limit"),
    [
        (lambda one: openai.chat_payload(openai.PayloadSettings("m"), one), "messages", "max_tokens"),
        (lambda one: openai.responses_payload(openai.PayloadSettings("m"), one), "input", "max_output_tokens"),
    ],
)
def test_openai_payloads_of_a_dialogue(payload: Callable[[Request], dict[str, Any]], key: str, limit: str) -> None:
    first, _, third = (payload(one) for one in held(QUESTION, "0", "0, 1", "1")[1])
    for body, turns, tokens in ((first, TURN_1, 10), (third, TURN_3, 10)):
        expected = [{"role": role, "content": text} for role, text in [("system", "Remember."), *turns]]
        more = {"store": False} if key == "input" else {}
        expected = [{"type": "message", **turn} for turn in expected] if key == "input" else expected
        assert body == {"model": "m", key: expected, "stream": False, limit: tokens, "temperature": 0.0} | more


def test_anthropic_payload_of_a_dialogue() -> None:
    third = anthropic.message_payload(anthropic.PayloadSettings("m"), held(QUESTION, "0", "0, 1", "1")[1][2])
    assert third == {
        "model": "m",
        "max_tokens": 10,
        "system": [{"type": "text", "text": "Remember."}],
        "messages": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in TURN_3],
        "temperature": 0.0,
    }


def test_anthropic_takes_a_dialogue_with_empty_replies() -> None:
    for request in held(QUESTION, "", Reply(" ", "refusal"), "1")[1]:
        sent = anthropic.message_payload(anthropic.PayloadSettings("m"), request)["messages"]
        assert all(block["text"].strip() for turn in sent for block in turn["content"])


# --------------------------------------------------------------------------------------------- strings into turns


@settings(max_examples=examples(60), deadline=None, derandomize=True, database=None)
@given(st.sampled_from(FLIP_FLOP), st.integers(0, 999), st.integers(2, 20), st.one_of(st.none(), st.integers(1, 30)))
def test_the_turns_together_are_the_string_whatever_their_size(
    name: str, seed: int, pairs: int, size: int | None
) -> None:
    string = sample(Spec.ffl(0.4, 2 * pairs), seed, 0, 1)
    ops, bits = string.events[0], string.values[0]
    found = chunks(ops == READ, size)
    assert [at for first, last in found for at in range(first, last)] == list(range(len(ops)))
    assert all(last - first == size for first, last in found[:-1]) or size is None
    reads = [int(np.count_nonzero(ops[first:last] == READ)) for first, last in found]
    words = Renderer(load(name), 2)
    made = prompt(words, "dialogue", "chat", string.string(0), (), -1, size)
    assert [turn.reads for turn in made.turns] == [count for count in reads if count]
    assert size is not None or reads == [1] * len(made.turns)
    separator = words.template.instructions.separator
    events = [_events_in(words.template, message.text) for turn in made.turns for message in turn.messages]
    whole = separator.join(event for event in events if event)
    assert whole == _blank(words, string)
    truth = [words.surfaces[bit] for bit in bits[ops == READ].tolist()]
    joiner = words.template.reply.joiner
    assert [answer for turn in made.turns for answer in turn.answer.split(joiner)] == truth


def _events_in(template: Template, text: str) -> str:
    """The instructions within a user's turn; nothing of an acknowledgement."""
    if text == template.chat.ack:
        return ""
    for frame in (template.chat.dialogue, template.chat.turn):
        assert frame is not None
        before, after = frame.split("{{ events }}")
        if text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after):
            return text.removeprefix(before).removesuffix(after)
    raise AssertionError(text)


def _blank(words: Renderer, string: Strings) -> str:
    """The whole string in words with blank reads, as a list shows it."""
    made = prompt(words, "list", "chat", string.string(0))
    before, after = words.around(words.frame("chat.list"), len(made.asked))
    return made.messages[-1].text.removeprefix(before).removesuffix(after)


def test_a_turn_without_a_read_is_acknowledged_and_not_asked() -> None:
    made = spoken("light-switch", "w1i0i1r1w0r0", size=2)
    assert [[(message.role, message.text) for message in turn.messages] for turn in made.turns] == [
        [
            ("user", made.turns[0].messages[0].text),
            ("assistant", "OK."),
            ("user", "Bob eats a banana.\nThe light is turned ___."),
        ],
        [("user", "Alice turns the light off.\nThe light is turned ___.")],
    ]
    assert made.turns[0].messages[0].text.endswith("\n\nAlice turns the light on.\nBob eats an apple.")


def test_one_turn_reaches_to_the_next_read_unless_told_otherwise() -> None:
    made = spoken("raw-spaced", "w1i0r1r1i0w0r0")
    assert [turn.messages[-1].text for turn in made.turns[1:]] == ["r ?", "i 0 w 0 r ?"]
    assert [turn.answer for turn in spoken("raw-spaced", "w1i0r1r1i0w0r0", size=4).turns] == ["1, 1", "0"]


def test_shots_stand_before_as_dialogues_that_were_answered_rightly() -> None:
    made = spoken("game", "w1r1", shots=["w0i1r0r0", "w1r1"])
    roles = [message.role for message in made.messages]
    assert roles == ["user", "assistant"] * 3
    assert [message.text for message in made.messages[1::2]] == ["0", "0", "1"]
    assert made.messages[0].text.startswith("Hi!")
    assert made.messages[4].text.startswith("Well played.")
    assert made.turns[0].messages[0].text == "Well played. Here begins the next sequence:\n\nwrite 1, read ?"


@pytest.mark.parametrize("name", FLIP_FLOP)
@pytest.mark.parametrize("size", [None, 2, 4])
def test_every_read_is_blank_where_the_prompt_says_so(name: str, size: int | None) -> None:
    made = spoken(name, "w1i0r1i1r1w0r0", size, shots=["w0r0r0"])
    messages = [*made.messages, *(message for turn in made.turns for message in turn.messages)]
    assert len(made.blanks) == 5
    assert {messages[at].text[start:end] for at, start, end in made.blanks} == {load(name).instructions.blank}
    asked = [at for at, _, _ in made.blanks if at >= len(made.messages)]
    ends = np.cumsum([len(turn.messages) for turn in made.turns]) + len(made.messages) - 1
    assert set(asked) == set(ends.tolist())


# ------------------------------------------------------------------------------------------------------- settings


def plan(can: Capabilities = CHATS, **more: Any) -> Plan:
    base = {"backend": "scripted", "model": "oracle", "elicitation": "dialogue", "length": 30, "trials": 3}
    return Plan(make(base | more), can)


def test_the_chunking_is_part_of_a_trials_name_where_it_is_not_the_default() -> None:
    assert plan().conditions[0].name == "game/0-shot/dialogue/chat/FFL(30, 0.6)"
    assert plan(turn_instructions=3).conditions[0].name == "game/0-shot/dialogue-by-3/chat/FFL(30, 0.6)"


def test_the_limit_of_a_reply_is_that_of_a_turn() -> None:
    made = plan(turn_instructions=5)
    for question in made.questions(made.batch(made.conditions[0], 0, 3)):
        assert [call.max_tokens for call in question.calls] == [64 + 8 * turn.reads for turn in question.prompt.turns]
    made = plan(max_tokens=7)
    (question, *_) = made.questions(made.batch(made.conditions[0], 0, 3))
    assert {call.max_tokens for call in question.calls} == {7}


def test_rules_see_no_true_earlier_reads() -> None:
    made = plan()
    assert "copy-last-read" not in made.batch(made.conditions[0], 0, 3).floor_hits


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"turn_instructions": 3}, "--turn-instructions 3: goes with --elicitation dialogue"),
        (
            {"turn_instructions": 3, "elicitation": ["list", "next"]},
            "--turn-instructions 3: goes with --elicitation dialogue",
        ),
        (
            {"turn_instructions": 0, "elicitation": "dialogue"},
            "--turn-instructions 0: expected a whole number of at least 1",
        ),
        ({"form": "completion", "elicitation": "dialogue"}, "--form completion: a dialogue needs the chat form"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make({"backend": "scripted", "model": "oracle"} | settings)


def test_a_model_without_a_chat_template_cannot_hold_a_dialogue() -> None:
    with pytest.raises(ModelError, match="no chat template\\), which dialogue needs"):
        plan(Capabilities(scores=True, completes=True, chats=False))


def own_template(tmp_path: Path, *changes: tuple[str, str]) -> str:
    text = (ROOT / "prompts" / "light-switch.toml").read_text()
    for old, new in (('name = "light-switch"', 'name = "mine"'), *changes):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_template_without_dialogues_serves_the_other_elicitations_and_says_what_to_add(tmp_path: Path) -> None:
    text = (ROOT / "prompts" / "light-switch.toml").read_text()
    begin, end = text.index('dialogue = """'), text.index("[reply]")
    path = own_template(tmp_path, (text[begin:end], ""))
    assert plan(template=path, elicitation="list").conditions
    with pytest.raises(
        TemplateError, match=r"template 'mine' has no chat\.dialogue, which dialogue in chat form needs"
    ):
        plan(template=path)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ('ack = " "\ndialogue = """', "chat.ack: is empty"),
        ('silence = ""\ndialogue = """', "chat.silence: is empty"),
        ('turn = "And then?"\ndialogue = """', "chat.turn: {{ events }} must stand in it exactly once"),
        ('dialogue_once = """', "unknown key; did you mean"),
    ],
)
def test_a_wording_that_cannot_work_is_refused(tmp_path: Path, new: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        load(own_template(tmp_path, ('\ndialogue = """', "\n" + new)))
    assert message in str(caught.value)


def test_later_beginnings_of_a_dialogue_are_needed_with_shots_alone(tmp_path: Path) -> None:
    text = (ROOT / "prompts" / "light-switch.toml").read_text()
    begin, end = text.index('dialogue_again = """'), text.index("[reply]")
    path = own_template(tmp_path, (text[begin:end], ""))
    assert plan(template=path, shots=0).conditions
    with pytest.raises(TemplateError, match=r"no chat\.dialogue_again, which dialogue in chat form needs with shots"):
        plan(template=path, shots=1)
