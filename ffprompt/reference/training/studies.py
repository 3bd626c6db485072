"""Studies: a TOML file that names many trainings. Cells are variants times the grid, each trained with every seed.

::

    name = "depth"
    summary = "what it is for, in a line"
    seeds = 4                          # 0 … 3, or a list

    [base]                             # settings of `ffprompt train`, with _ for -
    architecture = "transformer"
    width = 128

    [grid]                             # every combination of these
    layers = [2, 4]

    [[variant]]                        # and each of these, over the base
    name = "dropout"
    embedding_dropout = 0.5

    [[variant]]                        # every combination of its own lists
    name = "lstm"
    architecture = "lstm"
    task = ["parity", "dihedral-8"]

    [evaluation]
    every = 1000                       # steps, 0: at the end only
    strings = 200                      # most of each test set on the way
    final_strings = 1000               # and at the end, 0: the paper's numbers

    [together]
    replicates = 8                     # trainings a task, each with a core while there are cores

    [estimate]                         # what a dry run says of GPUs, which it cannot time
    gpu_minutes = 10                   # a training
    source = "Liu et al. 2023, B.2"
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ffprompt._util.bundled import bundled_folder
from ffprompt._util.files import read_text
from ffprompt._util.validation import first_problem, in_one_line
from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.reference.training.settings import MODEL, PLAN, RECIPE, SHARPENING

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_EVALUATION = {"every": "evaluate_every", "strings": "strings", "final_strings": "final_strings"}
_KINDS: dict[str, Any] = {
    "architecture": str,
    "data": str,
    "length": int,
    "symbols": int,
    "task": str,
    "task_arg": list[str],
    "supervise": str,
    "scratchpad": bool,
    "data_size": int,
    "steps": int,
    "model_seed": int,
    "data_seed": int,
    "compile": bool,
    **{
        name: kind
        for table in (
            MODEL,
            RECIPE,
            SHARPENING,
            PLAN,
        )
        for name, (kind, _, _) in table.items()
        if name not in _EVALUATION.values()
    },
}
_DEFAULTS = {"threads": 1}

_Settings = create_model(
    "_Settings", __config__=_STRICT, **{name: (kind | None, None) for name, kind in _KINDS.items()}
)  # type: ignore[call-overload]


class _Evaluation(BaseModel):
    model_config = _STRICT
    every: int | None = None
    strings: int | None = None
    final_strings: int | None = None


class _Together(BaseModel):
    model_config = _STRICT
    replicates: Annotated[int, Field(ge=1, le=4096)]


class _Estimate(BaseModel):
    model_config = _STRICT
    gpu_minutes: Annotated[float, Field(gt=0)]
    source: str = ""


class _File(BaseModel):
    model_config = _STRICT
    name: str | None = None
    summary: str = ""
    seeds: Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = 1
    base: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    variant: list[dict[str, Any]] = []
    evaluation: _Evaluation = _Evaluation()
    together: _Together | None = None
    estimate: _Estimate | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One training: the name of its folder, the cell it is a replicate of, and the flags of ``train`` by name."""

    name: str
    group: str
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Study:
    """A study's trainings, in order. ``text`` is the file, ``replicates`` how many a task trains, None: one a core.

    ``gpu_minutes`` is what the file says of one training on a GPU, ``source`` where that is from.
    """

    name: str
    summary: str
    text: str
    cells: Sequence[Cell]
    replicates: int | None
    gpu_minutes: float | None
    source: str


def studies_folder() -> Path:
    """Where the bundled studies are."""
    return bundled_folder("suites") / "studies"


def load_study(name: str) -> Study:
    """A bundled study by name, or any by path. Raises ConfigError, naming the file and the key that is odd."""
    path = Path(name) if name.endswith(".toml") else studies_folder() / f"{name}.toml"
    if not path.is_file():
        known = [one.stem for one in studies_folder().glob("*.toml")]
        raise ConfigError(f"study {name!r}: no such file or bundled study{did_you_mean(name, known)}")
    try:
        text = read_text(path)
        content = tomllib.loads(text)
    except (ValueError, OSError) as error:
        raise ConfigError(f"study {path}: {error}") from error
    where = f"study {path}: "
    file = _checked(_File, content, where)
    assert isinstance(file, _File)
    title = file.name or path.stem
    if _slug(title) != title or not title.strip("."):
        raise ConfigError(f"{where}name {title!r}: expected letters, digits, '.', '+', '=' and '-'")
    in_variants = file.variant and all("architecture" in variant for variant in file.variant)
    if not in_variants and "architecture" not in file.base and "architecture" not in file.grid:
        raise ConfigError(f"{where}base.architecture is not given")
    estimate = file.estimate
    return Study(
        title,
        file.summary,
        text,
        _cells(file, where),
        file.together.replicates if file.together else None,
        estimate.gpu_minutes if estimate else None,
        estimate.source if estimate else "",
    )


