"""What a model is trained on: the shares of a mixture, fixed sets, and the same strings however they are asked for."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ffprompt.errors import ConfigError, SpecError
from ffprompt.reference.training import data
from ffprompt.reference.training.data import Mixture, Source, batches
from ffprompt.tasks.flipflop import Spec, sample
from ffprompt.tasks.strings import Strings

# Languages that can be told apart by a string's look: writes alone, reads alone, ignores alone between the ends.
WRITES, READS, IGNORES = (Spec(8, *p) for p in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def texts(source: Source, first: int, last: int, size: int) -> list[str]:
    return [text for step in range(first, last + 1) for text in source.batch(step, size).texts()]


def parts(strings: Strings) -> list[int]:
    """Which of WRITES, READS, IGNORES each string is of."""
    return strings.events[:, 1].tolist()


# --- mixtures ---


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (0.02, 0.03, 0.95)])
def test_the_shares_of_a_mixture_are_those_asked_for(weights: tuple[float, float, float]) -> None:
    shares = tuple(weight / sum(weights) for weight in weights)
    n = 20_000
    found = np.bincount(parts(Source(Mixture((WRITES, READS, IGNORES), shares), 0).batch(1, n)), minlength=3)
    for count, share in zip(found, shares, strict=True):
        assert abs(count - n * share) < 4 * (n * share * (1 - share)) ** 0.5


def test_which_part_a_string_is_of_does_not_follow_from_its_neighbour() -> None:
    n = 20_000
    found = np.array(parts(Source(Mixture.of(WRITES, READS), 3).batch(1, n)))
    same = int((found[1:] == found[:-1]).sum())
    assert abs(same - n / 2) < 4 * (n / 4) ** 0.5


def test_a_string_of_a_mixture_is_the_string_of_its_part_with_that_number() -> None:
    mixture = Mixture.parse("FFL(0.8)+FFL(0.1)", 32)
    found = Source(mixture, 7).batch(1, 200).texts()
    pools = [sample(part, 7, 0, 200, stream="train").texts() for part in mixture.parts]
    chosen = [[text == pool[i] for pool in pools].index(True) for i, text in enumerate(found)]
    assert 60 < sum(chosen) < 140


def test_training_strings_are_not_those_tested_on() -> None:
    spec = Spec.ffl(0.8, 64)
    trained = set(Source(Mixture.of(spec), 1000).batch(1, 500).texts())
    assert not trained & set(sample(spec, 1000, 0, 500).texts())


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("FFL(0.8)", (1.0,)),
        ("FFL(0.8)+FFL(0.98)", (0.5, 0.5)),
        (" 2*FFL(0.8) + ffl(64, 0.98)", (2 / 3, 1 / 3)),
        ("FFL(64, 0.1, 0.1, 0.8)+3*FFL(1e-1)+FFL(0.98)", (0.2, 0.6, 0.2)),
    ],
)
def test_a_mixture_is_read_and_written(text: str, shares: tuple[float, ...]) -> None:
    mixture = Mixture.parse(text, 64)
    assert mixture.shares == pytest.approx(shares)
    assert Mixture.parse(str(mixture)).parts == mixture.parts
    assert Mixture.parse(str(mixture)).shares == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("text", ["", "FFL(0.8)+", "0*FFL(0.8)", "-1*FFL(0.8)", "1.2.3*FFL(0.8)", "FFL(8, .8)+FFL(.8)"])
def test_what_is_no_mixture_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="data"):
        Mixture.parse(text)


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.0, 0.0), (float("nan"), 1.0), (1.0,)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(SpecError):
        Mixture((WRITES, READS), shares)


# --- fresh strings ---


@pytest.mark.parametrize("text", ["FFL(0.5)", "FFL(0.5)+2*FFL(0.1)"])
@pytest.mark.parametrize("strings", [None, 50])
def test_the_strings_in_order_do_not_depend_on_the_size_of_a_batch(text: str, strings: int | None) -> None:
    source = Source(Mixture.parse(text, 32), 5, strings)
    assert texts(source, 1, 12, 10) == texts(source, 1, 40, 3) == texts(source, 1, 1, 120)


def test_fresh_strings_do_not_come_back_and_follow_the_seed() -> None:
    mixture = Mixture.parse("FFL(0.5)", 64)
    first = texts(Source(mixture, 0), 1, 50, 16)
    assert len(set(first)) == 800
    assert first == texts(Source(mixture, 0), 1, 50, 16)
    assert not set(first) & set(texts(Source(mixture, 1), 1, 50, 16))


# --- fixed sets ---


@pytest.mark.parametrize("text", ["FFL(0.5)", "FFL(0.5)+FFL(0.1)"])
@pytest.mark.parametrize("size", [1, 7, 30, 70])
def test_each_pass_over_a_fixed_set_has_every_string_once_in_another_order(text: str, size: int) -> None:
    mixture = Mixture.parse(text, 64)
    whole = Source(mixture, 2).batch(1, 30).texts()
    drawn = texts(Source(mixture, 2, 30), 1, -(-120 // size), size)
    passes = [drawn[low : low + 30] for low in range(0, 120, 30)]
    assert all(sorted(one) == sorted(whole) for one in passes)
    assert len({tuple(one) for one in [*passes, whole]}) == 5


def test_a_small_batch_of_a_large_set_is_drawn_string_by_string_and_is_the_same() -> None:
    mixture = Mixture.parse("FFL(0.5)+FFL(0.1)", 16)
    source, whole = Source(mixture, 2, 3_000), Source(mixture, 2).batch(1, 3_000).texts()
    assert sorted(texts(source, 1, 1_000, 3)) == sorted(whole)


def test_a_set_of_one_string_is_that_string() -> None:
    source = Source(Mixture.parse("FFL(0.5)", 64), 0, 1)
    assert set(texts(source, 1, 5, 4)) == {Source(source.mixture, 0).batch(1, 1).texts()[0]}


def test_the_order_of_a_pass_is_drawn_once_and_not_for_every_string(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    generator = data._generator
    monkeypatch.setattr(data, "_generator", lambda name: made.append(name) or generator(name))
    data._order.cache_clear()
    source = Source(Mixture.parse("FFL(0.5)", 16), 0, 40)
    texts(source, 1, 20, 4)
    assert made == ["order|0|0", "order|0|1"]


@pytest.mark.parametrize("fields", [{"strings": 0}, {"seed": -1}])
def test_a_source_of_nothing_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Source(**{"mixture": Mixture.of(WRITES), "seed": 0, **fields})  # type: ignore[arg-type]


# --- drawn ahead ---


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 3), (1, 20), (8, 20), (5, 4)])
def test_batches_drawn_ahead_are_those_asked_for_directly(first: int, last: int) -> None:
    source = Source(Mixture.parse("FFL(0.5)+FFL(0.1)", 32), 1, 25)
    found = [strings.texts() for strings in batches(source, 4, first, last)]
    assert found == [source.batch(step, 4).texts() for step in range(first, last + 1)]


def test_stopping_early_ends_the_thread() -> None:
    ahead = batches(Source(Mixture.of(WRITES), 1), 2, 1, 1_000)
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ffprompt-data")]
