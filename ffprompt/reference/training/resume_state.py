"""Weights and optimizer of a training under way, in one safetensors file: enough to go on bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ffprompt.errors import ModelError
from ffprompt.reference.checkpoints.checkpoint import refuse_other_files, write
from ffprompt.reference.training.loop import Trainer

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save(path: Path, trainer: Trainer, extra: Mapping[str, Any]) -> None:
    """Write where ``trainer`` stands, and ``extra`` as JSON.

    Raises:
        ModelError: when the file cannot be written.
    """
    tensors = {f"weight/{name}": weight for name, weight in trainer.model.state_dict().items()}
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"{kind}/{index}": moments[kind] for kind in _MOMENTS}
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write(path, cpu, {"format": 1, "step": trainer.step, "extra": dict(extra)})


def restore(path: Path, trainer: Trainer) -> dict[str, Any]:
    """Put ``trainer``, of the same recipe, where the file says. Returns what was given as ``extra``.

    Raises:
        ModelError: when the file cannot be read or does not fit.
    """
    try:
        refuse_other_files(path)
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["ffprompt"])
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        weights = {name.removeprefix("weight/"): x for name, x in tensors.items() if name.startswith("weight/")}
        trainer.model.load_state_dict(weights)
        wanted = trainer.optimizer.state_dict()
        wanted["state"] = {
            index: {kind: tensors[f"{kind}/{index}"] for kind in _MOMENTS}
            for index in wanted["param_groups"][0]["params"]
        }
        trainer.optimizer.load_state_dict(wanted)
        trainer.step = int(record["step"])
        return dict(record["extra"])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ModelError(f"{path}: not the state of this training ({line}); remove it to begin anew") from error