def _cells(file: _File, where: str) -> list[Cell]:
    seeds: Sequence[int] = range(file.seeds) if isinstance(file.seeds, int) else file.seeds
    base = {**_DEFAULTS, **_settings(file.base, f"{where}base.")}
    for key, values in file.grid.items():
        if not values:
            raise ConfigError(f"{where}grid.{key}: expected a list of values, not an empty one")
        for value in values:
            _settings({key: value}, f"{where}grid.")
    evaluation = {flag: getattr(file.evaluation, key) for key, flag in _EVALUATION.items()}
    found: dict[str, Cell] = {}
    for label, variant in _variants(file.variant, where):
        for chosen in itertools.product(*file.grid.values()):
            varied = dict(zip(file.grid, chosen, strict=True))
            if both := sorted(variant.keys() & varied.keys()):
                raise ConfigError(f"{where}{both[0]}: it is in the grid and in variant {label!r}; expected one of them")
            group = "_".join([*([label] if label else []), *(f"{key}-{_slug(value)}" for key, value in varied.items())])
            for seed in seeds:
                name = f"{group}_s{seed}" if group else f"s{seed}"
                if name in found:
                    raise ConfigError(
                        f"{where}two trainings would have the folder {name!r}: a seed or a name is there twice"
                    )
                given = dict.fromkeys(_KINDS) | base | variant | varied | evaluation | {"seed": seed}
                found[name] = Cell(name, group, given)
    return list(found.values())


def _variants(tables: Sequence[Mapping[str, Any]], where: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number, table in enumerate(tables, start=1):
        settings = dict(table)
        label = settings.pop("name", None)
        if label is None:
            label = "_".join(f"{key}-{_slug(value)}" for key, value in settings.items())
        if not isinstance(label, str) or not label or _slug(label, "_") != label:
            raise ConfigError(
                f"{where}variant {number}: name {label!r}: expected letters, digits, '.', '+', '_' and '-'"
            )
        lists = {key: value for key, value in settings.items() if isinstance(value, list) and not _is_list(key, value)}
        for chosen in itertools.product(*lists.values()):
            own = dict(zip(lists, chosen, strict=True))
            parts = [label, *(f"{key}-{_slug(value)}" for key, value in own.items())]
            found.append(("_".join(parts), _settings({**settings, **own}, f"{where}variant {number}.")))
    return found or [("", {})]


def _is_list(key: str, value: Sequence[Any]) -> bool:
    """Whether a list is the value of a setting, and not several values of it."""
    return key == "task_arg" and not any(isinstance(one, list) for one in value)


def _settings(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    made = _checked(_Settings, given, where)
    return {key: getattr(made, key) for key in given}


def _checked(kind: type[BaseModel], given: Mapping[str, Any], where: str) -> BaseModel:
    """``given`` as ``kind``. An unknown key is the first to be named, with the nearest known one."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        problem = first_problem(error)
        if problem.kind == "extra_forbidden" and (hint := _hint(kind, problem.path)):
            raise ConfigError(f"{where}{problem.key}: unknown key; {hint}") from error
        raise ConfigError(f"{where}{in_one_line(error, kind)}") from error


def _hint(kind: type[BaseModel], path: Sequence[str | int]) -> str | None:
    """Where a key belongs that a study has, but not here."""
    if kind is _Settings and path[0] in ("seed", "seeds"):
        return "seeds = N stands at the top of the file"
    if kind is _Settings and path[0] in _EVALUATION.values():
        return "it is said in [evaluation]: every, strings, final_strings"
    return None


def _slug(value: Any, also: str = "") -> str:
    """``value`` as a part of a folder's name: ``FFL(0.8)+FFL(0.1)`` is ``FFL0.8+FFL0.1``."""
    return re.sub(rf"[^A-Za-z0-9.+={also}-]+", "", str(value))
