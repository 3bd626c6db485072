"""``ffprompt train``: flags to a config, a recipe and a plan, and a training in a folder."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprompt._util.extras import needs
from ffprompt._util.formatting import counted
from ffprompt.cli import output_flags, track_flags
from ffprompt.cli.console import line
from ffprompt.cli.progress import training as training_progress
from ffprompt.errors import ConfigError, SpecError, did_you_mean
from ffprompt.reference.training import settings as training_settings
from ffprompt.reference.training.settings import ARCHITECTURES, FIELDS, MODEL, PLAN, RECIPE, SHARPENING, SUPERVISE
from ffprompt.runs.folder import refuse_nesting
from ffprompt.tasks import registry
from ffprompt.tasks.registry import DEFAULT

if TYPE_CHECKING:
    from ffprompt.cli.output import Output
    from ffprompt.reference.checkpoints.checkpoint import Checkpoint
    from ffprompt.reference.networks.base import NetworkConfig
    from ffprompt.reference.training.config import Training
    from ffprompt.reference.training.data import Mixture
    from ffprompt.reference.training.evaluate import Certificate
    from ffprompt.reference.training.plan import Plan
    from ffprompt.tasks.base import Task

_FINAL = 500  # strings of each set at the end, unless more are asked for
_TASK_LENGTH = 100  # T of a task other than the flip-flop
_PAPER_STEPS, _LSTM_STEPS, _DECAY_END = 10_000, 500, 10_001


EPILOG = training_settings.EPILOG


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``train``."""
    training_settings.add(parser)
    track_flags.add_flags(parser)
    output_flags.add_flags(parser, "print only the errors on each test set")


def execute(options: Namespace) -> int:
    """Train a reference model into its folder. Returns 0; what goes wrong is raised."""
    trackers = track_flags.checked(options)
    try:
        from ffprompt.reference.training import run as session
    except ImportError as error:
        raise needs("training", "reference", error) from error
    from ffprompt.cli.output import Output
    from ffprompt.reference.training.evaluate import TEST_SEED

    output = Output.of(options)
    config, training, plan = configure(vars(options))
    folder = Path(options.out) if options.out else Path("results") / "models" / name(config, training)
    refuse_nesting(folder)
    with output.beside():
        line(f"{folder}: {describe(config)} on {training.data}, {counted(training.steps, 'step')}")
        if options.resume and not folder.exists():
            line(f"{folder}: there is nothing to resume, a new training begins")
        for text in schedule(training):
            line(text)
    with training_progress(training.steps, shown=not output.quiet) as watch:
        made = session.run(folder, config, training, plan, resume=options.resume, watch=watch)
    _show(made, output)
    with output.beside():
        line(
            f"evaluate it with: ffprompt run --backend reference --model {folder}{_language(options, training)} "
            f"--seed {TEST_SEED}"
        )
        if trackers:
            from ffprompt.integrations.trackers import entry

            track_flags.tell(trackers, [partial(entry.of_training, folder)])
    output.write({"folder": str(folder), "evaluation": [one.record() for one in made.evaluation]})
    return 0


def _show(made: Checkpoint, output: Output) -> None:
    """Print the errors of a trained model on each test set, and what an error is."""
    from ffprompt.reference.training.evaluate import TEST_SEED
    from ffprompt.stats.clusters import FEW_CLUSTERS

    with output.answer():
        for one in made.evaluation:
            few = f" (few strings, {FEW_CLUSTERS} or more are needed)" if one.strings < FEW_CLUSTERS else ""
            seen = f"{counted(one.errors, 'error')} in {counted(one.reads, 'read')} of {counted(one.strings, 'string')}"
            low = one.low if one.low > 1e-9 else 0
            line(f"{one.data}: {seen}, glitch rate {one.rate:.2g} ({low:.2g} to {one.high:.2g}){few}")
            if one.certificate is not None:
                line(f"  {certified(one.certificate)}")
    with output.beside():
        line(f"an error: the most probable of all tokens is not the answer. Seed of the strings: {TEST_SEED}")


def certified(shown: Certificate) -> str:
    """What a sequential test has shown, in a line."""
    seen = f"{counted(shown.errors, 'error')} in {counted(shown.reads, 'read')} of {shown.strings:,} other strings"
    if shown.decision is None:
        return f"neither below nor above {shown.bound:g} shown at {shown.level:.0%} ({seen})"
    limit = f"at most {shown.high:.2g}" if shown.decision == "below" else f"at least {shown.low:.2g}"
    return f"glitch rate {shown.decision} {shown.bound:g} shown at {shown.level:.0%}: {limit} ({seen})"


def _language(options: Namespace, training: Training) -> str:
    """The flags of a run that asks for strings like those of a training."""
    data, flags = training.data, ""
    if data.task.name != DEFAULT:
        flags += f" --task {data.task.name}" + "".join(f" --task-arg {one}" for one in options.task_arg or ())
        return f"{flags} --length {data.length} --shots 0 --elicitation forced"
    flags += f" --length {data.length}" if data.length != 512 else ""
    return flags + (f" --symbols {data.symbols}" if data.symbols != 2 else "")


def schedule(training: Training) -> list[str]:
    """What to know of a learning rate that does not come down within the steps."""
    last, top = training.rate(training.steps), training.learning_rate
    if training.steps <= training.warmup:
        return [
            f"the {counted(training.steps, 'step')} end within the warm-up of {training.warmup:,}; fewer: --warmup N"
        ]
    if last > 0.1 * top and training.decay_end > training.steps + 1:
        end = f"the decay ends at step {training.decay_end:,}; sooner: --decay-end {training.steps + 1}"
        return [f"the learning rate of the last step is {last:.2g}, {last / top:.0%} of the highest: {end}"]
    return []


