"""What a reply means, and above all when it means nothing that can be counted."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ffprompt.scoring.parse_reply import Parsed, parse_list, parse_next
from tests.support.hypothesis_profile import examples

BITS = ["0", "1"]
LIGHT = ["off", "on"]
DOOR = ["closed", "open"]
PLACES = ["table", "shelf"]
PAIRS = [f"{symbol:02d}" for symbol in range(12)]

ONE_ZERO_ONE = {
    "commas": "1, 0, 1",
    "no-spaces": "1,0,1",
    "spaces": "1 0 1",
    "semicolons": "1; 0; 1",
    "period": "1, 0, 1.",
    "parentheses": "(1, 0, 1)",
    "brackets": "[1, 0, 1]",
    "json-strings": '["1", "0", "1"]',
    "json-pretty": '[\n  "1",\n  "0",\n  "1"\n]',
    "json-object": '{"answers": [1, 0, 1]}',
    "json-object-pretty": '{\n  "answers": [\n    1,\n    0,\n    1\n  ]\n}',
    "json-by-number": '{"1": 1, "2": 0, "3": 1}',
    "json-by-number-pretty": '{\n  "1": 1,\n  "2": 0,\n  "3": 1\n}',
    "json-by-name": '{"read_1": 1, "read_2": 0, "read_3": 1}',
    "json-nested": '{"answers": {"1": 1, "2": 0, "3": 1}}',
    "code-block": "```\n1, 0, 1\n```",
    "code-block-json": "```json\n[1, 0, 1]\n```",
    "assignment": "```python\nanswers = [1, 0, 1]\n```",
    "bold": "**1, 0, 1**",
    "bold-each": "**1**, **0**, **1**",
    "underscores": "__1, 0, 1__",
    "code": "`1, 0, 1`",
    "quotes": "'1', '0', '1'",
    "curly-quotes": "“1”, “0”, “1”",
    "lines": "1\n0\n1",
    "lines-apart": "1\n\n0\n\n1",
    "lines-windows": "1\r\n0\r\n1\r\n",
    "wrapped": "Answers: 1, 0,\n1",
    "dashes": "- 1\n- 0\n- 1",
    "stars": "* 1\n* 0\n* 1",
    "numbered": "1. 1\n2. 0\n3. 1",
    "numbered-bold": "**1.** 1\n**2.** 0\n**3.** 1",
    "numbered-parenthesis": "1) 1\n2) 0\n3) 1",
    "numbered-both-parentheses": "(1) 1\n(2) 0\n(3) 1",
    "numbered-colon": "1: 1\n2: 0\n3: 1",
    "numbered-from-zero": "0: 1\n1: 0\n2: 1",
    "numbered-read": "Read 1: 1\nRead 2: 0\nRead 3: 1",
    "numbered-read-bold": "- **Read 1:** 1\n- **Read 2:** 0\n- **Read 3:** 1",
    "numbered-read-one-line": "Read 1: 1, Read 2: 0, Read 3: 1",
    "numbered-answer": "Answer 1: 1\nAnswer 2: 0\nAnswer 3: 1",
    "numbered-r": "r1 = 1\nr2 = 0\nr3 = 1",
    "numbered-arrow": "#1 → 1\n#2 → 0\n#3 → 1",
    "numbered-ordinal": "1st read: 1\n2nd read: 0\n3rd read: 1",
    "numbered-remarks": "Read 1: 1 (last write 1)\nRead 2: 0 - nothing since\nRead 3: 1, because of the last write",
    "numbered-explained": "Read 1: 1\nThat was written first.\n\nRead 2: 0\nThen a zero.\n\nRead 3: 1",
    "table": "| Read | Answer |\n|------|--------|\n| 1 | 1 |\n| 2 | 0 |\n| 3 | 1 |",
    "table-three-columns": "| Read | By | Answer |\n|:--|:-:|--:|\n| 1 | it | 1 |\n| 2 | it | 0 |\n| 3 | it | 1 |",
    "prose-before": "Here are the answers: 1, 0, 1",
    "prose-before-line": "Sure! Here you go:\n\n1, 0, 1",
    "prose-after": "1, 0, 1\n\nLet me know if you want another game!",
    "prose-around": "Here are the answers: 1, 0, 1. Let me know if anything is unclear.",
    "prose-writes-too": "The reads return 1, 0, 1. The writes set 1, 1, 1.",
    "prose-and": "The reads return 1, 0 and 1.",
    "prose-oxford": "The results are 1, 0, and 1, respectively.",
    "opener": "So, 1, 0, 1",
    "explained-with-not": "1, 0, 1\n\nNote that an ignored bit is not stored.",
    "explained-after": "1, 0, 1\n\nThe write 1 sets it, then write 0 clears it, ignored bits 0 and 1 change nothing.",
    "traced-before": "write 1 sets 1. The read gives 1. write 0, read 0. write 1, read 1.\n\nAnswers in order: 1, 0, 1",
    "final-answer": "At first I had 1, 1, 1.\nFinal answer: 1, 0, 1",
    "final-answer-bold": "1, 1, 1?\n\n**Final Answer:** 1, 0, 1",
    "final-heading": "## Steps\n1. write 1\n2. write 0\n\n### Final answer\n\n1, 0, 1",
    "heading-then-lines": "### Answers\n1\n0\n1",
    "answer-line": "Answer:\n1, 0, 1",
    "answer-heading-explained": "### Answer\n1, 0, 1\n\nExplanation: after write 1 the bit is 1.",
    "the-answers-are": "We see 1, 1, 1 and 0, 0 there, so the answers are 1, 0, 1.",
    "boxed": "\\boxed{1, 0, 1}",
    "boxed-math": "Thus\n\\[\\boxed{\\text{1, 0, 1}}\\]",
    "boxed-dollars": "The final answer is $\\boxed{1, 0, 1}$.",
    "answer-tag": "<answer>1, 0, 1</answer>",
    "confirmed": "Answer: 1, 0, 1\n\nWait, let me check. Yes: 1, 0, 1",
    "said-twice": "The answers are: 1, 0, 1.\n\nFinal answer: 1, 0, 1",
    "shorter-list-first": "The first two are 1, 0.\n\n1, 0, 1",
    "corrected-before-the-end": "1, 0. Wait, there is a third read.\nFinal answer: 1, 0, 1",
    "think": "<think>1, 1, 1 or so</think>\n1, 0, 1",
    "thinking": "<thinking>\nAnswer: 1, 1, 1\n</thinking>1, 0, 1",
    "reasoning": "<reasoning>?</reasoning>1, 0, 1",
    "think-twice": "<think>a</think><think>1, 1, 1</think>1, 0, 1",
    "think-close-only": "Answer: 1, 1, 1 no wait\n</think>\n\n1, 0, 1",
    "together": "101",
    "together-marked": "Answer: 101.",
    "together-introduced": "Here it is: **101**",
    "emoji": "✅ 1, 0, 1 🎉",
}


@pytest.mark.parametrize("text", ONE_ZERO_ONE.values(), ids=ONE_ZERO_ONE)
def test_reads_three_bits(text: str) -> None:
    assert parse_list(text, BITS, 3) == Parsed((1, 0, 1), None)


WORDS = [
    ("on, off and on", LIGHT, (1, 0, 1)),
    ("The light is on, off and on.", LIGHT, (1, 0, 1)),
    ("on\noff\non", LIGHT, (1, 0, 1)),
    ("The missing words are “on”, “off” and “on”.", LIGHT, (1, 0, 1)),
    ("| Read | State |\n|---|---|\n| 1 | on |\n| 2 | off |", LIGHT, (1, 0)),
    ("| 1 | on |\n| 2 | off |", LIGHT, (1, 0)),
    ("1. **on**\n2. **off**", LIGHT, (1, 0)),
    ('{"1": "open", "2": "closed"}', DOOR, (1, 0)),
    ("shelf, table, shelf", PLACES, (1, 0, 1)),
    ("01, 10, 00", PAIRS, (1, 10, 0)),
    ("1. 01\n2. 10\n3. 00", PAIRS, (1, 10, 0)),
    ("2, 0, 1", ["0", "1", "2"], (2, 0, 1)),
    ("210", ["0", "1", "2"], (2, 1, 0)),
    ("abba", ["a", "b"], (0, 1, 1, 0)),
]


@pytest.mark.parametrize(("text", "values", "answers"), WORDS, ids=[text[:30] for text, *_ in WORDS])
def test_reads_other_values(text: str, values: list[str], answers: tuple[int, ...]) -> None:
    assert parse_list(text, values, len(answers)) == Parsed(answers, None)


REFUSED = {
    "empty": ("", 3, "empty"),
    "blank": (" \n\t ", 3, "empty"),
    "only-reasoning": ("<think>1, 0, 1</think>", 3, "empty"),
    "reasoning-unclosed": ("<think>so it is 1, 0, 1", 3, "never ends"),
    "reasoning-unclosed-again": ("<think>a</think>1, 0, 1<think>hm", 3, "never ends"),
    "too-few": ("1, 0", 3, "found 2 answers, wanted 3"),
    "too-many": ("1, 0, 1, 1", 3, "found 4 answers, wanted 3"),
    "too-few-rows": ("1. 1\n2. 0", 3, "found 2 answers, wanted 3"),
    "too-few-marked": ("1, 0, 1\nFinal answer: 1, 0", 3, "found 2 answers, wanted 3"),
    "too-few-last": ("1, 0, 1\n\n1, 0", 3, "found 2 answers, wanted 3"),
    "too-many-together": ("1011", 3, "no list"),
    "foreign-value": ("1, 0, 2", 3, "unknown value"),
    "foreign-value-extra": ("1, 0, 2", 2, "unknown value"),
    "foreign-value-on-a-line": ("1\n0\n2", 2, "unknown value"),
    "foreign-value-in-a-row": ("1. 1\n2. 5\n3. 0", 2, "unknown value"),
    "foreign-sign": ("1, -1, 0", 3, "unknown value"),
    "foreign-decimals": ("1.0, 0.0, 1.0", 3, ""),
    "foreign-word": ("1, 0, banana, 1", 3, "unknown value"),
    "foreign-word-first": ("banana, 1, 0", 2, ""),
    "unknown-word": ("1, unknown, 1", 2, "blank"),
    "missing-row": ("1. 1\n3. 0\n4. 1", 3, "unknown value"),
    "repeated-row": ("1. 1\n1. 0\n1. 1", 3, ""),
    "blank-left": ("1, ?, 1", 3, "blank"),
    "blank-left-extra": ("1, ?, 1", 2, "blank"),
    "blank-left-row": ("1. 1\n2. ?\n3. 1", 2, "blank"),
    "blank-left-line": ("1\n0\n?\n1", 3, "blank"),
    "left-out": ("1, , 1", 2, "blank"),
    "left-out-first": (", 0, 1", 2, "blank"),
    "left-out-cell": ("| 1 | | 1 |", 2, "blank"),
    "left-out-item": ("- 1\n-\n- 0", 2, ""),
    "left-out-star": ("* 1\n*\n* 0", 2, ""),
    "left-out-row": ("1. 1\n2.\n3. 0", 2, ""),
    "elided": ("1, 0, ..., 1", 3, "blank"),
    "elided-unicode": ("1, 0, …, 1", 3, "blank"),
    "elided-end": ("1, 0, 1...", 3, "blank"),
    "elided-etc": ("1, 0, 1, etc.", 3, ""),
    "asked-back": ("1, 0, 1?", 3, "blank"),
    "or": ("1, 0 or 1, 1", 3, "alternative"),
    "or-halves": ("1, 0 or 1, 1", 2, "alternative"),
    "or-row": ("1. 1\n2. 0 or 1\n3. 1", 3, ""),
    "slash": ("1, 0/1, 1", 3, "unknown"),
    "slash-spaced": ("1, 0 / 1, 1", 2, "alternative"),
    "times": ("1, 0, 1 x3", 3, ""),
    "and-more": ("1, 0, 1 and 2 more", 3, "unknown"),
    "two-lists": ("1, 0, 1\n\n1, 1, 1", 3, "two different"),
    "two-lists-adjacent": ("1, 0, 1\n1, 1, 1", 3, "found 6"),
    "two-lists-wait": ("1, 0, 1. Wait, actually 1, 1, 1", 3, "two different"),
    "two-lists-dots": ("1, 0, 1 … wait, actually 1, 1, 1", 3, ""),
    "row-named-after-a-list": ("1, 0, 1: that is", 2, ""),
    "cut-off": ("1, 0, 1,", 3, "blank"),
    "cut-off-and": ("The reads return 1, 0, 1, and", 3, ""),
    "lazy-numbering": ("1. 0\n1. 0", 1, ""),
    "table-sideways": ("| 1 | 2 | 3 |\n|---|---|---|\n| 1 | 0 | 1 |", 3, ""),
    "two-answers": ("Answer: 1, 0, 1\nFinal answer: 1, 1, 1", 3, "two different"),
    "two-answers-unsure": ("Answer: 1, 1, 1 I think. Answer: 1, 0, 1", 3, "two different"),
    "two-boxes": ("\\boxed{1, 0, 1} \\boxed{1, 1, 1}", 3, "two different"),
    "answer-then-other": ("Answer: 1, 0, 1. It could also be 1, 1, 1.", 3, "two different"),
    "taken-back": ("1, 0, 1. Wait, the second one should be 1.", 3, "correction"),
    "taken-back-briefly": ("1, 0, 1. That is not right.", 3, "correction"),
    "taken-back-marked": ("Final answer: 1, 0, 1\nOops, I made a mistake.", 3, "correction"),
    "negated": ("It is not 1, 0, 1.", 3, "no list"),
    "negated-after": ("1, 0, 1 is wrong.", 3, ""),
    "example": ("For example, the answers are 1, 0, 1.", 3, "no list"),
    "format": ("I would reply in the format 1, 0, 1.", 3, "no list"),
    "writes": ("The written bits are 1, 0, 1.", 3, "no list"),
    "refusal": ("I'm sorry, but I can't play this game.", 3, "no list"),
    "refusal-marked": ("I had 1, 0, 1. Final answer: I don't know.", 3, "announced"),
    "refusal-then-list": ("Answer: I cannot tell. Perhaps 1, 0, 1", 3, "announced"),
    "announced-only": ("1, 0, 1\nAnswers:", 3, "announced"),
    "digits-in-prose": ("After 3 writes the 10 reads are:", 2, "no list"),
    "number-of-reads": ("Number of reads: 10", 2, "no list"),
    "alphabet": ("Every value is either 0 or 1.", 2, ""),
    "echo-game": ("write 1, ignore 0, read ?", 2, "no list"),
    "echo-game-filled": ("write 1, ignore 0, read 1, write 0, read 0", 2, "no list"),
    "echo-game-filled-lines": ("write 1\nread 1\nwrite 0\nread 0", 2, "no list"),
    "echo-raw": ("w 1 i 0 r 1", 3, "no list"),
    "echo-raw-compact": ("w1i0r1w0r0", 2, "no list"),
    "echo-code": ("x = 1\ny = 0\nassert x == 1\nassert x == 0", 2, "no list"),
    "echo-numbered": ("1. write 1\n2. read 1\n3. write 0\n4. read 0", 4, "no list"),
    "together-not-alone": ("101\n\n1, 0", 3, ""),
    "together-within": ("There are 101 reads.", 3, "no list"),
    "columns-without-header": ("| 0 | 1 |\n| 1 | 1 |", 2, "found 4"),
    "full-stop-in-a-list": ("Here: 1. 0, 1.", 2, ""),
    "product": ("1*0", 2, ""),
}


@pytest.mark.parametrize(("text", "count", "reason"), REFUSED.values(), ids=REFUSED)
def test_refuses_and_says_why(text: str, count: int, reason: str) -> None:
    parsed = parse_list(text, BITS, count)
    assert parsed.answers is None
    assert parsed.reason
    assert reason in parsed.reason
    assert "\n" not in parsed.reason


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Alice turns the light on and off", 2),
        ("Alice turns the light on.\nBob eats an apple.\nThe light is turned on.\nThe light is turned off.", 2),
        ("on\noff\nunlit", 2),
        ("- unlit\n- on\n- off", 2),
        ("on, off-ish", 2),
        ("on, onion", 2),
        ("on|off", 2),
    ],
)
def test_refuses_words_that_are_no_list(text: str, count: int) -> None:
    assert parse_list(text, LIGHT, count).answers is None


ONE = [
    ("1", BITS, 1),
    ("**1**", BITS, 1),
    ("1.", BITS, 1),
    ("[1]", BITS, 1),
    ('{"answer": 1}', BITS, 1),
    ("Read 1: 0", BITS, 0),
    ("The answer is 1.", BITS, 1),
    ("The last read returns 1.", BITS, 1),
    ("The missing number is 1.", BITS, 1),
    ("\\boxed{0}", BITS, 0),
    ("1 was written, 0 ignored. Answer: 1", BITS, 1),
    ("<think>0 or 1</think>1", BITS, 1),
    ("on", LIGHT, 1),
    ("Off.", LIGHT, 0),
    ('"on"', LIGHT, 1),
    ("The light is on.", LIGHT, 1),
    ("The light is turned **off**.", LIGHT, 0),
    ('The missing word is "on".', LIGHT, 1),
    ("On, because Alice turned it on.", LIGHT, 1),
    ("The light is on because Alice turned it on last.", LIGHT, 1),
    ("Alice turned it on last, so the light is on.", LIGHT, 1),
    ("on\n\nExplanation: it was off before.", LIGHT, 1),
    ("Based on the transcript, the light is off.", LIGHT, 0),
    ("The keys are now on the shelf.", PLACES, 1),
    ("At this point the door is open.", DOOR, 1),
]


@pytest.mark.parametrize(("text", "values", "answer"), ONE, ids=[text[:40] for text, *_ in ONE])
def test_reads_one_answer(text: str, values: list[str], answer: int) -> None:
    assert parse_next(text, values, ignore_case=True) == Parsed((answer,), None)
    assert parse_list(text, values, 1, ignore_case=True) == Parsed((answer,), None)


NOT_ONE = [
    ("on or off", LIGHT),
    ("on/off", LIGHT),
    ("either on or off", LIGHT),
    ("not on", LIGHT),
    ("I don’t think it is on.", LIGHT),
    ("on, off", LIGHT),
    ("on\noff", LIGHT),
    ("on\n\n(or off)", LIGHT),
    ("on?", LIGHT),
    ("The light is on. Wait, it is off.", LIGHT),
    ("Alice turns the light on.", LIGHT),
    ("Alice turns the light on.\nThe light is turned on.", LIGHT),
    ("Alice turns the light off. The light is on.", LIGHT),
    ("onion", LIGHT),
    ("on-going", LIGHT),
    ("0 reads remain, so 1", BITS),
    ("1 1", BITS),
    ("1\n1", BITS),
    ("1.5", BITS),
    ("-1", BITS),
    ("10", BITS),
    ("x = 1", BITS),
    ("x = 1\nassert x == 1", BITS),
    ("read 1", BITS),
    ("w 1 i 0 r 1", BITS),
    ("w1i0r1", BITS),
    ("write 1, ignore 0, read 1", BITS),
    ("write 1, ignore 1, read 1", BITS),
    ("Number of reads: 1", BITS),
    ("The answer is 1 or 0.", BITS),
    ("The answer to the first is 1. The answer to the second is 0.", BITS),
]


@pytest.mark.parametrize(("text", "values"), NOT_ONE, ids=[text[:40] for text, _ in NOT_ONE])
def test_refuses_what_is_not_one_answer(text: str, values: list[str]) -> None:
    assert parse_next(text, values, ignore_case=True).answers is None


def test_case_counts_unless_ignored() -> None:
    assert parse_list("On, OFF, on", LIGHT, 3).answers is None
    assert parse_list("On, OFF, on", LIGHT, 3, ignore_case=True).answers == (1, 0, 1)


# Each leaves no choice, though no list of values stands in it as one.
CLEAR = [
    ("First read: 1\nSecond read: 0", BITS, (1, 0)),
    ("First read: 1\nSecond read: 0", BITS, (1, 0)),
    ("**First read:** 1\n**Second read:** 0\n**Third read:** 1", BITS, (1, 0, 1)),
    ("- First: on\n- Second: off", LIGHT, (1, 0)),
    ("First read: 1, second read: 0, third read: 1", BITS, (1, 0, 1)),
    ("The first read is 1, the second read is 0, and the third read is 1.", BITS, (1, 0, 1)),
    ("The first read returns 1.\nThe second read returns 0.", BITS, (1, 0)),
    ("1st: 1\n2nd: 0\n3rd: 1", BITS, (1, 0, 1)),
    ("1st read → 1\n2nd read → 0", BITS, (1, 0)),
    ("First read: 1. Second read: 0.", BITS, (1, 0)),
    ("| Read | Answer |\n|---|---|\n| First | 1 |\n| Second | 0 |", BITS, (1, 0)),
    ("| First read | 1 |\n| Second read | 0 |", BITS, (1, 0)),
    ("one, zero, one", BITS, (1, 0, 1)),
    ("One, zero, one.", BITS, (1, 0, 1)),
    ("one zero one", BITS, (1, 0, 1)),
    ("one\nzero\none", BITS, (1, 0, 1)),
    ("1. one\n2. zero\n3. one", BITS, (1, 0, 1)),
    ("Read 1: one\nRead 2: zero", BITS, (1, 0)),
    ("The answers are: one, zero and one.", BITS, (1, 0, 1)),
    ("The answers are one, zero, and one.", BITS, (1, 0, 1)),
    ("two, zero, one", ["0", "1", "2"], (2, 0, 1)),
    ("One", BITS, (1,)),
    ("The answer is one.", BITS, (1,)),
    ("**zero**", BITS, (0,)),
    ("1. write 1 → 1\n2. ignore 0 → 1\n3. read → 1\n4. write 0 → 0\n5. read → 0", BITS, (1, 0)),
    ("3. read → 1\n5. read → 0", BITS, (1, 0)),
    ("1. write 1\n2. ignore 0\n3. read → 1\n4. write 0\n5. read → 0", BITS, (1, 0)),
    ("Step 1: write 1\nStep 2: read → 1\nStep 3: write 0\nStep 4: read → 0", BITS, (1, 0)),
    ("1. **write 1** - memory: 1\n2. **read ?** → 1\n3. write 0 - memory: 0\n4. **read ?** → 0", BITS, (1, 0)),
    ("write 1\nread: 1\nwrite 0\nread: 0", BITS, (1, 0)),
    ("- read → 1\n- read → 0\n- read → 1", BITS, (1, 0, 1)),
    ("1. read → 1\n2. read → 0", BITS, (1, 0)),
    ("read = 1\nread = 0", BITS, (1, 0)),
    ("3. Read returns 1\n5. Read returns 0", BITS, (1, 0)),
    ("1, 0, 1 (three reads)", BITS, (1, 0, 1)),
    ("1, 0, 1 (3 reads)", BITS, (1, 0, 1)),
    ("1, 0, 1 (in order).", BITS, (1, 0, 1)),
    ("Answers: on, off, on (in the order of the reads)", LIGHT, (1, 0, 1)),
    ("答案：1，0，1", BITS, (1, 0, 1)),
    ("答案： 1、0、1。", BITS, (1, 0, 1)),
    ("１, ０", BITS, (1, 0)),
    ("１，０，１", BITS, (1, 0, 1)),
    ("١، ٠، ١", BITS, (1, 0, 1)),
    ("१, ०, १", BITS, (1, 0, 1)),
    ("Respuesta: 1, 0, 1", BITS, (1, 0, 1)),
    ("Antwort: 1; 0; 1", BITS, (1, 0, 1)),
    ("回答：on，off", LIGHT, (1, 0)),
    ("off (Alice turned it off last)", LIGHT, (0,)),
    ("Off (Alice turned it off last).", LIGHT, (0,)),
    ("on (because Bob turned it on)", LIGHT, (1,)),
    ("off — Alice turned it off last", LIGHT, (0,)),
    ("shelf (the keys were put there last)", PLACES, (1,)),
    ("1 (the last write)", BITS, (1,)),
    ("The light is not on", LIGHT, (0,)),
    ("The light is not on.", LIGHT, (0,)),
    ("The light isn't off.", LIGHT, (1,)),
    ("It is not open.", DOOR, (0,)),
    ("The door is no longer closed.", DOOR, (1,)),
    ("a) 1\nb) 0\nc) 1", BITS, (1, 0, 1)),
    ("i. 1\nii. 0\niii. 1", BITS, (1, 0, 1)),
    ("(a) on\n(b) off", LIGHT, (1, 0)),
    ("A. on\nB. off\nC. on", LIGHT, (1, 0, 1)),
    ('[{"read": 1, "answer": "on"}, {"read": 2, "answer": "off"}]', LIGHT, (1, 0)),
    ('```json\n[{"index": 0, "value": 1}, {"index": 1, "value": 0}]\n```', BITS, (1, 0)),
    ('{"first": 1, "second": 0, "third": 1}', BITS, (1, 0, 1)),
    ('{"answers": ["on", "off"]}', LIGHT, (1, 0)),
    ('{"reads": [1, 0, 1]}', BITS, (1, 0, 1)),
    ("dark, light", ["light", "dark"], (1, 0)),
    ("First: dark\nSecond: light", ["light", "dark"], (1, 0)),
    ("1, 0, 1<|im_end|>", BITS, (1, 0, 1)),
    ("<|begin_of_box|>1, 0, 1<|end_of_box|>", BITS, (1, 0, 1)),
    ("The answers are <|begin_of_box|>1, 0, 1<|end_of_box|>", BITS, (1, 0, 1)),
    ("analysisLet's see: 1, 1, 1.assistantfinal1, 0, 1", BITS, (1, 0, 1)),
]


@pytest.mark.parametrize(("text", "values", "answers"), CLEAR, ids=[repr(text)[:50] for text, *_ in CLEAR])
def test_an_answer_that_leaves_no_choice_counts_however_it_is_written(
    text: str, values: list[str], answers: tuple[int, ...]
) -> None:
    assert parse_list(text, values, len(answers), ignore_case=True) == Parsed(answers, None)


# Of the same forms, but contradictory, hedged, taken back or incomplete.
UNCLEAR = [
    ("There is one.", BITS, 1),
    ("答案不是：1", BITS, 1),
    ("不知道：1", BITS, 1),
    ("答案：1或0", BITS, 1),
    ("First read: 1\nSecond read: 0\n\nFirst read: 0\nSecond read: 1", BITS, 2),
    ("First read: 1\nThird read: 0", BITS, 2),
    ("First read: 1 or 0\nSecond read: 0", BITS, 2),
    ("First read: 1\nSecond read: unknown", BITS, 2),
    ("First read: 1\nSecond read: 0\nActually the second read: 1", BITS, 2),
    ("one, zero, one or one", BITS, 3),
    ("one of them", BITS, 1),
    ("No one knows", BITS, 1),
    ("It is one or zero.", BITS, 1),
    ("either one or zero", BITS, 1),
    ("one, zero, two", BITS, 3),
    ("one, zero\n\none, one", BITS, 2),
    ("one, zero, one\n\n1, 1, 1", BITS, 3),
    ("At one point it was zero", BITS, 1),
    ("3. read → 1\n5. read → 0 or 1", BITS, 2),
    ("3. read → 1\n5. read → ?", BITS, 2),
    ("5. read → 1\n3. read → 0", BITS, 2),
    ("3. read → 1\n5. read → 0\nWait, the last is 1", BITS, 2),
    ("3. read → 1\n5. read → 0\n7. read → 1", BITS, 2),
    ("3. read → 1\n5. read → 0\nI'm not sure", BITS, 2),
    ("3. read → 1\n5. read 0", BITS, 2),
    ("1, 0, 1 (or 1, 1, 1)", BITS, 3),
    ("1, 0, 1 (not sure)", BITS, 3),
    ("1, 0, 1 (maybe)", BITS, 3),
    ("1, 0, 1 (if I am right)", BITS, 3),
    ("1, 0, 1 (for example)", BITS, 3),
    ("1, 0, 1 (not 1, 1, 1)", BITS, 3),
    ("off (or on)", LIGHT, 1),
    ("off (on?)", LIGHT, 1),
    ("off (I think)", LIGHT, 1),
    ("off (it was on before)", LIGHT, 1),
    ("off (not off)", LIGHT, 1),
    ("off — or on", LIGHT, 1),
    ("not on", LIGHT, 1),
    ("The light is not on or off", LIGHT, 1),
    ("The light is neither on nor off.", LIGHT, 1),
    ("The light is not on. Wait, it is.", LIGHT, 1),
    ("The answer is not on.", LIGHT, 1),
    ("I don't think the light is on", LIGHT, 1),
    ("The light is not on", ["off", "on", "dim"], 1),
    ("The light is not only on.", LIGHT, 1),
    ("Is the light not on?", LIGHT, 1),
    ("The light is not on?", LIGHT, 1),
    ("The answer is not 1", BITS, 1),
    ("It is not 1", BITS, 1),
    ("If the light is not on, off", LIGHT, 1),
    ("a) 1\nc) 0", BITS, 2),
    ("a) 1\nb) 0\na) 0\nb) 0", BITS, 2),
    ('[{"read": 1, "answer": "on"}, {"read": 1, "answer": "off"}]', LIGHT, 2),
    ('[{"read": 1, "answer": "on"}, {"read": 2, "answer": "off or on"}]', LIGHT, 2),
    ('[{"read": 1, "answer": "on", "value":"off"}, {"read": 2, "answer": "off","value":"on"}]', LIGHT, 2),
    ('{"first": 1, "third": 0}', BITS, 2),
    ("analysis1, 0, 1", BITS, 3),
    ("答案：1，0，1。不对，1，1，1", BITS, 3),
    ("１或０", BITS, 1),
    ("1、0 or 1", BITS, 2),
    ("The first is one of the two, the second is zero", BITS, 2),
    ("First, 1 is written. Second, 0 is written.", BITS, 2),
]


@pytest.mark.parametrize(("text", "values", "count"), UNCLEAR, ids=[repr(text)[:50] for text, *_ in UNCLEAR])
def test_what_leaves_a_choice_is_refused_however_it_is_written(text: str, values: list[str], count: int) -> None:
    parsed = parse_list(text, values, count, ignore_case=True)
    assert parsed.answers is None
    assert parsed.reason


CONTINUATIONS = [
    (" on.", LIGHT, 1),
    ("\non\nBob eats an apple.", LIGHT, 1),
    ("off. Alice turns the light on.", LIGHT, 0),
    ("on", LIGHT, 1),
    ("onion", LIGHT, None),
    ("on1", LIGHT, None),
    ("on_", LIGHT, None),
    ("The light is on.", LIGHT, None),
    ("On.", LIGHT, None),
    (" 1w0i1", BITS, 1),
    ("1 w 0", BITS, 1),
    ("10", BITS, None),
    ("?", BITS, None),
    ("", BITS, None),
    ("  ", BITS, None),
    ("10w00", PAIRS, 10),
    ("1", PAIRS, None),
]


@pytest.mark.parametrize(("text", "values", "answer"), CONTINUATIONS, ids=[repr(text) for text, *_ in CONTINUATIONS])
def test_continuation_must_start_with_the_answer(text: str, values: list[str], answer: int | None) -> None:
    parsed = parse_next(text, values, completion=True)
    assert parsed.answers == (None if answer is None else (answer,))
    assert (parsed.reason is None) == (answer is not None)


def test_continuation_ignores_case_when_asked() -> None:
    assert parse_next("ON!", LIGHT, ignore_case=True, completion=True).answers == (1,)


FORMATS = {
    "commas": lambda words: ", ".join(words),
    "spaces": lambda words: " ".join(words),
    "json": lambda words: "[" + ", ".join(f'"{word}"' for word in words) + "]",
    "object": lambda words: '```json\n{"answers": [' + ", ".join(f'"{word}"' for word in words) + "]}\n```",
    "keyed": lambda words: "{" + ", ".join(f'"{n}": "{word}"' for n, word in enumerate(words, 1)) + "}",
    "lines": lambda words: "\n".join(words),
    "bullets": lambda words: "\n".join(f"- {word}" for word in words),
    "numbered": lambda words: "\n".join(f"{n}. {word}" for n, word in enumerate(words, 1)),
    "numbered-from-zero": lambda words: "\n".join(f"{n}: {word}" for n, word in enumerate(words)),
    "reads": lambda words: "\n".join(f"**Read {n}:** {word}" for n, word in enumerate(words, 1)),
    "table": lambda words: "| Read |  |\n|---|---|\n" + "\n".join(f"| {n} | {w} |" for n, w in enumerate(words, 1)),
    "final": lambda words: f"Let me see, {words[0]} comes first.\n\nFinal answer: **{', '.join(words)}**.",
    "boxed": lambda words: "So $\\boxed{" + ", ".join(words) + "}$.",
    "prose": lambda words: f"The answers are: {', '.join(words)}. Let me know if you have questions.",
}


@pytest.mark.parametrize("render", FORMATS.values(), ids=FORMATS)
@given(data=st.data())
def test_what_is_rendered_is_read_back(render, data) -> None:
    values = data.draw(st.sampled_from([BITS, LIGHT, DOOR, PLACES, PAIRS, [str(n) for n in range(10)]]))
    answers = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=40))
    assert parse_list(render([values[answer] for answer in answers]), values, len(answers)) == Parsed((*answers,), None)


@pytest.mark.parametrize("render", FORMATS.values(), ids=FORMATS)
@given(data=st.data())
def test_one_answer_too_few_or_too_many_is_refused(render, data) -> None:
    answers = data.draw(st.lists(st.integers(0, 1), min_size=2, max_size=20))
    wanted = len(answers) + data.draw(st.sampled_from([-1, 1]))
    assert parse_list(render([LIGHT[answer] for answer in answers]), LIGHT, wanted).answers is None


@pytest.mark.parametrize("render", FORMATS.values(), ids=FORMATS)
@given(data=st.data())
def test_one_answer_that_is_no_value_spoils_the_list(render, data) -> None:
    words = [LIGHT[answer] for answer in data.draw(st.lists(st.integers(0, 1), min_size=3, max_size=12))]
    place = data.draw(st.integers(0, len(words) - 1))
    no_value = ["?", "unlit", "2", "on/off", "on or off", "unknown", "...", "onn", "on?"]
    words[place] = data.draw(st.sampled_from(no_value))
    for wanted in (len(words), len(words) - 1):
        assert parse_list(render(words), LIGHT, wanted).answers is None


PIECES = st.sampled_from(
    [
        *("on", "off", ", ", " ", "\n", "\n\n", ". ", "1. ", "2: ", "- ", "= ", "and ", "or ", "not ", "is "),
        *("Answer: ", "Final answer", "\\boxed{", "<think>", "</think>", "Read ", "wait", "**", '"', "because", "..."),
        *("| 1 | 0 |\n", "|---|\n", *"012[]{}?|/"),
    ]
)


@given(
    st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)),
    st.sampled_from([BITS, LIGHT, PAIRS, ["a", "b"], ["*", "**x"], ["light blue", "red"], ["İ", "ß"]]),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=examples(400))
@example("²: 1\n१. 0", BITS, 1, False)
@example("9" * 6000 + ": 1", BITS, 1, False)
@example("İ, i̇, SS", ["İ", "ß"], 3, True)
def test_any_text_gives_all_answers_or_a_reason(text: str, values: list[str], count: int, ignore_case: bool) -> None:
    for parsed, wanted in [
        (parse_list(text, values, count, ignore_case=ignore_case), count),
        (parse_next(text, values, ignore_case=ignore_case), 1),
        (parse_next(text, values, ignore_case=ignore_case, completion=True), 1),
    ]:
        if parsed.answers is None:
            assert parsed.reason
        else:
            assert parsed.reason is None
            assert len(parsed.answers) == wanted
            assert all(0 <= answer < len(values) for answer in parsed.answers)


HOSTILE = {
    "a-long-list": "1, " * 70000,
    "parentheses": "(" * 200000,
    "brackets": "[" * 100000 + "1" + "]" * 100000,
    "braces": "{" * 200000,
    "spaces": " " * 200000 + "x",
    "spaces-in-a-list": "1," + " " * 200000 + "0",
    "newlines": "1" + "\n" * 200000 + "0",
    "wide-spaces": "\u3000" * 200000 + "1",
    "numbering": "1. " * 60000,
    "rows": "1: 0\n" * 30000,
    "row-pieces": "1: 0, " * 30000,
    "table-rows": "| 1 | 0 |\n" * 20000,
    "pipes": "|" * 200000,
    "values-in-prose": "1 a " * 50000,
    "markers": "answer " * 28000,
    "marked-lists": "answer: 1, " * 18000,
    "marker-brackets": "answer (" * 25000,
    "boxes": "\\boxed{" * 28000,
    "open-thoughts": "<think>" * 28000,
    "angles": "<" * 200000,
    "stars": "*" * 200000,
    "quotes": "'" * 200000,
    "word-and-dashes": "a-" * 100000,
    "digits": "10" * 100000,
    "underscores": "_" * 200000,
    "question-marks": "?" * 200000,
    "commas": "1" + "," * 200000,
    "comma-lines": "1 " + "\n," * 100000,
    "labels": "the read " * 22000,
    "label-brackets": ",r((((" * 33000,
    "quote-marks": "> " * 100000,
    "sparse-lines": "1\n\n" * 66000,
    "ordinals": "first read: 1, " * 13000,
    "number-words": "one " * 50000,
    "number-word-lines": "one\n" * 50000,
    "letters": "a) 1\n" * 40000,
    "steps": "3. read → 1\n" * 16000,
    "remarks": "1 (a " * 40000,
    "closed-remarks": "1 (a) " * 33000,
    "dashes-after-values": "1 - " * 50000,
    "fullwidth": "１，" * 70000,
    "objects": '[{"answer": 1},' * 13000,
    "negations": "the light is not " * 12000,
}


# Of a whole reply a part, its end included, and how many seconds it may take: both take far below a second.
LONG = [pytest.param(20, 3, marks=pytest.mark.thorough), pytest.param(1, 30, marks=pytest.mark.slow)]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("count", [1, 50])
@pytest.mark.parametrize(("part", "seconds"), LONG, ids=["a twentieth", "whole"])
def test_a_hostile_reply_does_not_hang_the_parser(text: str, count: int, part: int, seconds: float) -> None:
    start = time.process_time()
    parsed = parse_list(text[: len(text) // part] + text[-9:], BITS, count)
    assert time.process_time() - start < seconds  # this is about replies that never end
    assert parsed.answers is None or len(parsed.answers) == count
