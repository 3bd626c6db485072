"""The figure of a study whose test strings are drawn with other probabilities than the training's."""

from __future__ import annotations

import pytest

from ffprompt.report.figures.shift import by_probability


def study(*sets: str) -> dict[str, object]:
    rates = {"trainings": 2, "median": 0.1, "least": 0.05, "most": 0.2}
    return {"sets": list(sets), "cells": [{"name": "plain", "sets": dict.fromkeys(sets, rates)}]}


def test_a_set_without_a_setting_stands_at_its_default() -> None:
    made = by_probability(study("parity(24, p1=0.9, reads=every)", "parity(24, reads=every)", "parity(24, p1=0.1)"))
    assert made is not None and made.x_title == "p1"
    (series,) = made.series
    assert list(series.x) == [0.1, 0.5, 0.9]  # not in the order of the sets
    assert list(series.y) == pytest.approx([0.9] * 3)
    assert (series.low, series.high) == (pytest.approx([0.8] * 3), pytest.approx([0.95] * 3))


@pytest.mark.parametrize(
    "sets", [("FFL(64, 0.8)", "FFL(64, 0.98)"), ("parity(24)", "counter-3(24)"), ("parity(24)", "parity(48)")]
)
def test_sets_that_differ_in_another_way_have_no_such_figure(sets: tuple[str, ...]) -> None:
    assert by_probability(study(*sets)) is None
