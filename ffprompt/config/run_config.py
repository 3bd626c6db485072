"""The configuration of a run: its settings, validated, with defaults that suit the backend.

The settings themselves are the rows of ``ffprompt.config.settings``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from ffprompt._util.ray_cluster import not_a_share
from ffprompt._util.secrets import shown_setting, shown_url
from ffprompt._util.validation import first_problem
from ffprompt.backends.base import Capabilities
from ffprompt.backends.entry_points import backend_names, find_backend
from ffprompt.config.setting import Setting
from ffprompt.config.settings import ALWAYS_RECORDED, BY_NAME, ROWS, Settings
from ffprompt.config.shard import Shard
from ffprompt.elicitation.base import find_elicitation, use_replies
from ffprompt.errors import ConfigError, SpecError, did_you_mean
from ffprompt.tasks import registry
from ffprompt.tasks.base import Spec, Task


class _UnknownNameError(ValueError):
    """A name that is not in a registry."""


class _SettingsError(ValueError):
    """What is wrong with a setting beside its type and range. Its text is the whole message."""


def _several(value: Any) -> Any:
    """Let one value stand for a list of one."""
    if value is None or isinstance(value, (list, tuple)):
        return value
    return (value,)


def _each_once(value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if value is not None and not value:
        raise ValueError("at least one value")
    if value is not None and len(set(value)) != len(value):
        raise ValueError("each value once")
    return value


def _each_known(names: Callable[[], tuple[str, ...]], value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if unknown := [name for name in value or () if name not in names()]:
        raise _UnknownNameError(unknown[0])
    return value


def _object(value: Any) -> Any:
    """Parse the JSON text of an object."""
    return json.loads(value) if isinstance(value, str) else value


def _constrained(row: Setting, kind: Any) -> Any:
    """Put the range of a row on the numbers in its type."""
    if kind in (int, float):
        if (row.least, row.most, row.above, row.below) == (None,) * 4:
            return kind
        finite = False if kind is float else None
        return Annotated[kind, Field(ge=row.least, le=row.most, gt=row.above, lt=row.below, allow_inf_nan=finite)]
    if kind is str and row.least is not None:
        return Annotated[str, Field(min_length=int(row.least))]
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(_constrained(row, member) for member in get_args(kind))]  # noqa: UP007
    if get_origin(kind) is tuple:
        members = tuple(member if member is ... else _constrained(row, member) for member in get_args(kind))
        return GenericAlias(tuple, members)
    return kind


def _field(row: Setting) -> tuple[Any, Any]:
    """A row as pydantic wants a field: its type with all checks, and its default."""
    kind = _constrained(row, row.type)
    if row.product:
        kind = Annotated[kind, BeforeValidator(_several), AfterValidator(_each_once)]
    if row.names is not None:
        kind = Annotated[kind, AfterValidator(partial(_each_known, row.names))]
    if any(get_origin(member) is dict for member in row.types):
        kind = Annotated[kind, BeforeValidator(_object)]
    return kind, row.default


if TYPE_CHECKING:

    class _Fields(Settings, BaseModel):
        pass

else:
    _Fields = create_model("_Fields", **{row.name: _field(row) for row in ROWS})


class _Defaults(NamedTuple):
    """What a run asks where nothing else is said."""

    template: tuple[str, ...]
    shots: tuple[int, ...]
    elicitation: tuple[str, ...]
    trials: int
    length: tuple[int, ...]
    p_ignore: tuple[float, ...]


_REFERENCE = _Defaults(("raw-compact",), (0,), ("forced",), 1000, (512,), (0.8, 0.98, 0.1))
_SCORED = _Defaults(("light-switch", "raw-spaced"), (0, 1), ("forced", "next"), 50, (10, 50, 100), (0.6,))
_CHAT = _Defaults(("game",), (0,), ("list",), 100, (20, 50, 100), (0.6,))


class RunConfig(_Fields):
    """What a run asks of which model.

    A tuple makes the run a product over its values. None means what suits the backend (see ``settled``). ``p_write``
    and ``p_read`` together replace ``p_ignore``, and ``data`` replaces sampling. Make one with ``make``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, value: str) -> str:
        if find_backend(value) is None:
            raise _SettingsError(f"--backend {value}: unknown backend{did_you_mean(value, backend_names())}")
        return value

    @field_validator("base_url", mode="before")
    @classmethod
    def _one_address_or_several(cls, value: Any) -> Any:
        """Let a list of one address stand for that address."""
        if not isinstance(value, (list, tuple)):
            return value
        known: dict[SplitResult, str] = {}
        for address in map(str, value):
            # A server under two spellings would count as two, and be asked twice as much at once.
            parts = urlsplit(address)
            server = parts._replace(netloc=parts.netloc.lower(), path=parts.path.rstrip("/"))
            if server in known:
                same = "" if known[server] == address else f" is the server of {shown_url(known[server])}"
                raise _SettingsError(f"--base-url {shown_url(address)}{same}: expected each address once")
            known[server] = address
        return value[0] if len(value) == 1 else tuple(value)

    @field_validator("shard")
    @classmethod
    def _check_shard(cls, value: str | None) -> str | None:
        return value if value is None else str(Shard.parse(value))

    @field_validator("task")
    @classmethod
    def _check_task(cls, value: str) -> str:
        try:
            return registry.get(value).name
        except SpecError as error:
            if str(error).startswith(f"task {value}: its"):
                return value  # its settings decide
            raise _SettingsError(f"--{error}") from error

    @model_validator(mode="before")
    @classmethod
    def _fill_in_symbols(cls, settings: Any) -> Any:
        """Give a task that has a number of answers of its own that number, so that nobody needs to ask the task."""
        if not isinstance(settings, dict) or "task" not in settings:
            return settings
        try:
            task = registry.get(settings["task"], _texts(settings.get("task_arg")))
        except (SpecError, TypeError):
            return settings  # reported as what it is
        if task.symbols is None:
            return settings
        given = settings.get("symbols", task.symbols)
        if str(given) != str(task.symbols):
            raise _SettingsError(
                f"--symbols {given}: task {task.name} has {task.symbols} different answers; leave it out"
            )
        return {**settings, "symbols": task.symbols}

    @model_validator(mode="after")
    def _check_task_settings(self) -> RunConfig:
        try:
            task = self.made_task()
        except SpecError as error:
            raise _SettingsError(f"--{error}") from error
        named = {text.partition("=")[0].strip() for text in self.task_arg or ()}
        for name in (one for one in ("write", "read", "ignore") if getattr(self, f"p_{one}") is not None):
            if name not in task.takes:
                known = f"it takes {' and '.join(f'--p-{one}' for one in task.takes)}" if task.takes else "leave it out"
                raise _SettingsError(f"--p-{name}: task {task.name} has no such probability; {known}")
            if f"p_{name}" in named:
                raise _SettingsError(f"--p-{name}: --task-arg p_{name} says it too; give one of them")
        return self

    @model_validator(mode="after")
    def _check_strings(self) -> RunConfig:
        if "write" in self.made_task().takes and (self.p_write is None) != (self.p_read is None):
            given, other = ("--p-write", "--p-read") if self.p_read is None else ("--p-read", "--p-write")
            raise _SettingsError(f"{given}: also give {other}; ignore has the rest of the probability")
        if self.p_write is not None and self.p_ignore is not None:
            raise _SettingsError("--p-ignore: give either it or --p-write and --p-read")
        own = (self.length, self.p_ignore, self.p_write, self.p_read)
        if self.data is not None and any(value is not None for value in own):
            raise _SettingsError(
                f"--data {self.data}: the file has its own strings; leave out length and probabilities"
            )
        return self

    @model_validator(mode="after")
    def _check_dialogue(self) -> RunConfig:
        if not any(find_elicitation(name).has_turns for name in self.elicitation or ()):
            if self.turn_instructions is not None:
                raise _SettingsError(f"--turn-instructions {self.turn_instructions}: goes with --elicitation dialogue")
        elif self.form == "completion":
            raise _SettingsError("--form completion: a dialogue needs the chat form; leave --form out")
        return self

    @model_validator(mode="after")
    def _check_early_stopping(self) -> RunConfig:
        if self.certify is not None and self.until_width is not None:
            raise _SettingsError("--certify: give either it or --until-width")
        rule, bound = ("--certify", self.certify) if self.certify is not None else ("--until-width", self.until_width)
        if bound is None:
            return self
        given = f"{rule} {bound:g}"
        if blank := next((name for name in self.elicitation or () if find_elicitation(name).blanks), None):
            raise _SettingsError(f"{given}: {blank} blanks the values, so its accuracy says nothing; run it apart")
        if self.trials is None:
            raise _SettingsError(f"{given}: also give --trials, the maximum number of strings per condition")
        if self.data is not None:
            raise _SettingsError(f"{given}: needs sampled strings, since those of --data may be in any order")
        return self

    @model_validator(mode="after")
    def _check_repeats(self) -> RunConfig:
        if self.repeats > 1 and (scored := _scored(self.elicitation or ())):
            raise _SettingsError(_no_repeats(self.repeats, scored))
        return self

    @model_validator(mode="after")
    def _check_replicas(self) -> RunConfig:
        for name in ("replicas", "replica_cpus", "replica_gpus", "replica_timeout"):
            if (value := getattr(self, name)) is not None and self.ray is None:
                raise _SettingsError(f"{BY_NAME[name].flag} {value:g}: goes with --ray (local, or a cluster's address)")
        if said := not_a_share("--replica-gpus", self.replica_gpus or 0):
            raise _SettingsError(said)
        return self

    def plain(self) -> dict[str, Any]:
        """Return the settings that belong to the plan as plain values, without secrets."""
        names = {
            row.name
            for row in ROWS
            if row.planned and (row.name in ALWAYS_RECORDED or getattr(self, row.name) != row.default)
        }
        values = self.model_dump(mode="json", include=names) | {"base_url": self.first_url}
        return {name: shown_setting(name, value) for name, value in values.items()}

    @property
    def first_url(self) -> str | None:
        """The base URL. Of several, the first, which stands for all of them in the record of a run."""
        return self.base_url[0] if isinstance(self.base_url, tuple) else self.base_url

    @property
    def more_urls(self) -> tuple[str, ...]:
        """The addresses of the other servers of the same model."""
        return self.base_url[1:] if isinstance(self.base_url, tuple) else ()

    def specs(self) -> tuple[Spec, ...]:
        """Return the languages that strings are sampled from, for a configuration that is settled.

        Raises:
            SpecError: A length, a probability or a number of symbols is out of range.
        """
        assert self.length is not None
        given = {"write": self.p_write, "read": self.p_read}
        fixed = {name: value for name, value in given.items() if value is not None}
        task = self.made_task()
        probabilities = [fixed | {"ignore": p} for p in self.p_ignore] if self.p_ignore else [fixed]
        return tuple(task.spec(length, self.symbols, p) for p in probabilities for length in self.length)

    def made_task(self) -> Task:
        """Return the task, with its own settings.

        Raises:
            SpecError: The task has no such setting.
        """
        return registry.get(self.task, self.task_arg or ())

    def settled(self, can: Capabilities) -> RunConfig:
        """Return this configuration with every None that a plan needs replaced by what suits the backend.

        Raises:
            ConfigError: Repeats were asked for and the default elicitations sample nothing.
        """
        can_score = can.scores and self.backend != "scripted"
        defaults = _REFERENCE if self.backend == "reference" else _SCORED if can_score else _CHAT
        task = self.made_task()
        if task.family != registry.DEFAULT:
            defaults = _of_task(defaults, task)
        given = {name for name in defaults._fields if getattr(self, name) is not None}
        given |= (
            {"length", "p_ignore"} if self.data is not None else {"p_ignore"} if self.p_write is not None else set()
        )
        if "write" not in task.takes:
            given.add("p_ignore")
        missing = {name: value for name, value in defaults._asdict().items() if name not in given}
        if self.repeats > 1 and (scored := _scored(missing.get("elicitation", ()))):
            raise ConfigError(_no_repeats(self.repeats, scored))
        return self.model_copy(update=missing)


