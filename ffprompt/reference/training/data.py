"""What a model is trained on: a mixture of specs of one task, fresh strings or a fixed set, drawn ahead of need."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import ConfigError, SpecError
from ffprompt.tasks import registry
from ffprompt.tasks.base import Spec, Task
from ffprompt.tasks.flipflop import FLIP_FLOP
from ffprompt.tasks.flipflop import Spec as FlipFlopSpec
from ffprompt.tasks.strings import Strings, concatenate

_STREAM = "train"
# Batches drawn before they are asked for.
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Mixture:
    """Specs of one task, length and number of symbols, and the share of each. Shares sum to 1.

    Raises SpecError when there is none, when tasks, lengths or symbols differ, or a share is not above 0.
    """

    parts: tuple[Spec, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) != len(self.shares):
            raise SpecError("data: expected at least one language, each with its share")
        for part in self.parts[1:]:
            if (part.task.name, part.length, part.symbols) != (self.task.name, self.length, self.symbols):
                raise SpecError(f"data {part}: every part needs the length and the symbols of {self.parts[0]}")
        if not (all(share > 0 for share in self.shares) and abs(math.fsum(self.shares) - 1) < 1e-9):
            raise SpecError(f"data shares {self.shares}: expected numbers above 0 that sum to 1")

    @classmethod
    def of(cls, *parts: Spec) -> Mixture:
        """Equal shares of ``parts``."""
        return cls(parts, (1 / len(parts),) * len(parts)) if parts else cls((), ())

    @classmethod
    def parse(cls, text: str, length: int = 512, symbols: int | None = None, task: Task = FLIP_FLOP) -> Mixture:
        """Read ``FFL(0.8)``, ``FFL(0.8)+FFL(0.98)`` (equal shares) or ``2*FFL(0.8)+FFL(0.98)`` (two to one).

        Specs of another ``task`` are as it prints them, and have their own lengths.
        """
        flip_flop = task.name == FLIP_FLOP.name
        parts: list[Spec] = []
        weights = []
        for piece in _pieces(text):
            spec = r"FFL\([^()]*\)" if flip_flop else r"[^\s*].*?"
            match = re.fullmatch(rf"\s*(?:([0-9.]+)\s*\*)?\s*({spec})\s*", piece, re.IGNORECASE)
            try:
                weights.append(float(match[1] or 1) if match else 0.0)
            except ValueError:
                weights.append(0.0)
            if not match:
                example = "FFL(0.8)+FFL(0.98)" if flip_flop else "SPEC+SPEC"
                raise SpecError(f"data {text!r}: {piece.strip()!r} is no part of a mixture; write {example}")
            if not weights[-1] > 0:
                raise SpecError(f"data {text!r}: the weight of {piece.strip()!r} is not a number above 0")
            if flip_flop:
                parts.append(FlipFlopSpec.parse(match[2], length, 2 if symbols is None else symbols))
            else:
                parts.append(task.parse_spec(match[2], symbols))
        total = math.fsum(weights)
        return cls(tuple(parts), tuple(weight / total for weight in weights))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Mixture:
        """What ``record`` gave. Raises TypeError, KeyError or UsageError when something is missing, odd or too much."""
        return cls(tuple(read_spec(part) for part in record["parts"]), tuple(record["shares"]))

    def record(self) -> dict[str, Any]:
        """The parts and their shares, as JSON takes them."""
        return {"parts": [write_spec(part) for part in self.parts], "shares": list(self.shares)}

    @property
    def task(self) -> Task:
        """The task of every part."""
        return self.parts[0].task

    @property
    def length(self) -> int:
        """T, as the task counts it."""
        return self.parts[0].length

    @property
    def instructions(self) -> int:
        """n, the events of a string."""
        return self.parts[0].instructions

    @property
    def symbols(self) -> int:
        """M, the symbols that answers are made of."""
        return self.parts[0].symbols

    def __str__(self) -> str:
        equal = max(self.shares) - min(self.shares) < 1e-9
        return "+".join(
            str(part) if equal else f"{share:.6g}*{part}" for part, share in zip(self.parts, self.shares, strict=True)
        )


def specs(text: str, task: Task) -> tuple[Spec, ...]:
    """The specs in ``SPEC+SPEC``. An empty text has none. Raises SpecError."""
    return tuple(task.parse_spec(piece.strip()) for piece in _pieces(text)) if text else ()


def _pieces(text: str) -> list[str]:
    """``text`` at every + that is not inside parentheses."""
    return re.split(r"\+(?![^(]*\))", text)


def write_spec(spec: Spec) -> dict[str, Any]:
    """A spec as JSON takes it: the numbers of a flip-flop's, the task and the text of any other."""
    return asdict(spec) if isinstance(spec, FlipFlopSpec) else {"task": spec.task.name, "spec": str(spec)}


