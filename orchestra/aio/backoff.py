"""Waiting longer after each failure, never in step with others."""

import random


class Backoff:
    """A sequence of waits that grows by `factor` from `initial_ms` to `limit_ms`, each jittered by half.

    Bound: every wait lies in [w/2, w] where w ≤ limit_ms, so that many who fail together spread out.
    """

    __slots__ = ("_factor", "_initial_ms", "_limit_ms", "_next_ms", "_rng")

    def __init__(
        self, initial_ms: int, limit_ms: int, *, factor: float = 2.0, rng: random.Random | None = None
    ) -> None:
        if not 0 < initial_ms <= limit_ms or factor < 1:
            raise ValueError(
                f"back-off needs 0 < initial ≤ limit and factor ≥ 1: {initial_ms}, {limit_ms}, {factor}"
            )
        self._initial_ms = initial_ms
        self._limit_ms = limit_ms
        self._factor = factor
        self._next_ms = float(initial_ms)
        self._rng = rng or random.Random()

    def next_ms(self) -> int:
        """How long to wait now; the next answer will be longer."""
        wait = self._next_ms
        self._next_ms = min(wait * self._factor, float(self._limit_ms))
        return max(1, int(wait / 2 + self._rng.random() * wait / 2))

    def reset(self) -> None:
        """Begins again: something worked."""
        self._next_ms = float(self._initial_ms)
