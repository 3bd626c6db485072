"""Other ways to write the same answers, turned into the one way that ``ffprompt.scoring.parse_reply`` reads.

Digits and punctuation of other scripts become ASCII, ordinals and letters at the head of a line become numbers, and
number words become digits where nothing else stands beside them::

    >>> unify("答案：１，０", ["0", "1"])
    '答案:1, 0'
    >>> respell("First read: one\\nSecond read: zero", ["0", "1"])
    '1th read: 1\\n2th read: 0'

"One of them" is prose and stays as it is. Markup turns into spaces. Every step takes linear time.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from ffprompt.scoring.value_forms import padded, with_signs


def plain(text: str, values: Sequence[str]) -> str:
    """Return a reply in one spelling and without markup, one statement of a numbered answer a line."""
    text = unfold(with_signs(unify(text, values), values))
    for pattern, by in _patterns(_MARKUP):
        text = pattern.sub(by, text)
    text = respell(text, values)
    for pattern, by in _patterns(_WRAPS):
        text = pattern.sub(by, text)
    return padded(text, tuple(values))


_NAME = r"(?:read|answer|output|result|value|blank|word|item|number|position|slot|no|r|a|q)"
LABEL = rf"(?:the )?(?:{_NAME}s?[ _.\[(#]*)?(?:# ?|[\[(])?[0-9]{{1,5}}(?:st|nd|rd|th)?(?: {_NAME}\b)?[\])]?"
_NUMBERED = rf"{LABEL} ?(?:[:=→]|->|is\b)"
_MARKUP = (
    (r"[^\S\n]+", " "),
    (r"’", "'"),
    (r"^ ?(?:`{3,}|~{3,}) ?[a-z]* ?$", ""),  # fences of a code block
    (r"^ ?[*•+–](?: |$)", "- "),
    (r"<answers?>|<\|begin_of_box\|>|\\f?boxed ?\{", " answer: "),
    (r"</answers?>|<\|end_of_box\|>|<br ?/?>", "\n"),
    (r"\\[lc]?dots\b|\band so (?:on|forth)\b", "…"),
    (r"\b(?:based|depending) on\b", "from"),  # where "on" is no value
    (r"\bnumber of\b", "count"),
    (r"\\(?:text\w*|math\w*|left|right|q?quad)\b|\\[()\[\],;! {}]|\$|</?(?:b|i|em|strong|code|pre|p|li)>", " "),
    (r"(?<![^\W_])[*`]+|[*`]+(?![^\W_])", " "),  # emphasis, but not a product such as 1*0
    (r"[\"“”„«»‘]|(?<!\w)'|'(?!\w)", " "),
    (r"[^\S\n]+", " "),
    (r"^ ?(?:> ?)*(?:#{1,6} )?| $", ""),
)
_WRAPS = (
    (r", ?\n(?:- )?(?=\S)", ", "),  # a list goes on where a line ends in a comma …
    (rf"{{ ?(?={_NUMBERED})", "\n"),
    (rf"(?<![^\W_])({_NUMBERED}[^,;\n]{{1,40}})[,;] ?(?={_NUMBERED})", r"\1\n"),  # … numbers head lines
)


@cache
def _patterns(steps: tuple[tuple[str, str], ...]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern, re.IGNORECASE | re.MULTILINE), by) for pattern, by in steps]


# Of Chinese and Japanese, Arabic, Devanagari, the halfwidth forms, and minus signs and hyphens. Fullwidth ASCII is
# shifted as a block.
# Chinese has no spaces, so its words for not and or would hide in others.
_PUNCTUATION = {
    "、": ", ", "，": ", ", "､": ", ", "،": ", ", "؛": "; ", "；": "; ", "。": ". ", "｡": ". ", "।": ". ", "؟": "?",
    "【": "[", "】": "]", "「": '"', "」": '"', "『": '"', "』": '"', "《": '"', "》": '"', "‚": ", ", "︓": ":",
    "不": " not ", "或": " or ", "−": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-",
}  # fmt: skip


def unify(text: str, values: Sequence[str]) -> str:
    """Return a text with the digits and the punctuation of ASCII, but for characters that a value is written with."""
    if text.isascii():
        return text
    kept = set("".join(values))
    table = {ord(char): as_ascii for char in set(text) - kept if (as_ascii := _plain(char)) != char}
    return re.sub(r"(?<=[,;]) {2,}", " ", text.translate(table)) if table else text


@lru_cache(4096)
def _plain(char: str) -> str:
    if char.isascii():
        return char
    if char in _PUNCTUATION:
        return _PUNCTUATION[char]
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    return chr(ord(char) - 0xFEE0) if "！" <= char <= "～" else char


_DIGITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth",
)  # fmt: skip
_THING = r"(?:read|answer|output|result|value|blank|word|item|number|position|slot|one)"
_STATES = r"(?: ?[:=→⇒]| ?->| ?=>| ?[-–—] | is\b)"
_VERBS = r" (?:returns|gives|yields|outputs) "
_ORDINAL = rf"(?:the )?(?P<ordinal>{'|'.join(_ORDINALS)})(?P<thing>(?: {_THING})?)"
_ORDINAL += rf"(?={_STATES}|{_VERBS}| ?\|)"
# At the head of a line, of a cell or of a JSON object, or after another such statement.
_HEAD = re.compile(rf"(?im)(?P<before>^(?:- )?|^\| ?|[{{] ?){_ORDINAL}")
_NEXT = re.compile(rf"(?i)(?P<before>[,;.]) ?(?:and |then |while )?{_ORDINAL}")
_SAYS = re.compile(rf"(?im)(^(?:- )?(?:the )?(?:{_THING} [0-9]{{1,5}}|[0-9]{{1,5}}th(?: {_THING})?)){_VERBS}")
_NAMED = re.compile(rf"(?im)(^(?:- )?{_THING} )({'|'.join(_DIGITS)})(?={_STATES})")


def respell(text: str, values: Sequence[str]) -> str:
    """Return a text with numbers for ordinals, letters and number words that can mean nothing else.

    Its markup has been taken out before.
    """
    if not any(value.lower() in _ORDINALS for value in values):
        text, many = _HEAD.subn(lambda at: f"{at['before']}{_number(at)}th{at['thing']}", text)
        if many:
            text = _NEXT.sub(lambda at: f"\n{_number(at)}th{at['thing']}", text)
    if all(value.isascii() and value.isdigit() for value in values):
        text = _NAMED.sub(lambda at: f"{at[1]}{_DIGITS.index(at[2].lower())}", text)
        text = _SPELT.sub(lambda at: at[1] + _WORD.sub(lambda word: _digit(word[0]), at[2]), text)
    return _numbered(_SAYS.sub(r"\1: ", text), values)


def _number(at: re.Match[str]) -> int:
    return _ORDINALS.index(at["ordinal"].lower()) + 1


# Nothing but number words up to the end of a line, from its beginning or from what introduces them.
_WORD = re.compile(rf"(?i)\b(?:{'|'.join(_DIGITS)})\b")
_LIST = rf"(?:(?:{'|'.join(_DIGITS)})\b|[0-9]{{1,3}}\b)"
_INTRODUCED = (
    rf"^(?:- )?(?:\(?[0-9]{{1,5}}(?:th)?(?: {_THING})?[.):]+ ?)?[\[(]?"
    r"|[:=→⇒] ?[\[(]?|(?<!\bthere )\b(?:is|are|returns?|gives?) "
)
_SPELT = re.compile(rf"(?im)({_INTRODUCED})((?<![^\W_]){_LIST}(?:(?:,? and |[,;] ?| ){_LIST})*)(?=[\])]?[.!]?$)")


def _digit(word: str) -> str:
    return str(_DIGITS.index(word.lower()))


_LETTERED = re.compile(
    r"(?m)^(?P<before>(?:- )?\(?)(?P<label>[a-z]|[A-Z]|[ivx]{2,5}|[IVX]{2,5})(?P<after>[.):] )(?=\S)"
)
_ROMAN = (
    "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi", "xvii",
    "xviii", "xix", "xx",
)  # fmt: skip


def _numbered(text: str, values: Sequence[str]) -> str:
    """Letters or Roman numerals at the head of lines as numbers, where they are all there and in order."""
    labels = [found["label"].lower() for found in _LETTERED.finditer(text)]
    if len(labels) < 2 or {value.lower() for value in values} & set(labels):
        return text
    letters = [chr(ord("a") + n) for n in range(min(len(labels), 26))]
    if labels not in (letters, list(_ROMAN[: len(labels)])):
        return text
    numbers = iter(range(1, len(labels) + 1))
    return _LETTERED.sub(lambda at: f"{at['before']}{next(numbers)}{at['after']}", text)


_ANSWER_KEYS = ("answer", "value", "output", "result", "state", "response")


def unfold(text: str) -> str:
    """Return a JSON list of objects with one answer each as numbered lines, and any other text as it is.

    >>> unfold('[{"read": 1, "answer": "on"}, {"read": 2, "answer": "off"}]')
    '1. on\\n2. off'
    """
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        body = body.strip("`").strip().removeprefix("json").lstrip()
    if not body.startswith(("[", "{")) or '"' not in body:
        return text
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict) and len(found) == 1:
        (found,) = found.values()
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        return text
    keys = [name for name in found[0] if name.lower() in _ANSWER_KEYS]
    if len(keys) != 1 or any(one.keys() != found[0].keys() for one in found) or not _counts(found, keys[0]):
        return text
    return "\n".join(f"{number}. {one[keys[0]]}" for number, one in enumerate(found, 1))


def _counts(found: Sequence[dict[str, Any]], answer: str) -> bool:
    """Whether whatever else numbers the objects does so from 0 or 1 on, or at least in order, as lines do."""
    for name in found[0].keys() - {answer}:
        column = [one[name] for one in found]
        counts = all(type(number) is int for number in column)
        if counts and any(after <= before for before, after in pairwise(column)):
            return False
    return all(isinstance(one[answer], (str, int)) and not isinstance(one[answer], bool) for one in found)
