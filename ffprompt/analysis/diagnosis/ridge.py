"""A linear probe: ridge regression on one-hot labels, in closed form.

In shapes: n samples, d width, M labels, k columns of labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths of the penalty that are tried, times the mean squared length of a sample."""

FOLDS = 4


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe that was trained. It takes states (n, d) apart into labels."""

    mean: Floats
    scale: Floats
    weights: Floats  # (d, k, M)
    bias: Floats  # (k, M)

    def labels(self, states: Floats) -> Ints:
        """Return the label (n, k) that the probe tells for each column it was trained on."""
        made = np.tensordot((states - self.mean) / self.scale, self.weights, 1) + self.bias
        return np.asarray(made.argmax(2))


def train(states: Floats, labels: Ints, symbols: int, strength: float) -> Probe:
    """Train a probe for each column of ``labels`` (n, k) on ``states`` (n, d)."""
    return _paths(states, labels, symbols, (strength,))[0]


def _paths(states: Floats, labels: Ints, symbols: int, strengths: tuple[float, ...]) -> list[Probe]:
    """A probe for each strength, from one decomposition."""
    mean, scale = states.mean(0), states.std(0)
    scale = np.where(scale > 1e-6 * max(float(scale.max()), 1e-300), scale, np.inf)  # a constant channel says nothing
    X = (states - mean) / scale  # noqa: N806
    Y = (labels[:, :, None] == np.arange(symbols)).astype(np.float64)  # noqa: N806  (n, k, M)
    bias = Y.mean(0)
    flat = (Y - bias).reshape(len(Y), -1)
    n, d = X.shape
    values, vectors = np.linalg.eigh(X @ X.T if n <= d else X.T @ X)
    unit = max(float(values.sum()) / n, 1e-12) * 1.0
    found = []
    for strength in strengths:
        inverse = 1 / (np.maximum(values, 0) + strength * unit)
        if n <= d:
            weights = X.T @ (vectors * inverse) @ (vectors.T @ flat)
        else:
            weights = (vectors * inverse) @ (vectors.T @ (X.T @ flat))
        found.append(Probe(mean, scale, weights.reshape(d, *Y.shape[1:]), bias))
    return found


def chosen_strength(
    states: Floats, labels: Ints, symbols: int, string: Ints, counted: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the strength that is best on strings that are left out in turn, and the share of ``counted`` told right.

    ``labels`` are (n,). Only the samples ``counted`` (n,) are scored.
    """
    names, number = np.unique(string, return_inverse=True)
    folds = min(FOLDS, len(names))
    right = np.zeros(len(STRENGTHS))
    if folds < 2:
        return STRENGTHS[-2], float("nan")
    for fold in range(folds):
        out = number % folds == fold
        if not (out & counted).any() or out.all():
            continue
        for place, probe in enumerate(_paths(states[~out], labels[~out, None], symbols, STRENGTHS)):
            right[place] += (probe.labels(states[out & counted])[:, 0] == labels[out & counted]).sum()
    best = int(right.argmax())
    return STRENGTHS[best], float(right[best] / max(1, int(counted.sum())))
