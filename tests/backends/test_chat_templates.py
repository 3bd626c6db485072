"""Chat templates of families as they are: switches for thinking, open blocks, system roles, clocks."""

from __future__ import annotations

from typing import Any

import pytest

from ffprompt.backends.base import AnswerSchema, Message, Request, without_system
from ffprompt.backends.local.chat_template import OWN, ChatTemplate, Switch, Thinking
from ffprompt.backends.local.tokenization import ROOM, Encoder, audit
from ffprompt.errors import AuditError, ModelError
from tests.support import tiny

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
BEGIN = "{% if add_generation_prompt %}<|im_start|>assistant\n"
PLAIN = TURNS + BEGIN + "{% endif %}"
# As in Qwen3: thinks unless told otherwise, and opens no block itself.
QWEN3 = (
    TURNS + BEGIN + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
# As in GLM and Qwen3.5: the prompt opens the block.
OPENING = (
    TURNS + BEGIN + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}"
)
# As in DeepSeek-V3.1: does not think unless told to.
ON_REQUEST = TURNS + BEGIN + "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
# As in DeepSeek-R1 and QwQ: always thinks.
ALWAYS = TURNS + BEGIN + "<think>\n{% endif %}"
# As in gpt-oss: an effort that is only written down.
EFFORT = "Reasoning: {{ reasoning_effort | default('medium') }}\n" + TURNS + BEGIN + "{% endif %}"
# As in Mistral Small 4: one of two words.
WORDED = (
    "{% set reasoning_effort = reasoning_effort | default('none') %}"
    "{% if reasoning_effort not in ['none', 'high'] %}{{ raise_exception('none or high') }}{% endif %}"
    "[MODEL_SETTINGS]{{ reasoning_effort }}[/MODEL_SETTINGS]" + PLAIN
)
BUDGET = TURNS + BEGIN + "{% if thinking_budget == 0 %}<seed:think></seed:think>{% endif %}{% endif %}"
REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + PLAIN
)
FORGETS_SYSTEM = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
CLOCK = "Today is {{ strftime_now('%d %b %Y') }}.\n" + PLAIN
CLOCK_OF_SYSTEM = "{% if messages[0].role == 'system' %}{{ strftime_now('%H:%M:%S') }}{% endif %}" + PLAIN
USER = (Message("user", "w1 r?"),)
SYSTEM = (Message("system", "Say 0 or 1."), *USER)


def words(template: str, **thinking: Any) -> Encoder:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return Encoder(tokenizer, "m", None, 2048, len(tokenizer), Thinking(**thinking))


def of(template: str, **thinking: Any) -> ChatTemplate:
    found = words(template, **thinking).template
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("template", "switch", "thinks", "opens"),
    [
        (PLAIN, None, False, False),
        (QWEN3, Switch("enable_thinking", True, False), True, False),
        (OPENING, Switch("enable_thinking", True, False), True, True),
        (ON_REQUEST, Switch("thinking", True, False), False, False),
        (ALWAYS, None, True, True),
        (EFFORT, None, False, False),
        (WORDED, Switch("reasoning_effort", "high", "none"), False, False),
        # A word that is written down, and a block that is open in any case.
        ("Mode: {{ thinking_style }}" + PLAIN, None, False, False),
        ("{% if thinking %}Think hard. {% endif %}" + ALWAYS, None, True, True),
        (BUDGET, Switch("thinking_budget", -1, 0), True, False),
        (QWEN3.replace("enable_thinking", "use_think"), Switch("use_think", True, False), True, False),
    ],
)
def test_a_switch_is_what_changes_the_prompt(template: str, switch: Switch | None, thinks: bool, opens: bool) -> None:
    found = of(template)
    assert (found.switch, found.thinks, found.opens) == (switch, thinks, opens)


@pytest.mark.parametrize("template", [QWEN3, OPENING, ON_REQUEST])
def test_thinking_is_switched_on_and_off(template: str) -> None:
    on, off = of(template, mode="on"), of(template, mode="off")
    assert on.render(USER) != off.render(USER) and not off.opens
    assert (on.thinks, off.thinks) == (True, False)
    assert on.identity["thinking"] == "on" and off.identity["thinking"] == "off"
    assert of(template).identity["thinking"] == OWN


def test_a_template_that_refuses_a_conversation_without_a_system_text_can_be_used_with_one() -> None:
    demanding = "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
    encoder = words(demanding)
    assert encoder.identity.keys() == {"chat_template"} and encoder.room == 0
    assert "Say 0 or 1." in encoder.text(Request("k", "", SYSTEM))[0]
    with pytest.raises(ModelError, match="its chat template refuses the prompt: no system"):
        encoder.text(Request("k", "", USER))


