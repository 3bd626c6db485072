"""A layer of the user's own in place of attention: ``my_layer.py:MyAttention``.

The class is built with ``width``, and with ``heads`` and ``length`` where its ``__init__`` has parameters of these
names. It maps (B, T, d) to (B, T, d), and what it gives at token t may depend on tokens 0 … t of the same string
alone. Both are checked before the first step. Everything around it is the Transformer's: embedding, norms, MLP, head.

A checkpoint holds the path of the file and its sha256, and runs the file only if it is still the same.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.reference.networks.threads import DICE
from ffprompt.reference.networks.transformer import Block, Transformer, TransformerConfig

_STRINGS, _TOKENS = 2, 12  # that the check looks at
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class CustomConfig(TransformerConfig):
    """``layer`` is ``PATH:NAME``, and ``sha256`` that of the file. Raises ConfigError where the file is another."""

    layer: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        TransformerConfig.__post_init__(self)
        if ":" not in self.layer:
            raise ConfigError(f"layer {self.layer!r}: expected FILE.py:CLASS")

    @property
    def shows_weights(self) -> bool:
        """Whether there are weights of attention to look at."""
        return False


def describe(layer: str) -> dict[str, str]:
    """The fields of a config for ``FILE.py:CLASS``.

    Raises:
        ConfigError: for a file that cannot be read.
    """
    path, _, name = layer.rpartition(":")
    where = Path(path).expanduser().resolve()
    return {"layer": f"{where}:{name}", "sha256": _digest(where)}


class CustomTransformer(Transformer):
    """A Transformer whose blocks mix tokens by a layer of the user's."""

    config: CustomConfig

    def mixer(self, place: int) -> nn.Module:
        """The layer of a block."""
        return _Layer(self.config)


