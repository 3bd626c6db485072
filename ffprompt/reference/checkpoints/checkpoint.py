"""A reference model as one safetensors file: the weights, and how they came about as JSON in the file's metadata.

Nothing in such a file is executed. Its metadata has one entry, ``ffprompt``::

    {"format": 2, "architecture": "lstm", "config": {…LSTMConfig…}, "training": {…Training…},
     "loss": nats per prediction over the last steps, "evaluation": [{…Evaluation…}, …]}

Weights are float32. In a packed file, for a quarter of the size, a matrix is 8-bit whole numbers, and beside it stands
``NAME:scale`` with one float32 a row to multiply them by. The evaluation in its record is then that of these numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from ffprompt._util.files import refuse_pointer
from ffprompt._util.storage import existing, write_atomically
from ffprompt.errors import ModelError, UsageError, did_you_mean
from ffprompt.reference.networks.architectures import ARCHITECTURES, configure, name_of, skeleton
from ffprompt.reference.networks.base import Network, NetworkConfig
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.evaluate import Evaluation
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks.flipflop import FLIP_FLOP

FORMAT = 2
BUNDLED = Path(__file__).parent
WEIGHTS = "model.safetensors"
"""The file of the model in the folder of its training."""
_KEY = "ffprompt"
_SCALE, _MOST = ":scale", 127


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model with its record. ``training`` is None where it was built by hand, ``sha256`` is of the whole file."""

    model: Network
    training: Training | None
    loss: float | None
    evaluation: tuple[Evaluation, ...]
    path: Path
    sha256: str

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens that the model knows. A model that was built by hand is one of the flip-flop."""
        if self.training is not None:
            return self.training.vocabulary
        return Vocabulary(FLIP_FLOP, self.model.config.symbols)


def bundled() -> dict[str, Path]:
    """The models that come with the package, by name."""
    return {path.stem: path for path in sorted(BUNDLED.glob("*.safetensors"))}


def resolve(name_or_path: str) -> Path:
    """The file of a bundled model, or else of that path: a checkpoint, or the folder of a training with one in it.

    Raises:
        ModelError: when there is neither.
    """
    known = bundled()
    if name_or_path in known:
        return known[name_or_path]
    path = existing(name_or_path)
    if path is not None and path.is_dir() and (path / WEIGHTS).is_file():
        return path / WEIGHTS
    if path is not None and path.is_file():
        return path
    raise ModelError(
        f"reference model {name_or_path!r}: neither a bundled model nor a file{did_you_mean(name_or_path, known)}"
    )


def save(
    path: Path,
    model: Network,
    training: Training | None,
    loss: float | None,
    evaluation: Sequence[Evaluation] = (),
    packed: bool = False,
) -> None:
    """Write a checkpoint, whole or not at all. ``packed`` is for a model that ``rounded`` has been at.

    Raises:
        ModelError: when the file cannot be written.
    """
    record = {
        "format": FORMAT,
        "architecture": name_of(model.config),
        "config": asdict(model.config),
        "training": training.record() if training else None,
        "loss": loss,
        "evaluation": [one.record() for one in evaluation],
    }
    weights = {name: weight.cpu().contiguous() for name, weight in model.state_dict().items()}
    write(path, _pack(weights) if packed else weights, record)


def rounded(model: Network) -> Network:
    """``model`` with every matrix replaced by what a packed file can hold of it, in place."""
    weights = _unpack(_pack({name: weight.cpu() for name, weight in model.state_dict().items()}))
    model.load_state_dict(weights)
    return model


def _pack(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices as whole numbers from -127 to 127 and a scale a row. Everything else as it is."""
    packed = {}
    for name, weight in weights.items():
        if weight.dim() != 2:
            packed[name] = weight
            continue
        scale = weight.abs().amax(1) / _MOST
        # A row of zeros has no scale; any will do.
        steps = (weight / torch.where(scale > 0, scale, 1.0)[:, None]).round()
        packed |= {name: steps.to(torch.int8), f"{name}{_SCALE}": scale}
    return packed


