"""Which training a folder holds: what identifies one, and a refusal where another one is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ffprompt import __version__
from ffprompt.errors import ConfigError, FFPromptError
from ffprompt.reference.checkpoints.folder import FORMAT
from ffprompt.reference.networks.architectures import name_of
from ffprompt.reference.networks.base import NetworkConfig
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.plan import Plan


def identity(config: NetworkConfig, training: Training, plan: Plan) -> dict[str, Any]:
    """The part of a training's record that says which one it is, equal to what a file gives."""
    mine = {
        "format": FORMAT,
        "ffprompt": __version__,
        "architecture": name_of(config),
        "config": asdict(config),
        "training": training.record(),
        "plan": asdict(plan),
    }
    return dict(json.loads(json.dumps(mine)))


def refuse_another(
    folder: Path, found: Mapping[str, Any], config: NetworkConfig, training: Training, plan: Plan, resume: bool
) -> None:
    """Raise ConfigError unless the record ``found`` in a folder is of this training, and it may go on."""
    mine = identity(config, training, plan)
    usual = {"config": _defaults(type(config)), "training": _defaults(Training)}
    if found["architecture"] != mine["architecture"]:
        raise ConfigError(
            f"out {folder}: it holds a training of {found['architecture']}, not of {mine['architecture']}"
        )
    for group in ("config", "training"):
        for name, value in mine[group].items():
            # A setting that is younger than the folder has its default there.
            before = found[group].get(name, usual[group].get(name))
            if before != value and name != "torch":
                was, wanted = (_shown(name, one) for one in (before, value))
                raise ConfigError(f"out {folder}: it holds a training with {name} {was}, not {wanted}")
    if found["training"]["torch"] != training.torch and found["status"] != "finished":
        was = found["training"]["torch"]
        raise ConfigError(f"out {folder}: begun with torch {was}, this is {training.torch}: train anew")
    if not resume:
        state = "finished" if found["status"] == "finished" else "not finished"
        raise ConfigError(f"out {folder}: this training is there, {state}; add --resume or choose another --out")


def refuse_other_evaluation(folder: Path, found: Mapping[str, Any], plan: Plan) -> None:
    """Raise ConfigError when the finished model in a folder was not evaluated as ``plan`` says."""
    if found["plan"].get("certify") != plan.certify:
        raise ConfigError(
            f"out {folder}: finished, with --certify {found['plan'].get('certify')}, not {plan.certify}; "
            "for another bound use run_eval.py --backend reference --certify"
        )
    was, wanted = found["plan"].get("final_strings"), plan.final_strings
    if was != wanted:
        raise ConfigError(
            f"out {folder}: finished, and evaluated with --final-strings {was or 0}, not {wanted or 0}; "
            "for another evaluation use run_eval.py --backend reference"
        )


def _defaults(of: type) -> dict[str, Any]:
    return {one.name: one.default for one in fields(of) if isinstance(one.default, (int, float, str, bool))}


def _shown(name: str, value: Any) -> str:
    """A setting as one would type it."""
    if name == "data":
        with suppress(KeyError, TypeError, FFPromptError):
            return str(Mixture.from_record(value))
    return repr(value)
