"""Answers as JSON that a server holds a model to: the schema, and how such a reply is read. (Interim: the other half is in progress.)"""

from __future__ import annotations

import json
from typing import Any

from ffprompt.requests import AnswerSchema


def array_schema(schema: AnswerSchema) -> dict[str, Any]:
    return {}


def object_schema(schema: AnswerSchema) -> dict[str, Any]:
    return {}


def conforms(text: str, schema: AnswerSchema) -> bool:
    return bool(json.loads(text))
