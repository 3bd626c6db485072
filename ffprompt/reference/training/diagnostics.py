"""Early warnings while a model trains: what has gone wrong before the loss is no number, or the test sets show it.

``Monitors.step`` looks at the loss and the gradient of every step, ``Monitors.probe`` now and then at the model on a
batch. Each trouble is told once, when it begins, and again only after it was over. The limits are this project's: quiet
on healthy trainings of the reference models, loud on broken ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import fmean, median, pstdev
from typing import Any

import torch
from torch import Tensor

from ffprompt.reference.networks.base import Network
from ffprompt.reference.networks.transformer import Transformer

LOSS, LOSS_WITHOUT, LOSS_BEYOND = "loss", "loss_without", "loss_beyond"
"""Names of readings: the loss on the strings of a look, the same without layer L (``/L``), and on longer strings."""
WINDOW = 20
"""Steps that a mean or a median is taken over: a single batch says little."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a warning begins. It is over at half of a rise, or at twice what a value must not fall below.

    ``loss_rise``, ``learnt``, ``layer_worth`` and ``forgetting`` are in nats per prediction, ``loss_deviations`` in
    standard deviations of the loss of a step. ``attention_entropy`` is a share of the entropy of equal weights. The
    others are ratios.
    """

    loss_rise: float = 0.1
    loss_deviations: float = 4.0
    explosion: float = 20.0
    vanishing: float = 1e-3
    layer_vanishing: float = 1e-5
    attention_entropy: float = 0.1
    rank_residual: float = 0.01
    learnt: float = 0.1
    layer_worth: float = 0.01
    forgetting: float = 0.3


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 – the word for it; nothing here warns by the built-in one
    """One trouble at its beginning: ``value`` went beyond ``limit``, both None where it is no number."""

    step: int
    monitor: str
    value: float | None
    limit: float | None
    text: str


@dataclass
class _Memory:
    """All that later warnings follow from, as JSON takes it. Windows have their newest value last."""

    losses: list[float] = field(default_factory=list)
    best: float | None = None
    best_deviation: float = 0.0
    best_step: int = 0
    norms: list[float] = field(default_factory=list)
    early_norm: float | None = None
    slopes: list[float] = field(default_factory=list)
    early_slope: float | None = None
    layers: dict[str, list[float]] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)


class Monitors:
    """Watches one training. What it has seen is in ``state``, so that a resumed training warns at the same steps.

    * ``non-finite``: the loss, the norm of the gradient or a hidden state is no finite number.
    * ``loss-oscillation``: the mean loss of the last 20 steps is above the lowest such mean so far by more than
      ``loss_rise`` and by more than ``loss_deviations`` standard deviations of a step's loss in the lowest window. Loss
      spikes come back late in training and at random (Chowdhery et al. 2022, arXiv 2204.02311, 5.1), and a rate above
      what the curvature bears shows as a loss that goes up and down (Cohen et al. 2021, arXiv 2103.00065). The best so
      far is what a spike is measured from, the deviation tells it from the noise of batches.
    * ``exploding-gradient``: the norm of a step is ``explosion`` times its median over the first 20 steps, and over the
      last 20. It is over when 20 steps have stayed below half of that (Pascanu et al. 2013, arXiv 1211.5063).
    * ``vanishing-gradient``: the median over 20 steps of norm / loss is below ``vanishing`` times that of the first 20.
      Over the loss, because the gradient of the cross-entropy falls with it in a training that goes well.
    * ``vanishing-layer``: the median over 20 steps of a layer's norm over the largest layer's is below
      ``layer_vanishing``.
    * ``attention-entropy``: the mean entropy of a layer's attention weights is below ``attention_entropy`` times that
      of equal weights, and the model has not learnt its task (its loss is not below ``learnt``). Collapsed entropy goes
      with unstable training (Zhai et al. 2023, arXiv 2303.06296). A model that has learnt may well attend to single
      tokens.
    * ``rank-collapse``: the hidden states of a string are nearly one vector, the relative residual ‖X - 1 x̄ᵀ‖ / ‖X‖ is
      below ``rank_residual`` (after Dong et al. 2021, arXiv 2103.03404, with the Frobenius norm).
    * ``lazy-layer``: the model has learnt its task (a loss below ``learnt``), and without one of its layers the loss is
      higher by less than ``layer_worth``. Only with ``--monitor-layers``.
    * ``forgetting``: the model has learnt its task, and on longer strings its loss is higher by more than
      ``forgetting``. Only with ``--monitor-length``.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._memory = _Memory()

    def step(
        self, step: int, loss: float, gradient_norm: float, layer_norms: Mapping[str, float] | None = None
    ) -> list[Warning]:
        """What begins at this step: ``loss`` in nats per prediction, norms before clipping or all clipped alike.

        ``layer_norms`` may be left out at some steps. Its windows then hold those at which it was given.
        """
        bad = [name for name, value in (("loss", loss), ("gradient", gradient_norm)) if not math.isfinite(value)]
        found = list(self._broken(step, " and ".join(bad)))
        # Windows hold finite numbers alone: one infinity would silence them for 20 steps.
        if "loss" not in bad:
            found += self._loss(step, loss)
        if "gradient" not in bad:
            found += self._explosion(step, gradient_norm)
        if not bad:
            found += self._vanishing(step, loss, gradient_norm)
        if layer_norms and all(math.isfinite(norm) for norm in layer_norms.values()):
            found += self._layers(step, layer_norms)
        return found

    def probe(
        self, step: int, model: Network, tokens: Tensor, losses: Mapping[str, float] | None = None
    ) -> tuple[dict[str, float], list[Warning]]:
        """Look at ``model`` on ``tokens`` (B, T): readings by name, and what begins here.

        ``attention_entropy/L`` is the mean entropy in nats of layer L over strings, heads and the queries that have a
        choice (those after the first), for a transformer. ``rank_residual`` is the mean over strings of the relative
        residual of ``model.hidden``. ``losses`` are readings that were taken elsewhere, by the names ``LOSS`` …. A
        reading that is no finite number is left out. The model, its gradients and torch's generators are left as they
        were.
        """
        readings = look(model, tokens) | dict(losses or {})
        finite = {name: value for name, value in readings.items() if math.isfinite(value)}
        found = list(self._broken(step, "hidden states" if len(finite) < len(readings) else "", "model"))
        for name, value in finite.items():
            kind, _, layer = name.partition("/")
            match kind:
                case "rank_residual":
                    found += self._rank(step, value)
                case "attention_entropy":
                    found += self._entropy(step, layer, value, tokens.shape[1], finite.get(LOSS, math.inf))
                case "loss_without" if LOSS in finite:
                    found += self._lazy(step, layer, finite[LOSS], value)
                case "loss_beyond" if LOSS in finite:
                    found += self._forgetting(step, finite[LOSS], value)
        return finite, found

    def _rank(self, step: int, value: float) -> Iterator[Warning]:
        limit = self.limits.rank_residual
        if self._begins("rank-collapse", value < limit, value > 2 * limit):
            text = (
                f"the hidden states of a string are nearly one vector (relative residual {value:.2g}) "
                f"at step {step:,}: lower --learning-rate or --weight-decay"
            )
            yield Warning(step, "rank-collapse", value, limit, text)

    def _entropy(self, step: int, layer: str, value: float, length: int, loss: float) -> Iterator[Warning]:
        # Equal weights of the queries that have a choice: the mean of ln 2 … ln T.
        limit = self.limits.attention_entropy * math.lgamma(length + 1) / max(length - 1, 1)
        learnt = loss < self.limits.learnt
        if self._begins(f"attention-entropy/{layer}", value < limit and not learnt, value > 2 * limit or learnt):
            text = (
                f"attention of layer {layer} is on single tokens (entropy {value:.2g} nats) before the task is learnt, "
                f"at step {step:,}: lower --learning-rate, add --qk-norm or --warmup, or sharpen it less"
            )
            yield Warning(step, "attention-entropy", value, limit, text)

    def _lazy(self, step: int, layer: str, loss: float, without: float) -> Iterator[Warning]:
        worth, limit, learnt = without - loss, self.limits.layer_worth, loss < self.limits.learnt
        if self._begins(f"lazy-layer/{layer}", learnt and worth < limit, worth > 2 * limit):
            text = (
                f"the loss is {loss:.2g} with layer {layer} and {without:.2g} without it at step {step:,}: "
                "fewer --layers would do"
            )
            yield Warning(step, "lazy-layer", worth, limit, text)

    def _forgetting(self, step: int, loss: float, beyond: float) -> Iterator[Warning]:
        rise, limit, learnt = beyond - loss, self.limits.forgetting, loss < self.limits.learnt
        if self._begins("forgetting", learnt and rise > limit, rise < limit / 2):
            text = (
                f"the loss is {loss:.2g} on strings of the trained length and {beyond:.2g} on longer ones at step "
                f"{step:,}: take --positions rope, alibi or none, or train on longer strings"
            )
            yield Warning(step, "forgetting", rise, limit, text)

    def state(self) -> dict[str, Any]:
        """All that later warnings follow from, as JSON takes it."""
        return {"limits": asdict(self.limits), "memory": asdict(self._memory)}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Monitors:
        """The monitors that gave ``state``.

        Raises:
            TypeError, KeyError: when something is missing or too much.
        """
        monitors = cls(Limits(**state["limits"]))
        # A copy, so that the windows are not shared with whoever holds the state.
        monitors._memory = _Memory(**asdict(_Memory(**state["memory"])))
        return monitors

    def _broken(self, step: int, what: str, where: str = "step") -> Iterator[Warning]:
        if self._begins(f"non-finite/{where}", bool(what), not what):
            text = f"{what} not finite at step {step:,}: lower --learning-rate, or set --clip 1"
            yield Warning(step, "non-finite", None, None, text)

    def _loss(self, step: int, loss: float) -> Iterator[Warning]:
        memory = self._memory
        if not _push(memory.losses, loss):
            return
        mean = fmean(memory.losses)
        if memory.best is None or mean < memory.best:
            memory.best, memory.best_deviation, memory.best_step = mean, pstdev(memory.losses), step
        rise = max(self.limits.loss_rise, self.limits.loss_deviations * memory.best_deviation)
        if self._begins("loss-oscillation", mean > memory.best + rise, mean < memory.best + rise / 2):
            text = (
                f"loss rose from {memory.best:.2g} to {mean:.2g} within {step - memory.best_step:,} steps "
                f"at step {step:,}: lower --learning-rate"
            )
            yield Warning(step, "loss-oscillation", mean, memory.best + rise, text)

    def _explosion(self, step: int, norm: float) -> Iterator[Warning]:
        memory = self._memory
        if memory.early_norm is not None:
            limit = self.limits.explosion * max(memory.early_norm, median(memory.norms))
            if self._begins("exploding-gradient", norm > limit, max(*memory.norms[1:], norm) < limit / 2):
                text = (
                    f"norm of the gradient jumped from {limit / self.limits.explosion:.2g} to {norm:.2g} "
                    f"at step {step:,}: lower --learning-rate, or set --clip 1"
                )
                yield Warning(step, "exploding-gradient", norm, limit, text)
        if _push(memory.norms, norm) and memory.early_norm is None:
            memory.early_norm = median(memory.norms)

    def _vanishing(self, step: int, loss: float, norm: float) -> Iterator[Warning]:
        memory = self._memory
        # A loss of exactly 0 has no gradient left to vanish.
        if loss <= 0 or not _push(memory.slopes, norm / loss):
            return
        slope = median(memory.slopes)
        if memory.early_slope is None:
            memory.early_slope = slope
        limit = self.limits.vanishing * memory.early_slope
        if self._begins("vanishing-gradient", slope < limit or slope == 0, slope > 2 * limit):
            text = (
                f"norm of the gradient is {norm:.2g} at a loss of {loss:.2g} at step {step:,}, it has vanished: "
                "lower --learning-rate or --weight-decay"
            )
            yield Warning(step, "vanishing-gradient", slope, limit, text)

    def _layers(self, step: int, norms: Mapping[str, float]) -> Iterator[Warning]:
        largest, limit = max(norms.values()), self.limits.layer_vanishing
        if not largest:  # the gradient as a whole has vanished, and that is told elsewhere
            return
        for name, norm in norms.items():
            window = self._memory.layers.setdefault(name, [])
            if not _push(window, norm / largest):
                continue
            ratio = median(window)
            if self._begins(f"vanishing-layer/{name}", ratio < limit, ratio > 2 * limit):
                text = (
                    f"gradient of {name} is {ratio:.2g} of the largest layer's at step {step:,}, it no longer learns: "
                    "lower --learning-rate, or take fewer layers"
                )
                yield Warning(step, "vanishing-layer", ratio, limit, text)

    def _begins(self, trouble: str, on: bool, off: bool) -> bool:
        """Whether a trouble begins: it is ``on`` and was not. One that lasts is over when ``off`` is true."""
        active = self._memory.active
        if on and trouble not in active:
            active.append(trouble)
            return True
        if off and not on and trouble in active:
            active.remove(trouble)
        return False


