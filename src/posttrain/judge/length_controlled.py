"""The length-controlled win rate of AlpacaEval (Dubois et al., arXiv 2404.04475): what the win rate would be if the
answers were as long as the baseline's.

A logistic regression of the preference, without intercept, L1-penalised, on

    tanh((characters of the baseline − characters of the model) / their standard deviation)
    the instruction's difficulty (where it is known)
    1: the model itself

and then its mean prediction with the first term at 0. The penalty is chosen by cross-validation in 5 folds of items
over C = 10⁻⁴ … 10⁴, as scikit-learn's LogisticRegressionCV does, which the reference implementation (alpaca_eval,
metrics/glm_winrate.py) uses; the fit here is exact where theirs (liblinear) stops at a tolerance. The minimal form
knows judgements only; with AlpacaEval's two files (difficulty, judgements of the gamed baseline) it is
`length_controlled_v1`.

Axis letters: n items, d terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posttrain.errors import DataError

Floats = NDArray[np.float64]
CS = np.logspace(-4, 4, 10)
FOLDS = 5
REGULARISE = 0.2  # weight of the gamed baseline's rows, both of them together
RESAMPLES = 200
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Gamed:
    """The baseline against itself told to be brief or long, [m] each: preferences, standardised lengths,
    difficulties."""

    preference: Floats
    length: Floats
    difficulty: Floats


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """win_rate: the length-controlled one, in [0, 1], with a bootstrap interval over items at the chosen penalty.

    length, difficulty, model: the coefficients; a negative `length` says that the judge likes the longer answer. c: the
    inverse penalty that was chosen.
    """

    win_rate: float
    low: float
    high: float
    length: float
    difficulty: float | None
    model: float
    c: float
    n: int


def length_controlled(
    preference: ArrayLike,
    difference: ArrayLike,
    difficulty: ArrayLike | None = None,
    gamed: Gamed | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> LengthControlled:
    """`preference` [n] for the model in [0, 1], NaN where the judge's reply could not be read; `difference` [n] in
    characters, baseline − model; `difficulty` [n].

    DataError for fewer than 10 readable judgements, differences that are all the same, and gamed rows without
    difficulty.
    """
    p, delta = np.asarray(preference, dtype=np.float64), np.asarray(difference, dtype=np.float64)
    hard = np.asarray(difficulty, dtype=np.float64) if difficulty is not None else None
    _check(p, delta, hard, gamed)
    spread = float(delta.std(ddof=1))
    terms = [np.tanh(delta / spread), *([hard] if hard is not None else []), np.ones_like(p)]
    x = np.column_stack(terms)
    read = np.isfinite(p)
    data = _Data(x[read], p[read], np.ones(int(read.sum())))
    if gamed is not None:
        theirs = np.column_stack([np.tanh(gamed.length), gamed.difficulty, np.zeros_like(gamed.length)])
        # First, as in the reference: the folds follow the order of rows.
        data = data.after(theirs, gamed.preference, np.full(gamed.length.size, REGULARISE / 2))
    c = _choose(data)
    w = fit(data.x, data.p, data.weight, c)
    without = x.copy()
    without[:, 0] = 0.0
    value = float(_sigmoid(without @ w).mean())
    low, high = _bootstrap(data, without[read], c, confidence, seed)
    return LengthControlled(
        value, low, high, float(w[0]), float(w[1]) if hard is not None else None, float(w[-1]), c, int(read.sum())
    )


def _check(p: Floats, delta: Floats, hard: Floats | None, gamed: Gamed | None) -> None:
    if p.ndim != 1 or delta.shape != p.shape or (hard is not None and hard.shape != p.shape):
        raise DataError("the length-controlled win rate needs one preference, length and difficulty per item.")
    read = p[np.isfinite(p)]
    if read.size < 2 * FOLDS:
        raise DataError(f"the length-controlled win rate needs at least {2 * FOLDS} judgements, and has {read.size}.")
    if ((read < 0) | (read > 1)).any():
        raise DataError("preferences lie between 0 and 1.")
    if np.ptp(delta) == 0:
        raise DataError("every answer differs from the baseline's by the same length, so length can't be controlled.")
    if gamed is not None and hard is None:
        raise DataError("the gamed baseline's judgements come with difficulties: name both files, or neither.")


@dataclass(frozen=True, slots=True)
class _Data:
    """x [n, d], preference [n], weight [n]."""

    x: Floats
    p: Floats
    weight: Floats

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> _Data:
        return _Data(self.x[rows], self.p[rows], self.weight[rows])

    def after(self, x: Floats, p: Floats, weight: Floats) -> _Data:
        return _Data(np.vstack([x, self.x]), np.concatenate([p, self.p]), np.concatenate([weight, self.weight]))


def _choose(data: _Data) -> float:
    """The C with the best held-out log-likelihood, the smallest of several."""
    n = data.p.size
    fold = (n - 1 - np.arange(n)) % FOLDS  # as GroupKFold deals groups of like size
    scores = np.zeros(CS.size)
    for k in range(FOLDS):
        inside, outside = data.take(fold != k), data.take(fold == k)
        w = np.zeros(data.x.shape[1])
        for i, c in enumerate(CS):
            w = fit(inside.x, inside.p, inside.weight, float(c), start=w)
            q = np.clip(_sigmoid(outside.x @ w), 1e-15, 1 - 1e-15)
            likelihood = outside.p * np.log(q) + (1 - outside.p) * np.log(1 - q)
            scores[i] += float((outside.weight * likelihood).mean())
    return float(CS[int(scores.argmax())])


def fit(x: Floats, p: Floats, weight: Floats, c: float, *, start: Floats | None = None) -> Floats:
    """argmin_w Σ|w_j| + C Σ_i weight_i · crossentropy(p_i, σ(x_i·w)): [d].

    Coordinate descent with Newton steps, soft thresholds and halved steps where the objective doesn't fall.
    """
    w = np.zeros(x.shape[1]) if start is None else start.copy()
    z = x @ w
    best = _objective(z, w, p, weight, c)
    for _ in range(2_000):
        moved = 0.0
        for j in range(w.size):
            q = _sigmoid(z)
            slope = c * float((weight * (q - p)) @ x[:, j])
            curve = max(c * float((weight * q * (1 - q)) @ x[:, j] ** 2), 1e-12)
            target = w[j] - slope / curve
            step = np.sign(target) * max(abs(target) - 1 / curve, 0.0) - w[j]
            while step != 0.0:
                tried = w.copy()
                tried[j] += step
                value = _objective(z + step * x[:, j], tried, p, weight, c)
                if value <= best:
                    z, w, best = z + step * x[:, j], tried, value
                    moved = max(moved, abs(step))
                    break
                step = step / 2 if abs(step) > TOLERANCE / 4 else 0.0
        if moved < TOLERANCE:
            break
    return w


def _objective(z: Floats, w: Floats, p: Floats, weight: Floats, c: float) -> float:
    return float(np.abs(w).sum() + c * (weight * (np.logaddexp(0.0, z) - p * z)).sum())


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)), dtype=np.float64)


def _bootstrap(data: _Data, without: Floats, c: float, confidence: float, seed: int) -> tuple[float, float]:
    """Percentile interval of the win rate: the items (`without` [n, d], the last n rows of `data`) are drawn anew, the
    penalty and the gamed rows stay."""
    rng = np.random.default_rng(seed)
    n = without.shape[0]
    gamed = data.p.size - n
    values = []
    start: Floats | None = None
    for _ in range(RESAMPLES):
        items = rng.integers(0, n, size=n)
        drawn = data.take(np.concatenate([np.arange(gamed), gamed + items]))
        w = fit(drawn.x, drawn.p, drawn.weight, c, start=start)
        start = w if start is None else start
        values.append(float(_sigmoid(without[items] @ w).mean()))
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def items_of(ids: Sequence[str]) -> list[int]:
    """The place in AlpacaEval's set of ``alpaca_eval/17``: 17. DataError for an id that tells none."""
    places = []
    for name in ids:
        digits = name.rpartition("/")[2]
        if not digits.isdigit():
            raise DataError(
                f"problem id {name!r} tells no place in AlpacaEval's set, by which difficulties are listed."
            )
        places.append(int(digits))
    return places
