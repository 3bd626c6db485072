"""A model's own chat template: how it words a conversation, and what has to be known of it before it is used.

It may have no system role, a switch for thinking, a clock, or a prompt that ends inside a block of reasoning. All of it
is found by rendering small conversations and looking at what comes out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypedDict

from ffprompt.backends.base import Message, without_system
from ffprompt.backends.reasoning_marks import closing, opens_reasoning
from ffprompt.elicitation.base import use_replies
from ffprompt.errors import ModelError

if TYPE_CHECKING:
    from ffprompt.config.run_config import RunConfig

TemplateSettings = dict[str, Any]  # the variables of a template, which are its own
OWN = "the template's own"
# Variables of chat templates that turn thinking on and off. Others are looked for by their names.
_KNOWN = ("enable_thinking", "thinking", "reasoning_effort", "thinking_budget")
_NAMES = re.compile(r"(?<![\w.'\"])\w*(?:think|reason)\w*")
# Pairs of values for on and off. Words count where the template itself has the second one in quotes.
_WORDS = (("on", "off"), ("enabled", "disabled"), ("think", "no_think"), ("thinking", "chat"), ("high", "none"))
_KEPT = 1024  # rendered conversations. A prompt is rendered once and looked at several times
_USER, _SYSTEM = "⟦user⟧", "⟦system⟧"


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a model is to reply, as a user says it. None leaves it to the template, or to what the model needs."""

    mode: str | None = None  # on or off
    effort: str | None = None
    tags: tuple[str, ...] = ()
    room: int | None = None  # tokens for reasoning, on top of the reply

    @classmethod
    def of(cls, config: RunConfig) -> Thinking:
        """Return what the settings of a run say.

        Raises:
            ModelError: for a number of tokens.
        """
        if isinstance(config.thinking, int):
            raise ModelError(
                f"--thinking {config.thinking}: a number of tokens is for models behind an API; the {config.backend} "
                "backend takes on or off, and --reasoning-room for how long a reply may be"
            )
        return cls(config.thinking, config.reasoning_effort, config.reasoning_tags or (), config.reasoning_room)


@dataclass(frozen=True, slots=True)
class Switch:
    """A variable of a chat template with its values for thinking and for not thinking."""

    name: str
    on: Any
    off: Any


class TemplateIdentity(TypedDict, total=False):
    """What the record of a run says about a chat template, and about thinking. What does not apply is left out."""

    chat_template: str
    thinking: str
    chat_template_settings: TemplateSettings
    reasoning_effort: str
    reasoning_room: int