def test_of_several_templates_the_default_counts() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = {"default": OPENING, "tool_use": PLAIN}  # type: ignore[assignment]
    encoder = Encoder(tokenizer, "m", None, 2048)
    assert encoder.text(Request("k", "", USER))[0].endswith("<think>\n") and encoder.room == ROOM


@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("template", [PLAIN, ALWAYS, EFFORT])
def test_a_template_without_a_switch_refuses_in_one_line(template: str, mode: str) -> None:
    with pytest.raises(ModelError, match=f"^--thinking {mode}: the chat template of m has no switch") as error:
        of(template, mode=mode)
    assert "\n" not in str(error.value)


def test_an_effort_goes_to_a_template_that_knows_it() -> None:
    assert "Reasoning: high" in of(EFFORT, effort="high").render(USER)
    assert of(EFFORT, effort="high").identity["reasoning_effort"] == "high"
    with pytest.raises(ModelError, match=r"^--reasoning-effort high: .* has no reasoning_effort"):
        of(QWEN3, effort="high")
    with pytest.raises(ModelError, match=r"give one of the two"):
        of(WORDED, effort="high", mode="off")


def test_without_a_chat_template_nothing_is_switched() -> None:
    tokenizer = tiny.tokenizer()
    for thinking in (Thinking(mode="off"), Thinking(room=5), Thinking(effort="low")):
        with pytest.raises(ModelError, match="model m has no chat template"):
            Encoder(tokenizer, "m", None, 2048, None, thinking)


def given(text: str = "0, 1", messages: tuple[Message, ...] = USER) -> Request:
    return Request("k", text, messages, reads=((0, 1), (3, 4)), surfaces=("0", "1"))


def test_given_answers_never_stand_in_an_open_block() -> None:
    by_switch, by_mark = words(OPENING), words(ALWAYS)
    assert by_switch.text(given())[0].endswith("<think>\n\n</think>\n\n0, 1")
    assert by_mark.text(given())[0].endswith("assistant\n<think>\n\n</think>\n\n0, 1")
    assert "closed before given answers by enable_thinking=False" in audit(by_switch, [given()])["notes"][0]
    assert "closed before given answers by '</think>'" in audit(by_mark, [given()])["notes"][0]
    # Where the model writes, the template's own way stays.
    assert by_switch.text(Request("k", "", USER))[0].endswith("<think>\n")
    # A grammar would make the model write JSON into the block.
    assert by_mark.text(Request("k", "", USER, schema=AnswerSchema(("0", "1"), 2)))[0].endswith("</think>\n\n")


def test_given_answers_with_thinking_on_are_refused() -> None:
    with pytest.raises(ModelError, match="--thinking on opens a block of reasoning, and given answers"):
        words(OPENING, mode="on").text(given())
    assert words(QWEN3, mode="on").text(given())[0].endswith("assistant\n0, 1")  # none is open


def test_a_users_own_tags_are_closed_by_the_users_mark() -> None:
    template = TURNS + BEGIN + "(thinks:{% endif %}"
    assert words(template).text(given())[0].endswith("(thinks:0, 1")
    assert words(template, tags=("(thinks:", ":done)")).text(given())[0].endswith("(thinks::done)0, 1")


def test_a_reply_in_a_block_that_the_prompt_has_opened_begins_with_the_opening_mark() -> None:
    encoder = words(ALWAYS)
    ids = encoder.encode("The answers are 0, 0")
    assert encoder.reply(Request("k", "", USER), ids) == ("<think>\nThe answers are 0, 0", False)
    assert words(PLAIN).reply(Request("k", "", USER), ids) == ("The answers are 0, 0", False)


def special(template: str, *marks: str, **named: str) -> Encoder:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks), **named})  # type: ignore[arg-type]
    tokenizer.chat_template = template
    return Encoder(tokenizer, "m", None, 2048, len(tokenizer))


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        (("[THINK]", "[/THINK]"), "[THINK]0, 0?[/THINK]1, 0"),
        (("<|channel|>", "<|message|>", "<|end|>", "<|start|>"), "<|channel|>analysis<|message|>0, 0<|end|>"),
        (("<|START_THINKING|>", "<|END_THINKING|>"), "<|START_THINKING|>0, 0<|END_THINKING|>1, 0"),
    ],
)
def test_marks_of_reasoning_stay_though_they_are_special_tokens(marks: tuple[str, ...], text: str) -> None:
    encoder = special(PLAIN, *marks)
    assert encoder.reply(Request("k", "", USER), encoder.encode(text))[0] == text


