"""Why a reply ended: one table from the words of every provider and server to what they mean.

A word that stands in no row is ``unknown``. A reply that ends so is an error with the word in it, because nobody knows
whether the reply is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ffprompt.backends.base import Stop

Ending = Literal["clean", "truncated", "refused", "failed", "unknown"]

# In lower case and without the prefix that some SDKs print ("FinishReason.STOP").
_WORDS: Mapping[Ending, str] = {
    # The model came to its end, or to a text that ends it.
    "clean": "stop end_turn stop_sequence completed complete eos eos_token end_of_text end_of_turn stop_token finished"
    " end success",
    # A limit was reached: of the reply, of the context, of what a server allows.
    "truncated": "length max_tokens max_output_tokens max_completion_tokens max_length max_new_tokens token_limit"
    " max_context_length context_length context_length_exceeded context_window_exceeded"
    " model_context_window_exceeded model_length error_limit token_limit_exceeded max_total_tokens",
    # The model declined, or a filter of the provider's stepped in.
    "refused": "refusal refused content_filter content_filtered content_policy_violation safety image_safety"
    " recitation blocklist blocked prohibited_content spii language model_armor guardrail_intervened guardrails"
    " error_toxic sensitive moderation flagged",
    # The provider broke off. The same call may succeed later.
    "failed": "error server_error internal_error failed failure network_error insufficient_system_resource abort"
    " aborted cancelled canceled timeout overloaded unavailable other finish_reason_unspecified"
    " malformed_function_call malformed_response upstream_error provider_error disconnect disconnected load_shed",
}
_MEANING: Mapping[str, Ending] = {word: ending for ending, words in _WORDS.items() for word in words.split()}
_STOPS: Mapping[Ending, Stop] = {"clean": "stop", "truncated": "length", "refused": "refusal"}


def ending(reason: object) -> Ending:
    """What a finish or stop reason means.

    >>> [ending(word) for word in ("stop", "MAX_TOKENS", "FinishReason.SAFETY", "error", "tool_calls", None)]
    ['clean', 'truncated', 'refused', 'failed', 'unknown', 'unknown']
    """
    if not isinstance(reason, str):
        return "unknown"
    return _MEANING.get(reason.rpartition(".")[2].strip().lower().replace("-", "_").replace(" ", "_"), "unknown")


def stop_of(reason: object) -> Stop | None:
    """How a reply with this reason ended. None where it brought no answer, or nobody knows whether it is whole."""
    return _STOPS.get(ending(reason))


def why_not(reason: object) -> str:
    """The error of a reply that has no place among the answers."""
    if ending(reason) == "failed":
        return f"the provider broke the reply off (it ended with {reason!r})"
    if reason is None:
        return "the server does not say why the reply ended, so nobody knows whether it is whole"
    return f"the reply ended for an unknown reason ({reason!r})"
