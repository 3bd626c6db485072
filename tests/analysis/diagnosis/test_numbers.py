"""Means, slopes, kinds of errors and dilution on tables whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ffprompt.analysis.diagnosis.ablation import _random_sets
from ffprompt.analysis.diagnosis.diagnose import conclusions
from ffprompt.analysis.diagnosis.dilution import dilutions
from ffprompt.analysis.diagnosis.error_kinds import KINDS, error_kinds
from ffprompt.analysis.diagnosis.estimates import Estimate, differences, means, share, slopes
from ffprompt.analysis.diagnosis.heads import best_heads, summarise
from ffprompt.analysis.diagnosis.lens import lens
from ffprompt.analysis.diagnosis.table import TOPS, AttentionTable, joined
from ffprompt.backends.local.attention import ROLES, WRITE


def table(reads: int = 6, heads: int = 2, **fields: Any) -> AttentionTable:
    """A table of one layer; a field may be one value for all."""
    mass = np.zeros((reads, heads, len(ROLES)), np.float32)
    mass[:, 0, WRITE] = 0.75
    mass[:, :, -1] = 1 - mass[:, :, :-1].sum(2)
    defaults: dict[str, Any] = {
        "trial": np.arange(reads), "string": np.arange(reads), "read": np.zeros(reads),
        "position": np.arange(reads) + 9,
        "gap": np.arange(reads) % 3 + 1, "competitors": np.arange(reads) + 8, "governing": np.full(reads, 6),
        "first_write": np.zeros(reads), "previous": np.full(reads, 3), "wrong": np.arange(reads) % 2 == 0,
        "mass": mass, "sink": np.zeros((reads, heads)), "entropy": np.zeros((reads, heads)),
        "margin": np.zeros((reads, heads)), "keys": np.full((reads, heads), 20),
        "reachable": np.ones((reads, heads), bool), "top_role": np.full((reads, heads), WRITE),
        "top_event": np.full((reads, heads), 6), "value_role": np.full((reads, heads), WRITE),
        "value_event": np.full((reads, heads), 6),
    }  # fmt: skip
    return AttentionTable(layers=(4,), heads=heads, **(defaults | fields))


def test_a_mean_counts_reads_and_its_interval_counts_strings() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0, np.nan])
    (one,) = means(values, np.array([0, 0, 0, 1, 1]))
    assert one is not None
    assert (one.estimate, one.reads, one.strings) == (0.75, 4, 2)
    assert one.low is not None
    (many,) = means(values, np.arange(5))
    assert many is not None
    assert many.low is not None
    assert many.low > one.low  # four independent reads tell more than two strings
    (bounded,) = means(np.array([0.0, 0.0, 0.9]), np.arange(3), 1.0)
    assert bounded is not None
    assert (bounded.low, bounded.high) == (0.0, 1.0)
    assert means(np.full(3, np.nan), np.arange(3)) == [None]
    (alone,) = means(np.ones(3), np.zeros(3, int))
    assert alone == Estimate(1.0, None, None, 3, 1)


def test_intervals_of_means_cover() -> None:
    rng = np.random.default_rng(0)
    string = np.repeat(np.arange(25), 6)
    hits = 0
    for _ in range(300):
        values = 0.3 + rng.normal(size=25)[string] + rng.normal(size=len(string))
        (one,) = means(values, string)
        assert one is not None
        assert one.low is not None
        assert one.high is not None
        hits += one.low <= 0.3 <= one.high
    assert 0.92 <= hits / 300 <= 0.98


def test_the_interval_of_a_share_stays_within_zero_and_one() -> None:
    found = share(np.array([True] + [False] * 19), np.arange(20) // 2)
    assert found is not None
    assert found.estimate == 0.05
    assert found.low is not None
    assert found.low > 0
    assert share(np.zeros(0, bool), np.zeros(0, int)) is None


def test_a_difference_is_between_the_two_sides() -> None:
    (one,) = differences(np.array([0.5, 0.7, 0.1, 0.1]), np.array([True, True, False, False]), np.arange(4))
    assert one is not None
    assert one.estimate == pytest.approx(0.5)
    assert one.low is not None
    assert 0 < one.low < 0.5
    assert differences(np.ones(2), np.array([True, True]), np.arange(2)) == [None]


def test_slopes_tell_two_predictors_apart() -> None:
    rng = np.random.default_rng(1)
    predictors = rng.normal(size=(200, 2))
    values = 2 - predictors[:, 0] + 0.5 * predictors[:, 1] + rng.normal(size=200) * 0.1
    first, second = slopes(predictors, values, np.arange(200) // 4)
    assert first is not None
    assert second is not None
    assert first.estimate == pytest.approx(-1, abs=0.05)
    assert second.estimate == pytest.approx(0.5, abs=0.05)
    assert first.low is not None
    assert first.high is not None
    assert first.low < -1 < first.high
    assert slopes(np.ones((5, 1)), np.arange(5.0), np.arange(5)) == [None]


def test_equal_scores_give_a_slope_of_minus_one_over_competitors() -> None:
    competitors = np.array([1, 3, 7, 15, 31, 63])
    margin = np.column_stack([-np.log(competitors + 1.0), np.zeros(6)])
    gap = np.array([2, 1, 3, 1, 2, 5])
    best, first, _ = dilutions(table(margin=margin, competitors=competitors, gap=gap), np.array([0, 1]))
    assert best.head == "best"
    assert first.head == "L4H0"
    assert first.margin_on_competitors is not None
    assert first.margin_on_competitors.estimate == pytest.approx(-1)
    assert first.margin_on_gap is not None
    assert first.margin_on_gap.estimate == pytest.approx(0, abs=1e-9)
    assert [point.label for point in first.by_competitors] == ["1", "3–4", "5–8", "9–16", "17–32", "33–64"]


def test_heads_are_ranked_by_their_attention_on_the_write() -> None:
    mass = table().mass[:, ::-1]
    made = table(mass=mass)
    assert best_heads(made).tolist() == [1, 0]
    summary = summarise(made, groups=2)
    assert summary.best[0].name == "L4H1"
    assert summary.heads[1].write == pytest.approx(0.75)
    assert summary.heads[1].kv_head == 0
    assert summary.retrieving == 2


@pytest.mark.parametrize(
    ("role", "event", "kind"),
    [
        ("write", 6, "dilution"), ("stale", 3, "stale: previous"), ("stale", 0, "stale: first"),
        ("stale", 2, "stale: other"), ("ignored", 5, "distractor"), ("answers", 4, "echo"),
        ("answers", 7, "answer since the write"), ("first", -1, "sink"), ("sink", -1, "sink"),
        ("rest", -1, "elsewhere"),
    ],
)  # fmt: skip
def test_an_error_is_of_the_kind_of_its_top_token(role: str, event: int, kind: str) -> None:
    made = table(top_role=np.full((6, 2), TOPS.index(role)), top_event=np.full((6, 2), event))
    found = error_kinds(made, np.array([0, 1]))
    shares = {one.kind: one.wrong.estimate for one in found.of_all if one.wrong is not None}
    assert shares == {name: float(name == kind) for name in KINDS}
    among = {one.kind: one.right.estimate for one in found.of_values if one.right is not None}
    assert among["dilution"] == 1


def test_a_head_votes_by_its_attention_on_the_write() -> None:
    mass = table(heads=3).mass
    mass[:, 1:, WRITE] = 0.25
    roles = [TOPS.index(role) for role in ("write", "ignored", "ignored")]
    found = error_kinds(table(heads=3, mass=mass, top_role=np.tile(roles, (6, 1))), np.array([2, 1, 0]))
    (one,) = [one for one in found.of_all if one.wrong is not None and one.wrong.estimate == 1]
    assert one.kind == "dilution"


def test_tables_are_joined_read_by_read() -> None:
    whole = joined([table(), table(reads=3)])
    assert len(whole) == 9
    assert whole.mass.shape == (9, 2, len(ROLES))
    assert whole.where(whole.wrong).wrong.all()


def test_random_sets_match_the_chosen_heads_layer_by_layer() -> None:
    sets, unmatched = _random_sets(np.array([0, 1, 9, 17]), 8, 20, np.random.default_rng(0))
    assert unmatched == []
    assert len({tuple(one) for one in sets}) == len(sets) == 20
    for one in sets:
        assert np.bincount(np.array(one) // 8).tolist() == [2, 1, 1]
        assert not {0, 1, 9, 17} & set(one)
    few, unmatched = _random_sets(np.array([0, 1, 2]), 4, 20, np.random.default_rng(0))
    assert unmatched == [0]
    assert len(few) == 4  # there are no more sets of three of four heads


def test_attention_alone_is_never_called_a_cause() -> None:
    (said,) = conclusions([])
    assert "no evidence of a cause" in said


def test_the_lens_says_from_which_block_the_true_answer_stays_ahead() -> None:
    ahead = np.array([[0, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], np.float32)  # (blocks + 1, reads)
    logits = np.stack([np.zeros_like(ahead), ahead - 0.5], 2)
    found = lens([logits[:, :2], logits[:, 2:]], [(1, 1), (1,)], np.array([0, 1]))
    assert [one.estimate for one in found.right if one is not None] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert found.settled is not None
    assert found.settled.estimate == (3 + 2) / 2
    assert found.lost is not None
    assert (found.lost.estimate, found.lost.reads) == (1, 1)
    assert found.lost_by_right is not None
    assert found.lost_by_right.estimate == 0.5
