"""Marks of reasoning and of a turn's end: what is a draft, what is an answer, and where a prompt ends."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprompt.backends.reasoning_marks import closing, first_said, opens_reasoning, strip_marks, strip_reasoning

# Of each family: what opens a block, and what stands between the thoughts and the answer.
BLOCKS = {
    "think": ("<think>", "</think>"),
    "think-upper": ("<THINK>", "</THINK>"),
    "think-attribute": ('<think type="long">', "</think>"),
    "thinking": ("<thinking>", "</thinking>"),
    "thought": ("<thought>", "</thought>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "longcat": ("<longcat_think>", "</longcat_think>"),
    "seed": ("<seed:think>", "</seed:think>"),
    "granite-response": ("<think>", "</think><response>"),
    "magistral": ("[THINK]", "[/THINK]"),
    "kimi": ("◁think▷", "◁/think▷"),
    "sky": ("<|begin_of_thought|>", "<|end_of_thought|>\n\n<|begin_of_solution|>"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "solar": ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    "hyperclova": ("<|im_start|>assistant/think\n", "<|im_end|>\n<|im_start|>assistant\n"),
    "gemma": ("<|channel>thought\n", "<channel|>"),
    "gpt-oss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gpt-oss-start": (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss-commentary": (
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=x<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "gpt-oss-leaked": ("analysis", "assistantfinal"),
    "gpt-oss-leaked-commentary": ("analysisWe need to.assistantcommentary", "assistantfinal"),
    "gpt-oss-some-marks": ("analysis<|message|>", "<|end|>assistantfinal<|message|>"),
    "granite": ("Here is my thought process:\n", "\nHere is my response:\n"),
    "granite-short": ("Here's my thought process: ", " Here's my response: "),
    "ollama": ("Thinking...\n", "\n...done thinking.\n\n"),
}
DRAFT = "The answers are: 0, 0, 0"


@pytest.mark.parametrize(("opens", "closes"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_goes_and_an_open_one_leaves_nothing(opens: str, closes: str) -> None:
    assert (strip_reasoning(f"{opens}{DRAFT}{closes}1, 0, 1") or "").strip() == "1, 0, 1"
    assert strip_reasoning(f"{opens}{DRAFT}") is None
    assert strip_reasoning(f"  \n{opens}{DRAFT}\n") is None
    assert strip_reasoning(f"{opens}{DRAFT}{closes}1, 0, 1<think>{DRAFT}") is None


LONE = ["</think>", "[/THINK]", "</seed:think>", "◁/think▷", "<|end_of_thought|>", "<|END_THINKING|>", "<channel|>"]


@pytest.mark.parametrize("mark", [*LONE, "<|channel|>final<|message|>", "assistantfinal", "</THINK>", "</thought>"])
def test_what_stands_before_a_lone_closing_mark_was_thought(mark: str) -> None:
    assert (strip_reasoning(f"{DRAFT}{mark}1, 0, 1") or "").strip() == "1, 0, 1"
    assert (strip_reasoning(f"{DRAFT}{mark}") or "").strip() == ""


@pytest.mark.parametrize(
    "text",
    [
        f"<think>a <think>b</think> {DRAFT}",  # one of two blocks is closed
        f"<think>a <reasoning>b</reasoning> {DRAFT}",
        f"[THINK]a</think>{DRAFT}",
        f"<think>a[/THINK]{DRAFT}",
        f"<think>a<|im_end|>{DRAFT}",
        f"<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>{DRAFT}<|end|>",
        f"analysisWe see.assistantcommentary{DRAFT}",
        f"thought\n{DRAFT}",
    ],
)
def test_a_draft_is_never_an_answer(text: str) -> None:
    assert strip_reasoning(text) is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("1, 0, 1", "1, 0, 1"),
        ("<think>\n<think>\nhm</think>1, 0, 1", "1, 0, 1"),  # the server repeats what the prompt ends in
        ("<think>a <think>b</think> c</think>1, 0, 1", "1, 0, 1"),
        ("<think></think>1, 0, 1", "1, 0, 1"),
        ("Analysis: one write. 1, 0, 1", "Analysis: one write. 1, 0, 1"),
        ("analysis: 1, 0, 1", "analysis: 1, 0, 1"),
        ("finally, 1, 0, 1", "finally, 1, 0, 1"),
        ("final1, 0, 1", "1, 0, 1"),
        ("I think 1, 0, 1", "I think 1, 0, 1"),
        ("<response>1, 0, 1</response>", "1, 0, 1</response>"),
    ],
)
def test_what_is_no_block_stays(text: str, left: str) -> None:
    assert (strip_reasoning(text) or "").strip() == left


def test_two_final_channels_are_both_kept() -> None:
    head = "<|channel|>final<|message|>"
    left = strip_reasoning(f"{head}1, 0, 1<|end|><|start|>assistant{head}1, 1, 1<|return|>")
    assert left is not None
    assert "1, 0, 1" in left
    assert "1, 1, 1" in left


def test_a_users_own_tags_count_beside_the_table() -> None:
    tags = ("((", "))")
    assert (strip_reasoning(f"(({DRAFT}))1, 0, 1", tags) or "").strip() == "1, 0, 1"
    assert strip_reasoning(f"(({DRAFT}", tags) is None
    assert strip_reasoning(f"<think>{DRAFT}", tags) is None
    assert strip_reasoning(f"(({DRAFT}", ()) == f"(({DRAFT}"
    assert strip_reasoning("<A>x", ("<a>", "</a>")) == "<A>x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on. Alice", "on. Alice"),
        ("on <think>off", "on"),
        ("<think>off</think>on", "on"),
        ("off</think>on", "on"),
        ("<think>off", None),
    ],
)
def test_a_base_models_first_words_outside_of_thoughts(text: str, said: str | None) -> None:
    found = first_said(text)
    assert (found if found is None else found.strip()) == said


ENDS = [
    "<|im_end|>", "</s>", "<|eot_id|>", "<|end|>", "<|endoftext|>", "<end_of_turn>", "<|return|>", "[/INST]", "<eos>",
    "<|end_of_text|>", "<|eot|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>", "[|endofturn|]", "<turn|>", "<pad>",
    "<seed:eos>", "[EOS]", "[e~[", "<|im_end|>\n<|im_start|>user", "<|eot_id|><|start_header_id|>user<|end_header_id|>",
    "<end_of_turn>\n<start_of_turn>user\n", "</s> [INST]", "<|user|>", "</response>", "<|END_RESPONSE|>",
    "<|a_mark_that_nobody_has_told_us|>",
]  # fmt: skip


@pytest.mark.parametrize("mark", ENDS)
def test_marks_at_the_very_end_go(mark: str) -> None:
    assert strip_marks(f"1, 0, 1{mark}") == "1, 0, 1"
    assert strip_marks(f"1, 0, 1 {mark}\n") == "1, 0, 1"
    assert strip_marks(f"1, 0, 1{mark} {mark}\n{mark}") == "1, 0, 1"
    assert strip_marks(mark) == ""


@pytest.mark.parametrize("mark", ENDS)
def test_marks_in_the_middle_stay(mark: str) -> None:
    assert strip_marks(f"1, 0{mark}, 1") == f"1, 0{mark}, 1"


@pytest.mark.parametrize("text", ["1, 0, 1 ", "a < b | c > d", "[1]", "<1, 0>", "x <|", "1 |>", "", "on the user"])
def test_text_without_marks_stays_as_it_is(text: str) -> None:
    assert strip_marks(text) == text


# A prompt, and what closes its block; empty where none is open.
PROMPTS = [
    ("<|im_start|>assistant\n<think>\n", "\n</think>\n\n"),
    ("<|im_start|>assistant\n<think>", "\n\n</think>\n\n"),
    ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
    ("<|im_start|>assistant\n", ""),
    ("<|im_start|>user\nWrite <think> first.<|im_end|>\n<|im_start|>assistant\n", ""),
    ("<|im_start|>user\nWrite <think> first.<|im_end|>\n<|im_start|>assistant\n<think>\n", "\n</think>\n\n"),
    ("User: Think in <think> tags.\nAssistant:", ""),
    ("User: 1?\nAssistant: <think>\n", "\n</think>\n\n"),
    ("[SYSTEM_PROMPT]Draft in [THINK] and [/THINK].[/SYSTEM_PROMPT][INST]w1 r[/INST][THINK]", "[/THINK]"),
    ("<seed:bos>assistant\n<seed:think>", "</seed:think>"),
    ("<|CHATBOT_TOKEN|><|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>hm<|end|><|start|>assistant", ""),
    ("<|start|>assistant<|channel|>final<|message|>", ""),
    ("<|turn>system\n<|think|><turn|>\n<|turn>model\n", ""),
    ("<|turn>model\n<|channel>thought\n", "<channel|>"),
    ("The light is on. The light is", ""),
]


@pytest.mark.parametrize(("prompt", "closes"), PROMPTS)
def test_a_prompt_that_ends_in_thoughts_is_known_and_can_be_closed(prompt: str, closes: str) -> None:
    assert opens_reasoning(prompt) == bool(closes)
    assert closing(prompt) == closes
    assert not opens_reasoning(prompt + closing(prompt))


def test_a_prompt_may_end_in_a_users_own_tag() -> None:
    assert not opens_reasoning("Assistant: ((")
    assert opens_reasoning("Assistant: ((", ("((", "))"))
    assert closing("Assistant: ((", ("((", "))")) == "))"


MARKS = st.sampled_from(
    [
        *("1", ",", " ", "\n", "<think>", "</think>", "[THINK]", "[/THINK]", "<|im_end|>", "</s>", "analysis", "<"),
        *("<|channel|>", "final", "<|message|>", "<|end|>", "|>", "Here is my response:", "<think", "user:", "(("),
        *("assistantfinal", "<|im_start|>assistant", "/think", "thought\n"),
    ]
)


@given(st.one_of(st.text(), st.lists(MARKS, max_size=20).map("".join)))
def test_stripping_only_ever_takes_away(text: str) -> None:
    left = strip_reasoning(text, ("((", "))"))
    assert left is None or set(left) <= set(text) | {"\n"}
    assert text.startswith(strip_marks(text))
    assert strip_marks(strip_marks(text)) == strip_marks(text)
    assert not opens_reasoning(text + closing(text))


@pytest.mark.parametrize(
    "text",
    [piece * (40_000 // len(piece)) for piece in ("<think>", "</s>", "<think> a ", "</think>", "<|", "<|channel|>",
     " ", "[", "<think ", "assistant", "<|channel|>final", "analysis", "<|im_start|>", "◁", "\n", "###", "<s> ")],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_hostile_reply_does_not_hang(text: str) -> None:
    start = time.process_time()
    strip_reasoning(text)
    strip_marks(text)
    strip_marks("1" + text)
    closing(text)
    assert time.process_time() - start < 15  # it takes a fraction of a second; this is about replies that never end
