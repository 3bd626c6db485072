"""Prompts: what stands in them, where the answers stand, and that no answer stands where one is asked for."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ffprompt.elicitation.base import Form
from ffprompt.elicitation.question import Prompt
from ffprompt.elicitation.wording import answers
from ffprompt.tasks.flipflop import EVENTS, READ, Spec, as_strings, parse, sample
from ffprompt.tasks.shots import sample_shots
from ffprompt.tasks.strings import String, Strings
from ffprompt.templates.loading import load, names
from ffprompt.templates.renderer import Renderer
from ffprompt.templates.schema import Reply, Template
from tests.support.elicitations import prompt
from tests.support.hypothesis_profile import examples

# The bundled templates that word the flip-flop.
FLIP_FLOP = [name for name in names() if load(name).task == "flipflop"]

ELICITATIONS: tuple[str, ...] = ("forced", "next", "list")  # others: test_dialogue.py, test_trace.py
FORMS: tuple[Form, ...] = get_args(Form)

quick = settings(max_examples=examples(40), deadline=None, derandomize=True, database=None)


def renderer(name: str, symbols: int) -> Renderer:
    return Renderer(load(name), symbols)


def solved(strings: Strings, row: int = 0) -> String:
    return strings.string(row)


def string_of(text: str, symbols: int = 2) -> String:
    return solved(parse(text, symbols))


def shown(made: Prompt) -> str:
    """All that the model sees before it answers: for forced chat, without the reply that is put into its mouth."""
    return "\n".join(message.text for message in made.messages) if made.messages else made.text


def truth(string: String) -> list[int]:
    ops, bits = string.events, string.values
    return [bit for op, bit in zip(ops.tolist(), bits.tolist(), strict=True) if op == READ]


class Case:
    """A question, its shots and how it is asked; everything drawn."""

    def __init__(
        self,
        name: str,
        elicitation: str,
        form: Form,
        string: String,
        shots: list[String],
        symbols: int,
        asked: int,
    ) -> None:
        self.name, self.elicitation, self.form, self.string, self.shots = name, elicitation, form, string, shots
        self.asked = asked
        self.words = renderer(name, symbols)

    def __repr__(self) -> str:
        ops, bits = self.string.events, self.string.values
        text = as_strings(ops[None], bits[None], 256).texts()[0]
        return f"Case({self.name}, {self.elicitation}, {self.form}, {text}, {len(self.shots)} shots, read {self.asked})"

    def prompt(self, string: String | None = None, shots: list[String] | None = None) -> Prompt:
        string = self.string if string is None else string
        shots = self.shots if shots is None else shots
        return prompt(self.words, self.elicitation, self.form, string, shots, self.asked)


@st.composite
def cases(draw: st.DrawFn, elicitations: tuple[str, ...] = ELICITATIONS, forms: tuple[Form, ...] = FORMS) -> Case:
    name = draw(st.sampled_from(FLIP_FLOP))
    symbols = draw(st.sampled_from([2, 3, 16])) if name.startswith("raw") else 2
    weights = draw(st.tuples(*[st.integers(0, 5)] * 3).filter(any))
    write, read, ignore = (weight / sum(weights) for weight in weights)
    spec = Spec(2 * draw(st.integers(2, 15)), write, read, ignore, symbols)
    shot_spec = Spec(2 * draw(st.integers(2, 8)), spec.p_write, spec.p_read, spec.p_ignore, symbols)
    seed, number = draw(st.integers(0, 999)), draw(st.integers(0, 999))
    strings = sample(spec, seed, number, number + 1)
    shots = sample_shots(shot_spec, seed, number, strings, draw(st.integers(0, 4)))
    string = solved(strings)
    asked = draw(st.integers(0, len(truth(string)) - 1))
    elicitation, form = draw(st.sampled_from(elicitations)), draw(st.sampled_from(forms))
    return Case(name, elicitation, form, string, [solved(shot) for shot in shots], symbols, asked)


# --------------------------------------------------------------- prompts put together by hand, as the bundled files are


def put(source: str, **values: str) -> str:
    for name, value in values.items():
        source = source.replace("{{ " + name + " }}", value)
    return source


def told(template: Template, string: String, surfaces: tuple[str, ...], blanks: bool = False) -> list[str]:
    """The instructions of a string in words, one by one."""
    words, said = template.instructions, []
    for op, bit, _ in string:
        if op == READ:
            said.append(put(words.read, answer=words.blank if blanks else surfaces[bit]))
        else:
            texts = words.of(EVENTS[op])
            said.append(put(texts if isinstance(texts, str) else texts[bit], value=surfaces[bit]))
    return said


def cut(template: Template, string: String, surfaces: tuple[str, ...], read: int) -> list[str]:
    """As ``told``, up to a read, which ends where its answer would begin."""
    at = np.flatnonzero(string.events == READ)[read]
    said = told(template, string, surfaces)[: at + 1]
    return [*said[:-1], template.instructions.read.split("{{ answer }}")[0]]


def by_hand(case: Case) -> tuple[str, list[tuple[str, str]]]:
    """The text and the turns that the documentation of the templates promises."""
    template = load(case.name)
    surfaces = case.words.surfaces
    words, completion, chat = template.instructions, template.completion, template.chat
    joiner, separator = template.reply.joiner, words.separator

    def list_of(string: String) -> str:
        return joiner.join(surfaces[symbol] for symbol in truth(string))

    if case.form == "completion" and case.elicitation == "list":
        parts = [
            put(
                completion.list_string,
                events=separator.join(told(template, string, surfaces, blanks=True)),
                answers=list_of(string) if string is not case.string else "",
            )
            for string in [*case.shots, case.string]
        ]
        return (completion.intro + completion.between.join(parts)).rstrip(" "), []
    if case.form == "completion":
        shots = [put(completion.string, events=separator.join(told(template, s, surfaces))) for s in case.shots]
        read = case.asked if case.elicitation == "next" else -1
        events = separator.join(cut(template, case.string, surfaces, read))
        text = completion.between.join([*shots, put(completion.string, events=events)])
        if case.elicitation == "next":
            return (completion.intro + text).rstrip(" "), []
        return completion.intro + text + surfaces[truth(case.string)[-1]], []

    turns = [("system", chat.system)] if chat.system else []
    for number, string in enumerate([*case.shots, case.string]):
        if case.elicitation == "next":
            read = case.asked if string is case.string else -1
            ending = words.blank + words.read.split("{{ answer }}")[1]
            events = separator.join(cut(template, string, surfaces, read)) + ending
            frame, reply = (chat.next_again if number else chat.next), surfaces[truth(string)[read]]
        else:
            events = separator.join(told(template, string, surfaces, blanks=True))
            frame, reply = (chat.list_again if number else chat.list), list_of(string)
        turns.append(("user", put(frame, events=events, count=str(len(truth(string))))))
        if string is not case.string:
            turns.append(("assistant", reply))
    return list_of(case.string) if case.elicitation == "forced" else "", turns


@settings(quick, max_examples=examples(150))
@given(case=cases())
def test_a_prompt_is_what_its_template_says_put_together_by_hand(case: Case) -> None:
    text, turns = by_hand(case)
    made = case.prompt()
    assert made.text == text
    assert [(message.role, message.text) for message in made.messages] == turns


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("elicitation", [*ELICITATIONS, "trace"])
@pytest.mark.parametrize("name", FLIP_FLOP)
def test_every_bundled_template_renders_in_every_way(name: str, elicitation: str, form: Form) -> None:
    string, shots = string_of("w1 r1 i0 w0 i1 r0 r0"), [string_of("w0 i1 r0"), string_of("w1 w0 r0")]
    made = prompt(renderer(name, 2), elicitation, form, string, shots)
    assert bool(made.messages) == (form == "chat")
    assert (made.text == "") == (form == "chat" and elicitation != "forced")
    assert made.asked == ((2,) if elicitation == "next" else (0, 1, 2))
    assert len(made.reads) == (3 if elicitation == "forced" else 0)
    everything = made.text + "".join(message.text for message in made.messages)
    assert [mark for mark in ("{{", "{%", "\ue000", "\ue001") if mark in everything] == []


# ------------------------------------------------------------------------------------------------------- in full


def test_the_light_switch_reads_as_in_the_paper() -> None:
    made = prompt(renderer("light-switch", 2), "forced", "completion", string_of("w1 i0 r1 w0 i1 r0"))
    assert made.text == (
        "Alice turns the light on.\n"
        "Bob eats an apple.\n"
        "The light is turned on.\n"
        "Alice turns the light off.\n"
        "Bob eats a banana.\n"
        "The light is turned off"
    )
    assert made.reads == ((65, 67), (135, 138))


def test_the_raw_notation_is_that_of_the_paper() -> None:
    string = string_of("w1 i0 r1 w0 r0")
    for name, text in [("raw-compact", "w1i0r1w0r0"), ("raw-spaced", "w 1 i 0 r 1 w 0 r 0")]:
        words = renderer(name, 2)
        assert prompt(words, "forced", "completion", string).text == text
        assert prompt(words, "next", "completion", string).text == text[:-1].rstrip()
        assert prompt(words, "list", "completion", string).text == (
            ("w1i0r?w0r?" if name == "raw-compact" else "w 1 i 0 r ? w 0 r ?") + "\nanswers:"
        )


@pytest.mark.parametrize(("name", "text"), [("raw-compact", "w15i07r15"), ("raw-spaced", "w 15 i 07 r 15")])
def test_sixteen_symbols_are_written_with_two_digits(name: str, text: str) -> None:
    made = prompt(renderer(name, 16), "forced", "completion", string_of("w15i7r15", 16))
    assert made.text == text
    assert [made.text[start:end] for start, end in made.reads] == ["15"]


def test_a_game_goes_turn_by_turn() -> None:
    words = renderer("game", 2)
    made = prompt(words, "list", "chat", string_of("w1 i0 r1 r1"), [string_of("w0 r0")])
    assert [message.role for message in made.messages] == ["user", "assistant", "user"]
    first, reply, second = (message.text for message in made.messages)
    assert "Here is the sequence:\n\nwrite 0, read ?\n\nNumber of reads in it: 1." in first
    assert reply == "0"
    assert second.startswith("Well played. Here is the next sequence:\n\nwrite 1, ignore 0, read ?, read ?\n\n")
    assert "Number of reads in it: 2." in second


def test_one_answer_of_a_game_is_asked_for_at_its_place() -> None:
    made = prompt(renderer("game", 2), "next", "chat", string_of("w1 r1 w0 i1 r0 i0 r0"), next_read=1)
    (message,) = made.messages
    assert "\n\nwrite 1, read 1, write 0, ignore 1, read ?\n\nReply" in message.text
    assert (made.asked, made.reads, made.text) == ((1,), (), "")


# ------------------------------------------------------------------------------------------------------- forced


@quick
@given(case=cases(("forced",)))
def test_forced_knows_where_every_true_answer_stands(case: Case) -> None:
    made = case.prompt()
    surfaces = [case.words.surfaces[symbol] for symbol in truth(case.string)]
    assert [made.text[start:end] for start, end in made.reads] == surfaces
    ends = [0, *(end for _, end in made.reads)]
    assert all(end <= start for end, (start, _) in zip(ends, made.reads, strict=False))
    assert made.reads[-1][1] == len(made.text)
    assert made.asked == tuple(range(len(surfaces)))


@quick
@given(case=cases(("forced",), ("completion",)))
def test_before_a_forced_answer_stands_what_next_would_ask(case: Case) -> None:
    made = case.prompt()
    start, _ = made.reads[case.asked]
    asked = prompt(case.words, "next", "completion", case.string, case.shots, case.asked)
    assert made.text[:start].rstrip(" ") == asked.text


@quick
@given(case=cases(("forced",), ("chat",)))
def test_the_forced_reply_is_the_list_of_the_answers_to_the_list_question(case: Case) -> None:
    made = case.prompt()
    asked = prompt(case.words, "list", "chat", case.string, case.shots)
    assert made.messages == asked.messages
    joiner = case.words.template.reply.joiner
    assert made.text.split(joiner) == [case.words.surfaces[symbol] for symbol in truth(case.string)]
    assert made.text == answers(case.words, case.string)


@pytest.mark.parametrize("joiner", ["", " ", "on"])
def test_answers_stand_where_they_are_said_to_with_any_joiner(joiner: str) -> None:
    template = load("light-switch").model_copy(update={"reply": Reply(joiner=joiner)})
    made = prompt(Renderer(template, 2), "forced", "chat", string_of("w1 r1 w0 r0 r0 w1 r1"))
    assert made.text == joiner.join(["on", "off", "off", "on"])
    assert [made.text[start:end] for start, end in made.reads] == ["on", "off", "off", "on"]
    assert made.reads[1][0] == 2 + len(joiner)


# ------------------------------------------------------------------------------------ what must not give it away


def changed(string: String, where: np.ndarray) -> String:
    """The string with the symbols at these places flipped: out of the language, but nothing should look."""
    ops, bits = string.events, string.values
    return as_strings(ops[None], np.where(where, (bits == 0).astype(np.uint8), bits)[None]).string(0)


@quick
@given(case=cases(("next",)))
def test_next_shows_nothing_from_its_answer_on(case: Case) -> None:
    ops, bits = case.string.events, case.string.values
    place = np.arange(len(ops))
    at = np.flatnonzero(ops == READ)[case.asked]
    assert case.prompt(changed(case.string, place >= at)) == case.prompt()
    all_reads_after = as_strings(np.where(place > at, np.uint8(READ), ops)[None], bits[None]).string(0)
    if case.form == "completion":
        assert case.prompt(all_reads_after) == case.prompt()


@quick
@given(case=cases(("next",)))
def test_next_shows_the_answers_before_its_own(case: Case) -> None:
    ops = case.string.events
    assume(case.asked > 0)
    for read in np.flatnonzero(ops == READ)[: case.asked]:
        assert case.prompt(changed(case.string, np.arange(len(ops)) == read)) != case.prompt()


@quick
@given(case=cases(("next",)))
def test_next_ends_right_before_its_answer_and_never_in_a_space(case: Case) -> None:
    made = case.prompt()
    if case.form == "completion":
        before = case.words.read_before.rstrip(" ")
        assert before
        assert made.text.endswith(before)
        assert not made.text.endswith(" ")
    else:
        last = made.messages[-1].text
        assert case.words.read_before + case.words.template.instructions.blank + case.words.read_after in last
    assert made.asked == (case.asked,)


@quick
@given(case=cases(("list",)))
def test_list_shows_no_answer_of_the_question(case: Case) -> None:
    assert case.prompt(changed(case.string, case.string.events == READ)) == case.prompt()


@quick
@given(case=cases(("forced",), ("chat",)))
def test_forced_chat_shows_no_answer_before_the_reply(case: Case) -> None:
    other = case.prompt(changed(case.string, case.string.events == READ))
    assert other.messages == case.prompt().messages
    assert other.text != case.prompt().text


@quick
@given(case=cases(("list",)))
def test_list_has_a_blank_for_every_read(case: Case) -> None:
    words = case.words.template.instructions
    blank = put(words.read, answer=words.blank)
    intro = by_hand(Case(case.name, case.elicitation, case.form, string_of("w0 r0"), [], len(case.words.surfaces), 0))
    in_rules = sum(text.count(blank) for text in (intro[0], *(text for _, text in intro[1]))) - 1
    expected = sum(len(truth(string)) for string in [*case.shots, case.string])
    assert shown(case.prompt()).count(blank) == expected + in_rules


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FLIP_FLOP)
def test_list_has_as_many_blanks_in_the_question_as_it_says(name: str, form: Form) -> None:
    string = string_of("w1 r1 r1 i0 w0 r0 i0 r0 w1 r1")
    words = renderer(name, 2)
    question = shown(prompt(words, "list", form, string))
    (frame,) = by_hand(Case(name, "list", form, string_of("w0 r0"), [], 2, 0))[1][-1:] or [("", "")]
    blank = words.read_before + words.template.instructions.blank
    in_rules = max(frame[1].count(blank) - 1, 0)
    assert question.count(blank) == 5 + in_rules
    assert question.count(": 5.") == (form == "chat")


@quick
@given(case=cases(("list",)))
def test_list_shows_the_answers_of_every_shot(case: Case) -> None:
    made = case.prompt()
    for number, shot in enumerate(case.shots):
        spoilt = [*case.shots[:number], changed(shot, shot.is_read), *case.shots[number + 1 :]]
        assert case.prompt(shots=spoilt) != made
    if case.form == "chat":
        replies = [message.text for message in made.messages if message.role == "assistant"]
        assert replies == [answers(case.words, shot) for shot in case.shots]


def test_next_does_not_count_reads_that_it_does_not_show() -> None:
    chat = load("game").chat.model_copy(update={"next": "{{ events }}\n{{ count }} reads"})
    words = Renderer(load("game").model_copy(update={"chat": chat}), 2)
    made = prompt(words, "next", "chat", string_of("w1 r1 r1 r1"), next_read=0)
    assert made.messages[-1].text == "write 1, read ?\n1 reads"


# -------------------------------------------------------------------------------------------------------- shots


@quick
@given(case=cases())
def test_every_shot_stands_before_the_question_in_order(case: Case) -> None:
    template, words = load(case.name), case.words
    blanks = case.elicitation == "list" or (case.form == "chat" and case.elicitation == "forced")
    seen, position = shown(case.prompt()), 0
    for shot in case.shots:
        said = told(template, shot, words.surfaces, blanks)
        if case.form == "chat" and case.elicitation == "next":
            said = cut(template, shot, words.surfaces, -1)
        events = template.instructions.separator.join(said)
        found = seen.find(events, position)
        assert found >= 0
        position = found + len(events)
    assert len(seen) > position


@quick
@given(case=cases(forms=("chat",)))
def test_turns_alternate_and_end_with_the_question(case: Case) -> None:
    roles = [message.role for message in case.prompt().messages]
    system = ["system"] if case.words.system else []
    assert roles == system + ["user", "assistant"] * len(case.shots) + ["user"]


@quick
@given(case=cases())
def test_more_shots_leave_the_first_ones_where_they_were(case: Case) -> None:
    if case.form == "chat":
        turns = case.prompt().messages
        for number in range(1, len(case.shots)):
            fewer = case.prompt(shots=case.shots[:number]).messages
            assert fewer[:-1] == turns[: len(fewer) - 1]
    else:
        for number in range(1, len(case.shots)):
            intro_and_shots = case.prompt(shots=case.shots[:number]).text
            bare = case.prompt(shots=[]).text.removeprefix(case.words.intro)
            assert case.prompt().text.startswith(intro_and_shots.removesuffix(bare))


def test_a_shot_of_one_answer_shows_its_last_read() -> None:
    made = prompt(renderer("explain", 2), "next", "chat", string_of("w1 r1"), [string_of("w0 r0 w1 i0 r1")])
    system, first, reply, question = made.messages
    assert (system.role, first.role, reply.role, question.role) == ("system", "user", "assistant", "user")
    assert "\nwrite 0\nread 0\nwrite 1\nignore 0\nread ?\n" in first.text
    assert reply.text == "1"
    assert "write 1\nread ?\n" in question.text


# -------------------------------------------------------------------------------------------------- which read


@pytest.mark.parametrize("asked", [0, 1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_a_read_is_asked_by_its_number(form: Form, asked: int) -> None:
    string = string_of("w1 r1 i0 r1 w0 r0")
    made = prompt(renderer("game", 2), "next", form, string, next_read=asked)
    assert made.asked == (asked,)
    assert shown(made).count("ignore 0, read 1") == (asked == 2) + (form == "chat")


@pytest.mark.parametrize("next_read", [3, -4, 100])
@pytest.mark.parametrize("form", FORMS)
def test_a_read_that_is_not_there_cannot_be_asked(form: Form, next_read: int) -> None:
    with pytest.raises(IndexError):
        prompt(renderer("game", 2), "next", form, string_of("w1 r1 i0 r1 w0 r0"), next_read=next_read)


@quick
@given(case=cases(("forced", "list")))
def test_forced_and_list_ask_every_read(case: Case) -> None:
    assert case.prompt().asked == tuple(range(len(truth(case.string))))


# ------------------------------------------------------------------------------------------- frames with an ending


def framed() -> Renderer:
    """A template of which every text stands around something."""
    game = load("game")
    completion = game.completion.model_copy(
        update={
            "intro": "I",
            "string": "<{{ count }}|{{ events }}|>",
            "list_string": "({{ events }}|{{ count }}) {{ answers }}",
            "between": "&",
        }
    )
    return Renderer(game.model_copy(update={"completion": completion}), 2)


def test_what_stands_after_the_events_is_shown_for_shots_and_not_for_the_question() -> None:
    string, shot = string_of("w1 r1 r1"), string_of("w0 r0")
    made = prompt(framed(), "forced", "completion", string, [shot])
    assert made.text == "I<1|write 0, read 0|>&<2|write 1, read 1, read 1"
    assert made.reads == ((39, 40), (47, 48))
    made = prompt(framed(), "next", "completion", string, [shot])
    assert made.text == "I<1|write 0, read 0|>&<2|write 1, read 1, read"


def test_what_stands_after_the_events_of_a_list_is_shown_for_both() -> None:
    made = prompt(framed(), "list", "completion", string_of("w1 r1 r1"), [string_of("w0 r0 r0")])
    assert made.text == "I(write 0, read ?, read ?|2) 0, 0&(write 1, read ?, read ?|2)"


def test_a_list_ends_at_the_end_of_its_line() -> None:
    words = renderer("light-switch", 2)
    assert prompt(words, "list", "completion", string_of("w1 r1")).stop == ("\n",)
    assert prompt(words, "list", "chat", string_of("w1 r1")).stop == ()


def test_a_true_list_is_not_cut_off_by_its_own_stop() -> None:
    string = string_of("w1 r1 r1")
    for name in FLIP_FLOP:
        words = Renderer(load(name), 2)
        made = prompt(words, "list", "completion", string)
        assert not any(stop in answers(words, string) for stop in made.stop), name
