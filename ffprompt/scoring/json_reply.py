"""From a reply that should follow a JSON schema to its answers, or to the reason why it holds none.

::

    >>> parse_json('{"answers": ["on", "off"]}', AnswerSchema(("off", "on"), 2))
    Parsed(answers=(1, 0), reason=None)
    >>> parse_json('{"answers": ["on"]}', AnswerSchema(("off", "on"), 2))
    Parsed(answers=None, reason='found 1 answers, wanted 2')
"""

from __future__ import annotations

from ffprompt.backends.base import AnswerSchema
from ffprompt.backends.json_schema import SchemaError, read_answers
from ffprompt.scoring.parse_reply import Parsed


def parse_json(text: str, schema: AnswerSchema) -> Parsed:
    """Read the answers of a reply that must be JSON of its schema and nothing else."""
    try:
        return Parsed(read_answers(text, schema), None)
    except SchemaError as error:
        return Parsed(None, str(error))
