"""Modes of numbers: log-probabilities, counts of tokens, the model that answers, settings that are ignored."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from tests.support.odd_echoes import (
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
from tests.support.odd_modes.mode import (
    ANTHROPIC,
    FORCED,
    LIST,
    ONE_BY_ONE,
    RESPONSES,
    SCHEMA,
    Mode,
    answers,
    echo,
    made,
    replies,
    right,
)
from tests.support.odd_server import Body, Columns, echoes, prompt_of

LISTS = "use --elicitation next, list"
STOPS = "the server contradicts itself"
SCORED = "correct wrong"
RAW = ("--template", "raw-spaced", *FORCED[2:])


def pairs(columns: Columns, _: int) -> Any:
    """Lists of objects in place of maps."""
    return *columns[:2], [top and [{"token": n, "logprob": v} for n, v in top.items()] for top in columns[2]]


def texts(columns: Columns, _: int) -> Any:
    return columns[0], [None if v is None else str(v) for v in columns[1]], columns[2]


def two_places_off(columns: Columns, most: int) -> Columns:
    return one_place_off(one_place_off(columns, most), most)


def cut_front(columns: Columns, _: int) -> Any:
    return tuple(column[3:] for column in columns)


def floored(columns: Columns, most: int) -> Columns:
    """vLLM's minus infinity for every word that is not written."""
    return *columns[:2], [top and {n: v if n == t else -9999.0 for n, v in top.items()}
                          for t, top in zip(columns[0], columns[2], strict=True)]  # fmt: skip


def rounded(columns: Columns, most: int) -> Columns:
    return each(lambda _, value: round(value, 2))(columns, most)


BOUNDS = (
    Mode("five words everywhere", "shows five words beside true values that they disprove", echo(five_words),
         says=LISTS, code=2, flags=FORCED),
    Mode("one list for all places", "shows the same list at every place", echo(same_lists), says=LISTS, code=2,
         flags=FORCED),
    Mode("the written word put in", "adds the written word to a list of other places", echo(beyond_the_list),
         says=LISTS, code=2, flags=FORCED),
    Mode("two values for one word", "gives one value alone and another in the list", echo(own_is_another), says=LISTS,
         code=2, flags=FORCED),
    Mode("one value for all", "finds every written word as probable", echo(written(lambda *_: -0.01)), says=LISTS,
         code=2, flags=FORCED),
    Mode("what is written is right", "finds whatever is written probable",
         echo(written(lambda n, _: -0.01 - 0.0001 * n)), says="do not follow the text", code=2, flags=FORCED),
    Mode("only what is written", "shows no other word than the written one", echo(floored), says=LISTS, code=2,
         flags=FORCED),
    Mode("disproved later", "turns to five words in the middle of a run", echo(five_words, 3), "correct", STOPS, 3,
         FORCED),
    Mode("an answer from a cache", "gives the numbers of the first prompt, whatever comes",
         answers(lambda path, body: _cached(path, body)), "error", "have the same log-probabilities after it", 3, RAW),
)  # fmt: skip

PLACES = (
    Mode("one place off", "gives the numbers of the next place", echo(one_place_off), says="1 place off", code=2,
         flags=FORCED),
    Mode("one place late", "gives those of the place before", echo(one_place_late), says="1 place off", code=2,
         flags=FORCED),
    Mode("two places off", "gives those of two places on", echo(two_places_off), says="2 places off", code=2,
         flags=FORCED),
    Mode("lists of the next place", "gives lists of the next place beside true values", echo(list_of_next), says=LISTS,
         code=2, flags=FORCED),
    Mode("one place off, later", "slips in the middle of a run", echo(one_place_off, 3), "correct error", STOPS, 3,
         FORCED),
    Mode("the front is missing", "leaves the first tokens out", echo(cut_front), says="of the echo", code=2,
         flags=FORCED),
)  # fmt: skip

