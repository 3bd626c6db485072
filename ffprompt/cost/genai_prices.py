"""What the package genai-prices knows of prices, for models and providers that the bundled table does not name.

Its matching is made for estimates: it takes ``gpt-5.1-codex-max`` for ``gpt-5.1``. Here a price counts only where the
package's own name of the model is the one that was asked for. Nothing is ever fetched: only the data that came with
the installed version is read, so the version in a run's record says which data that was.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

# Our name of a rate, and the package's.
_RATES = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "output": "output_mtok",
}
# Charges for what no prompt here contains. A model with any other charge (a fee for each request) is not priced.
_UNUSED = re.compile(r"audio|image|video|document|searches|^cache_write_1h_mtok$")
# A region in the name of a host. List prices are for a provider's global endpoint, and regional ones may cost more.
_REGION = re.compile(
    r"(^|[.-])(us|eu|ap|ca|sa|me|af|il|mx|europe|asia|australia|northamerica|southamerica)-[a-z]+-?\d|\.rep\."
)
_BATCH = {"processing": "batch"}


def installed() -> bool:
    """Return whether the package is there. It is not loaded."""
    try:
        return importlib.util.find_spec("genai_prices") is not None
    except ValueError:  # another module of this name stands in for it
        return False


def undated(model: str) -> str:
    """Return a model's name without a date at its end.

    >>> [undated(name) for name in ("gpt-4o-2024-08-06", "claude-haiku-4-5@20251001", "gpt-4-0613")]
    ['gpt-4o', 'claude-haiku-4-5', 'gpt-4-0613']
    """
    return re.sub(r"[-@](\d{8}|\d{4}-\d{2}-\d{2})$", "", model)


def host(base_url: str) -> str | None:
    """Return the host of a URL. None where it has none or is no URL."""
    try:
        return urlsplit(base_url).hostname
    except ValueError:
        return None


def provider_host(base_url: str) -> str | None:
    """Return the host of a URL that may be a provider's global endpoint. None for local servers and regional ones.

    >>> [provider_host(f"{url}/v1") for url in ("https://openrouter.ai/api", "http://localhost:8000", "https://[::1]")]
    ['openrouter.ai', None, None]
    """
    name = host(base_url)
    if name is None or "." not in name or _REGION.search(name):
        return None
    with contextlib.suppress(ValueError):
        ip_address(name)
        return None
    with contextlib.suppress(ValueError):  # of a port that is no number
        url = urlsplit(base_url)
        return name if url.scheme == "https" and url.port in (None, 443) else None
    return None


def row(model: str, base_url: str) -> dict[str, Any] | None:
    """Return a row of the table for a model at a provider, or None where the package does not know its price."""
    name = provider_host(base_url)
    if name is None:
        return None
    try:
        import genai_prices
        from genai_prices.data import providers
    except ImportError:
        return None
    provider = next((one for one in providers if re.fullmatch(one.api_pattern, f"https://{name}")), None)
    found = None if provider is None else _model(model, provider, providers)
    today = dt.datetime.now(dt.UTC)
    rates = None if found is None else _rates(found, today)
    as_of = _newest(providers, today.date())
    if provider is None or found is None or rates is None or as_of is None:
        return None
    owner = next(one for one in providers if any(each is found for each in one.models))
    batch = _batch(found, rates, today) if owner is provider else {}
    listed = "" if owner is provider else f", for {provider.id}"
    source = f"genai-prices {genai_prices.__version__}: {owner.id}{listed}"
    return {"models": [model], **rates, **batch, "as_of": as_of, "source": source}


def _model(model: str, provider: Any, providers: Sequence[Any]) -> Any:
    """The package's model of exactly that name, up to a date at its end and the prefix that Google's names may have."""
    name = re.sub("^(models|google)/", "", model) if provider.id == "google" else model
    found = provider.find_model(name, all_providers=providers)
    return found if found is not None and found.id in (name, undated(name)) else None


def _rates(model: Any, when: dt.datetime) -> dict[str, Any] | None:
    """The rates of a model with its tiers. None where they depend on the hour, or on more than tokens."""
    prices = model.get_prices(when)
    hours = (when.replace(hour=half // 2, minute=half % 2 * 30) for half in range(48))
    if any(model.get_prices(hour) != prices for hour in hours):
        return None
    named = {key for key, value in vars(prices).items() if value is not None}
    if any(not _UNUSED.search(key) for key in named - set(_RATES.values())):
        return None
    base = _at(prices, 0)
    if not base.get("input") or not base.get("output"):
        return None
    starts = sorted({tier.start for key in _RATES.values() for tier in getattr(getattr(prices, key), "tiers", ())})
    return base | {"tiers": [{"above": start, **_at(prices, start + 1)} for start in starts]}


def _at(prices: Any, prompt: int) -> dict[str, float]:
    """The rates for a prompt of so many tokens."""
    rates = {}
    for name, key in _RATES.items():
        if (value := getattr(prices, key)) is not None:
            reached = [tier.price for tier in getattr(value, "tiers", ()) if prompt > tier.start]
            rates[name] = float(reached[-1] if reached else getattr(value, "base", value))
    return rates


def _batch(model: Any, rates: Mapping[str, Any], when: dt.datetime) -> dict[str, Any]:
    """What a batch takes off, where that is the same for all rates but perhaps that of the cache."""
    standard, batch = model.get_prices(when), model.get_prices(when, _BATCH)
    if batch == standard:  # nothing is said about batches
        return {}
    sizes = [0, *(tier["above"] + 1 for tier in rates["tiers"])]
    pairs = [(_at(standard, size), _at(batch, size)) for size in sizes]
    shares = {round(less[name] / full[name], 6) for full, less in pairs for name in full if name != "cached_input"}
    if len(shares) != 1 or not 0 < (share := shares.pop()) <= 1:
        return {}
    # Published rates of the cache are rounded, to 0.13 of 0.25 for instance.
    cached = [(full["cached_input"], less["cached_input"]) for full, less in pairs if "cached_input" in full]
    halved = all(abs(less - share * full) < 0.05 * full for full, less in cached)
    return {"batch_discount": 1 - share, "cached_in_batch": halved}


def _newest(providers: Sequence[Any], today: dt.date) -> dt.date | None:
    """The day of the newest change of a price that the package knows of: its data is no older than that."""
    return max((day for day in _changes(providers) if day <= today), default=None)


def _changes(providers: Sequence[Any]) -> Iterator[dt.date]:
    for provider in providers:
        for model in provider.models:
            dated = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
            yield from (day for one in dated if (day := getattr(one.constraint, "start_date", None)) is not None)
