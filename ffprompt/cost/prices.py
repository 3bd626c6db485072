"""What tokens cost, where that is known. An unknown price is None and never 0.

Money is counted in whole picodollars (1e-12 USD), so that sums are exact and the same in any order.
"""

from __future__ import annotations

import datetime as dt
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ffprompt._util.extras import install_command
from ffprompt._util.files import read_text
from ffprompt._util.validation import in_one_line
from ffprompt.cost import genai_prices
from ffprompt.cost.usage import Bound, Usage
from ffprompt.errors import ConfigError

PICO = 10**12  # picodollars in a dollar
_BUNDLED = Path(__file__).with_name("prices.toml")
# The list prices are for these hosts. Other servers, and the same provider's regional ones, charge what they like.
_HOSTS = ("api.openai.com", "api.anthropic.com")
_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class Rates(BaseModel):
    """USD per million tokens of each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: _Dollars
    cached_input: _Dollars | None = None
    cache_write: _Dollars | None = None
    output: _Dollars

    def cost(self, usage: Usage, cached_input: float | None) -> int:
        """Return what a call costs, in picodollars, where a token from the cache costs ``cached_input``."""
        cached, written = usage.cached or 0, usage.written or 0
        fresh = max(0, usage.prompt - cached - written)
        rates = (self.input, cached_input, self.cache_write, self.output)
        each = [_per_token(self.input if rate is None else rate) for rate in rates]
        return sum(n * rate for n, rate in zip((fresh, cached, written, usage.reply), each, strict=True))

    def dearest(self, prompt: int, reply: int) -> int:
        """Return the most that so many tokens can cost, in picodollars: as if each of the prompt's were the dearest."""
        rate = max(self.input, self.cached_input or 0.0, self.cache_write or 0.0)
        return prompt * _per_token(rate) + reply * _per_token(self.output)


class Tier(Rates):
    """What every token of a request costs, the reply's too, once its prompt has more than ``above`` tokens."""

    above: Annotated[int, Field(ge=1, strict=True)]


