"""Go on drawing strings until a bound on the glitch rate is shown, looking as often as one likes.

The rate is errors / reads in the long run: E[e] / E[m] for a string with m reads and e errors. Nothing is assumed of
how the reads of one string depend. Strings are independent draws of one language.

It is a bet (Waudby-Smith & Ramdas 2024). If the rate is at least b, then e - b m has no negative mean, and a capital
that is multiplied by 1 - g (e - b m) / c with every string is not expected to grow. Here c is the most reads that a
string can have, so that it stays positive, and 0 < g <= 1 the stake. By Ville's inequality such a capital ever reaches
1 / alpha with probability at most alpha, at whatever moment one looks. When it does, the rate is below b. The bet
against a rate of at most b is 1 + g (e - b m) / (b c). Many stakes are held at once, and what counts is their mean
capital. As no stake depends on what was seen, neither does the capital on the order of strings: the number of strings
of each (e, m) is the whole state.

A string hardly ever has the most reads it could, so that c would be too cautious. c may be smaller if ``excess`` >=
E[max(m - c, 0)] is given, by :func:`read_cap` for one. Each bet then gives away what the cut could hide.

Example, b = 0.01, strings of 20 reads, no errors: the full stake, which has half of the capital, grows by the factor
1 + 0.01 · 20 / 20 a string, and 367 strings show it at 95 %: :func:`fewest_strings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.quantiles import Floats, checked_level

Decision = Literal["below", "above"]
Unit = Literal["strings", "reads"]

# Stakes, each half of the one before, and the capital given to each. Full stakes are nearly the best bet for "below"
# when errors are rare, so they get half of it; which is best for "above" depends on how errors cluster.
STAKES = {"below": 0.5 ** np.arange(15), "above": 0.5 ** np.arange(1, 21)}
SHARES = {"below": np.array([0.5, *[0.5 / 14] * 14]), "above": np.full(20, 1 / 20)}
_HALVINGS = 50


class DrawsState(TypedDict):
    """A :class:`Draws` as plain values. ``counts`` are (e, m, strings), in ascending order."""

    most_reads: int
    excess: float
    unit: Unit
    counts: list[list[int]]


class CertifyState(TypedDict):
    """A :class:`Certify` as plain values."""

    bound: float
    level: float
    decision: Decision | None
    draws: DrawsState


@dataclass
class Draws:
    """What was seen so far: how many strings had e errors in m reads.

    ``most_reads``: c above. ``excess``: see there. ``unit``: what is independent. ``"reads"`` takes every read for a
    string of its own, which needs fewer of them, and shows nothing if reads of one string fail together.
    """

    most_reads: int
    excess: float = 0.0
    unit: Unit = "strings"
    counts: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in ("strings", "reads"):
            raise CountsError(f"unit {self.unit!r}: expected strings or reads")
        if self.most_reads < 1 or not self.excess >= 0:
            raise CountsError(f"most reads {self.most_reads}, excess {self.excess}: expected at least 1 and 0")

    def add(self, errors: ArrayLike, reads: ArrayLike) -> None:
        """Count more strings.

        Args:
            errors: Errors of k strings, (k,) or one number.
            reads: Their reads.

        Raises:
            CountsError: one has more reads than possible. None is counted then.
        """
        block = Clusters(np.atleast_1d(errors), np.atleast_1d(reads))
        if not self.excess and len(block) and block.reads.max() > self.most_reads:
            raise CountsError(f"a string of {block.reads.max()} reads: at most {self.most_reads} were promised")
        kinds, counts = np.unique(np.stack([block.errors, block.reads], 1), axis=0, return_counts=True)
        for (e, m), n in zip(kinds.tolist(), counts.tolist(), strict=True):
            self.counts[e, m] = self.counts.get((e, m), 0) + n

    @property
    def strings(self) -> int:
        """Strings counted."""
        return sum(self.counts.values())

    @property
    def reads(self) -> int:
        """Reads counted."""
        return sum(m * n for (_, m), n in self.counts.items())

    @property
    def errors(self) -> int:
        """Errors counted."""
        return sum(e * n for (e, _), n in self.counts.items())

    def log_capital(self, side: Decision, bound: float) -> float:
        """Return the logarithm of the capital, 0 at first, of the bet that the rate is on one side of the bound."""
        if self.unit == "reads":
            e, m, n = np.array([1, 0]), np.array([1, 1]), np.array([self.errors, self.reads - self.errors])
            most, excess = 1, 0.0
        else:
            table = np.array([(e, m, n) for (e, m), n in self.counts.items()]).reshape(-1, 3)
            (e, m, n), most, excess = table.T, self.most_reads, self.excess
        return float(mixed(side, n @ log_factors(side, e, m, bound, most, excess)))

    def limits(self, level: float) -> tuple[float, float]:
        """Return bounds of the rate that hold at every moment at once, together with probability ``level``.

        Returns:
            Lower and upper bound. 0 and 1 before any string.
        """
        wanted = np.log(2 / (1 - checked_level(level)))
        high = _turn(lambda bound: self.log_capital("below", bound) < wanted)
        low = _turn(lambda bound: self.log_capital("above", bound) >= wanted) if self.errors else 0.0
        return low, high

    def to_json(self) -> DrawsState:
        """Plain values, from which :meth:`from_json` makes an equal object."""
        rows = sorted([e, m, n] for (e, m), n in self.counts.items())
        return {"most_reads": self.most_reads, "excess": self.excess, "unit": self.unit, "counts": rows}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Draws:
        """Read what :meth:`to_json` wrote.

        Raises:
            CountsError: on anything else.
        """
        try:
            counts = {(int(e), int(m)): int(n) for e, m, n in state["counts"]}
            made = cls(int(state["most_reads"]), float(state["excess"]), state["unit"], counts)
        except (KeyError, TypeError, ValueError) as error:
            raise CountsError(f"the state of a sequence of draws cannot be read ({error!r})") from error
        if any(not (0 <= e <= m and n > 0) for (e, m), n in counts.items()):
            raise CountsError("the state of a sequence of draws holds impossible counts")
        return made


def log_factors(side: Decision, errors: ArrayLike, reads: ArrayLike, bound: float, most: int, excess: float) -> Floats:
    """Logarithm of what each string multiplies the capital of each stake by, (…, stakes)."""
    e, m, cap = np.asarray(errors, float), np.asarray(reads, float), most + excess
    if side == "below":
        # E[min(e, c)] falls short of E[e] by at most the excess, which is added back: no negative mean if rate >= b.
        value = -(np.minimum(e, most) - bound * m + excess) / cap
    else:
        value = (e - bound * np.minimum(m, most) - bound * excess) / (bound * cap)
    with np.errstate(divide="ignore"):  # at bound 0 a stake may be lost altogether: its logarithm is -inf
        return np.asarray(np.log1p(value[..., None] * STAKES[side]))


def mixed(side: Decision, logs: Floats) -> Floats:
    """Logarithm of the mean capital of all stakes, (…), from each one's, (…, stakes)."""
    top = logs.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log((np.exp(logs - top) * SHARES[side]).sum(-1)) + top[..., 0])


