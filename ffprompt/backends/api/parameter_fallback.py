"""Parameters that a model refuses: dropped or renamed after its first refusal, and for the rest of the run.

Model names do not tell which parameters a new model, a custom deployment or a router takes. An HTTP 400 that names a
parameter does::

    sent    {"max_tokens": 24, "temperature": 0.0, …}
    400     Unsupported parameter: 'max_tokens' … use 'max_completion_tokens' instead      renamed
    400     'temperature' does not support 0 with this model                                dropped
    sent    {"max_completion_tokens": 24, …}
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypedDict

from ffprompt.backends.api.call_errors import CallError
from ffprompt.backends.api.payloads import JsonObject, Payload

# Parameters that may go without changing what is asked: stop texts are cut off here, nothing is kept or streamed.
_HARMLESS = ("stop", "stop_sequences", "store", "stream")
# Parameters that decide how a reply is drawn. Without them the model samples by its own settings.
SAMPLING = ("temperature", "seed", "random_seed", "top_p")
# The limit of a reply under its other names, in the order in which they are tried.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
SYSTEM = "system role"
_SYSTEM = re.compile(r"(?i)\b(system|developer) (role|message|prompt|instruction)s?\b|\brole\W{0,4}system\b")
# How servers refuse a parameter as such. A value that is too large or too small is a mistake of the settings.
_REFUSALS = (
    r"unsupported", r"not (?:be )?(?:currently )?(?:supported|permitted|allowed|enabled|accepted|available|compatible)",
    r"(?:does ?n[o']t|do ?n[o']t|cannot|can't) (?:support|accept|allow|take|have|use|be (?:used|set|specified))",
    r"is(?: not|n't) (?:supported|allowed)", r"extra (?:inputs|fields)", r"extra_forbidden", r"does not match any",
    r"unknown", r"unrecogni[sz]ed", r"unexpected", r"cannot find field", r"not a valid (?:parameter|field)",
    r"invalid (?:parameter|field|argument|key|name)", r"removed", r"deprecated", r"no longer", r"is incompatible",
    r"only (?:the default|temperature ?= ?1)", r"must be (?:1|unset|omitted|default)",
)  # fmt: skip
_REFUSED = re.compile("(?i)" + "|".join(_REFUSALS))
TOO_MUCH = re.compile(
    r"(?i)greater than|less than or equal|exceed|at most|too (?:large|long|high|many|big)|maximum|context|larger than"
)


class LearnedRecord(TypedDict, total=False):
    """What was learnt, as the record of a run keeps it. ``notes`` says it in words."""

    dropped: dict[str, str]
    renamed: dict[str, str]
    api: str
    notes: list[str]


@dataclass(slots=True)
class LearnedParameters:
    """What was learnt about a model: parameters that it refuses, with the server's words, and renamed ones.

    ``api`` is the API that serves the model, where that is not the one it was first asked through. ``apply`` is
    idempotent, and the order in which refusals came does not matter.
    """

    dropped: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    api: str = ""

    def apply(self, payload: JsonObject) -> Payload:
        """Return a payload without the refused parameters and with the renamed ones under their new name."""
        return {self.renamed.get(name, name): value for name, value in payload.items() if name not in self.dropped}

    def learn(self, error: CallError, payload: JsonObject, required: frozenset[str]) -> str | None:
        """Learn from the refusal of a payload.

        ``required`` parameters, which a user asked for by name, are never dropped.

        Returns:
            The refused parameter, or None where nothing can be learnt. A payload that was sent before another call
            learnt the same teaches nothing new. Its parameter is returned too, since it must only be sent again.
        """
        if error.status not in (400, 422):
            return None
        text = str(error)
        name = self._named(error, text, payload)
        if name is None or name in required:
            return None
        if name in _LIMITS:
            other = _OTHER_LIMIT.get(name)
            if other is None or other in self.renamed or (TOO_MUCH.search(text) and other not in text):
                return None
            self.renamed[name] = other
            return name
        if name != SYSTEM and name not in SAMPLING and name not in _HARMLESS:
            return None
        self.dropped[name] = text
        return name

    def _named(self, error: CallError, text: str, payload: JsonObject) -> str | None:
        """Return the part of the payload that an error objects to, and not only to its value."""
        if not _REFUSED.search(text) and error.code not in ("unsupported_parameter", "unsupported_value"):
            return None
        if error.parameter in payload:
            return error.parameter
        own = re.sub(r"(?i)\b(?:use|try)\b[^.;]*", " ", text)  # "use 'max_completion_tokens' instead"
        places = {name: found.start() for name in payload if (found := re.search(rf"(?<![\w.]){name}\b", own))}
        if places:
            return min(places, key=lambda name: places[name])
        turns = payload.get("messages") or payload.get("input")
        roles = [turn.get("role") for turn in turns] if isinstance(turns, list) else []
        return SYSTEM if "system" in roles and _SYSTEM.search(text) else None

    @property
    def sampled(self) -> bool:
        """Whether replies are sampled at the model's own temperature because it refused the run's."""
        return "temperature" in self.dropped

    def to_json(self) -> LearnedRecord:
        """Return plain values, as the record of a run keeps them."""
        return {"dropped": dict(self.dropped), "renamed": dict(self.renamed), "api": self.api}

    @classmethod
    def from_json(cls, record: LearnedRecord | None) -> LearnedParameters:
        """Return what the record of a run holds."""
        record = {} if record is None else record
        return cls(dict(record.get("dropped", {})), dict(record.get("renamed", {})), record.get("api", ""))

    def describe(self) -> list[str]:
        """Return one line for each thing learnt."""
        lines = [f"the model is served by the {self.api} API, and is asked there"] if self.api else []
        lines += [f"the model takes {new} in place of {old}" for old, new in self.renamed.items()]
        for name, text in self.dropped.items():
            effect = "not sent"
            if name == "temperature":
                effect = "not sent: replies are sampled by the model's own settings"
            elif name in SAMPLING:
                effect = "not sent: sampled replies cannot be repeated"
            elif name == SYSTEM:
                effect = "its text stands at the beginning of the first user turn"
            lines.append(f"the model refuses {name}, {effect} ({text})")
        return lines
