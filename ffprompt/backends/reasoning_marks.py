"""Marks that models leave in what they write: around their reasoning, and at the end of a turn.

::

    >>> strip_reasoning("[THINK]1, 1, 1?[/THINK]1, 0, 1</s>")
    '\\n1, 0, 1</s>'
    >>> strip_reasoning("[THINK]The answers are 1, 1, 1") is None
    True
    >>> strip_marks("1, 0, 1</s>")
    '1, 0, 1'

A server that knows a model takes these marks out. One that does not leaves them in, whole or in part. What stands
inside a block of reasoning is a draft and never an answer. A user's own pair of tags counts beside the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple


class Family(NamedTuple):
    """How some models mark their reasoning. ``opens`` and ``closes`` are patterns, matched whatever the case.

    ``closing`` is the text that ends a block in a prompt. A ``lone`` closing mark ends a block that the prompt has
    opened. A family that ``nests`` needs one closing mark for each opening one.
    """

    opens: str
    closes: str
    closing: str
    lone: bool = True
    nests: bool = True


# Names between < and >, for which families differ in nothing else:
#   think       DeepSeek-R1, Qwen3, QwQ, GLM-4.5, MiniMax, Phi-4-reasoning, EXAONE 4, Nemotron, SmolLM3, Granite 3.3
#   thought     EXAONE Deep, Marco-o1, Gemini through its OpenAI endpoint
#   reasoning   Reka Flash 3, LLaVA-CoT
#   longcat_think, seed:think    LongCat-Flash-Thinking, Seed-OSS
#   thinking, reflection, scratchpad, analysis, …    what models are commonly told to write
_TAGS = (
    "think", "thinking", "thought", "thoughts", "reasoning", "reason", "rationale", "reflection", "analysis",
    "scratchpad", "cot", "chain_of_thought", "inner_thoughts", "inner_monologue", "longcat_think",
)  # fmt: skip
_HEAD = r"[^<\n]{0,80}(?:<\|constrain\|>[^<\n]{0,80})?<\|message\|>"  # of a harmony message, after its channel

FAMILIES: tuple[Family, ...] = (
    *(Family(rf"<{name}(?:\s[^<>]{{0,80}})?>", rf"</{name}\s?>", f"\n</{name}>\n\n") for name in _TAGS),
    Family(r"<seed:think>", r"</seed:think>", "</seed:think>"),
    # Magistral 2509 and Ministral 3: control tokens of the tokenizer.
    Family(r"\[THINK\]", r"\[/THINK\]", "[/THINK]"),
    # Kimi-VL Thinking.
    Family(r"◁think▷", r"◁/think▷", "◁/think▷"),
    # Sky-T1 and OpenThinker, whose answers are a "solution".
    Family(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>", "<|end_of_thought|>\n\n<|begin_of_solution|>"),
    # Command A Reasoning.
    Family(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", "<|END_THINKING|><|START_RESPONSE|>"),
    # Apertus.
    Family(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>", "<|inner_suffix|>"),
    # Solar Open: one message with thoughts, one with content.
    Family(r"<\|think\|>", r"<\|content\|>", "<|end|><|begin|>assistant<|content|>", nests=False),
    # HyperCLOVA X Think: thoughts are a turn of their own.
    Family(
        r"<\|im_start\|>assistant/think\b",
        r"<\|im_start\|>assistant(?!/)",
        "<|im_end|>\n<|im_start|>assistant\n",
        lone=False,
        nests=False,
    ),
    # Gemma 4: a channel named "thought". Without its special tokens nothing says where it ends.
    Family(r"<\|channel>\s?thought|\A\s*(?-i:thought)\n", r"<channel\|>", "<channel|>", nests=False),
    # gpt-oss (harmony): every channel but "final" is thought. Decoded without special tokens, the names run into the
    # text: "analysisWe need …assistantfinal1, 0, 1".
    Family(
        rf"(?:<\|start\|>assistant)?<\|channel\|>\s?(?:analysis|commentary){_HEAD}|\A\s*(?-i:(?:assistant)?(?:analysis|commentary))"
        rf"(?:<\|message\|>|(?!\s?[:.,]))",
        rf"<\|channel\|>\s?final{_HEAD}|(?-i:assistantfinal)(?:<\|message\|>)?"
        rf"|\A\s*(?-i:final(?:<\|message\|>|(?=[0-9\[{{(\"*A-Z])))",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        nests=False,
    ),
    # Granite 3.2.
    Family(
        r"\A\s*Here(?: is|'s) my thought process:",
        r"\bHere(?: is|'s) my response:",
        "\nHere is my response:\n",
        lone=False,
        nests=False,
    ),
    # Ollama's terminal.
    Family(r"\A\s*Thinking\.\.\.\s?\n", r"\n\.\.\.done thinking\.", "\n...done thinking.\n\n", lone=False, nests=False),
)

_ROLE = r"(?:user|human|assistant|model|system|tool)"
# What ends a turn or begins the next one. Special tokens have a shape that nobody writes by hand, <|…|> or <｜…｜>;
# the others are named: Llama 2, Mistral, Gemma, EXAONE, Seed-OSS, Kimi, MiniMax, InternLM, T5.
_TURN = (
    rf"<\|(?:im_start|start|turn|begin)\|?>\s?{_ROLE}\b"
    rf"|<\|start_header_id\|>\s?{_ROLE}\s?<\|end_header_id\|>|<start_of_turn>\s?{_ROLE}\b"
    r"|<[|｜][A-Za-z][^\s<>|｜]{0,48}[|｜]>|\[\|[A-Za-z]\w{0,32}\|\]|<\|turn>|<turn\|>"
    r"|</?s>|</?(?:eos|pad|eot|eoa|eom|end_of_turn|start_of_turn|end_of_text|endoftext|end_of_utterance)>|<seed:[eb]os>"
    r"|\[/?INST\]|\[/?SYS\]|\[(?:EOS|EOT|PAD|SEP|BOS)\]|\[e~\[|\]~b\]"
)
# Around the answer that follows the reasoning: Granite 3.3 and ERNIE, Marco-o1, LLaVA-CoT, Command A, OpenThinker.
_RESPONSE = r"response|output|conclusion|solution"
_BEGINS = re.compile(rf"(?i)\s*(?:<(?:{_RESPONSE})>|<\|START_RESPONSE\|>|<\|begin_of_solution\|>)")
_ENDS = re.compile(rf"(?i)(?:{_TURN}|</(?:{_RESPONSE})>)\Z")
_LONGEST = 64  # characters of a mark


class _Walk(NamedTuple):
    """A text without its reasoning. ``open`` is the family whose block is open at the end, ``at`` where it began."""

    kept: Sequence[str]
    open: Family | None = None
    at: int = 0


def strip_reasoning(text: str, tags: Sequence[str] = ()) -> str | None:
    """Return a reply without its reasoning, or None where a block of it is open at the end.

    ``tags`` are a user's own opening and closing text. A closing mark without an opening one ends a block that the
    prompt has opened.
    """
    walk = _walk(text, tuple(tags), turns=False)
    return None if walk.open else _unwrapped(walk)


def first_said(text: str, tags: Sequence[str] = ()) -> str | None:
    """Return what a reply says outside its reasoning before any open block. None where it says nothing but that.

    A base model goes on writing after its answer, and what it goes on with does not count.
    """
    walk = _walk(text, tuple(tags), turns=False)
    said = _unwrapped(walk)
    return None if walk.open and not said.strip() else said


def _unwrapped(walk: _Walk) -> str:
    said = "\n".join(walk.kept)
    begins = _BEGINS.match(said)
    return said[begins.end() :] if begins else said


def strip_marks(text: str) -> str:
    """Return a reply without the marks of a turn's end that stand at its very end.

    >>> strip_marks("1, 0, 1 <|im_end|> </s>\\n"), strip_marks("1, 0<|im_end|>, 1")
    ('1, 0, 1', '1, 0<|im_end|>, 1')
    """
    kept, end = len(text), len(text.rstrip())
    while mark := _ENDS.search(text, max(0, end - _LONGEST), end):
        end = mark.start()
        while end and text[end - 1].isspace():
            end -= 1
        kept = end
    return text[:kept]


def opens_reasoning(text: str, tags: Sequence[str] = ()) -> bool:
    """Return whether a rendered prompt ends inside a block of reasoning. A block ends with its turn."""
    return _walk(text, tuple(tags), turns=True).open is not None


def closing(text: str, tags: Sequence[str] = ()) -> str:
    """Return the text that closes the block in which a prompt ends. Empty where none is open.

    >>> closing("<|im_start|>assistant\\n<think>\\n")
    '\\n</think>\\n\\n'
    """
    walk = _walk(text, tuple(tags), turns=True)
    if walk.open is None:
        return ""
    # An empty block is written <think>\n\n</think>.
    before = "\n" if walk.open.closing.startswith("\n") and walk.at == len(text) else ""
    return before + walk.open.closing


def occurs(text: str, tags: Sequence[str]) -> bool:
    """Return whether one of a user's tags stands in a reply."""
    return any(tag in text for tag in tags)


