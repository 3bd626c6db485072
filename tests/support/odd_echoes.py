"""Ways in which the log-probabilities of an echo can be wrong: each changes the columns of a true one."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.odd_server import Columns

Change = Callable[[Columns, int], Columns]


def same_lists(columns: Columns, most: int) -> Columns:
    """Every place has one list, which explains every token badly enough."""
    tokens, _, tops = columns
    low = {f"q{n}": -2.0 - n for n in range(5)}
    return tokens, [None, *(-9.0 - 0.01 * n for n in range(len(tokens) - 1))], [None, *([low] * (len(tops) - 1))]


def five_words(columns: Columns, most: int) -> Columns:
    """True values of tokens beside lists that do not have them and whose least is lower."""
    tokens, logprobs, tops = columns
    lists = [{f" q{n}": -2.0 - 2 * n - 0.01 * place for n in range(5)} for place in range(len(tops))]
    return tokens, logprobs, [None, *lists[1:]]


def list_of_next(columns: Columns, most: int) -> Columns:
    """Each list is that of the next place, with the written token's own value in it."""
    tokens, logprobs, tops = columns
    shifted = [*tops[1:], tops[-1]]
    mixed = [
        None
        if n == 0
        else {name: v - 3 for name, v in (shifted[n] or {}).items()} | {tokens[n]: (logprobs[n] or 0) - 3}
        for n in range(len(tokens))
    ]
    return tokens, [None if v is None else v - 3 for v in logprobs], mixed


def one_place_off(columns: Columns, most: int) -> Columns:
    """Everything is what stands one place on, so that values and lists agree."""
    tokens, _, tops = columns
    lists = [None, *tops[2:], tops[-1]]
    values = [None if top is None else min(top.values()) - 1 for top in lists]
    return tokens, values, [top and {**top, tokens[n]: values[n] or 0.0} for n, top in enumerate(lists)]


def one_place_late(columns: Columns, most: int) -> Columns:
    tokens, _, tops = columns
    lists = [None, tops[1], *tops[1:-1]]
    values = [None if top is None else min(top.values()) - 1 for top in lists]
    return tokens, values, [top and {**top, tokens[n]: values[n] or 0.0} for n, top in enumerate(lists)]


def each(change: Callable[[str, float], float]) -> Change:
    """Every value is another function of the true one."""

    def changed(columns: Columns, most: int) -> Columns:
        tokens, logprobs, tops = columns
        lists = [top and {name: change(name, value) for name, value in top.items()} for top in tops]
        return tokens, [None if v is None else change(t, v) for t, v in zip(tokens, logprobs, strict=True)], lists

    return changed


def written(value: Callable[[int, float], float], less: float = 5) -> Change:
    """The written token's value is another one, in its list too, and others give way."""

    def changed(columns: Columns, most: int) -> Columns:
        tokens, logprobs, tops = columns
        values = [None if v is None else value(n, v) for n, v in enumerate(logprobs)]
        lists: list[dict[str, float] | None] = []
        for token, own, top in zip(tokens, values, tops, strict=True):
            if top is None or own is None:
                lists.append(None)
                continue
            ranked = sorted((name for name in top if name != token), key=lambda name: -top[name])[: most - 1]
            lists.append({name: min(top[name], -0.1) - less for name in ranked} | {token: own})
        return tokens, values, lists

    return changed


def own_is_another(columns: Columns, most: int) -> Columns:
    tokens, logprobs, tops = columns
    return tokens, [None if v is None else v - 0.3 for v in logprobs], tops


def beyond_the_list(columns: Columns, most: int) -> Columns:
    """A list that is not of this place, with the written token put in beyond those asked for."""
    tokens, logprobs, tops = columns
    lists = [
        top and {f" q{n}": -4.0 - 0.1 * n - 0.001 * place for n in range(most)} | {tokens[place]: logprobs[place] or 0}
        for place, top in enumerate(tops)
    ]
    return tokens, logprobs, lists
