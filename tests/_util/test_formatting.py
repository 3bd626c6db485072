"""Numbers as people read them."""

from __future__ import annotations

import doctest

from ffprompt._util import formatting, validation


def test_the_examples_hold() -> None:
    for module in (formatting, validation):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed


def test_a_share_that_is_not_quite_0_or_1_is_not_shown_as_it() -> None:
    assert formatting.share(1 - 1e-7) == "0.9999999"
    assert formatting.share(1e-6) == "0.000001"
    assert (formatting.share(0.0), formatting.share(1.0)) == ("0.0000", "1.0000")


def test_an_unknown_number_is_a_dash_or_a_word_and_never_zero() -> None:
    shown = formatting.share(None), formatting.span(None, 1.0), formatting.dollars(None), formatting.duration(None)
    assert shown == ("–", "–", "unknown", "–")