def layer_norms(model: Network) -> dict[str, float]:
    """The norm of the gradient by block: ``{"embedding": …, "blocks.0": …, "blocks.1": …, "head": …}``.

    A block is a numbered module, or a numbered layer of torch's recurrent ones (``lstm.0``). All else goes by the first
    part of its name. Weights that are not trained do not count, trained ones without a gradient count as 0.
    """
    groups: dict[str, list[Tensor]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups.setdefault(_block(name), []).extend([] if weight.grad is None else [weight.grad])
    zero = torch.zeros((), device=model.head.weight.device)
    norms = [torch.stack(torch._foreach_norm(grads)).norm() if grads else zero for grads in groups.values()]
    # Together, so that a GPU is waited for once.
    return dict(zip(groups, torch.stack([norm.float() for norm in norms]).tolist(), strict=True))


def look(model: Network, tokens: Tensor) -> dict[str, float]:
    """The readings of ``Monitors.probe``, finite or not, of ``model`` on ``tokens`` (B, T)."""
    entropies = _Entropies()
    with _undisturbed(model):
        tokens = tokens.to(model.head.weight.device)
        x = model.hidden(tokens, entropies) if isinstance(model, Transformer) else model.hidden(tokens)
        layers = {f"attention_entropy/{layer}": float(entropy) for layer, entropy in enumerate(entropies)}
        return {**layers, "rank_residual": float(residual(x))}


def residual(x: Tensor) -> Tensor:
    """Mean over strings of ‖X - 1 x̄ᵀ‖ / ‖X‖ in Frobenius norm, for hidden states ``x`` (B, T, d). It lies in 0 … 1.

    0 where all tokens of a string have one hidden state, zero vectors included.
    """
    x = x.float()
    spread, size = (x - x.mean(1, keepdim=True)).norm(dim=(1, 2)), x.norm(dim=(1, 2))  # (B,) each
    return torch.where(size == 0, size, spread / size).mean()


class _Entropies(list[Tensor]):
    """Takes each layer's weights (B, H, T, T) and keeps their mean entropy: those of all layers may be gigabytes."""

    def append(self, weights: Tensor) -> None:
        # The first query has one key and so no entropy, whatever the layer does.
        super().append(torch.special.entr(weights[:, :, 1:]).sum(-1).mean())


@contextmanager
def _undisturbed(model: Network) -> Iterator[None]:
    """Without dropout, which would draw from torch's generator, and without gradients."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _push(window: list[float], value: float) -> bool:
    """Add a value and drop the oldest one. Returns whether the window is full."""
    window.append(value)
    del window[:-WINDOW]
    return len(window) == WINDOW


def _block(name: str) -> str:
    """The block of a parameter: ``blocks.0.mlp.up.weight`` is in ``blocks.0``, ``lstm.weight_ih_l1`` in ``lstm.1``."""
    if found := re.match(r"(.*?\.)?\d+(?=\.)", name):
        return found[0]
    if found := re.fullmatch(r"(.+)\.(?:weight|bias)_[ih]h_l(\d+)(?:_reverse)?", name):
        return f"{found[1]}.{found[2]}"
    return name.split(".")[0]
