"""What genai-prices knows, where it may be believed, and whether the bundled table says the same."""

from __future__ import annotations

import datetime as dt
import json
import socket
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from ffprompt._util.extras import install_command
from ffprompt.cost.prices import Price, find, unknown
from ffprompt.cost.usage import Usage
from tests.conftest import ROOT

genai_prices = pytest.importorskip("genai_prices")
OPENAI, ANTHROPIC, OPENROUTER = (
    "https://api.openai.com/v1/",
    "https://api.anthropic.com",
    "https://openrouter.ai/api/v1",
)
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai/"


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("genai_prices", "genai_prices.data"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("name", "url", "input_price"),
    [
        ("anthropic/claude-opus-5.5", OPENROUTER, 4.0),
        ("openai/gpt-4o", OPENROUTER, 2.5),
        ("gemini-2.5-pro", GOOGLE, 1.25),
        ("models/gemini-2.5-pro", GOOGLE, 1.25),
        ("gpt-4o", "https://mine.openai.azure.com/openai/v1/", 2.5),
        ("gpt-4o-2024-08-06", "https://mine.openai.azure.com/openai/v1/", 2.5),
        ("deepseek-v3.2-exp", "https://api.deepseek.com", 0.27),
        ("openai/gpt-oss-120b", "https://api.groq.com/openai/v1", 0.15),
        ("gpt-3.5-turbo", OPENAI, 0.5),  # of a provider that has a table, which does not name it
    ],
)
def test_other_models_and_servers_have_the_price_of_the_package(name: str, url: str, input_price: float) -> None:
    known = find(name, url)
    assert known is not None and known.input == input_price
    assert known.source.startswith(f"genai-prices {genai_prices.__version__}: ")
    assert dt.date(2025, 1, 1) < known.as_of <= dt.datetime.now(dt.UTC).date()
    assert Price.model_validate(json.loads(json.dumps(known.record()))) == known


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("gpt-5.1-codex-max", OPENAI),  # the package takes it for gpt-5.1
        ("gpt-4o-mini-search-preview", OPENAI),  # and this for gpt-4o-mini, without the fee for searches
        ("gpt-5.1-mini", OPENAI),
        ("gpt-5.6", OPENAI),
        ("ft:gpt-4o-2024-08-06:mine::x", OPENAI),
        ("GPT-3.5-Turbo", OPENAI),
        ("claude-opus-5-fast", ANTHROPIC),
        ("deepseek-chat", "https://api.deepseek.com"),  # dearer at some hours
        ("sonar", "https://api.perplexity.ai"),  # and a fee for each request
        ("deepseek/deepseek-chat:free", OPENROUTER),  # no price is not a price of nothing
        ("my-deployment", "https://mine.openai.azure.com/openai/v1/"),
        ("gpt-4o", "http://localhost:8000/v1"),
        ("gpt-4o", "https://127.0.0.1/v1"),
        ("gpt-4o", "https://[::1]:443/v1"),
        ("gpt-4o", "http://api.openai.com.evil.example/v1"),
        ("gpt-4o", "https://api.openai.com.evil.example/v1"),
        ("gpt-4o", "https://evil.example/x.openai.azure.com/"),
        ("gemini-2.5-pro", "https://evil.example/x.googleapis.com/"),
        ("claude-opus-5", "https://us-east5-aiplatform.googleapis.com/v1"),  # regional endpoints are dearer
        ("gpt-4o", "https://eu.api.openai.com/v1"),
        ("gpt-3.5-turbo", "https://api.openai.com:8443/v1"),
        ("gpt-4o", "https://[half"),
        ("gpt-4o", ""),
        ("", OPENAI),
    ],
)
def test_a_loose_match_and_an_unknown_server_have_no_price(name: str, url: str) -> None:
    assert find(name, url) is None


def test_a_file_and_the_table_go_before_the_package(tmp_path: Any) -> None:
    known = find("gpt-4o", OPENAI)
    assert known is not None and "genai-prices:" not in known.source and known.shut_down == dt.date(2027, 1, 14)
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[price]]\nmodels = ["gpt-3.5-turbo"]\ninput = 7.0\noutput = 8.0\nas_of = 2026-01-01\nsource = "me"'
    )
    mine = find("gpt-3.5-turbo", OPENAI, str(path))
    assert mine is not None and mine.input == 7.0
    other = find("gpt-3.5-turbo", OPENAI, None)
    assert other is not None and other.input == 0.5


def test_tiers_and_batches_are_the_packages_where_it_has_them() -> None:
    azure = find("gpt-5.4", "https://mine.openai.azure.com/openai/v1/")
    assert azure is not None and azure.picos(Usage(272_001, 1000)) == (272_001 * 5 + 22_500) * 10**6
    assert azure.source.endswith(": openai, for azure")
    assert azure.picos(Usage(10, 1, batch=True)) is None  # that is OpenAI's discount, not Azure's
    listed = find("gpt-3.5-turbo", OPENAI)
    assert listed is not None and listed.picos(Usage(1000, 1000, batch=True)) == 1_000 * 10**6
    unlisted = find("claude-opus-4-1", ANTHROPIC)
    assert unlisted is not None and unlisted.picos(Usage(10, 1, batch=True)) is None
    gemini = find("gemini-2.5-pro", GOOGLE)
    assert gemini is not None and gemini.batch_discount == 0.5 and not gemini.cached_in_batch


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delitem(sys.modules, "genai_prices.data")
    assert find("openai/gpt-4o", OPENROUTER) is not None


def test_a_snapshot_that_another_part_of_the_process_fetched_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from genai_prices import data_snapshot

    monkeypatch.setattr(data_snapshot, "_custom_snapshot", data_snapshot.DataSnapshot([], from_auto_update=True))
    assert find("openai/gpt-4o", OPENROUTER) is not None


