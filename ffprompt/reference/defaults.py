"""The default of every setting of a training, without torch: what a setting means that an older record does not have.

tests/reference compares them with the configs, so a new setting of a network or of ``Training`` has its default here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TRANSFORMER: dict[str, Any] = {
    "symbols": 2,
    "events": 3,
    "layers": 6,
    "width": 512,
    "heads": 8,
    "length": 512,
    "positions": "learned",
    "attention": "softmax",
    "activation": "gelu",
    "norm": "layernorm",
    "expansion": 4,
    "attention_dropout": 0.0,
    "mlp_dropout": 0.0,
    "embedding_dropout": 0.0,
    "temperature": 1.0,
    "norm_placement": "pre",
    "qk_norm": False,
    "init": "default",
    "no_residual": False,
    "window": None,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "lstm": {"symbols": 2, "events": 3, "width": 128, "hidden": 128, "layers": 1},
    "transformer": _TRANSFORMER,
    "ssm": {
        "symbols": 2,
        "events": 3,
        "layers": 1,
        "width": 128,
        "state": 16,
        "heads": 4,
        "expansion": 2,
        "convolution": 4,
        "rates": "state",
    },
    "delta": {
        "symbols": 2,
        "events": 3,
        "layers": 1,
        "width": 128,
        "heads": 2,
        "rule": "gated-delta",
        "convolution": 4,
    },
    "custom": {**_TRANSFORMER, "layer": "", "sha256": ""},
    "handbuilt": {"symbols": 2, "events": 3, "length": 512},
}
TRAINING: dict[str, Any] = {
    "steps": 10_000,
    "batch": 16,
    "learning_rate": 3e-4,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.999,
    "warmup": 50,
    "decay_end": 10_001,
    "clip": None,
    "objective": "clean",
    "data_size": None,
    "scratchpad": False,
    "z_loss": 0.0,
    "precision": "float32",
    "sharpening": {"penalty": "none", "coefficient": 0.0, "schedule": "constant", "start": 0, "period": 1_000},
    "device": "cpu",
    "threads": 1,
    "compiled": False,
    "torch": "",
}


def complete(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded settings with the defaults of those that are missing, also inside a group of settings."""
    whole = {**defaults, **settings}
    for name, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(whole[name], Mapping):
            whole[name] = complete(whole[name], default)
    return whole