def _walk(text: str, tags: tuple[str, ...], turns: bool) -> _Walk:
    """Go through the marks of a text. With ``turns``, a mark of a turn's end closes whatever is open."""
    families = _families(tags)
    kept, ended = list[str](), set[int]()
    inside: Family | None = None
    depth = at = last = 0
    for mark in _marks_of(text, tags):
        group = mark.lastgroup or ""
        if group == "turn":
            inside = None if turns else inside
            continue
        number = int(group[1:])
        family, opens = families[number], group[0] == "o"
        if inside is not None and inside is not family:
            continue
        if opens:
            if inside is None:
                kept.append(text[last : mark.start()])
                inside, depth = family, 1
            # The same mark twice in a row is a server's repetition of the prompt's, and no block within a block.
            elif family.nests and not turns and text[at : mark.start()].strip():
                depth += 1
            at = mark.end()
        elif inside is not None:
            depth -= 1
            if not depth:
                inside, last = None, mark.end()
                ended.add(number)
        elif family.lone:
            # What stands before it was thought, unless a channel for answers is opened once more.
            if family.nests or number not in ended:
                kept.clear()
            else:
                kept.append(text[last : mark.start()])
            last = mark.end()
            ended.add(number)
    return _Walk(kept if inside else [*kept, text[last:]], inside, at)