class Price(Rates):
    """A row of the table: USD per million tokens, for prompts of ``up_to`` tokens at most, as seen on ``as_of``."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    tiers: tuple[Tier, ...] = ()
    up_to: Annotated[int, Field(ge=1, strict=True)] | None = None
    batch_discount: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    cached_in_batch: Annotated[bool, Field(strict=True)] = True
    shut_down: dt.date | None = None
    as_of: dt.date
    source: str

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        starts = [tier.above for tier in tiers]
        if starts != sorted(set(starts)):
            raise ValueError(f"expected growing numbers of tokens, not above = {', '.join(map(str, starts))}")
        return tiers

    def picos(self, usage: Usage) -> int | None:
        """Return what a call has cost, in picodollars. None for longer prompts and batches that have no price."""
        if self.up_to is not None and usage.prompt > self.up_to:
            return None
        if usage.batch and self.batch_discount is None:
            return None
        rates: Rates = next((tier for tier in reversed(self.tiers) if usage.prompt > tier.above), self)
        discounted = self.cached_in_batch or not usage.batch
        cost = rates.cost(usage, rates.cached_input if discounted else None)
        return math.ceil(cost * (1 - (self.batch_discount or 0.0))) if usage.batch else cost

    def max_cost(self, bound: Bound) -> int | None:
        """Return the most that a call can cost, in picodollars. None where its prompt may be too long for the row.

        The prompt may have any length up to the bound, so every tier that it can reach counts at its longest prompt.
        """
        if self.up_to is not None and bound.prompt > self.up_to:
            return None
        reached: list[Rates] = [self, *(tier for tier in self.tiers if bound.prompt > tier.above)]
        ends = [*(tier.above for tier in self.tiers[: len(reached) - 1]), bound.prompt]
        return max(rates.dearest(end, bound.reply) for rates, end in zip(reached, ends, strict=True))

    def record(self) -> dict[str, Any]:
        """Return plain values, as ``run.json`` keeps them."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls were counted at, from above where it is not known. ``picos`` is None where no price is known.

    ``silent`` calls left no word about what they may have cost, and are not counted.
    """

    picos: int | None = None
    tokens: int = 0
    calls: int = 0
    answers: int = 0
    silent: int = 0


class Ledger(Protocol):
    """Notes of attempts that outlive the process."""

    def sent(self, bound: Bound) -> int:
        """Note that an attempt within this bound is about to be sent. Return its number."""
        ...

    def free(self, attempt: int) -> None:
        """Note that an attempt has cost nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a run may spend: ``max_usd`` dollars and ``max_tokens`` tokens over all its resumes, None for no limit.

    ``spent`` is what was spent before.
    """

    price: Price | None = None
    max_usd: float | None = None
    max_tokens: int | None = None
    spent: Spent = Spent()
    ledger: Ledger | None = None


class BillNumbers(TypedDict):
    """What a row of the table says about tokens and money."""

    prompt_tokens: int | None
    reply_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    usd: float | None
    calls: int
    replies_without_usage: int


_SUMMED = ("prompt", "reply", "cached", "reasoning", "picos")


@dataclass(slots=True)
class Bill:
    """Adds up what answers used and cost. A sum is unknown where one of its parts is."""

    price: Price | None = None
    calls: int = 0  # of an API
    answers: int = 0
    without_usage: int = 0
    _sums: dict[str, int | None] = field(default_factory=dict)

    def add(self, used: Usage | None, of_an_api: bool) -> None:
        """Count one answer."""
        self.calls += of_an_api
        self.answers += 1
        self.without_usage += used is None
        picos = None if used is None or self.price is None else self.price.picos(used)
        found = (None,) * 4 if used is None else (used.prompt, used.reply, used.cached, used.reasoning)
        for name, value in zip(_SUMMED, (*found, picos), strict=True):
            before = self._sums.get(name, 0)
            self._sums[name] = None if value is None or before is None else before + value

    def row(self) -> BillNumbers:
        """Return the sums, as a row of the table keeps them."""
        return {
            "prompt_tokens": self._sums.get("prompt"),
            "reply_tokens": self._sums.get("reply"),
            "cached_tokens": self._sums.get("cached"),
            "reasoning_tokens": self._sums.get("reasoning"),
            "usd": usd(self._sums.get("picos")),
            "calls": self.calls,
            "replies_without_usage": self.without_usage if self.calls else 0,
        }


def usd(picos: int | None) -> float | None:
    """Return picodollars in dollars."""
    return None if picos is None else picos / PICO


def find(model: str, base_url: str, file: str | None = None) -> Price | None:
    """Return the price of a model at a server, or None.

    A user's file goes first, then the bundled table, which is for the providers' own servers, then what the package
    genai-prices knows, where it is installed. In both tables the whole name is looked for, then the name without a
    date at its end.

    Raises:
        ConfigError: for a bad file.
    """
    if file is not None and (found := _named(_table(Path(file)), model)):
        return found
    if genai_prices.host(base_url) in _HOSTS and (found := _named(_table(_BUNDLED), model)):
        return found
    row = genai_prices.row(model, base_url)
    return None if row is None else Price.model_validate(row)


def unknown(model: str, base_url: str = "") -> str:
    """Return the error text for a price that is needed and not known."""
    said = f"no price is known for {model}; give one with --prices FILE"
    if genai_prices.provider_host(base_url) is None or genai_prices.installed():
        return said
    return f"{said}, or {install_command('prices')}, which may know it"


def _named(table: Mapping[str, Price], model: str) -> Price | None:
    return table.get(model) or table.get(genai_prices.undated(model))


def _per_token(rate: float) -> int:
    """Return picodollars per token from dollars per million. Price lists have at most six decimals."""
    return math.ceil(round(rate * 1e6, 3))


@cache
def _table(path: Path) -> Mapping[str, Price]:
    try:
        content = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"prices {path}: {error}") from error
    rows = content.pop("price", None)
    if content:
        raise ConfigError(f"prices {path}: {min(content)}: unknown key (known: [[price]])")
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"prices {path}: no [[price]] in it")
    table: dict[str, Price] = {}
    for number, row in enumerate(rows, start=1):
        try:
            price = Price.model_validate(row)
        except ValidationError as error:
            raise ConfigError(f"prices {path}, price {number}: {in_one_line(error, Price)}") from error
        if twice := [name for name in price.models if name in table]:
            raise ConfigError(f"prices {path}, price {number}: {twice[0]!r} has a price already")
        table |= dict.fromkeys(price.models, price)
    return table
