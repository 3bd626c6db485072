"""The model that a server says it answered with, beside the one that was asked for."""

from __future__ import annotations

import re

# What may stand in front of a model's name or behind it and leaves it the same model: regions and vendors, dates,
# versions, number formats.
_BEFORE = r"((us|eu|apac|global|anthropic|openai|azure|amazon|meta|google|mistral|deepseek|xai|cohere|models)-)*"
_AFTER = (
    r"(-(\d{3,}(-\d\d)*|v\d+(-\d+)*|latest|preview|exp|beta|free|online"
    r"|fp\d+|bf16|int\d|q\d\w*|[kms]|gguf|awq|gptq))*"
)


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model as far as names tell: one is the other with a path, a vendor or a date.

    >>> same_model("gpt-4o", "gpt-4o-2024-08-06"), same_model("meta/Llama-3-8B", "llama-3-8b")
    (True, True)
    >>> same_model("gpt-4o", "gpt-4o-mini"), same_model("claude-haiku-4-5", "claude-haiku-4-6")
    (False, False)
    """
    shorter, longer = sorted((_plain(one), _plain(other)), key=len)
    return re.fullmatch(_BEFORE + re.escape(shorter) + _AFTER, longer) is not None


def _plain(name: str) -> str:
    """A name without its path, in one spelling."""
    return re.sub(r"[^a-z0-9]+", "-", re.split(r"[/\\]", name.rstrip("/\\"))[-1].casefold()).strip("-")


class ServedModel:
    """The model that a server says it answers with. An alias gives a remark. A change of model stops the run."""

    def __init__(self) -> None:
        self.known = ""

    def remarks(self, asked: str) -> list[str]:
        """Return one line where another name was asked for."""
        if not self.known or same_model(asked, self.known):
            return []
        return [f"the server says that it answers with {self.known!r}"]

    def differs(self, model: object) -> str:
        """Why an answer cannot stand beside the earlier ones. Empty where it can."""
        if not isinstance(model, str) or not model:
            return ""
        if self.known and not same_model(self.known, model):
            return (
                f"the server answers with {model!r} after answering with {self.known!r}, and one number cannot be of "
                "both; name the model exactly, or switch the router's fallbacks off"
            )
        self.known = max(self.known, model, key=len)
        return ""