SCALES = (
    Mode("probabilities", "gives probabilities and no logarithms", echo(each(lambda _, value: math.exp(value))),
         says="which is no log-probability", code=2, flags=FORCED),
    Mode("positive", "gives logarithms without their sign", echo(each(lambda _, value: -value)),
         says="which is no log-probability", code=2, flags=FORCED),
    Mode("base 10", "gives logarithms to base 10", echo(each(lambda _, value: value / math.log(10))),
         says="the probabilities of one place sum to", code=2, flags=FORCED),
    Mode("NaN", "gives NaN for one word", echo(each(lambda name, v: math.nan if name.strip() == "sat" else v)),
         says="which is no log-probability", code=2, flags=FORCED),
    Mode("logits", "gives what comes before the softmax", echo(each(lambda _, value: value - 30)),
         says="are no log-probabilities", code=2, flags=FORCED),
    Mode("as texts", "writes its numbers as texts", echo(texts), says="is no number", code=2, flags=FORCED),
    Mode("lists of objects", "shows lists of `{token, logprob}`", echo(pairs), SCORED, flags=FORCED),
    Mode("two decimals", "rounds to two decimals", echo(rounded), SCORED, flags=FORCED),
    Mode("no echo", "ignores `echo`", answers(lambda path, body: made(path, body)),
         says="the server returns no log-probabilities of the prompt", code=2, flags=FORCED),
    Mode("echo refused", "refuses `echo` with log-probabilities",
         answers(lambda *_: (400, {"error": {"message": "echo is not supported"}})),
         says="the server refuses echo with logprobs", code=2, flags=FORCED),
)  # fmt: skip


def _cached(path: str, body: Body) -> Any:
    """Lists and values of another text, of other words, with the written token as the least of each place."""
    good: Any = echoes()(path, body)
    if body["prompt"].startswith("The cat"):
        return good
    found = good["choices"][0]["logprobs"]
    other = "w 1 i 0 i 1 i 0 i 1 r 1 w 0 i 1 i 0 i 1 i 0 r 0"[: len(body["prompt"])]
    lists = echoes()(path, {**body, "prompt": other})["choices"][0]["logprobs"]["top_logprobs"]
    values = [None if top is None else min(top.values()) - 1 for top in lists]
    tops = [
        top and {f"q{name}": value for name, value in top.items()} | {token: values[n]}
        for n, (token, top) in enumerate(zip(found["tokens"], lists, strict=True))
    ]
    good["choices"][0]["logprobs"] = found | {"token_logprobs": values, "top_logprobs": tops}
    return good