def _of_task(defaults: _Defaults, task: Task) -> _Defaults:
    """The same defaults for another task than the flip-flop: its own templates and lengths."""
    templates = task.templates[: len(defaults.template)] if task.templates else defaults.template
    return defaults._replace(template=templates, length=task.lengths)


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts as it was given. Raises TypeError for what is none."""
    values = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(text, str) for text in values):
        raise TypeError
    return values


def make(settings: Mapping[str, Any], where: str = "") -> RunConfig:
    """Return the configuration that plain values describe.

    Args:
        settings: Values by the names of settings. A text stands for a number as on the command line.
        where: What an error message begins with, such as the file that the values come from.

    Raises:
        ConfigError: A setting is unknown, missing, out of range or contradicts another. Its text is one line.
    """
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(where + _message(error)) from error


def digest_of(value: Any) -> str:
    """Return 16 hex digits that identify anything that JSON can write."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _message(error: ValidationError) -> str:
    """The first problem in one line. A misspelt name comes before one that is missing."""
    problem = first_problem(error)
    cause = problem.cause
    if isinstance(cause, _SettingsError):
        return str(cause)
    name = str(problem.path[0]) if problem.path else ""
    if name not in BY_NAME:
        return f"{name}: unknown setting{did_you_mean(name, BY_NAME)}"
    row = BY_NAME[name]
    if problem.kind == "missing" and len(problem.path) == 1:
        return f"{row.flag}: required"
    unknown = isinstance(cause, _UnknownNameError)
    value = str(cause) if unknown else problem.value
    expected = str(cause) if row.product and cause is not None and not unknown else row.expectation
    close = difflib.get_close_matches(str(value), row.choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{row.flag} {_shown(row, value)}: expected {expected}{hint}"


def _shown(row: Setting, value: Any) -> str:
    """A value that is refused, in one line and without secrets."""
    shown = shown_setting(row.name, value)
    words = " ".join(map(str, shown)) if row.arity and isinstance(shown, (list, tuple)) and shown else str(shown)
    return " ".join(words.split())


def _scored(names: Iterable[str]) -> str | None:
    """The first of these elicitations that samples nothing."""
    return next((name for name in names if find_elicitation(name).scored_by_logprobs), None)


def _no_repeats(repeats: int, scored: str) -> str:
    return f"--repeats {repeats}: {scored} samples nothing, so every repeat would be the same; {use_replies()}"