def _turn(holds: Callable[[float], bool]) -> float:
    """Where in [0, 1] a condition that holds at small bounds ceases to. 1.0 if it never does.

    Both capitals are monotone in the bound, because no stake depends on it but through a fixed fraction.
    """
    low, high = 0.0, 1.0
    if holds(1.0):
        return 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high


@dataclass
class Certify:
    """Is the rate at most ``bound``, or at least? Draw and :meth:`update` until ``decision`` is not None.

    ``"below"`` is said of a rate above the bound, and ``"above"`` of one below it, with probability at most
    1 - level each, however often one looks and whenever one stops. A decision stays.
    """

    bound: float
    draws: Draws
    level: float = 0.95
    decision: Decision | None = None

    def __post_init__(self) -> None:
        checked_level(self.level)
        if not 0 < self.bound < 1:
            raise CountsError(f"bound {self.bound}: expected a rate between 0 and 1, such as 1e-4")

    def update(self, errors: ArrayLike, reads: ArrayLike) -> Decision | None:
        """Count more strings, one or a block, and say what is shown by now.

        Args:
            errors: Errors of k strings, (k,) or one number. Strings whose call failed stay out.
            reads: Their reads.

        Returns:
            ``below`` or ``above``, once it is shown. None before.

        Raises:
            CountsError: a string has more reads than possible.
        """
        self.draws.add(errors, reads)
        if self.decision is None:
            wanted = -np.log1p(-self.level)
            for side in ("below", "above"):
                if self.draws.log_capital(side, self.bound) >= wanted:
                    self.decision = side
                    break
        return self.decision

    def to_json(self) -> CertifyState:
        """Plain values, from which :meth:`from_json` makes an equal object."""
        return {"bound": self.bound, "level": self.level, "decision": self.decision, "draws": self.draws.to_json()}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Certify:
        """Read what :meth:`to_json` wrote.

        Raises:
            CountsError: on anything else.
        """
        try:
            made = cls(float(state["bound"]), Draws.from_json(state["draws"]), float(state["level"]), state["decision"])
        except (KeyError, TypeError, ValueError) as error:
            raise CountsError(f"the state of a certificate cannot be read ({error!r})") from error
        if made.decision not in ("below", "above", None):
            raise CountsError(f"decision {made.decision!r}: expected below, above or none")
        return made


