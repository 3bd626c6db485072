"""``list``: all reads are left blank, and the reply is the list of their answers.

Earlier reads show nothing, so a model must keep the string's state by itself::

    user       w1 i0 r? i1 r?
    assistant  1, 1
"""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.elicitation.base import Form
from ffprompt.elicitation.question import Prompt, PromptParts
from ffprompt.elicitation.replies import ReplyElicitation
from ffprompt.elicitation.wording import Exchange, again, answers, conversation, events
from ffprompt.tasks.strings import String
from ffprompt.templates.frame import ANSWER
from ffprompt.templates.renderer import Renderer


class List(ReplyElicitation):
    """All reads, in one reply."""

    name = "list"
    prefers_chat = True

    def texts(self, form: Form, shots: bool) -> Sequence[str]:
        """Return the keys of the texts that it needs."""
        return again("chat.list", shots) if form == "chat" else ["completion.list_string"]

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render a string with all reads left blank."""
        words, string, shots = parts.words, parts.string, parts.shots
        asked = tuple(parts.asked or self.asked(string.read_count))
        if parts.form == "chat":
            messages, blanks = conversation(words, "list", [_exchange(words, one) for one in (*shots, string)])
            return Prompt("", messages, (), asked, (), tuple(blanks))
        text = words.intro
        for shot in shots:
            before, after = words.around(words.frame("completion.list_string"), shot.read_count)
            text += before + events(words, shot, blank=True)[0] + after.replace(ANSWER, answers(words, shot))
            text += words.template.completion.between
        before, after = words.around(words.frame("completion.list_string"), string.read_count)
        text += before
        blank_events, spans = events(words, string, blank=True)
        blanks = [(-1, start + len(text), end + len(text)) for start, end in spans]
        text += blank_events + after.removesuffix(ANSWER)
        # A base model's list ends with its line.
        return Prompt(text.rstrip(" "), (), (), asked, ("\n",), tuple(blanks))


def _exchange(words: Renderer, string: String) -> Exchange:
    blank_events, spans = events(words, string, blank=True)
    return Exchange(blank_events, spans, string.read_count, answers(words, string))


LIST = List()