def read_spec(record: Mapping[str, Any]) -> Spec:
    """What ``write_spec`` gave. Raises TypeError, KeyError or UsageError when something is missing, odd or too much."""
    if "task" not in record:
        return FlipFlopSpec(**record)
    return registry.get(record["task"]).parse_spec(record["spec"])


@dataclass(frozen=True, slots=True)
class Source:
    """The training strings of a (mixture, seed): string i is a function of the two and of i.

    ``strings`` is the size of a fixed set, which is gone through again and again, each time in another order; None
    draws fresh strings without end. Raises ConfigError for a set of no string.
    """

    mixture: Mixture
    seed: int
    strings: int | None = None

    def __post_init__(self) -> None:
        if self.strings is not None and self.strings < 1:
            raise ConfigError(f"data-size {self.strings}: expected at least one string")
        if self.seed < 0:
            raise ConfigError(f"data seed {self.seed}: expected a whole number from 0 on")

    def batch(self, step: int, size: int) -> Strings:
        """The ``size`` strings of ``step``, counted from 1."""
        places = np.arange((step - 1) * size, step * size)
        if self.strings is None:
            return self._draw(places)
        epochs, within = np.divmod(places, self.strings)
        order = [
            _order(self.seed, self.strings, epoch)[place]
            for epoch, place in zip(epochs.tolist(), within.tolist(), strict=True)
        ]
        return self._draw(np.array(order))

    def _draw(self, places: NDArray[np.int64]) -> Strings:
        """The strings at these places, each from the part of the mixture that its own draw says."""
        low, high = int(places.min()), int(places.max()) + 1
        if high - low > 4 * len(places):  # scattered over a large set: one by one is less than the whole range
            rows = [self._draw(places[index : index + 1]) for index in range(len(places))]
            return concatenate(rows)
        pools = [part.sample(self.seed, low, high, stream=_STREAM) for part in self.mixture.parts]
        if (
            len(pools) == 1
            and high - low == len(places)
            and int(places[0]) == low
            and bool((np.diff(places) == 1).all())
        ):
            return pools[0]
        part = self._parts(places)
        at = places - low
        events, arguments = (
            np.stack([getattr(pool, name) for pool in pools])[part, at] for name in ("events", "arguments")
        )
        shared = all(pool.answers is pool.arguments for pool in pools)
        answers = arguments if shared else np.stack([pool.answers for pool in pools])[part, at]
        return Strings(self.mixture.task, events, arguments, answers, self.mixture.symbols)

    def _parts(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which part of the mixture each place belongs to."""
        if len(self.mixture.parts) == 1:
            return np.zeros(len(places), np.int64)
        key = _generator(f"mixture|{self.seed}|{self.mixture}").integers(2**63, size=2)
        # Counter-based: the draw of place i needs none of those before it.
        uniform = np.array(
            [np.random.Philox(key=key.astype(np.uint64), counter=place).random_raw() for place in places.tolist()]
        ) / np.float64(2**64)
        return np.minimum(
            np.searchsorted(np.cumsum(self.mixture.shares), uniform, side="right"), len(self.mixture.parts) - 1
        )


def batches(source: Source, size: int, first: int, last: int) -> Iterator[Strings]:
    """The batches of steps ``first`` … ``last``, drawn by another thread while the caller works on earlier ones."""
    with ThreadPoolExecutor(1, "ffprompt-data") as pool:
        waiting = [pool.submit(source.batch, step, size) for step in range(first, min(first + _AHEAD, last + 1))]
        for step in range(first, last + 1):
            ready = waiting.pop(0)
            if step + _AHEAD <= last:
                waiting.append(pool.submit(source.batch, step + _AHEAD, size))
            yield ready.result()


@lru_cache(maxsize=2)
def _order(seed: int, strings: int, epoch: int) -> NDArray[np.int64]:
    """The order of one pass over a fixed set. It is kept, as the next batch needs it and a set may have millions."""
    return _generator(f"order|{seed}|{epoch}").permutation(strings)


def _generator(name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"ffprompt/1|{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], np.uint64)))
