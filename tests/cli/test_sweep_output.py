"""The estimate of a study on the terminal."""

from __future__ import annotations

import pytest

from ffprompt.cli.sweep_output import Estimate, estimates


def test_the_estimate_has_no_column_that_is_empty_and_no_time_of_zero(capsys: pytest.CaptureFixture[str]) -> None:
    estimates({"small": Estimate(2, 200, 0.01, 0.001), "large": Estimate(2, 4_000, 0.1, 0.2)})
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "cell trainings steps ms a step core hours",
        "small 2 200 10 < 0.01",
        "large 2 4,000 100 0.20",
        "all 4 4,200 0.20",
    ]
