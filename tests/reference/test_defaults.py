"""Defaults that are known without torch are those of the configs."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any

from ffprompt.reference.defaults import NETWORKS, TRAINING
from ffprompt.reference.networks.architectures import ARCHITECTURES
from ffprompt.reference.training.config import Training


def test_the_defaults_known_without_torch_are_those_of_the_configs() -> None:
    assert {name: defaults_of(config) for name, (config, _) in ARCHITECTURES.items()} == NETWORKS
    assert defaults_of(Training) == TRAINING


def defaults_of(config: type[Any]) -> dict[str, Any]:
    given = {one.name: one.default for one in fields(config) if one.default is not MISSING}
    return {
        name: asdict(one) if is_dataclass(one) and not isinstance(one, type) else one for name, one in given.items()
    }