class ChatTemplate:
    """The chat template of a tokenizer that has one. ``notes`` is what a reader of the numbers has to know of it.

    Raises ModelError where thinking is to be switched and the template has no switch.
    """

    def __init__(self, tokenizer: Any, name: str, thinking: Thinking) -> None:
        self.tokenizer, self.name, self.thinking = tokenizer, name, thinking
        given = tokenizer.chat_template  # of some tokenizers several, by name
        self.source = given if isinstance(given, str) else "\n".join(map(str, given.values()))
        self.notes: dict[str, None] = {}
        self.render = lru_cache(_KEPT)(self._render)
        self.settings: TemplateSettings = {}
        if thinking.effort is not None:
            if "reasoning_effort" not in self.source:
                raise ModelError(
                    f"--reasoning-effort {thinking.effort}: the chat template of {name} has no reasoning_effort"
                )
            self.settings["reasoning_effort"] = thinking.effort
        if thinking.mode is not None:
            if self.switch is None:
                raise ModelError(self._no_switch(thinking.mode))
            if self.switch.name in self.settings:
                raise ModelError(
                    f"--thinking {thinking.mode}: in the chat template of {name}, --reasoning-effort is the switch for "
                    "thinking; give one of the two"
                )
            self.settings[self.switch.name] = self.switch.on if thinking.mode == "on" else self.switch.off

    def _no_switch(self, mode: str) -> str:
        said = f"--thinking {mode}: the chat template of {self.name} has no switch for thinking"
        if self.opens:
            return f"{said} and always begins with it; leave --thinking out"
        return f"{said} (looked for {', '.join(_KNOWN)} and the like); leave --thinking out"

    @property
    def identity(self) -> TemplateIdentity:
        """What the record of a run says about the template."""
        said: TemplateIdentity = {"chat_template": hashlib.sha256(self.source.encode()).hexdigest()[:16]}
        if self.thinking.mode or self.thinks or self.switch:
            said["thinking"] = self.thinking.mode or OWN
        if self.settings:
            said["chat_template_settings"] = dict(self.settings)
        if self.thinking.effort:
            said["reasoning_effort"] = self.thinking.effort
        return said

    @cached_property
    def opens(self) -> bool:
        """Whether the prompt of a new turn ends inside a block of reasoning."""
        return self._open(self._plain(self.settings) or "")

    @cached_property
    def thinks(self) -> bool:
        """Whether the model is to be expected to think before it answers, so that replies need room for it."""
        if self.thinking.mode is not None:
            return self.thinking.mode == "on"
        if self.opens or self.switch is None:
            return self.opens or any(self._open(mark) for mark in re.findall(r"[<\[◁][^\s'\"{}]+", self.source))
        return self._plain(self.settings) != self._plain(self.settings | {self.switch.name: self.switch.off})

    @cached_property
    def switch(self) -> Switch | None:
        """The template's switch for thinking. It is one if it changes the prompt, and off leaves no block open."""
        found = [name for name in dict.fromkeys(_NAMES.findall(self.source)) if name not in _KNOWN]
        for name in (*(name for name in _KNOWN if name in self.source), *found):
            for on, off in self._values(name):
                if self._switches(name, on, off):
                    return Switch(name, on, off)
        return None

    def _values(self, name: str) -> Iterator[tuple[Any, Any]]:
        if "budget" in name:
            yield -1, 0
            return
        for on, off in _WORDS:
            if re.search(rf"['\"]{off}['\"]", self.source):
                yield on, off
        if "effort" not in name:
            yield True, False

    def _switches(self, name: str, on: Any, off: Any) -> bool:
        with_it, without = self._plain({name: on}), self._plain({name: off})
        if with_it is None or without is None:
            return False
        # A value that the template only writes down, as it would any other, switches nothing.
        printed = not isinstance(off, str) and with_it.replace(str(on), "") == without.replace(str(off), "")
        return with_it != without and not printed and not self._open(without)

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message reaches the prompt. Some templates refuse it, some leave it out without a word."""
        turns = (Message("system", _SYSTEM), Message("user", _USER))
        try:
            return _SYSTEM in self._apply(turns, self.settings)
        except ModelError:
            return False

    @cached_property
    def has_clock(self) -> bool:
        """Whether prompts depend on the time at which they are rendered."""
        conversations = [(Message("user", _USER),), (Message("system", _SYSTEM), Message("user", _USER))]
        rendered = []
        for moment in (dt.datetime(2021, 3, 4, 5, 6, 7), dt.datetime(2032, 11, 20, 21, 42, 53)):
            with _at(moment), contextlib.suppress(ModelError):
                rendered.append([self._apply(turns, self.settings) for turns in conversations[: 1 + self.takes_system]])
        return len(rendered) == 2 and rendered[0] != rendered[1]

    def _render(self, messages: tuple[Message, ...], closed: bool = False) -> str:
        """The prompt of a conversation, up to where the model's turn begins.

        ``closed``: what follows is an answer, so no block of reasoning may be open. Raises ModelError where one cannot
        be closed.
        """
        if any(message.role == "system" for message in messages) and not self.takes_system:
            messages = without_system(messages)
            self.notes["its chat template has no system role: that text stands in the first user turn"] = None
        text = self._apply(messages, self.settings)
        if self.has_clock:
            self.notes["its chat template writes the date or time, so prompts differ from day to day"] = None
        return self._closed(messages, text) if closed and self._open(text) else text

    def _closed(self, messages: tuple[Message, ...], text: str) -> str:
        if self.thinking.mode == "on":
            raise ModelError(
                f"model {self.name}: --thinking on opens a block of reasoning, and given answers cannot stand in it; "
                f"leave it out, or {use_replies()} without a schema"
            )
        if self.switch is not None:
            off = self._apply(messages, self.settings | {self.switch.name: self.switch.off})
            if not self._open(off):
                self._say_closed(f"{self.switch.name}={self.switch.off!r}")
                return off
        mark = closing(text, self.thinking.tags)
        if not mark or self._open(text + mark):
            raise ModelError(
                f"model {self.name}: its chat template begins a block of reasoning that cannot be closed, and answers "
                f"in it mean nothing; {use_replies()}, or --form completion"
            )
        self._say_closed(repr(mark.strip()))
        return text + mark

    def _say_closed(self, how: str) -> None:
        self.notes[f"its chat template begins a block of reasoning, closed before given answers by {how}"] = None

    def begun(self, prompt: str) -> str:
        """The part of a prompt's end that opens a block of reasoning, which belongs to the reply, or nothing.

        >>> begun("<|im_start|>assistant\\n<think>\\n")  # doctest: +SKIP
        '<think>\\n'
        """
        if not self._open(prompt):
            return ""
        starts = range(len(prompt) - 1, -1, -1)
        return next(prompt[start:] for start in starts if self._open(prompt[start:]))

    def _open(self, text: str) -> bool:
        return opens_reasoning(text, self.thinking.tags)

    def _plain(self, settings: TemplateSettings) -> str | None:
        """The prompt of the smallest conversation. None where the template refuses that one."""
        try:
            return self._apply((Message("user", _USER),), settings)
        except ModelError:
            return None

    def _apply(self, messages: Sequence[Message], settings: TemplateSettings) -> str:
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.text} for message in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **settings
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise ModelError(f"model {self.name}: its chat template refuses the prompt: {error}") from error
        return text


@contextlib.contextmanager
def _at(moment: dt.datetime) -> Iterator[None]:
    """Let chat templates believe that it is another time."""
    from transformers.utils import chat_template_utils

    class Stopped(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return moment.astimezone(tz) if tz else moment

    module: Any = chat_template_utils
    before = module.datetime
    module.datetime = Stopped
    try:
        yield
    finally:
        module.datetime = before
