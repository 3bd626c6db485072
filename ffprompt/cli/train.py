"""``ffprompt train``: flags to a config, a recipe and a plan, and a training in a folder."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprompt._util.extras import needs
from ffprompt.cli.console import line
from ffprompt.cli.progress import training as training_progress
from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.reference.training import settings as training_settings
from ffprompt.reference.training.settings import ARCHITECTURES, FIELDS, MODEL, PLAN, RECIPE, SHARPENING

if TYPE_CHECKING:
    from ffprompt.reference.networks.base import NetworkConfig
    from ffprompt.reference.training.config import Training
    from ffprompt.reference.training.run import Plan

_FINAL = 500  # strings of each set at the end, unless more are asked for
_PAPER_STEPS, _LSTM_STEPS, _DECAY_END = 10_000, 500, 10_001


EPILOG = training_settings.EPILOG
add_flags = training_settings.add


def execute(options: Namespace) -> int:
    """Train a reference model into its folder. Returns 0; what goes wrong is raised."""
    try:
        from ffprompt.reference.training import run as session
    except ImportError as error:
        raise needs("training", "reference", error) from error
    from ffprompt.reference.training.evaluate import TEST_SEED
    from ffprompt.stats.clusters import FEW_CLUSTERS

    config, training, plan = configure(vars(options))
    folder = Path(options.out) if options.out else Path("results") / "models" / name(config, training)
    line(f"{folder}: {describe(config)} on {training.data}, {training.steps:,} steps")
    if options.resume and not folder.exists():
        line(f"{folder}: there is nothing to resume, a new training begins")
    for text in schedule(training):
        line(text)
    with training_progress(training.steps) as watch:
        made = session.run(folder, config, training, plan, resume=options.resume, watch=watch)
    for one in made.evaluation:
        few = f"; few strings, {FEW_CLUSTERS} or more are needed" if one.strings < FEW_CLUSTERS else ""
        line(
            f"{one.data}: {one.errors:,} errors in {one.reads:,} reads of {one.strings:,} strings, "
            f"glitch rate {one.rate:.2g} ({one.low if one.low > 1e-9 else 0:.2g} to {one.high:.2g}){few}"
        )
    line(f"an error: of all tokens that of the stored bit is not the most probable; seed of the strings: {TEST_SEED}")
    language = f" --length {training.data.length}" if training.data.length != 512 else ""
    language += f" --symbols {training.data.symbols}" if training.data.symbols != 2 else ""
    line(f"evaluate it with: python run_eval.py --backend reference --model {folder}{language} --seed {TEST_SEED}")
    return 0


def schedule(training: Training) -> list[str]:
    """What to know of a learning rate that does not come down within the steps."""
    last, top = training.rate(training.steps), training.learning_rate
    if training.steps <= training.warmup:
        return [f"the {training.steps:,} steps end within the warm-up of {training.warmup:,}; fewer: --warmup N"]
    if last > 0.1 * top and training.decay_end > training.steps + 1:
        end = f"the decay ends at step {training.decay_end:,}; sooner: --decay-end {training.steps + 1}"
        return [f"the learning rate of the last step is {last:.2g}, {last / top:.0%} of the highest: {end}"]
    return []


def configure(given: Mapping[str, Any]) -> tuple[NetworkConfig, Training, Plan]:
    """Config, recipe and plan from flags by name; None stands for a flag that was not given.

    Raises UsageError for a flag that the architecture has no use for, or a value that is not possible.
    """
    from ffprompt.reference.networks import architectures
    from ffprompt.reference.training.data import Mixture

    architecture = given["architecture"]
    known = ARCHITECTURES
    if architecture not in known:
        raise ConfigError(f"architecture {architecture!r} is unknown{did_you_mean(architecture, known)}")
    data = Mixture.parse(given["data"], given["length"], given["symbols"])
    possible = {field.name for field in fields(architectures.ARCHITECTURES[architecture][0])}
    chosen = _given(given, MODEL)
    for flag in chosen:
        if FIELDS.get(flag, flag) not in possible:
            raise ConfigError(f"--{flag.replace('_', '-')}: a model of type {architecture} has no such setting")
    model = {FIELDS.get(flag, flag): value for flag, value in chosen.items()} | {"symbols": data.symbols}
    if "length" in possible:
        model["length"] = data.length
    return architectures.configure(architecture, model), _recipe(given, architecture, data), _plan(given)


def _recipe(given: Mapping[str, Any], architecture: str, data: Any) -> Training:
    import torch

    from ffprompt.reference.training.config import Sharpening, Training

    steps = given["steps"] if given["steps"] is not None else _LSTM_STEPS if architecture == "lstm" else _PAPER_STEPS
    settings = {"decay_end": max(_DECAY_END, steps + 1), **_given(given, RECIPE)}
    # One core: an LSTM's kernels are so small that more would wait for each other.
    settings.setdefault("threads", 1 if architecture == "lstm" else torch.get_num_threads())
    return Training(
        data=data,
        model_seed=given["seed"] if given["model_seed"] is None else given["model_seed"],
        data_seed=given["seed"] if given["data_seed"] is None else given["data_seed"],
        steps=steps,
        data_size=given["data_size"],
        sharpening=Sharpening(**_sharpening(given)),
        compiled=bool(given["compile"]),
        torch=str(torch.__version__),
        **settings,
    )


def _sharpening(given: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {flag.removeprefix("sharpen_"): value for flag, value in _given(given, SHARPENING).items()}
    if "sharpen" in chosen:
        chosen["penalty"] = chosen.pop("sharpen")
    if chosen and ("penalty" in chosen) != ("coefficient" in chosen):
        raise ConfigError("--sharpen and --sharpen-coefficient: a penalty needs both")
    if chosen and "penalty" not in chosen:
        raise ConfigError(f"--sharpen-{next(iter(chosen))}: it needs --sharpen with a penalty")
    return chosen


def _plan(given: Mapping[str, Any]) -> Plan:
    from ffprompt.reference.training.run import Plan

    settings = {"final_strings": _FINAL, **_given(given, PLAN)}
    if settings["final_strings"] < 0:
        raise ConfigError(f"--final-strings {settings['final_strings']}: expected 0 for all, or at least 1")
    return Plan(**{**settings, "final_strings": settings["final_strings"] or None})


def _given(given: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    return {flag: given[flag] for flag in table if given.get(flag) is not None}


def name(config: NetworkConfig, training: Training) -> str:
    """The name of a training's folder, when none is given: its architecture, sizes, data and seeds."""
    from ffprompt.reference.networks.architectures import name_of

    sizes = "x".join(str(getattr(config, part)) for part in ("layers", "width", "heads") if hasattr(config, part))
    data = str(training.data).replace(f"FFL({training.data.length}, ", "").replace(")", "").replace(" ", "")
    seeds = f"s{training.model_seed}"
    if training.data_seed != training.model_seed:
        seeds += f"-d{training.data_seed}"
    if training.data.length != 512:
        data += f"-T{training.data.length}"
    return f"{name_of(config)}-{sizes}-ffl{data}{_unusual(config, training)}-{seeds}"


