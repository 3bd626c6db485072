"""Flags of a test beside those that all tests of a module share."""

from __future__ import annotations


def replaced(*words: object) -> list[str]:
    """Return a command line in which a flag that stands twice has the values of its last place alone.

    The command line itself adds the values of a list together.

    >>> replaced("--length", 20, "--shots", 0, 1, "--length", 50)
    ['--shots', '0', '1', '--length', '50']
    """
    flags: dict[str, list[str]] = {}
    name = ""
    for word in map(str, words):
        if word.startswith("--"):
            name = word
            flags.pop(name, None)
            flags[name] = []
        else:
            flags.setdefault(name, []).append(word)
    return [word for name, values in flags.items() for word in ((name, *values) if name else values)]