def cut(tokens: int) -> Any:
    """A server that keeps the end of a prompt, and answers what is left of it."""

    def answer(path: str, body: Body) -> Any:
        whole = prompt_of(body)
        count, kept = min(tokens, len(whole) // 2), whole[-2 * tokens :]
        left = {**body, "messages": [{"role": "user", "content": kept[kept.find(", ") + 2 :]}]}
        names = ("input_tokens", "output_tokens") if "/chat/" not in path else ("prompt_tokens", "completion_tokens")
        return made(path, {**left, "input": None}, usage=dict(zip(names, (count, 3), strict=True)))

    return answers(answer)


def counts(count: int) -> Any:
    return replies(usage={"prompt_tokens": count, "completion_tokens": 3})


CUTS = "the server cuts prompts"
LONG: dict[str, Any] = {"length": 1000, "trials": 6}
PROMPTS = (
    Mode("a context of 2,048", "keeps the last 2,048 tokens, as a local runner does by default", cut(2048), "", CUTS, 3,
         **LONG),
    Mode("no round context", "keeps the last 1,777 tokens", cut(1777), "invalid", CUTS, 3, flags=ONE_BY_ONE,
         **LONG),
    Mode("cut, responses", "does so by the responses API", cut(2048), "", CUTS, 3, flags=RESPONSES, **LONG),
    Mode("cut, messages", "does so by Anthropic's API", cut(2048), "", CUTS, 3, flags=ANTHROPIC, **LONG),
    Mode("cut in a dialogue", "keeps the last 300 tokens of a dialogue", cut(300), "error", CUTS, 3,
         flags=("--template", "game", "--elicitation", "dialogue"), length=100, trials=2),
    Mode("one count for all", "reports 7 tokens for whatever comes", counts(7), "correct",
         "the same number of tokens for prompts of any length", length=200),
    Mode("no counts", "reports no tokens", replies(usage=None), "correct", length=200),
    Mode("counts of nothing", "reports 0 tokens", counts(0), "correct", length=200),
    Mode("a limit of its own", "refuses what is too long for it", answers(
        lambda path, body: (400, {"error": {"message": "the prompt is too long: 3012 tokens"}})), "error",
        "the prompt is too long", 3, length=1000),
)  # fmt: skip


def turns(*names: str) -> Any:
    """A server that says, one call after the other, that it answers with these models, and then with the last."""

    def new() -> Any:
        calls = itertools.chain(names, itertools.repeat(names[-1]))
        return lambda path, body: made(path, body, model=next(calls))

    return new


def scoring(*names: str) -> Any:
    """The same of a server that scores."""

    def new() -> Any:
        calls = itertools.chain(names, itertools.repeat(names[-1]))
        return echoes(model=lambda _: next(calls))

    return new


ANSWERING = (
    Mode("an alias", "says that it answers with another name", replies(model="another-one"), "correct",
         "the server says that it answers with 'another-one'"),
    Mode("a fallback", "turns to another model in the middle of a run", turns("m", "m", "other"), "correct",
         "answers with 'other' after answering with 'm'", 3, flags=ONE_BY_ONE),
    Mode("a dated name", "says the model's dated name", turns("m", "m-2026-01-01"), "correct", flags=ONE_BY_ONE),
    Mode("no name", "does not say with what it answers", replies(model=None), "correct"),
    Mode("a name that is no text", "says a number for the model", replies(model=7), "correct"),
    Mode("a fallback, forced", "turns to another model where it scores", scoring("m", "m", "m", "other"), "correct",
         "answers with 'other' after answering with 'm'", 3, FORCED),
)  # fmt: skip


def schema(shape: str) -> Any:
    """A server that answers a schema in one way."""
    values = {
        "good": lambda bits: {"answers": bits},
        "longer": lambda bits: {"answers": [*bits, "1"]},
        "numbers": lambda bits: {"answers": [int(bit) for bit in bits]},
        "other": lambda bits: {"result": bits},
    }

    def answer(path: str, body: Body) -> Any:
        return made(path, body, json.dumps(values[shape](right(body))))

    return answers(answer)


IGNORES = "the server ignores --answers schema"
OFF = (*LIST, "--thinking", "off")
THOUGHT = "Let me see: first there is a write, and then a read, and so the memory holds it, and the answer is one."
SETTINGS = (
    Mode("a schema that is kept", "answers as the schema says", schema("good"), "correct", flags=SCHEMA),
    Mode("numbers for texts", "writes numbers where the schema has texts", schema("numbers"), "correct", flags=SCHEMA),
    Mode("a schema that is ignored", "answers in free text", replies(), "", IGNORES, 2, flags=SCHEMA),
    Mode("a schema of its own", "answers with other properties", schema("other"), "", IGNORES, 2, flags=SCHEMA),
    Mode("a longer list", "answers with one answer too many", schema("longer"), "", IGNORES, 2, flags=SCHEMA),
    Mode("JSON in a code block", "puts the JSON into a code block", answers(lambda path, body: made(
        path, body, f"```json\n{json.dumps({'answers': right(body)})}\n```")), "", IGNORES, 2, flags=SCHEMA),
    Mode("a schema after thoughts", "writes thoughts in front of the JSON", answers(lambda path, body: made(
        path, body, f"<think>{THOUGHT}</think>{json.dumps({'answers': right(body)})}")), "correct", flags=SCHEMA),
    Mode("thoughts all the same", "counts tokens of reasoning where it was to be off", replies(
        usage={"prompt_tokens": 300, "completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 80}}),
         "", "--thinking off is not honoured", 2, flags=OFF),
    Mode("thoughts in a field", "sends thoughts in a field where they were to be off",
         replies(message={"reasoning": THOUGHT}), "", "--thinking off is not honoured", 2, flags=OFF),
    Mode("thoughts in the text", "writes thoughts where they were to be off", replies(f"<think>{THOUGHT}</think>RIGHT"),
         "", "--thinking off is not honoured", 2, flags=OFF),
    Mode("thinking that is off", "writes an empty block of thoughts", replies("<think>\n\n</think>\n\nRIGHT"),
         "correct", flags=OFF),
    Mode("stop texts that are ignored", "goes on after its stop text",
         answers(lambda path, body: made(path, body, " 1\nwrite 0\nread 0")), SCORED,
         flags=("--template", "raw-spaced", "--api", "completions", "--elicitation", "next")),
)  # fmt: skip
