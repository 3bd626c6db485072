"""What the columns of ``reads.parquet`` and the keys of a row of the table hold: the one table of them.

The schema of the file, the reference pages and the card of an exported dataset are made from it. A column is added to
in later versions and never renamed. A column without a description fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``reads.parquet``.

    Attributes:
        kind: Its Arrow type by name. ``list`` is a list of float64.
        about: What it holds, in Markdown.
    """

    kind: str
    about: str


READS: Mapping[str, Column] = {
    "trial_id": Column("string", "the trial, by condition, seed and string"),
    "model": Column("string", "the model as it was named"),
    "template": Column("string", "the template"),
    "shots": Column("int16", "solved strings before the question"),
    "elicitation": Column("string", "how reads are asked"),
    "form": Column("string", "completion (one text) or chat (turns)"),
    "length": Column("int32", "T, symbols in the string"),
    "p_write": Column("float64", "probability of a write; null for strings from a file"),
    "p_read": Column("float64", "probability of a read; null for strings from a file"),
    "p_ignore": Column("float64", "probability of an ignore; null for strings from a file"),
    "symbols": Column("int16", "number of data symbols"),
    "seed": Column("int64", "seed of the strings"),
    "string_index": Column("int64", "which string of the seed"),
    "read_index": Column("int32", "which read of the string, from 0"),
    "position": Column("int32", "the instruction at which the read stands, from 0"),
    "gap": Column("int32", "instructions since the write that the read is about"),
    "truth": Column("int16", "the true answer, as a number"),
    "answer": Column("int16", "the model's answer, as a number; null where there is none"),
    "outcome": Column("string", "what became of the read (see [Outcomes](../concepts/index.md#outcomes))"),
    "answer_logprobs": Column(
        "list", "`forced`: natural log-probability of each answer over the whole vocabulary, in symbol order"
    ),
    "answer_mass": Column("float64", "`forced`: probability of all answers together"),
    "margin": Column("float64", "`forced`: log-probability of the best answer minus that of the second"),
    "argmax_token": Column("int64", "`forced`: the token ranked first among all tokens"),
    "argmax_symbol": Column("int16", "`forced`: the symbol that this token is, -1 for none"),
    "reason": Column("string", "why there is no answer"),
    "shot_length": Column("int32", "T of the shots; null without shots"),
    "shared_shots": Column("bool_", "whether all questions share their shots; null without shots"),
    "next_read": Column("string", "`next`: which read was asked; null otherwise"),
    "temperature": Column("float64", "sampling temperature; null where nothing is sampled"),
    "data": Column("string", "the file that the strings came from; null for sampled strings"),
    "turn_instructions": Column("int32", "`dialogue`: instructions a turn; null otherwise"),
    "string": Column("string", "digest of the string"),
    "contradictions": Column("int32", "ignores since the write that carry another symbol than the stored one"),
    "earlier_reads": Column("int32", "reads since the write, all of the same symbol"),
    "ended": Column("string", "why the reply ended, in the server's own word"),
    "answers": Column("string", "text or schema; null where no reply is written"),
    "repeat": Column("int16", "which repeat of the prompt, from 0"),
    "prompt": Column("string", "digest of the prompt as the model saw it"),
    "condition": Column("int32", "number of the condition in its run"),
    "final_answer": Column(
        "int16", "`trace`: the answer that the model states at the end, as a number; null elsewhere"
    ),
    "proposed": Column("int16", "`verify`, `verify-reply`: the answer that was shown to be judged; null elsewhere"),
}

RESULT: Mapping[str, str] = {
    "condition": "its name",
    "template": "the template",
    "shots": "solved strings before the question",
    "elicitation": "how reads are asked",
    "turn_instructions": "instructions a turn of a dialogue",
    "form": "completion or chat",
    "answers": "`schema`, or null for text",
    "language": "the strings, such as FFL(50, 0.6)",
    "reads": "reads that count: all but failed calls",
    "strings": "strings with such a read",
    "accuracy": "correct / reads; null without a read",
    "interval_low": "lower end of its interval",
    "interval_high": "upper end",
    "interval_level": "confidence of the interval",
    "interval_method": "score test, Korn–Graubard, or one that holds wherever a run stops",
    "n_effective": "independent reads that the reads are worth",
    "deff": "design effect: how much wider the interval is because reads of one string are alike",
    "warnings": "what to beware of",
    "strings_with_an_error": "strings with a read that is not correct: count, share, exact interval",
    "zero_error_bounds": "no error at all: the largest error rates that this leaves possible",
    "glitch_rate": "wrong / (correct + wrong)",
    "mean_answer_mass": "`forced`: mean probability of all answers together",
    "near_ties": "reads whose two best answers are nearly as probable",
    "perfect_strings": "strings with every read correct",
    "floor": "accuracy of the best rule without memory on the same reads",
    "floor_rule": "that rule",
    "floors": "accuracy of every rule",
    "outcomes": "reads by outcome",
    "reasons": "why reads have no answer, with counts",
    "missing_trials": "trials that were never answered",
    "repeats": "times that each prompt was asked",
    "repeat_pairs": "pairs of repeats that were compared",
    "self_agreement": "how often two repeats agree",
    "self_agreement_low": "lower end of its interval",
    "self_agreement_high": "upper end",
    "whole_strings": "strings with every repeat answered",
    "always_right": "share of them that is right in every repeat",
    "always_right_low": "lower end of its interval",
    "always_right_high": "upper end",
    "traces": "`trace`: trials with a trace and answers after it",
    "contradicting_traces": "`trace`: of these, trials whose answers at the end are not those in the trace",
    "replies_without_a_trace": "`trace`: trials scored on the answers at the end alone",
    "prompt_tokens": "tokens of the prompts",
    "reply_tokens": "tokens of the replies",
    "cached_tokens": "prompt tokens that came from a cache",
    "reasoning_tokens": "reply tokens that were reasoning",
    "usd": "cost; null where a price or a usage is unknown",
    "calls": "calls of an API",
    "replies_without_usage": "replies that report no tokens",
    "stopping": "`--certify` or `--until-width`: rule, level, decision, strings",
    "unread": "why most replies could not be read, with one of them",
    "reasoning_tags": "`--reasoning-tags`: how many replies have them",
    "devices": "reads and correct reads of each device, where a run has unlike ones",
}
