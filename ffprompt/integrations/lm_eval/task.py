"""The task class that the YAML files name. It is imported by lm-evaluation-harness, and imports it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Never

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task

from ffprompt.backends.base import Reply
from ffprompt.elicitation.question import Question
from ffprompt.errors import ConfigError, FFPromptError
from ffprompt.integrations.harness import (
    METRICS,
    SETTINGS,
    Counts,
    CountsRecord,
    Document,
    HarnessCondition,
    refuse,
    refuse_other_version,
    summary,
)
from ffprompt.integrations.lm_eval.samples import scores

KNOWN = ("0.4.13", "0.5")  # the releases whose interfaces were tried: from, below
_ELICITATIONS = ("forced", "next", "list")


class Reads(Task):
    """One condition: every string is a document. ``forced`` scores its reads, ``next`` and ``list`` generate.

    Settings come from the ``metadata`` of the YAML file and of ``--metadata``. Demonstrations and the conversation
    are those of the template, so the harness's own few-shot and system texts are refused.

    Raises:
        ConfigError: The settings describe no condition, or the harness is of a release that was not tried.
    """

    VERSION = 1

    def __init__(
        self,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        download_mode: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(config or {})
        metadata = given.get("metadata") or {}
        try:
            self.harness = _condition(metadata)
        except FFPromptError as error:
            _refuse(error)
        self.forced = self.harness.condition.elicitation.scored_by_logprobs
        self._documents = self.harness.documents()
        kind = "loglikelihood" if self.forced else "generate_until"
        self.OUTPUT_TYPE = kind
        kept = {"task": given.get("task"), "output_type": kind, "metadata": {**metadata, "version": self.VERSION}}
        super().__init__(data_dir, cache_dir, download_mode, kept)

    def download(self, *_: Any, **__: Any) -> None:
        """Download nothing: strings are sampled."""

    def has_training_docs(self) -> bool:
        """Return False."""
        return False

    def has_validation_docs(self) -> bool:
        """Return False."""
        return False

    def has_test_docs(self) -> bool:
        """Return True."""
        return True

    def test_docs(self) -> list[Document]:
        """Return one document a string."""
        return self._documents

    def doc_to_text(self, doc: Document) -> str:
        """Return the prompt of a string, with the true answers in place if its reads are scored."""
        return self.harness.question(doc["trial"]).prompt.text

    def doc_to_target(self, doc: Document) -> str:
        """Return the true answers."""
        return ", ".join(doc["truth"])

    def fewshot_context(self, doc: Document, num_fewshot: int, *_: Any, **given: Any) -> str:
        """Return nothing: demonstrations are in the prompt itself.

        Raises:
            ConfigError: where the harness adds some.
        """
        if num_fewshot not in (0, self.harness.condition.shots):
            metadata = f'{{"shots": {num_fewshot}}}'
            _refuse(
                ConfigError(f"--num_fewshot {num_fewshot}: expected 0; for solved strings give --metadata '{metadata}'")
            )
        if given.get("system_instruction") is not None:
            _refuse(ConfigError("--system_instruction: expected none, because the template has its own"))
        chat = self.harness.condition.form == "chat"
        if chat != bool(given.get("apply_chat_template")):
            hint = "also give --apply_chat_template" if chat else """also give --metadata '{"form": "chat"}'"""
            _refuse(ConfigError(f"form {self.harness.condition.form}: {hint}"))
        return ""

    def construct_requests(
        self, doc: Document, ctx: str, chat_template: Callable[..., str] | None = None, **given: Any
    ) -> list[Instance]:
        """Return what is asked of a model about one string: every answer at every read, or one reply."""
        question = self.harness.question(doc["trial"])
        given.pop("apply_chat_template", None)
        before = _conversation(question, chat_template)
        if not self.forced:
            until = {"until": list(question.prompt.stop), "max_gen_toks": question.limits[0], "do_sample": False}
            asked: list[tuple[str, Any]] = [(before + question.prompt.text, until)]
            kind = "generate_until"
        else:
            text = question.prompt.text
            asked = [
                (before + text[:start], surface) for start, _ in question.prompt.reads for surface in question.surfaces
            ]
            kind = "loglikelihood"
        return [
            Instance(request_type=kind, doc=dict(doc), arguments=arguments, idx=number, **given)
            for number, arguments in enumerate(asked)
        ]

    def process_results(self, doc: Document, results: Sequence[Any]) -> dict[str, CountsRecord]:
        """Return the counts of one string, under the name of every metric."""
        question = self.harness.question(doc["trial"])
        response = scores(results, len(question.surfaces)) if self.forced else Reply(str(results[0]), "stop")
        judged = self.harness.judge(doc["trial"], response)
        counts = self.harness.counts(doc["trial"], judged).to_json()
        return dict.fromkeys(METRICS, counts)

    def aggregation(self) -> dict[str, Callable[[Sequence[CountsRecord]], float | None]]:
        """Return how the counts of all strings become a metric: reads are pooled, strings are clusters."""
        return {name: partial(_pooled, name) for name in METRICS}

    def higher_is_better(self) -> dict[str, bool]:
        """Return which metrics are better when higher."""
        return {name: name in ("accuracy", "interval_low", "interval_high", "strings", "reads") for name in METRICS}


def _condition(metadata: Mapping[str, Any]) -> HarnessCondition:
    refuse_other_version("lm-eval", lm_eval.__version__, *KNOWN)
    condition = HarnessCondition("lm-eval", _settings(metadata))
    name = condition.condition.elicitation.name
    if name not in _ELICITATIONS:
        raise ConfigError(f"--metadata elicitation {name}: expected one of {', '.join(_ELICITATIONS)}")
    return condition


def _refuse(error: FFPromptError) -> Never:
    refuse(error, "lm_eval", "lm-eval")


def _settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the metadata, where the harness also keeps its own notes and the model's arguments."""
    for name in metadata:
        # A misspelt setting would otherwise leave the default in force without a word.
        close = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.75)
        if close and name not in (*SETTINGS, *_HARNESS_KEYS):
            raise ConfigError(f"--metadata {name}: unknown setting; did you mean {close[0]!r}?")
    return {name: metadata[name] for name in SETTINGS if name in metadata}


# What the harness itself and its models put beside the settings, as far as a setting has a name like it.
_HARNESS_KEYS = ("version", "config_source", "max_length", "max_gen_toks", "pretrained", "trust_remote_code")


def _conversation(question: Question, chat_template: Callable[..., str] | None) -> str:
    if not question.is_chat:
        return ""
    assert chat_template is not None
    turns = [{"role": message.role, "content": message.text} for message in question.prompt.messages]
    return chat_template(turns, add_generation_prompt=True)


def _pooled(metric: str, counts: Sequence[CountsRecord]) -> float | None:
    return summary(Counts.from_json(one) for one in counts).get(metric)