def _marks_of(text: str, tags: tuple[str, ...]) -> Iterator[re.Match[str]]:
    """Every mark of a text in order. No two overlap."""
    starts, pattern = _scanner(tags)
    at = 0
    while at < len(text) and (start := starts.search(text, at)):
        mark = pattern.match(text, start.start())
        at = mark.end() if mark and mark.end() > start.start() else start.start() + 1
        if mark:
            yield mark


def _families(tags: tuple[str, ...]) -> tuple[Family, ...]:
    if not tags:
        return FAMILIES
    opens, closes = (f"(?-i:{re.escape(tag)})" for tag in tags)
    return (Family(opens, closes, tags[1]), *FAMILIES)


@lru_cache(64)
def _scanner(tags: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Where a mark can begin, which is quick to find, and the pattern of all marks.

    The name of a mark's group has the number of its family, after o for one that opens and c for one that closes.
    """
    pieces = [
        rf"(?P<o{number}>{family.opens})|(?P<c{number}>{family.closes})"
        for number, family in enumerate(_families(tags))
    ]
    role = rf"^(?:{_ROLE}|### ?[a-z]{{1,20}}) ?:"
    own = "".join(f"|{re.escape(tag[0])}" for tag in tags)
    starts = rf"[<\[\]◁]|\A|(?-i:assistantf)|\bHere(?: is|'s) my|\n\.\.\.d|{role}{own}"
    flags = re.IGNORECASE | re.MULTILINE
    return re.compile(starts, flags), re.compile("|".join([*pieces, rf"(?P<turn>{_TURN}|{role})"]), flags)
