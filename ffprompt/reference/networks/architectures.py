"""The networks by name. A new one is a config, a module and a row here."""

from __future__ import annotations

from typing import Any

import torch

from ffprompt.reference.networks.base import Network, NetworkConfig, one_of
from ffprompt.reference.networks.custom import CustomConfig, CustomTransformer
from ffprompt.reference.networks.delta import DeltaConfig, DeltaNetwork
from ffprompt.reference.networks.handbuilt import Handbuilt, HandbuiltConfig
from ffprompt.reference.networks.lstm import LSTM, LSTMConfig
from ffprompt.reference.networks.ssm import SSM, SSMConfig
from ffprompt.reference.networks.threads import DICE
from ffprompt.reference.networks.transformer import Transformer, TransformerConfig

ARCHITECTURES: dict[str, tuple[type[NetworkConfig], type[Network]]] = {
    "lstm": (LSTMConfig, LSTM),
    "transformer": (TransformerConfig, Transformer),
    "ssm": (SSMConfig, SSM),
    "delta": (DeltaConfig, DeltaNetwork),
    "custom": (CustomConfig, CustomTransformer),
    "handbuilt": (HandbuiltConfig, Handbuilt),
}


def configure(architecture: str, fields: dict[str, Any]) -> NetworkConfig:
    """The config of a named architecture.

    Raises:
        ConfigError: for an unknown name or a value out of range.
    """
    one_of("architecture", architecture, tuple(ARCHITECTURES))
    return ARCHITECTURES[architecture][0](**fields)


def name_of(config: NetworkConfig) -> str:
    """The name of the architecture that a config belongs to."""
    return next(name for name, (kind, _) in ARCHITECTURES.items() if type(config) is kind)


def build(config: NetworkConfig, seed: int) -> Network:
    """The network with its initial weights, which follow from ``seed`` alone. Torch's generators are left as found."""
    with DICE, torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed every GPU too, which the fork does not restore.
        torch.default_generator.manual_seed(seed)
        return ARCHITECTURES[name_of(config)][1](config)


def skeleton(config: NetworkConfig) -> Network:
    """The network on the meta device: shapes and no numbers, whatever size the config claims."""
    with torch.device("meta"):
        return ARCHITECTURES[name_of(config)][1](config)
