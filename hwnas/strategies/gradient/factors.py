"""The selector `factors`: networks within the limits teach an additive model of the loss, which names those to evaluate next.

Shapes: N architectures, C choices, L limits.
"""

from typing import Final, final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import absorbed, total
from hwnas.core.optimum import minimise
from hwnas.strategies.gradient.selection import Selection, magnitude
from hwnas.strategies.loss_factors import LossFactors

# Networks evaluated before the first fit, and between fits.
START: Final = 20
BATCH: Final = 8
# Rows drawn to start from, and posterior draws per network that is looked for: late draws often name a known one.
DRAWN: Final = 8192
TRIES: Final = 3
# Known networks whose use of the limits differs by at most this factor say as much as new ones would.
ALIKE: Final = 1.25
# Losses that differ by a smaller share are equal: the factors' fit puts the noise of a loss at 4 % (digits, 359 validation
# images). Metrics that are maximised are negative losses, and have no ties.
TIE: Final = 0.02
# The exponent that moves evenly spread places towards the limits.
NEAR: Final = 0.5


def factors(selection: Selection) -> Arch:
    """Returns the best network among those evaluated within the limits; none has more dropped options than the likeliest.

    The first networks are spread over the costs that the limits allow, most of them near the limits, which the best networks
    use up. After every batch the losses are fitted as factors; the next batch has the best network of the mean model and of
    models drawn from its posterior (Thompson sampling), each found exactly by integer programming. Networks that the run
    has evaluated before teach the model, too. Raises BudgetError where no architecture is within the limits.
    """
    trials = _Trials(selection, selection.space.encode([magnitude(selection)]))
    if selection.earlier_NC is not None:
        trials.learn(selection.earlier_NC)
    alike = trials.alike()
    last = len(trials.losses) + max(min(BATCH, selection.evaluations), selection.evaluations - alike)
    count = min(START // 2 if trials.losses else START, selection.evaluations)
    rows_NC = trials.spread(count)
    while len(rows_NC):
        trials.learn(rows_NC)
        left = last - len(trials.losses)
        rows_NC = trials.promising(min(BATCH, left)) if left > 0 else rows_NC[:0]
    return selection.space.decode(trials.best())


@final
class _Trials:
    """The losses of evaluated architectures, by their rows' bytes, and what they say about others."""

    def __init__(self, selection: Selection, likeliest_1C: IntArray) -> None:
        self.losses: dict[bytes, float] = {}
        self._selection = selection
        self._likeliest_1C = likeliest_1C
        # Fewer tables make smaller integer programs: 0.12 s instead of 0.20 (mobilenet under a quarter of its latency).
        self._limits = [(absorbed(cost), bound) for cost, bound in selection.undropped(likeliest_1C)]
        self._rng = np.random.default_rng(selection.seed)

    def learn(self, rows_NC: IntArray) -> None:
        """Evaluates architectures."""
        if len(rows_NC):
            loss_N = self._selection.losses(rows_NC)
            # Runs of earlier versions lack some metrics.
            known = zip(rows_NC, loss_N.tolist(), strict=True)
            self.losses.update((row_C.tobytes(), loss) for row_C, loss in known if np.isfinite(loss))

    def alike(self) -> int:
        """Returns how many of the evaluated architectures cost about as much as the limits allow, within them or over them."""
        use_N = self._use(self._evaluated()[0])
        return int(np.count_nonzero((use_N < ALIKE) & (use_N > 1 / ALIKE)))

    def best(self) -> IntArray:
        """Returns the architecture that uses the limits up most, of those that tie with the least loss; shape (C,).

        Of equal networks the larger one gains more when it is trained by itself.
        """
        rows_NC, loss_N = self._evaluated()
        # The integer program may exceed a limit by its tolerance.
        within_N = self._selection.within(rows_NC, self._limits) | (rows_NC == self._likeliest_1C).all(axis=1)
        rows_NC, loss_N = rows_NC[within_N], loss_N[within_N]
        ties_NC = rows_NC[loss_N <= loss_N.min() + TIE * max(0.0, loss_N.min())]
        return np.asarray(ties_NC[self._use(ties_NC).argmax()] if self._selection.limits else rows_NC[loss_N.argmin()])

    def spread(self, count: int) -> IntArray:
        """Returns the likeliest architecture and others, none of them evaluated, spread over how far they use the limits up.

        More are near the limits than far below. A random share of the likeliest architecture's choices is drawn anew, so
        rows within the limits are found also where chance finds none. Shape (at most count, C).
        """
        space, rng = self._selection.space, self._rng
        anew_NC = rng.random((DRAWN, len(space.choices))) < rng.random((DRAWN, 1))
        rows_NC = space.normalise(np.where(anew_NC, space.sample_rows(rng, DRAWN), self._likeliest_1C))
        feasible_NC = np.concatenate([self._likeliest_1C, rows_NC[self._selection.within(rows_NC, self._limits)]])
        rows = {row_C.tobytes(): row_C for row_C in feasible_NC if row_C.tobytes() not in self.losses}
        left_NC = np.array(list(rows.values()), dtype=np.int64).reshape(-1, len(space.choices))
        use_N = self._use(left_NC)
        chosen = [0] if self._likeliest_1C.tobytes() in rows else []
        others_N = np.delete(use_N, chosen)
        use_N[chosen] = np.inf
        for share in np.linspace(0, 1, max(0, min(count, len(rows)) - len(chosen))) ** NEAR:
            place = others_N.min() + share * np.ptp(others_N)
            chosen.append(int(np.abs(use_N - place).argmin()))
            use_N[chosen[-1]] = np.inf
        return left_NC[chosen[:count]]

    def promising(self, count: int) -> IntArray:
        """Returns the best architecture of the mean model, and those of models drawn from its posterior.

        None of them is evaluated yet. Shape (at most count, C).
        """
        space, found = self._selection.space, dict[bytes, IntArray]()
        model = LossFactors.fit(space, *self._evaluated())
        for attempt in range(TRIES * count):
            believed = model.drawn(self._rng) if attempt else model.mean
            (row_C,) = space.encode([minimise(space.choices, believed, self._limits)])
            if row_C.tobytes() not in self.losses:
                found.setdefault(row_C.tobytes(), row_C)
            if len(found) == count:
                break
        return np.array(list(found.values()), dtype=np.int64).reshape(-1, len(space.choices))

    def _evaluated(self) -> tuple[IntArray, FloatArray]:
        """Returns the evaluated architectures (N, C) and their losses (N,)."""
        rows = [np.frombuffer(row, dtype=np.int64) for row in self.losses]
        rows_NC = np.array(rows, dtype=np.int64).reshape(-1, len(self._selection.space.choices))
        return rows_NC, np.array(list(self.losses.values()))

    def _use(self, rows_NC: IntArray) -> FloatArray:
        """Returns the share of the limit that is used up most, which is 1 where it is just met; 0 without limits; (N,)."""
        columns = self._selection.space.columns
        limits = self._selection.limits
        use_LN = [total(cost, rows_NC, columns) / (abs(bound) or 1.0) for cost, bound in limits]
        return np.asarray(np.max([np.zeros(len(rows_NC)), *use_LN], axis=0))
