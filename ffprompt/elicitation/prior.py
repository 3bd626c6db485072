"""``prior``: the answer that the words of a prompt suggest by themselves, with nothing in them to remember.

The string goes up to one read. Every value in it is blanked, those of writes, of ignores and of earlier answers, so
that nothing says which answer is right (contextual calibration, Zhao et al. 2021)::

    completion   w? i? r? i? r⟦1⟧

What is left is the bias of the prompt: the difference between the probabilities of its answers. Its accuracy says
nothing of a model.
"""

from __future__ import annotations

from ffprompt.elicitation.next_read import exchange
from ffprompt.elicitation.question import Prompt, PromptParts
from ffprompt.elicitation.scored import ScoredRead
from ffprompt.elicitation.wording import Exchange, conversation, solved_in_place, value_of
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer


class Prior(ScoredRead):
    """One read, scored where its answer stands, in a prompt whose values are blanked."""

    name = "prior"
    blanks = True
    sees_answers = False

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render a string up to one of its reads with all values blanked, after shots that are not."""
        words, string, shots = parts.words, parts.string, parts.shots
        (read,) = parts.asked or self.asked(string.read_count)
        text, after = _blanked(words, string, read)
        answer = words.surfaces[string.truth[read]]
        if parts.form == "chat":
            blank = words.template.instructions.blank
            asked = Exchange(text + blank + after, (), read + 1, answer)
            exchanges = [exchange(words, shot, shot.read_count - 1) for shot in shots]
            messages, _ = conversation(words, "next", [*exchanges, asked])
            return Prompt(answer, messages, ((0, len(answer)),), (read,))
        text = solved_in_place(words, string, shots) + text
        return Prompt(text + answer, (), ((len(text), len(text) + len(answer)),), (read,))


def _blanked(words: Renderer, string: String, until: int) -> tuple[str, str]:
    """The instructions up to a read with all values blanked, and what follows the answer of that read."""
    blank, reads = words.template.instructions.blank, 0
    pieces: list[str] = []
    for position, (event, value, is_read) in enumerate(string):
        if not is_read:
            piece = words.pieces[event][value]
            span = value_of(piece, words.pieces[event])
            pieces.append(piece[: span[0]] + blank + piece[span[1] :] if span else piece)
            continue
        before, after = words.reads[int(string.arguments[position]) if len(words.reads) > 1 else 0]
        if reads == until:
            return words.template.instructions.separator.join([*pieces, before]), after
        reads += 1
        pieces.append(before + blank + after)
    raise IndexError(f"read {until} of a string with {reads}")


PRIOR = Prior()
