"""The area under the ROC curve: its value by counting pairs, and intervals that know the strings."""

from __future__ import annotations

import numpy as np
import pytest

from ffprompt.errors import CountsError
from ffprompt.stats.auroc import auroc


def test_the_area_is_the_share_of_pairs_in_order_with_ties_counted_half() -> None:
    rng = np.random.default_rng(0)
    score, case = rng.integers(0, 4, 40), rng.random(40) < 0.4
    found = auroc(range(40), score, case)
    pairs = [(a > b) + (a == b) / 2 for a in score[case] for b in score[~case]]
    assert found is not None
    assert found.estimate == pytest.approx(np.mean(pairs))
    assert (found.cases, found.others) == (case.sum(), (~case).sum())


def test_reads_of_one_string_do_not_count_as_many_strings() -> None:
    rng = np.random.default_rng(1)
    case = rng.random(50) < 0.5
    score = rng.normal(size=50) + case
    alone = auroc(range(50), score, case)
    tenfold = auroc(np.repeat(range(50), 10), np.repeat(score, 10), np.repeat(case, 10))
    assert alone is not None and tenfold is not None
    assert tenfold.estimate == pytest.approx(alone.estimate)
    assert (tenfold.low, tenfold.high) == pytest.approx((alone.low, alone.high))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(300):
        string = np.repeat(range(40), 3)
        case = rng.random(120) < 0.5
        score = 0.7 * rng.normal(size=40)[string] + 0.7 * rng.normal(size=120) + case
        found = auroc(string, score, case)
        assert found is not None and found.low is not None and found.high is not None
        hits.append(found.low <= 0.7622 <= found.high)  # Φ(1 / √2 / 0.99)
    assert 0.91 < np.mean(hits) < 0.99


def test_perfect_order_leaves_room_for_doubt_and_one_kind_gives_nothing() -> None:
    found = auroc(range(10), range(10), [place > 4 for place in range(10)])
    assert found is not None
    assert found.estimate == found.high == 1.0
    assert found.low is not None and 0.5 < found.low < 0.95
    assert auroc([0, 1], [0.1, 0.2], [True, True]) is None
    with pytest.raises(CountsError, match="no finite number"):
        auroc([0, 1], [0.1, np.nan], [True, False])