@dataclass
class UntilWidth:
    """Draw until the rate is known within ``width``, the length of an interval that holds at every moment at once."""

    width: float
    draws: Draws
    level: float = 0.95

    def __post_init__(self) -> None:
        checked_level(self.level)
        if not 0 < self.width < 1:
            raise CountsError(f"width {self.width}: expected a length between 0 and 1, such as 0.02")

    def update(self, errors: ArrayLike, reads: ArrayLike) -> tuple[float, float]:
        """Count more strings, as :meth:`Certify.update` does, and return the lower and the upper bound by now."""
        self.draws.add(errors, reads)
        return self.draws.limits(self.level)

    @property
    def done(self) -> bool:
        """Whether the interval is short enough."""
        low, high = self.draws.limits(self.level)
        return high - low <= self.width


def read_cap(instructions: int, p_read: float, bound: float) -> tuple[int, float]:
    """Return ``most_reads`` and ``excess`` of :class:`Draws` with which the fewest strings show a bound.

    A string of n instructions has 1 + Binomial(n - 2, p_read) reads: the last instruction, and the inner ones.

    Args:
        instructions: Of each string, n.
        p_read: The probability that an inner instruction is a read.
        bound: The rate that is to be shown.

    Raises:
        CountsError: there are fewer than 2 instructions, or ``p_read`` is no probability.
    """
    from scipy.stats import binom

    if instructions < 2 or not 0 <= p_read <= 1:
        raise CountsError(f"{instructions} instructions, p_read {p_read}: expected at least 2, and a probability")
    caps = np.arange(1, instructions)
    # E[max(m - c, 0)] is the sum over j >= c of P(m > j), and m > j is Binomial >= j.
    tail = binom.sf(caps - 1, instructions - 2, p_read)
    excess = np.cumsum(tail[::-1])[::-1]
    growth = (bound * (1 + (instructions - 2) * p_read) - excess) / (caps + excess)
    best = int(growth.argmax())
    return int(caps[best]), float(excess[best])


def fewest_strings(
    bound: float, reads_per_string: float, most_reads: int, excess: float = 0.0, level: float = 0.95
) -> int:
    """Return how many strings, all right, show a rate below ``bound``: the least that a certificate costs.

    Exact where all strings have ``reads_per_string`` reads, and close to it where that is their mean.

    Raises:
        CountsError: ``excess`` is so large that no number of strings shows the bound.
    """
    wanted = -np.log1p(-checked_level(level))
    if bound * reads_per_string <= excess:
        raise CountsError(f"excess {excess}: the bound {bound} on {reads_per_string:g} reads a string is below it")
    grows = log_factors("below", 0, reads_per_string, bound, most_reads, excess)
    # The full stake alone gets there; the others make it a little sooner.
    low, high = 0, int(np.ceil((wanted - np.log(SHARES["below"][0])) / grows[0]))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mixed("below", middle * grows) >= wanted else (middle, high)
    return high
