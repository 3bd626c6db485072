"""``next``: the string up to one read, whose answer the model writes.

Earlier reads show their true answers. Base models go on with the text, and their first word is the answer::

    completion   w1 i0 r1 i1 r▌
"""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.elicitation.base import Form
from ffprompt.elicitation.question import Prompt, PromptParts
from ffprompt.elicitation.replies import ReplyElicitation
from ffprompt.elicitation.wording import Exchange, again, conversation, events, solved_in_place
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer


class Next(ReplyElicitation):
    """One read: the first, the last, or one drawn for each string."""

    name = "next"
    asks_one_read = True
    sees_answers = True
    settings = ReplyElicitation.settings | {"next_read"}

    def asked(self, count: int, which: str = "last", digest: str = "0") -> tuple[int, ...]:
        """Return the number of the one read."""
        return ({"first": 0, "last": count - 1}.get(which, int(digest, 16) % count),)

    def texts(self, form: Form, shots: bool) -> Sequence[str]:
        """Return the keys of the texts that it needs."""
        return again("chat.next", shots) if form == "chat" else []

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render a string up to one of its reads.

        Raises:
            IndexError: for a read that it does not have.
        """
        words, string, shots = parts.words, parts.string, parts.shots
        (read,) = parts.asked or self.asked(string.read_count)
        if not 0 <= read < string.read_count:
            raise IndexError(f"read {read} of a string with {string.read_count}")
        if parts.form == "chat":
            # A shot shows its last read answered. The question stops at the read that is asked.
            exchanges = [exchange(words, shot, shot.read_count - 1) for shot in shots]
            messages, blanks = conversation(words, "next", [*exchanges, exchange(words, string, read)])
            return Prompt("", messages, (), (read,), (), tuple(blanks))
        text = solved_in_place(words, string, shots) + events(words, string, until=read)[0]
        # A trailing space would be a token of its own. Models write it together with the word that follows.
        return Prompt(text.rstrip(" "), (), (), (read,))

    def max_tokens(self, form: Form, structured: bool, count: int) -> int:
        """Return the longest reply. A base model goes on writing, and its first word is the answer."""
        return super().max_tokens(form, structured, count) if form == "chat" else 8


def exchange(words: Renderer, string: String, read: int) -> Exchange:
    """Return a string up to one of its reads, which is left blank."""
    blank = words.template.instructions.blank
    text = events(words, string, until=read)[0]
    span = (len(text), len(text) + len(blank))
    argument = int(string.arguments[string.is_read][read]) if len(words.reads) > 1 else 0
    after = words.reads[argument][1]
    return Exchange(text + blank + after, [span], read + 1, words.surfaces[string.truth[read]])


NEXT = Next()