def _unpack(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    weights = {}
    for name, tensor in tensors.items():
        if not name.endswith(_SCALE):
            scale = tensors.get(name + _SCALE)
            weights[name] = tensor if scale is None else tensor.float() * scale[:, None]
    return weights


def write(path: Path, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors with their record, whole or not at all.

    Raises:
        ModelError: when the file cannot be written.
    """
    data = to_bytes(dict(tensors), metadata={_KEY: json.dumps(record)})
    try:
        write_atomically(path, data)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Returns:
        The model with its recipe, its vocabulary and its evaluation.

    Raises:
        ModelError: the file cannot be read, is no safetensors file (a pickle is never opened), has no record or one of
            another format, or its weights do not fit its config. The message names the file.
    """
    try:
        refuse_other_files(path)
        with safe_open(path, framework="pt") as file:
            record = _record(file.metadata() or {})
            names = list(file.keys())
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            config = configure(record["architecture"], record["config"])
            _fits(config, shapes)
            weights = _unpack(_numbers({name: file.get_tensor(name) for name in names}))
        model = _model(config, weights)
        training = Training.from_record(record["training"]) if record["training"] is not None else None
        evaluation = tuple(Evaluation.from_record(one) for one in record["evaluation"])
        loss = None if record["loss"] is None else float(record["loss"])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return Checkpoint(model, training, loss, evaluation, path, digest)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: not a whole safetensors file ({_line(error)})") from error
    except UsageError as error:
        raise ModelError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its ffprompt record is damaged ({_line(error)})") from error


def refuse_other_files(path: Path) -> None:
    """Raise ModelError for a pickle and for a pointer of Git LFS, OSError for a file that cannot be read."""
    with path.open("rb") as stream:
        head = stream.read(64)
    try:
        refuse_pointer(head)
    except ValueError as error:
        raise ModelError(str(error)) from None
    # torch.save writes a zip archive, in older versions a bare pickle; safetensors has "{" after eight bytes of size.
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and head[8:9] != b"{":
        raise ModelError("a pickle, which could run code when opened; only safetensors files are read")


def _record(metadata: dict[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise ModelError("a safetensors file, but not a reference model of ffprompt: its metadata has no record of one")
    record = json.loads(metadata[_KEY])
    if not isinstance(record, dict):
        raise TypeError("not an object")
    if record.get("format") != FORMAT:
        raise ModelError(f"format {record.get('format')!r} is not known; this ffprompt reads format {FORMAT}")
    if record.get("architecture") not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"architecture {record.get('architecture')!r} is not known; this ffprompt has {known}")
    return record


def _fits(config: NetworkConfig, shapes: dict[str, tuple[int, ...]]) -> None:
    # On the meta device nothing is allocated, whatever size the file claims.
    wanted = {name: tuple(weight.shape) for name, weight in skeleton(config).state_dict().items()}
    wanted |= {name: wanted.get(name.removesuffix(_SCALE), ())[:1] for name in shapes if _is_scale(name, shapes)}
    if shapes.keys() != wanted.keys():
        odd = sorted(shapes.keys() ^ wanted.keys())[0]
        raise ModelError(f"weight {odd!r} is {'missing' if odd in wanted else 'not one of this model'}")
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise ModelError(f"weight {name!r} has shape {shapes[name]} where its config asks for {shape}")


def _is_scale(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return name.endswith(_SCALE) and len(shapes.get(name.removesuffix(_SCALE), ())) == 2


def _numbers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, if all are finite float32 numbers, or 8-bit ones that have a scale."""
    for name, tensor in tensors.items():
        wanted = torch.int8 if name + _SCALE in tensors else torch.float32
        if tensor.dtype != wanted or not bool(tensor.isfinite().all()):
            raise ModelError(f"weight {name!r} is not all finite {str(wanted).removeprefix('torch.')} numbers")
    return tensors


def _model(config: NetworkConfig, weights: dict[str, torch.Tensor]) -> Network:
    model = skeleton(config)
    # assign: the initial weights exist on the meta device only, so loading draws no random numbers.
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
