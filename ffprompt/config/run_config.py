"""The settings of a run, and suites of runs. Unknown keys are errors that name the nearest known one."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ffprompt._util.bundled import bundled_folder
from ffprompt._util.files import read_text
from ffprompt._util.secrets import shown_setting
from ffprompt.backends.base import Capabilities
from ffprompt.backends.entry_points import backend_names, find_backend
from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.tasks.flipflop import Spec

# Settings that say how a model is reached, how fast and at what cost, and nothing of what it answers.
_NOT_OF_THE_PLAN = {
    "key_file", "max_concurrency", "requests_per_minute", "tokens_per_minute",
    "timeout", "connect_timeout", "first_byte_timeout", "prices", "max_usd", "max_tokens_total",
}  # fmt: skip
# Settings that came later. At their default they are left out of a run's record, so that earlier runs are found again.
_LATER = ("provider", "thinking", "extra_body", "extra_header", "reasoning_tags", "answers", "repeats")
# What is expected where a setting is one of several kinds of value.
_EXPECTED = {
    "temperature": "a number from 0 to 10, or default (the model's own)",
    "thinking": "on, off, or a number of tokens",
}
ELICITATIONS = ("forced", "next", "list", "dialogue")


class RunConfig(BaseModel):
    """What a run asks which model. A tuple makes the run a product over its values.

    None means: what suits the backend (see ``settled``). ``p_write`` and ``p_read`` together replace ``p_ignore``;
    ``data`` replaces sampling. Raises ConfigError through ``make``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    model: str
    template: tuple[str, ...] | None = None
    shots: tuple[Annotated[int, Field(ge=0, le=64)], ...] | None = None
    shot_length: int = 16
    shared_shots: bool = False
    elicitation: tuple[Literal["forced", "next", "list", "dialogue"], ...] | None = None
    form: Literal["auto", "completion", "chat"] = "auto"
    next_read: Literal["first", "last", "random"] = "last"
    turn_instructions: Annotated[int, Field(ge=1)] | None = None
    length: tuple[int, ...] | None = None
    p_ignore: tuple[float, ...] | None = None
    p_write: float | None = None
    p_read: float | None = None
    symbols: int = 2
    data: str | None = None
    trials: Annotated[int, Field(ge=1)] | None = None
    certify: Annotated[float, Field(gt=0, lt=1)] | None = None
    until_width: Annotated[float, Field(gt=0, lt=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    temperature: Annotated[float, Field(ge=0, le=10)] | Literal["default"] = 0.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    device: str | None = None
    dtype: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    tensor_parallel_size: Annotated[int, Field(ge=1)] | None = None
    pipeline_parallel_size: Annotated[int, Field(ge=1)] | None = None
    data_parallel_size: Annotated[int, Field(ge=1)] | None = None
    quantization: str | None = None
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    enforce_eager: bool | None = None
    block_size: Annotated[int, Field(ge=1)] | None = None
    lora: str | None = None
    engine_arg: tuple[str, ...] | None = None
    base_url: Annotated[str, Field(min_length=1)] | None = None
    api: Literal["chat", "responses", "completions", "messages", "bedrock", "vertex"] | None = None
    key_file: str | None = None
    reasoning_effort: str | None = None
    thinking: Literal["on", "off"] | Annotated[int, Field(ge=1)] | None = None
    provider: str | None = None
    extra_body: dict[str, Any] | None = None
    extra_header: tuple[str, ...] | None = None
    reasoning_tags: tuple[str, str] | None = None
    answers: Literal["text", "schema"] = "text"
    repeats: Annotated[int, Field(ge=1, le=1000)] = 1
    max_concurrency: Annotated[int, Field(ge=1, le=4096)] | None = None
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    connect_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    first_byte_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    reasoning_room: Annotated[int, Field(ge=0)] | None = None
    top_logprobs: Annotated[int, Field(ge=2, le=1000)] | None = None
    prices: str | None = None
    max_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_tokens_total: Annotated[int, Field(ge=1)] | None = None

    @field_validator("backend", mode="before")
    @classmethod
    def _known_backend(cls, value: Any) -> Any:
        if not isinstance(value, str) or find_backend(value) is None:
            raise ValueError(f"backend {value!r} is unknown{did_you_mean(str(value), backend_names())}")
        return value

    @field_validator("template", "shots", "elicitation", "length", "p_ignore", mode="before")
    @classmethod
    def _one_is_several(cls, value: Any) -> Any:
        if value is None:
            return None
        several = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not several:
            raise ValueError("at least one value is wanted")
        return several

    @field_validator("template", "shots", "elicitation", "length", "p_ignore")
    @classmethod
    def _none_stands_twice(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("a value stands twice")
        return value

    @field_validator("extra_body", mode="before")
    @classmethod
    def _parse_object(cls, value: Any) -> Any:
        """An object, or the JSON text of one."""
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            raise ValueError(f"expected a JSON object ({error})") from None
        if not isinstance(found, dict):
            raise ValueError('expected a JSON object, such as {"top_k": 1}')
        return found

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> RunConfig:
        if (self.p_write is None) != (self.p_read is None):
            raise ValueError("p_write and p_read go together (p_ignore is the rest)")
        if self.p_write is not None and self.p_ignore is not None:
            raise ValueError("give p_ignore, or p_write and p_read, not both")
        if self.data is not None and (self.length or self.p_ignore or self.p_write is not None):
            raise ValueError("data brings its own strings; length and probabilities are for sampling")
        if "dialogue" not in (self.elicitation or ()):
            if self.turn_instructions is not None:
                raise ValueError(f"--turn-instructions {self.turn_instructions}: only dialogue has turns")
        elif self.form == "completion":
            raise ValueError("--form completion: a dialogue is held with a chat model; leave --form out")
        return self

    @model_validator(mode="after")
    def _a_way_to_stop_has_what_it_needs(self) -> RunConfig:
        if self.certify is not None and self.until_width is not None:
            raise ValueError("give certify or until_width, not both: a condition stops in one way")
        rule = "certify" if self.certify is not None else "until_width"
        if (value := getattr(self, rule)) is None:
            return self
        if self.trials is None:
            raise ValueError(f"{rule} {value:g}: needs trials, the most strings that a condition may take")
        if self.data is not None:
            raise ValueError(f"{rule} {value:g}: needs strings that are drawn; those of data may come in any order")
        return self

    @model_validator(mode="after")
    def _repeats_are_of_sampled_replies(self) -> RunConfig:
        if self.repeats > 1 and "forced" in (self.elicitation or ()):
            raise ValueError(_no_repeats(self.repeats))
        return self

    def plain(self) -> dict[str, Any]:
        """Every setting that belongs to the experiment, as plain values without any secret."""
        later = {name for name in _LATER if getattr(self, name) == RunConfig.model_fields[name].default}
        values = self.model_dump(mode="json", exclude=_NOT_OF_THE_PLAN | later)
        return {name: shown_setting(name, value) for name, value in values.items()}

    def specs(self) -> tuple[Spec, ...]:
        """The languages sampled from. Raises SpecError."""
        assert self.length is not None and (self.p_ignore is not None or self.p_write is not None)
        if self.p_write is not None and self.p_read is not None:
            ignore = round(1.0 - self.p_write - self.p_read, 12)
            return tuple(Spec(length, self.p_write, self.p_read, ignore, self.symbols) for length in self.length)
        return tuple(Spec.ffl(p, length, self.symbols) for p in self.p_ignore or () for length in self.length)

    def settled(self, can: Capabilities) -> RunConfig:
        """This configuration with every None that a plan needs replaced by what suits the backend."""
        defaults: dict[str, Any]
        if self.backend == "reference":
            defaults = {"template": ("raw-compact",), "shots": (0,), "elicitation": ("forced",), "trials": 1000}
            strings = {"length": (512,), "p_ignore": (0.8, 0.98, 0.1)}
        elif can.scores and self.backend != "scripted":
            defaults = {
                "template": ("light-switch", "raw-spaced"),
                "shots": (0, 1),
                "elicitation": ("forced", "next"),
                "trials": 50,
            }
            strings = {"length": (10, 50, 100), "p_ignore": (0.6,)}
        else:
            defaults = {"template": ("game",), "shots": (0,), "elicitation": ("list",), "trials": 100}
            strings = {"length": (20, 50, 100), "p_ignore": (0.6,)}
        if self.p_write is not None:
            strings.pop("p_ignore")
        if self.data is None:
            defaults |= strings
        missing = {key: value for key, value in defaults.items() if getattr(self, key) is None}
        if self.repeats > 1 and "forced" in missing.get("elicitation", ()):
            raise ConfigError(_no_repeats(self.repeats))
        return self.model_copy(update=missing)


def _no_repeats(repeats: int) -> str:
    return (
        f"--repeats {repeats}: forced reads log-probabilities, so nothing is sampled and every repeat would be the "
        "same; use --elicitation next, list or dialogue"
    )


def make(settings: dict[str, Any], where: str = "") -> RunConfig:
    """A RunConfig from plain values; raises ConfigError with one line that begins with ``where``."""
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(where + _first_problem(error)) from error


def _first_problem(error: ValidationError) -> str:
    problem = min(
        error.errors(), key=lambda one: one["type"] != "extra_forbidden"
    )  # a misspelt key before a missing one
    key = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown setting{did_you_mean(key, RunConfig.model_fields)}"
    if key in _EXPECTED:
        return f"--{key} {problem['input']}: expected {_EXPECTED[key]}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and key == "backend":
        return message
    return f"{key} {problem['input']!r}: {message[:1].lower()}{message[1:]}" if key else message


@dataclass(frozen=True, slots=True)
class Suite:
    """Runs under one name, each with whether it is left out, with a word, where its weights are missing.

    ``gate``: the margin and level of ``run --gate``, where the suite says them.
    """

    name: str
    summary: str
    runs: Sequence[tuple[RunConfig, bool]]
    gate: Mapping[str, float] = field(default_factory=dict)


def suite_folder() -> Path:
    """Return the folder of the bundled suites."""
    return bundled_folder("suites")


def load_suite(name: str, overrides: dict[str, Any]) -> Suite:
    """A bundled suite by name, or any by path. ``overrides`` are settings that replace those of every run.

    A suite may leave the backend and the model to them.
    """
    path = Path(name) if name.endswith(".toml") else suite_folder() / f"{name}.toml"
    if not path.is_file():
        known = [p.stem for p in suite_folder().glob("*.toml")]
        raise ConfigError(f"suite {name!r}: no such file or bundled suite{did_you_mean(name, known)}")
    try:
        content = tomllib.loads(read_text(path))
    except (ValueError, OSError) as error:
        raise ConfigError(f"suite {path}: {error}") from error
    for key in content:
        if key not in ("name", "summary", "run", "gate"):
            known = ["name", "summary", "run", "gate"]
            raise ConfigError(f"suite {path}: {key}: unknown key{did_you_mean(key, known)}")
    tables = content.get("run")
    if not isinstance(tables, list) or not tables:
        raise ConfigError(f"suite {path}: no [[run]] in it")
    runs = []
    for number, table in enumerate(tables, start=1):
        if not isinstance(table, dict):
            raise ConfigError(f"suite {path}, run {number}: {table!r} is not a [[run]] table")
        settings = dict(table)
        optional = settings.pop("optional", False)
        if not isinstance(optional, bool):
            raise ConfigError(f"suite {path}, run {number}: optional {optional!r}: true or false is wanted")
        settings |= overrides
        missing = [key for key in ("model", "backend") if key not in settings]
        if missing and settings.keys() <= RunConfig.model_fields.keys():  # else a misspelt key is the news
            flags = " ".join(f"--{key} NAME" for key in missing)
            raise ConfigError(f"suite {path}, run {number}: {' and '.join(missing)} not given; add {flags}")
        runs.append((make(settings, f"suite {path}, run {number}: "), optional))
    titles = {key: content.get(key, default) for key, default in (("name", path.stem), ("summary", ""))}
    for key, title in titles.items():
        if not isinstance(title, str):
            raise ConfigError(f"suite {path}: {key} {title!r}: a text is wanted")
    return Suite(titles["name"], titles["summary"], runs, _gate(path, content.get("gate", {})))


def _gate(path: Path, table: Any) -> dict[str, float]:
    """The ``[gate]`` table of a suite: margin, level."""
    if not isinstance(table, dict):
        raise ConfigError(f"suite {path}: gate {table!r}: a [gate] table is wanted")
    for key, value in table.items():
        if key not in ("margin", "level"):
            raise ConfigError(f"suite {path}: gate.{key}: unknown key{did_you_mean(key, ['margin', 'level'])}")
        if not isinstance(value, float) or not 0 < value < 1:
            raise ConfigError(f"suite {path}: gate.{key} {value!r}: a number between 0 and 1 is wanted")
    return dict(table)


def digest_of(value: Any) -> str:
    """16 hex digits of anything JSON can write."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
