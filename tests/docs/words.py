"""What the columns and keys of a run's files hold, for the generated pages of the reference.

A column or a key that has no line here makes ``tests/docs/test_reference.py`` fail.
"""

from __future__ import annotations

from collections.abc import Mapping


def of(about: Mapping[str, str], name: str) -> str:
    """The line about a column or a key."""
    assert name in about, f"{name} has no description in tests/docs/words.py or ffprompt/runs/columns.py"
    return about[name]


RUN = {
    "schema": "version of this layout",
    "run_id": "name of the folder",
    "status": "`running`, `waiting` (for batches), `done`, `incomplete`, `interrupted` or `failed`",
    "plan_digest": "digest of what was asked; `--resume` continues a run with the same one",
    "started": "when the run began (UTC)",
    "ended": "when it ended (UTC)",
    "config": "the [settings](settings.md)",
    "capabilities": "what the backend could do",
    "model": "who answered: path or address, revision, digest, dtype, device",
    "plan": "conditions, templates with all their texts, digest of the strings",
    "audit": "the [tokenisation audit](../methods/audit.md) of each condition, with its notes",
    "samples": "one prompt of each condition, word for word",
    "chunk": "trials that are planned together",
    "shard": "the part of the run that this is, `I/N`",
    "price": "price of a token, its source and its date; null where it is unknown",
    "results": "the table: one object for each condition, below",
    "spent": "calls, tokens and dollars over all resumes",
    "batches": "parts that went to a provider as batches",
    "seconds": "time at work, over all resumes",
    "content": "",
}

TRIAL = {
    "trial": "its number in the plan",
    "trial_id": "its name",
    "spec": "the language of the string",
    "seed": "seed of the string",
    "index": "which string of the seed",
    "repeat": "which repeat; missing in runs without repeats",
    "string": "digest of the string",
    "prompt": "digest of the prompt",
    "response": "what the model wrote or scored, word for word; its keys stand in the line itself",
    "answers": "the answers as they were read when the reply came",
    "outcomes": "the outcomes at that moment; `ffprompt score` finds them again from the response",
    "reason": "why there is no answer",
    "started": "when the call began (UTC)",
    "seconds": "how long it took",
}

FILES = (
    ("run.json", "settings, templates, model, audit, versions, commit, hardware, status and the table"),
    (
        "trials.jsonl",
        "one line a trial, synced to disk, with the raw reply or log-probabilities; a failed call leaves a line with "
        "its error before the one that counts, and a dialogue behind an API one for each turn (`first_turn`)",
    ),
    ("reads.parquet", "one row a read, made from the lines"),
    ("report.html", "what the run shows, for the browser (extra `report`); a suite has one page beside its runs"),
    ("strings.parquet", "the strings, where they came from a file"),
    ("invalid.md", "the commonest replies that could not be read, with their reasons, where there are some"),
    ("sent.tsv", "for a model behind an API: what each attempt at a call could use at most, written before it is sent"),
    ("attention.parquet", "one row a read and head, made by `ffprompt diagnose`: where the head looks"),
    ("patching.parquet", "one row a read and patched place, made by `ffprompt diagnose --patch`"),
    ("layers.parquet", "one row a string and state, made by `ffprompt diagnose --layers`: how alike its tokens are"),
    ("probe.parquet", "one row a read, state and place, made by `ffprompt diagnose --probe`: whether the bit is told"),
    ("diagnosis.json", "what `ffprompt diagnose` has found"),
    ("batches.jsonl", "which trials went to the provider in which batch, where some did"),
)