class _Layer(nn.Module):
    """The user's module, with the arguments of attention."""

    def __init__(self, config: CustomConfig) -> None:
        super().__init__()
        make = _class(config)
        self.name = config.layer
        known = {"width": config.width, "heads": config.heads, "length": config.length}
        try:
            takes = inspect.signature(make).parameters
            if "width" not in takes:
                raise ConfigError(f"layer {config.layer}: its __init__ has no parameter 'width'")
            self.layer = make(**{name: value for name, value in known.items() if name in takes})
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"layer {config.layer}: cannot be built ({_line(error)})") from error
        for key, weight in self.layer.named_parameters():
            if nn.parameter.is_lazy(weight):
                raise ConfigError(
                    f"layer {config.layer}: {key} has no shape yet (a lazy module); expected weights made in __init__"
                )

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, T, d) for ``x`` (B, T, d), or (B, R, d) for the positions ``at`` (B, R)."""
        try:
            out = torch.as_tensor(self.layer(x))
        except Exception as error:  # the user's own code
            raise ConfigError(
                f"layer {self.name}: it fails on an input of {tuple(x.shape)} ({_line(error)})"
            ) from error
        return out if at is None else out.gather(1, at[..., None].expand(-1, -1, x.shape[2]))


def check(model: CustomTransformer) -> None:
    """Raise ConfigError unless the user's layer is one.

    It keeps shape and type, looks at no later token and at no other string, in training too, gives the same for the
    same input, and lets gradients through. The layer, torch's generators and the model's mode are left as they were.
    """
    block, config = model.blocks[0], model.config
    assert isinstance(block, Block)
    layer = cast("nn.Module", block.attention).layer
    assert isinstance(layer, nn.Module)
    device = model.head.weight.device
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(_STRINGS, _TOKENS, config.width, generator=draws).to(device)
    # More strings and, where the layer is to see more of them, more tokens: it may go other ways with them.
    whole = torch.randn(_STRINGS + 1, max(config.length, 1), config.width, generator=draws).to(device)
    name = f"layer {config.layer}"
    _check_state(layer, name)
    training, kept = model.training, copy.deepcopy(layer.state_dict())
    try:
        with DICE, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for mode in (False, True):
                model.train(mode)
                with torch.set_grad_enabled(mode):  # as when it is trained
                    _check(layer, x, name, mode, range(1, _TOKENS))
                    _run(layer, whole[:1], name)
                    last = whole.shape[1] - 1
                    _check(layer, whole, name, mode, sorted({1, (last + 1) // 2, last} & set(range(1, last + 1))))
            _check_gradient(layer, x, name)
        if layer.state_dict().keys() != kept.keys():
            raise ConfigError(f"{name}: it has other weights after it has run; make all of them in __init__")
    finally:
        model.train(training)
        layer.load_state_dict(kept, strict=False)


def _check_state(layer: nn.Module, name: str) -> None:
    """Raise ConfigError unless a checkpoint can hold all that the layer keeps: numbers of float32."""
    for key, tensor in layer.state_dict().items():
        if tensor.dtype != torch.float32:
            raise ConfigError(
                f"{name}: {key} is {str(tensor.dtype).removeprefix('torch.')}; a checkpoint holds float32 alone; a "
                "constant goes into register_buffer(…, persistent=False)"
            )


def _run(layer: Callable[[Tensor], Any], x: Tensor, name: str) -> Tensor:
    """The outputs of the layer, after the dice have been put where they were for every other input."""
    torch.default_generator.manual_seed(0)
    given = x.clone()
    try:
        out = layer(given)
    except (Exception, SystemExit) as error:  # the user's own code
        raise ConfigError(f"{name}: it fails on an input of {tuple(x.shape)} ({_line(error)})") from error
    if not isinstance(out, Tensor) or out.shape != x.shape:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(f"{name}: it gives {shape} for {tuple(x.shape)}; expected the same shape")
    if out.dtype != x.dtype:
        was, wanted = (str(one).removeprefix("torch.") for one in (out.dtype, x.dtype))
        raise ConfigError(f"{name}: it gives {was} for {wanted}; expected the same type")
    if not bool(out.isfinite().all()):
        raise ConfigError(f"{name}: its output is not all finite numbers")
    if not torch.equal(given, x):
        raise ConfigError(f"{name}: it changes its input in place; expected a new tensor")
    return out


def _check(layer: Callable[[Tensor], Any], x: Tensor, name: str, training: bool, places: Iterable[int]) -> None:
    """Raise ConfigError unless the layer is causal, keeps strings apart, and repeats itself."""
    when = " while training" if training else ""
    before = _run(layer, x, name)
    room = _TOLERANCE * (1 + before.abs().max())

    def differs(inputs: Tensor, where: tuple[slice, slice]) -> bool:
        return bool(((_run(layer, inputs, name) - before)[where].abs() > room).any())

    everywhere = slice(None)
    if differs(x, (everywhere, everywhere)):
        raise ConfigError(f"{name}: it gives another output for the same input{when}; expected the same")
    for place in places:
        changed = x.clone()
        changed[:, place:] = 3 * x[:, place:].flip(0) + 1
        if differs(changed, (everywhere, slice(place))):
            raise ConfigError(
                f"{name}: not causal{when}: its output at tokens before {place} changes with token {place} and those "
                "after it"
            )
    alone = x.clone()
    alone[1:] = 3 * x[1:] + 1
    if differs(alone, (slice(1), everywhere)):
        raise ConfigError(f"{name}: its output for one string changes{when} with another string of the batch")
    if training:
        return
    torch.default_generator.manual_seed(1)
    if bool(((layer(x.clone()) - before).abs() > room).any()):
        raise ConfigError(f"{name}: its output is random outside of training; use nn.Dropout, which then does nothing")


def _check_gradient(layer: Callable[[Tensor], Any], x: Tensor, name: str) -> None:
    """Raise ConfigError unless what comes out depends on what comes in, and by finite gradients."""
    inputs = x.clone().requires_grad_()
    out = layer(inputs * 1)
    if not out.requires_grad:
        raise ConfigError(f"{name}: no gradient comes through it")
    (gradient,) = torch.autograd.grad(out.square().mean(), [inputs], allow_unused=True)
    if gradient is None:
        raise ConfigError(f"{name}: no gradient comes through it to its input")
    if not bool(gradient.isfinite().all()):
        raise ConfigError(f"{name}: its gradient is not all finite numbers")


def _class(config: CustomConfig) -> Callable[..., nn.Module]:
    path, _, name = config.layer.rpartition(":")
    if _digest(Path(path)) != config.sha256:
        raise ConfigError(f"layer {path}: the file has changed since the training; it is not run")
    spec = importlib.util.spec_from_file_location(f"ffprompt_layer_{config.sha256[:12]}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"layer {path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code
        raise ConfigError(f"layer {path}: cannot be imported ({_line(error)})") from error
    known = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
    if name not in known:
        raise ConfigError(f"layer {path}: it has no torch module {name!r}{did_you_mean(name, known)}")
    made: Callable[..., nn.Module] = getattr(module, name)
    return made


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"layer {path}: cannot be read: {error.strerror or error}") from error


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