def _unusual(config: NetworkConfig, training: Training) -> str:
    """Every other setting that changes a model and is not the default, with its name."""
    plain = {"layers", "width", "heads", "length", "symbols"}
    usual = {"data", "model_seed", "data_seed", "decay_end", "device", "threads", "compiled", "torch"}
    odd = [
        (field.name, value)
        for of, without in ((config, plain), (training, usual))
        for field in fields(of)
        if field.name not in without and (value := getattr(of, field.name)) != field.default
    ]
    words = [f"{name}-{_short(value)}" for name, value in odd if (name, value) != ("steps", _LSTM_STEPS)]
    return "".join(f"-{word}" for word in words)


def _short(value: object) -> str:
    """A value as a part of a name; of a penalty its kind and coefficient."""
    penalty = getattr(value, "penalty", None)
    return str(value) if penalty is None else f"{penalty}-{getattr(value, 'coefficient', '')}"


def describe(config: NetworkConfig) -> str:
    """A model in a few words: ``transformer of 4 layers, width 256, 4 heads``."""
    from ffprompt.reference.networks.architectures import name_of

    words = []
    for part in ("layers", "width", "heads"):
        if hasattr(config, part):
            count = getattr(config, part)
            one = part.removesuffix("s") if count == 1 else part
            words.append(f"width {count}" if part == "width" else f"{count} {one}")
    return f"{name_of(config)} of {', '.join(words)}" if words else name_of(config)