@pytest.mark.usefixtures("not_installed")
def test_without_the_package_the_line_says_what_may_help() -> None:
    assert find("openai/gpt-4o", OPENROUTER) is None
    assert unknown("openai/gpt-4o", OPENROUTER) == (
        "no price is known for openai/gpt-4o; give one with --prices FILE, or "
        f"{install_command('prices')}, which may know it"
    )
    assert unknown("m", "http://localhost:8000/v1") == "no price is known for m; give one with --prices FILE"
    known = find("gpt-4o", OPENAI)
    assert known is not None and known.input == 2.5


def test_with_the_package_the_line_does_not_name_it() -> None:
    assert unknown("m", OPENROUTER) == "no price is known for m; give one with --prices FILE"


NO_RATE = (
    "OpenAI's list of batch prices has no rate for the cache: the package keeps the usual one, we take no discount"
)
# (model, what) -> (our dollars a million tokens, the package's, why they differ)
KNOWN: dict[tuple[str, str], tuple[float, float | None, str]] = {
    ("gpt-6.2-astra", "model"): (8.0, None, "released on 2026-11-17, after the package's data"),
    ("gpt-6.2-sol", "model"): (2.0, None, "released on 2026-11-17, after the package's data"),
    ("claude-mythos-5", "model"): (10.0, None, "on Anthropic's page beside Fable 5; the package has 5.2 only"),
    ("claude-mythos-5-1", "model"): (10.0, None, "on Anthropic's page beside Fable 5.1; the package has 5.2 only"),
    ("gpt-5.4", "cached_input, batch"): (0.125, 0.13, "the package has the rounded figure of OpenAI's list"),
    **{
        ("gpt-5.5-pro", f"{kind} above 272,000, batch"): (
            mine,
            other,
            "the package has no long-prompt tier for batches",
        )
        for kind, mine, other in (
            ("input", 30.0, 15.0),
            ("cached_input", 30.0, 15.0),
            ("cache_write", 30.0, 15.0),
            ("output", 135.0, 90.0),
        )
    },
    ("gpt-4.1", "cached_input, batch"): (1.0, 0.5, NO_RATE),
    ("gpt-4.1-mini", "cached_input, batch"): (0.2, 0.1, NO_RATE),
    ("gpt-4.1-nano", "cached_input, batch"): (0.05, 0.025, NO_RATE),
    ("o3", "cached_input, batch"): (1.0, 0.5, NO_RATE),
    ("o4-mini", "cached_input, batch"): (0.55, 0.275, NO_RATE),
}


def ours(row: Price, kind: str, size: int, batch: bool) -> float | None:
    """Dollars a million tokens of a kind, in a prompt of ``size`` tokens, computed as a run's bill is."""
    parts = {"cached_input": {"cached": size}, "cache_write": {"written": size}}.get(kind, {})
    prompt = row.picos(Usage(size, 0, batch=batch, **parts))
    both = row.picos(Usage(size, 1000, batch=batch))
    if prompt is None or both is None:
        return None
    return (both - prompt) / 1e9 if kind == "output" else prompt / size / 1e6


def theirs(name: str, provider: str, kind: str, size: int, batch: bool) -> float | None:
    """The same, as the package computes it. None where it says nothing of a batch."""
    context = {"processing": "batch"} if batch else None
    parts = {"cached_input": {"cache_read_tokens": size}, "cache_write": {"cache_write_tokens": size}}.get(kind, {})
    asked = genai_prices.Usage(input_tokens=size, output_tokens=1000 if kind == "output" else 0, **parts)
    found = genai_prices.calc_price(asked, name, provider_id=provider, price_context=context)
    if batch and found.model_price == genai_prices.calc_price(asked, name, provider_id=provider).model_price:
        return None
    return float(found.output_price) * 1e3 if kind == "output" else float(found.input_price) / size * 1e6


def differences(row: Price) -> Iterator[tuple[tuple[str, str], tuple[float | None, float | None]]]:
    """What a row and the package say differently."""
    provider = "anthropic" if row.models[0].startswith("claude") else "openai"
    sizes = [("", 1000), *(("", tier.above) for tier in row.tiers[:1]), *([] if row.tiers else [("", 500_000)])]
    sizes += [(f" above {tier.above:,}", tier.above + 1) for tier in row.tiers]
    for name in row.models:
        try:
            known = genai_prices.calc_price(genai_prices.Usage(), name, provider_id=provider).model.id
        except LookupError:
            known = None
        if known != name:
            yield (name, "model"), (row.input, None)
            continue
        for where, size in sizes:
            for batch in (False, True):
                for kind in ("input", "cached_input", "cache_write", "output"):
                    pair = ours(row, kind, size, batch), theirs(name, provider, kind, size, batch)
                    if pair[0] != pair[1] and (None in pair or pair[0] != pytest.approx(pair[1], rel=1e-9)):
                        yield (name, f"{kind}{where}{', batch' if batch else ''}"), pair


def test_the_table_and_the_package_agree_but_for_what_is_known() -> None:
    rows = tomllib.loads((ROOT / "ffprompt" / "cost" / "prices.toml").read_text())["price"]
    found = dict(pair for row in rows for pair in differences(Price.model_validate(row)))
    print(*(f"{name}, {what}: {mine} here, {other} there" for (name, what), (mine, other) in found.items()), sep="\n")
    expected = {key: (mine, other) for key, (mine, other, _) in KNOWN.items()}
    new = {key: pair for key, pair in found.items() if key not in expected or pair != pytest.approx(expected[key])}
    assert not new, "check these against the provider's page, then mend the table or add them with the reason"
