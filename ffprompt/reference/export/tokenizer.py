"""The tokenizer of a reference model in the form of the tokenizers library: one token a symbol, and nothing else."""

from __future__ import annotations

from typing import Any

from ffprompt.tasks.flipflop import LETTERS


def tokenizer(symbols: int) -> dict[str, Any]:
    """What tokenizer.json holds for M = ``symbols`` data symbols.

    ``w1i0r1`` and ``w 1 i 0 r 1`` are ``[0, 4, 2, 3, 1, 4]``, which is ``w 1 i 0 r 1`` again. More than ten symbols
    have equally many digits each, as the templates write them. Fewer digits are filled up, so ``w 1 i 10 r 1`` is
    ``w 01 i 10 r 01``. There are no special tokens, and none for what is unknown: a prompt in words, or of two strings
    in two lines, is an error and not a string of what is left of it.
    """
    width = len(str(symbols - 1))
    names = [*LETTERS, *(f"{symbol:0{width}d}" for symbol in range(symbols))]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": _filled(width),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                _split({"String": " "}, "Removed"),
                _split({"Regex": f"[{LETTERS}]|[0-9]+"}, "Isolated"),
            ],
        },
        "post_processor": None,
        "decoder": None,  # tokens are joined by spaces
        "model": {
            "type": "WordLevel",
            "vocab": {name: token for token, name in enumerate(names)},
            "unk_token": "<unk>",  # required there, and no token
        },
    }


def tokenizer_config(places: int) -> dict[str, Any]:
    """What tokenizer_config.json holds. ``places`` is the most tokens that the model has positions for."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": places,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _split(pattern: dict[str, str], behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


def _filled(width: int) -> dict[str, Any] | None:
    """Zeros in front of every number with fewer than ``width`` digits."""
    if width == 1:
        return None
    steps = [
        {
            "type": "Replace",
            "pattern": {"Regex": f"(?<![0-9])(?=[0-9]{{{digits}}}(?![0-9]))"},
            "content": "0" * (width - digits),
        }
        for digits in range(1, width)
    ]
    return {"type": "Sequence", "normalizers": steps}
