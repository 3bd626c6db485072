"""What is said about a diagnosis in words."""

from __future__ import annotations

from ffprompt.analysis.diagnosis.conclusions import told
from ffprompt.analysis.diagnosis.estimates import Estimate


def test_a_few_strings_that_all_show_the_same_difference_tell_nothing() -> None:
    assert not told(Estimate(1.0, 1.0, 1.0, reads=4, strings=2))
    assert told(Estimate(1.0, 1.0, 1.0, reads=40, strings=20))
    assert told(Estimate(0.5, 0.1, 0.9, reads=4, strings=2))
    assert not told(Estimate(0.0, 0.0, 0.0, reads=40, strings=20))
