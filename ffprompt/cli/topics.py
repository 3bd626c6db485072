"""The texts of ``ffprompt help TOPIC``, which come with the package."""

from __future__ import annotations

from pathlib import Path

from ffprompt.errors import ConfigError, did_you_mean

_FOLDER = Path(__file__).with_name("help_topics")


def topics() -> tuple[str, ...]:
    """Return the names of the topics, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))


def title(topic: str) -> str:
    """Return the first line of a topic."""
    return text(topic).split("\n", 1)[0]


def text(topic: str) -> str:
    """Return the text of a topic.

    Raises:
        ConfigError: There is no such topic.
    """
    if topic not in topics():
        raise ConfigError(f"help {topic}: no such topic{did_you_mean(topic, topics())}")
    return (_FOLDER / f"{topic}.txt").read_text(encoding="utf-8")
