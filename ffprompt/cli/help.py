"""``ffprompt help``: a short text on a topic, or the flags of a command."""

from __future__ import annotations

import argparse

from ffprompt.cli.console import line
from ffprompt.cli.topics import text, title, topics
from ffprompt.errors import ConfigError, did_you_mean


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the argument of ``help``."""
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a topic or a command (default: list them)")


def execute(options: argparse.Namespace) -> int:
    """Print a text, or what there are texts on."""
    from ffprompt.cli.main import COMMANDS, main

    commands = [command.name for command in COMMANDS]
    if options.topic is None:
        width = max(map(len, topics()))
        for topic in topics():
            line(f"  {topic:{width}}  {title(topic)}")
        line("\nA command is a topic, too: ffprompt help run")
        return 0
    if options.topic in commands and options.topic not in topics():
        return main([options.topic, "--help"])
    if options.topic not in topics():
        raise ConfigError(f"help {options.topic}: no such topic{did_you_mean(options.topic, {*topics(), *commands})}")
    for each in text(options.topic).rstrip("\n").split("\n"):
        line(each)
    return 0
