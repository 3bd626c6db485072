"""``ffprompt completion``: a script that lets a shell complete commands, flags and names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ffprompt._util.bundled import bundled_folder
from ffprompt.backends.entry_points import backend_names
from ffprompt.backends.from_name import model_names, reference_names
from ffprompt.cli import completion_scripts
from ffprompt.cli.topics import topics
from ffprompt.config.settings import BY_NAME
from ffprompt.tasks import registry

EPILOG = """\
bash: add this line to ~/.bashrc            source <(ffprompt completion bash)
zsh:  add this line to ~/.zshrc             source <(ffprompt completion zsh)   (after: autoload -U compinit; compinit)
fish: write the script to a file, once      ffprompt completion fish > ~/.config/fish/completions/ffprompt.fish
"""
# Placeholders of values that are files or folders.
_FILES = {"FILE", "DIR", "RUN", "PATH", "MODEL.safetensors"}


@dataclass(frozen=True, slots=True)
class Argument:
    """A flag or a positional argument.

    Attributes:
        names: Its flags, none for a positional argument.
        help: What it is.
        values: What it can be, where that is known.
        files: Whether it may be a file.
        takes: How many values it takes: 0 for a switch, 1, or 2 for more than one.
    """

    names: tuple[str, ...]
    help: str
    values: tuple[str, ...] = ()
    files: bool = False
    takes: int = 1


@dataclass(slots=True)
class Words:
    """What can follow the name of a command or of an action."""

    help: str
    flags: list[Argument] = field(default_factory=list)
    positionals: list[Argument] = field(default_factory=list)
    actions: dict[str, Words] = field(default_factory=dict)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the argument of ``completion``."""
    parser.add_argument("shell", choices=tuple(completion_scripts.SHELLS), help="the shell")


def execute(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    sys.stdout.write(completion_scripts.SHELLS[options.shell](commands()))
    return 0


def commands() -> Words:
    """Return what the parser of the whole command line knows."""
    from ffprompt.cli.main import COMMANDS, _parser

    return _words(_parser("ffprompt", run_only=False, given=[command.name for command in COMMANDS]), "")


def _words(parser: argparse.ArgumentParser, text: str) -> Words:
    words = Words(text)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            words.actions |= {name: _words(one, helps.get(name, "")) for name, one in action.choices.items()}
        elif action.help != argparse.SUPPRESS:
            (words.flags if action.option_strings else words.positionals).append(_argument(action))
    return words


def _argument(action: argparse.Action) -> Argument:
    takes = 0 if action.nargs == 0 else 1 if action.nargs in (None, "?", 1) else 2
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    values = tuple(map(str, action.choices or ())) or tuple(_values(action.dest, metavar))
    files = metavar in _FILES or action.dest in ("model", "template", "suite", "checkpoint", "baseline")
    return Argument(tuple(action.option_strings), action.help or "", values, files and not action.choices, takes)


def _values(name: str, metavar: str) -> Iterator[str]:
    """The names that an argument can have, by its own name."""
    if name in _NAMES:
        yield from _NAMES[name]()
    elif name in BY_NAME:
        yield from BY_NAME[name].choices
    elif metavar == "TOPIC":
        from ffprompt.cli.main import COMMANDS

        yield from sorted({*topics(), *(command.name for command in COMMANDS)})


def _bundled(folder: str, within: str = "") -> list[str]:
    """The names of bundled files, found without a look into them."""
    return sorted(path.stem for path in (bundled_folder(folder) / within).glob("*.toml"))


def _providers() -> list[str]:
    from ffprompt.backends.api.providers import providers

    return list(providers())


_NAMES: dict[str, Callable[[], tuple[str, ...] | list[str]]] = {
    "backend": backend_names,
    "model": model_names,
    "template": lambda: _bundled("prompts"),
    "suite": lambda: _bundled("suites"),
    "task": registry.names,
    "elicitation": lambda: BY_NAME["elicitation"].choices,
    "form": lambda: BY_NAME["form"].choices,
    "checkpoint": reference_names,
    "provider": _providers,
    "device": lambda: ("auto", "cpu", "cuda", "mps"),
    "dtype": lambda: ("auto", "bfloat16", "float16", "float32"),
    "thinking": lambda: ("on", "off"),
}
