"""A reference Transformer as a folder that Hugging Face transformers and vLLM load, with a tokenizer of raw symbols.

The files are plain JSON and safetensors, written here, so that they do not depend on any library's version:
config.json, generation_config.json, model.safetensors, tokenizer.json, tokenizer_config.json, README.md, and
ffprompt.json, which says what the folder was made from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from ffprompt import __version__
from ffprompt._util.files import json_bytes, printable
from ffprompt.errors import ConfigError, ModelError
from ffprompt.reference.checkpoints.checkpoint import WEIGHTS, Checkpoint
from ffprompt.reference.export.layouts import EXPORTED, Layout, layout_of
from ffprompt.reference.export.tokenizer import tokenizer, tokenizer_config
from ffprompt.reference.networks.architectures import name_of
from ffprompt.reference.networks.base import parameters, whole
from ffprompt.reference.networks.transformer import Transformer
from ffprompt.tasks.registry import DEFAULT

FORMAT = 1
RECORD = "ffprompt.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that was written: its architecture at Hugging Face, and the longest string that it takes, in tokens."""

    folder: Path
    architecture: str
    length: int


def export(checkpoint: Checkpoint, folder: Path, length: int | None = None) -> Exported:
    """Write a checkpoint as a folder that transformers and vLLM load, whole or not at all.

    Args:
        checkpoint: A transformer of the flip-flop.
        folder: A new or an empty one.
        length: The longest string in tokens, by default that of the config. Learnt positions are no more than that.

    Raises:
        ModelError: none of the layouts holds the model exactly.
        ConfigError: the folder is in use or cannot be written, or the length is out of range.
    """
    model, architecture = checkpoint.model, name_of(checkpoint.model.config)
    if (task := checkpoint.vocabulary.task.name) != DEFAULT:
        raise ModelError(f"{checkpoint.path}: it is a model of task {task}; expected one of task {DEFAULT} to export")
    layout = layout_of(model.config, architecture)
    if isinstance(layout, str):
        raise ModelError(f"{checkpoint.path}: {layout} cannot be exported; what can be is a transformer: {EXPORTED}")
    assert isinstance(model, Transformer)
    length = _length(model, length)
    target = folder.expanduser().resolve()
    check_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            made = Path(temporary) / "model"
            made.mkdir()
            _write(made, checkpoint, model, layout, length)
            made.replace(target)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(f"{folder}: cannot be written: {why}") from error
    return Exported(folder, layout.name, length)


def check_free(folder: Path) -> None:
    """Raise ConfigError unless ``folder`` is new or empty."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if taken:
        what = "has files in it" if folder.is_dir() else "is a file"
        raise ConfigError(f"{folder}: {what}; expected a new or empty folder")


def _length(model: Transformer, length: int | None) -> int:
    config = model.config
    if length is None:
        return config.length
    whole("length", length, 2, 1 << 22)
    if config.positions == "learned" and length > config.length:
        raise ConfigError(f"length {length}: this model has learnt {config.length} positions")
    return length


def _write(folder: Path, checkpoint: Checkpoint, model: Transformer, layout: Layout, length: int) -> None:
    # vLLM writes a token after every prompt, scored ones too, and that token has a place of its own. Strings have an
    # even number of tokens, so no string that is longer gets in through it.
    places = length + 1 - length % 2
    config, weights = layout.write(model, places)
    save_file({name: one.contiguous() for name, one in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    # null, where leaving it out would make an instruction the end of a text
    none = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    common = {"vocab_size": model.config.vocabulary, "tie_word_embeddings": False, "dtype": "float32", **none}
    _json(folder / "config.json", {**config, **common})
    _json(folder / "generation_config.json", {"do_sample": False, **none})
    _json(folder / "tokenizer.json", tokenizer(model.config.symbols))
    _json(folder / "tokenizer_config.json", tokenizer_config(places))
    _json(folder / RECORD, _record(checkpoint))
    (folder / "README.md").write_bytes(printable(_card(checkpoint, model, layout, length)).encode())


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_bytes(json_bytes(content, indent=2) + b"\n")


def _name(checkpoint: Checkpoint) -> str:
    """What a user calls the model: the name of its file, or of the folder of its training."""
    path = checkpoint.path
    return path.resolve().parent.name if path.name == WEIGHTS else path.stem


def _record(checkpoint: Checkpoint) -> dict[str, Any]:
    """``adds_bos`` and ``identity`` are what the backends read: the latter stands in the record of every run."""
    training = checkpoint.training
    return {
        "format": FORMAT,
        "ffprompt": __version__,
        "adds_bos": False,
        "identity": {
            "checkpoint": _name(checkpoint),
            "checkpoint_sha256": checkpoint.sha256,
            "trained_on": str(training.data) if training else None,
            "steps": training.steps if training else 0,
            "note": "trained on this task" if training else "built for this task",
        },
        "architecture": name_of(checkpoint.model.config),
        "config": asdict(checkpoint.model.config),
        "training": training.record() if training else None,
        "loss": checkpoint.loss,
        "evaluation": [one.record() for one in checkpoint.evaluation],
    }


def _card(checkpoint: Checkpoint, model: Transformer, layout: Layout, length: int) -> str:
    training = checkpoint.training
    how = f"trained for {training.steps:,} steps on {training.data}" if training else "not trained"
    return f"""---
library_name: transformers
pipeline_tag: text-generation
---
# {_name(checkpoint)}

A reference model of ffprompt {__version__} for flip-flop strings with {model.config.symbols} data symbols:
a Transformer with {parameters(model):,} parameters, {how}, here as {layout.name}.

It reads raw symbols, one token each (`w1i0r1` or `w 1 i 0 r 1`), up to {length} of them, without a BOS token, and knows
no other text. Its weights are float32: load them as such. `{RECORD}` holds its record: the checkpoint's sha256
({checkpoint.sha256}), its config, training and evaluations.
"""