def configure(given: Mapping[str, Any]) -> tuple[NetworkConfig, Training, Plan]:
    """Config, recipe and plan from flags by name; None stands for a flag that was not given.

    Raises:
        UsageError: for a flag that the architecture has no use for, or a value that is not possible.
    """
    from ffprompt.reference.networks import architectures
    from ffprompt.reference.training.certify import check
    from ffprompt.reference.training.evaluate import sets_for
    from ffprompt.reference.training.looks import agree

    architecture = given["architecture"]
    known, own = ARCHITECTURES, {}
    if ".py:" in architecture:
        from ffprompt.reference.networks.custom import describe as own_layer

        architecture, own = "custom", own_layer(architecture)
    elif architecture not in known:
        raise ConfigError(f"architecture {architecture!r} is unknown{did_you_mean(architecture, known)}")
    data = _data(given)
    possible = {field.name for field in fields(architectures.ARCHITECTURES[architecture][0])}
    chosen = _given(given, MODEL)
    for flag in chosen:
        if FIELDS.get(flag, flag) not in possible:
            raise ConfigError(f"--{flag.replace('_', '-')}: a model of type {architecture} has no such setting")
    training, plan = _recipe(given, architecture, data), _plan(given)
    for one, _ in sets_for(data, plan.tests(data.task)):  # what cannot be tested is said before anything is trained
        if plan.certify is not None:
            check(one, plan.certify, plan.certify_strings)
    vocabulary = training.vocabulary
    model = {FIELDS.get(flag, flag): value for flag, value in chosen.items()}
    model |= {"symbols": data.symbols, "events": vocabulary.events} | own
    if "length" in possible:
        model["length"] = vocabulary.longest(data.parts[0])
    config = architectures.configure(architecture, model)
    agree(config, training, plan)
    return config, training, plan


def _data(given: Mapping[str, Any]) -> Mixture:
    """The strings to learn: those of ``--data``, or else those that the task has at this length."""
    from ffprompt.reference.training.data import Mixture

    task = _task(given)
    if task.name == DEFAULT:
        return Mixture.parse(given["data"] or "FFL(0.8)", _or(given["length"], 512), _or(given["symbols"], 2))
    if given["data"] is not None:
        return Mixture.parse(given["data"], symbols=given["symbols"], task=task)
    return Mixture.of(task.spec(_or(given["length"], _TASK_LENGTH), _or(given["symbols"], 2)))


def _or(number: int | None, default: int) -> int:
    """A number as it was given, also 0, which is for the task to refuse."""
    return default if number is None else number


def _task(given: Mapping[str, Any]) -> Task:
    """The task with its settings. Reads stand after every input, unless ``--data`` or something else says where."""
    arguments, supervise = list(given["task_arg"] or ()), given["supervise"]
    task = registry.get(given["task"] or DEFAULT, arguments)
    if supervise not in (None, *SUPERVISE):
        raise ConfigError(f"--supervise {supervise}: unknown{did_you_mean(supervise, SUPERVISE)}")
    if supervise == "reads" or given["data"] is not None or any(one.startswith("reads=") for one in arguments):
        return task
    try:
        return registry.get(task.name, [*arguments, "reads=every"])
    except SpecError as error:
        if supervise == "states":
            raise ConfigError(f"--supervise states: task {task.name} has no reads after every input") from error
        return task


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
        scratchpad=bool(given["scratchpad"]),
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
    from ffprompt.reference.training.plan import Plan

    settings = {"final_strings": _FINAL, **_given(given, PLAN)}
    if settings["final_strings"] < 0:
        raise ConfigError(f"--final-strings {settings['final_strings']}: expected 0 for all, or at least 1")
    if "certify_strings" in settings and "certify" not in settings:
        raise ConfigError(f"--certify-strings {settings['certify_strings']}: goes with --certify")
    return Plan(**{**settings, "final_strings": settings["final_strings"] or None})


def _given(given: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    return {flag: given[flag] for flag in table if given.get(flag) is not None}


def name(config: NetworkConfig, training: Training) -> str:
    """The name of a training's folder, when none is given: its architecture, sizes, data and seeds."""
    from ffprompt.reference.networks.architectures import name_of

    sizes = "x".join(str(getattr(config, part)) for part in ("layers", "width", "heads") if hasattr(config, part))
    data = str(training.data)
    if training.data.task.name == DEFAULT:
        data = data.replace(f"FFL({training.data.length}, ", "").replace(")", "").replace(" ", "")
        data = f"ffl{data}"
    else:
        data = re.sub(r"[^A-Za-z0-9.+=]+", "-", data).strip("-")
    seeds = f"s{training.model_seed}"
    if training.data_seed != training.model_seed:
        seeds += f"-d{training.data_seed}"
    if training.data.task.name == DEFAULT and training.data.length != 512:
        data += f"-T{training.data.length}"
    kind = getattr(config, "layer", "").rpartition(":")[2] or name_of(config)
    return f"{kind}-{sizes}-{data}{_unusual(config, training)}-{seeds}"


def _unusual(config: NetworkConfig, training: Training) -> str:
    """Every other setting that changes a model and is not the default, with its name."""
    plain = {"layers", "width", "heads", "length", "symbols", "events", "layer", "sha256"}
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
