"""Numbers as people read them. A number that is not known is None in a program and a dash or a word here, never 0."""

from __future__ import annotations

import math

NO_DATA = "–"  # where a table has no number


def exact(value: float) -> str:
    """Return a number as short as it can be without being another.

    >>> [exact(value) for value in (512.0, 0.1, 0.12345678, 1e-7)]
    ['512', '0.1', '0.12345678', '1e-07']
    """
    return text if float(text := f"{value:g}") == value else repr(value)


def share(value: float | None) -> str:
    """Return a share with four decimals, or as many as show that it is not quite 0 or 1.

    >>> [share(value) for value in (0.5, 1.0, 0.999999, None)]
    ['0.5000', '1.0000', '0.999999', '–']
    """
    if value is None:
        return NO_DATA
    decimals = 4
    while 0 < value < 1 and round(value, decimals) in (0, 1) and decimals < 12:
        decimals += 1
    return f"{value:.{decimals}f}"


def span(low: float | None, high: float | None) -> str:
    """Return the two ends of an interval of a share.

    >>> span(0.25, 1.0)
    '0.2500–1.0000'
    """
    return NO_DATA if low is None or high is None else f"{share(low)}–{share(high)}"


def signed(value: float | None) -> str:
    """Return a difference with its sign and four decimals, or more where these would be none.

    >>> [signed(value) for value in (0.25, -0.00001, 0.0, None)]
    ['+0.2500', '-0.00001', '0.0000', '–']
    """
    if value is None:
        return NO_DATA
    decimals = 4
    while value and round(value, decimals) == 0 and decimals < 12:
        decimals += 1
    return f"{value:+.{decimals}f}" if value else "0.0000"


def probability(p: float | None) -> str:
    """Return a p-value with two digits, never 0.

    >>> [probability(p) for p in (0.0312, 1e-9, None)]
    ['0.031', '<0.0001', '–']
    """
    if p is None:
        return NO_DATA
    return f"{p:.2g}" if p >= 1e-4 else "<0.0001"


def percent(value: float) -> str:
    """Return a share in percent, without the sign: three significant digits and no exponent.

    >>> [percent(value) for value in (0.5, 0.0012345, 1e-7)]
    ['50', '0.123', '0.00001']
    """
    return f"{float(f'{100 * value:.3g}'):.7f}".rstrip("0").rstrip(".")


def dollars(amount: float | None) -> str:
    """Return an amount in cents, or with as many digits as a small amount needs.

    >>> [dollars(amount) for amount in (1234.5, 0.25, 0.00315, 0.0, None)]
    ['$1,234.50', '$0.25', '$0.0032', '$0.00', 'unknown']
    """
    if amount is None:
        return "unknown"
    digits = 2 if amount == 0 or amount >= 0.1 else min(12, 1 - math.floor(math.log10(amount)))
    return f"${amount:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """Return seconds with the unit that suits them.

    >>> [duration(seconds) for seconds in (1.25, 600.0, 9000.0, None)]
    ['1.2 s', '10 min', '2.5 h', '–']
    """
    if seconds is None:
        return NO_DATA
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(value: int, noun: str, plural: str = "") -> str:
    """Return a number of things.

    >>> counted(1, "read"), counted(1200, "read"), counted(0, "reply")
    ('1 read', '1,200 reads', '0 replies')
    """
    return f"{value:,} {plural_of(value, noun, plural)}"


def plural_of(value: int, noun: str, plural: str = "") -> str:
    """Return the form of a noun or verb that goes with a number.

    >>> plural_of(1, "string"), plural_of(2, "reply"), plural_of(2, "has", "have")
    ('string', 'replies', 'have')
    """
    if value == 1:
        return noun
    return plural or (f"{noun[:-1]}ies" if noun.endswith("ply") else f"{noun}s")
