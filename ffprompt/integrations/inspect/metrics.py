"""Metrics of a whole task: reads are pooled, and strings are the clusters of the interval."""

from __future__ import annotations

from collections.abc import Callable

from inspect_ai.scorer import Metric, SampleScore, metric

from ffprompt.integrations.harness import Counts, summary

_NONE = float("nan")  # Inspect has no other word for no data


def _pooled(name: str) -> Metric:
    def compute(scores: list[SampleScore]) -> float:
        return _summary(scores).get(name, _NONE)

    return compute


def _summary(scores: list[SampleScore]) -> dict[str, float]:
    return summary(Counts.from_json(one.score.metadata["counts"]) for one in scores if one.score.metadata)


@metric
def accuracy() -> Metric:
    """Correct reads as a share of those that are no errors."""
    return _pooled("accuracy")


@metric
def glitch_rate() -> Metric:
    """Wrong reads as a share of those that are right or wrong."""
    return _pooled("glitch_rate")


@metric
def interval_low() -> Metric:
    """Lower end of the 95 % interval of the accuracy."""
    return _pooled("interval_low")


@metric
def interval_high() -> Metric:
    """Upper end of the 95 % interval of the accuracy."""
    return _pooled("interval_high")


@metric
def floor() -> Metric:
    """Accuracy of the best rule without memory on the same reads."""
    return _pooled("floor")


@metric
def strings() -> Metric:
    """Strings with an answer."""
    return _pooled("strings")


@metric
def reads() -> Metric:
    """Reads that were asked and are no errors."""
    return _pooled("reads")


@metric
def unanswered() -> Metric:
    """Reads that have no answer: invalid, refused and truncated ones."""

    def compute(scores: list[SampleScore]) -> float:
        found = _summary(scores)
        return sum(found.get(name, 0.0) for name in ("invalid", "refused", "truncated"))

    return compute


@metric
def failed() -> Metric:
    """Reads whose call failed, which count nowhere else."""
    return _pooled("error")


ALL: tuple[Callable[[], Metric], ...] = (
    accuracy, glitch_rate, interval_low, interval_high, floor, strings, reads, unanswered, failed,
)  # fmt: skip