def test_special_tokens_that_are_no_text_go() -> None:
    encoder = words(PLAIN)
    ids = [0, *encoder.encode("1, 0"), 1, 0]
    assert encoder.reply(Request("k", "", USER), ids)[0] == "1, 0"


@pytest.mark.parametrize("pad", ["1", "[/THINK]"])
def test_a_padding_token_that_means_something_stays_in_a_reply(pad: str) -> None:
    encoder = special(PLAIN, "[THINK]", "[/THINK]", pad_token=pad)
    text = "[THINK]0[/THINK]1, 0"
    assert encoder.reply(Request("k", "", USER), encoder.encode(text))[0] == text


def test_a_reply_ends_at_the_first_stop_text() -> None:
    encoder = words(PLAIN)
    assert encoder.reply(Request("k", "x", stop=("c", "b")), encoder.encode("abcd")) == ("a", True)


@pytest.mark.parametrize(
    ("template", "thinking", "limit"),
    [
        (PLAIN, {}, 16),
        (PLAIN, {"room": 100}, 116),
        (ALWAYS, {}, 16 + ROOM),
        (OPENING, {}, 16 + ROOM),
        (OPENING, {"mode": "off"}, 16),
        (ON_REQUEST, {}, 16),
        (ON_REQUEST, {"mode": "on"}, 16 + ROOM),
        (ALWAYS, {"room": 0}, 16),
    ],
)
def test_replies_have_room_for_reasoning_where_there_will_be_some(
    template: str, thinking: dict[str, Any], limit: int
) -> None:
    encoder = words(template, **thinking)
    encoder.context = 10_000
    chat = Request("k", "", USER)
    assert encoder.limit(chat, 50) == limit
    assert encoder.limit(Request("k", "w1 r"), 50) == 16  # in completion form nobody thinks
    said = [note for note in audit(encoder, [chat])["notes"] if "--reasoning-room" in note]
    assert bool(said) is (limit > 16)


def test_room_that_nobody_asked_for_takes_what_the_context_leaves() -> None:
    encoder, chat = words(ALWAYS), Request("k", "", USER)
    tokens = len(encoder.prompt(chat))
    assert encoder.limit(chat, tokens) == 2048 - tokens
    with pytest.raises(AuditError, match="and 3016 for the reply do not fit"):
        words(ALWAYS, room=3000).prompt(chat)


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, FORGETS_SYSTEM])
def test_without_a_system_role_the_text_stands_in_the_first_user_turn(template: str) -> None:
    encoder = words(template)
    assert "Say 0 or 1.\n\nw1 r?" in encoder.text(Request("k", "", SYSTEM))[0]
    assert "has no system role" in audit(encoder, [Request("k", "", SYSTEM)])["notes"][0]
    assert not audit(words(template), [Request("k", "", USER)])["notes"]
    assert "system\nSay 0 or 1." in words(PLAIN).text(Request("k", "", SYSTEM))[0]


def test_a_system_text_goes_to_the_user_turn_that_follows_it() -> None:
    user, assistant = Message("user", "u"), Message("assistant", "a")
    assert without_system([user, assistant]) == (user, assistant)
    assert without_system([Message("system", "s")]) == (Message("user", "s"),)
    assert without_system([user, assistant, Message("system", "s"), Message("system", "t"), user]) == (
        user,
        assistant,
        Message("user", "s\n\nt\n\nu"),
    )


@pytest.mark.parametrize(("template", "clock"), [(CLOCK, True), (CLOCK_OF_SYSTEM, True), (PLAIN, False)])
def test_a_template_with_a_clock_is_remarked_on(template: str, clock: bool) -> None:
    encoder = words(template)
    assert encoder.template is not None and encoder.template.has_clock is clock
    notes = audit(encoder, [Request("k", "", USER)])["notes"]
    assert any("writes the date or time" in note for note in notes) is clock


def test_a_prompt_is_rendered_once_so_that_the_log_digests_what_the_model_saw() -> None:
    encoder = words("{{ strftime_now('%f') }}" + PLAIN)
    request = Request("k", "", USER)
    assert len({encoder.text(request)[0] for _ in range(5)}) == 1


def test_a_token_outside_the_embedding_matrix_is_one_line() -> None:
    tokenizer = tiny.tokenizer()
    encoder = Encoder(tokenizer, "m", None, 2048, len(tokenizer))
    tokenizer.add_tokens(["Xenia"])
    with pytest.raises(AuditError, match=r"a prompt holds token \d+ \('Xenia'\), and its embedding matrix ends at"):
        encoder.encode("Xenia turns the light on")
    assert encoder.encode("Bob turns the light on")
