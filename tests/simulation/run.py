"""scripts/simulate --seeds 1..200: worlds by seed on virtual time, in as many processes as there are cores.

Stops at the first that does not hold, and says how to see that one again.
"""

import argparse
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from tests.simulation import trace
from tests.simulation.worlds import BOTH, CLUSTER, GROUP, Outcome, kind_of, play

# How many worlds wait for each process, so that none is idle.
AHEAD = 3
PROGRESS_SECONDS = 30.0


def main() -> int:
    """0 if every seed held."""
    options = _options()
    first, _, last = options.seeds.partition("..")
    seeds = range(int(first), int(last or first) + 1)
    tally, failed = _Tally(), []
    for outcome in _outcomes(seeds, options):
        if outcome.failure:
            failed.append(outcome.seed)
            print(f"{outcome.failure}\n{_again(outcome, options)}", file=sys.stderr, flush=True)
            if not options.keep_going:
                break
            continue
        tally.add(outcome)
        if options.hash:
            print(f"{outcome.seed} {outcome.hash}", flush=True)
    print(tally.line())
    if failed:
        print(f"failed: {' '.join(map(str, failed))}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", default="1..20", help="A..B, or one seed")
    parser.add_argument(
        "--world",
        choices=(GROUP, CLUSTER, BOTH),
        default=BOTH,
        help="members of the store alone, whole clusters, or (as usual) both by the seed",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seconds", type=float, help="virtual seconds of turbulence")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure")
    parser.add_argument("--hash", action="store_true", help="print each world's hash")
    parser.add_argument("--lines", type=int, default=trace.KEPT_LINES, help="of a failed world's trace")
    return parser.parse_args()


def _outcomes(seeds: range, options: argparse.Namespace) -> Iterator[Outcome]:
    """What comes of each seed, in their order."""
    if options.jobs <= 1 or len(seeds) == 1:
        _prepare(options.lines)
        for seed in seeds:
            yield play(seed, kind_of(seed, options.world), options.seconds)
        return
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(options.jobs, context, _prepare, (options.lines,))
    waiting: list[Future[Outcome]] = []
    try:
        left = iter(seeds)
        while True:
            while len(waiting) < options.jobs * AHEAD and (seed := next(left, None)) is not None:
                waiting.append(pool.submit(play, seed, kind_of(seed, options.world), options.seconds))
            if not waiting:
                return
            yield waiting.pop(0).result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(lines: int) -> None:
    """In each process, before its first world."""
    trace.KEPT_LINES = lines
    # What the house says is in the trace where a world wants it there.
    logging.getLogger().addHandler(logging.NullHandler())


def _again(outcome: Outcome, options: argparse.Namespace) -> str:
    seconds = "" if options.seconds is None else f" --seconds {options.seconds:g}"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"FAILED: seed {outcome.seed}, a {outcome.kind} world, at {outcome.seconds:.3f} virtual seconds, "
        f"commit {commit or 'unknown'}\n"
        f"again: ./scripts/simulate --seeds {outcome.seed} --world {outcome.kind}{seconds} --lines 5000\n"
    )


class _Tally:
    """How many worlds held, and how fast."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self._held: dict[str, int] = {}
        self._virtual = 0.0

    def add(self, outcome: Outcome) -> None:
        """One that held; now and then a line about all."""
        self._held[outcome.kind] = self._held.get(outcome.kind, 0) + 1
        self._virtual += outcome.seconds
        if time.monotonic() - self._said > PROGRESS_SECONDS:
            self._said = time.monotonic()
            print(f"… {self.line()} (up to seed {outcome.seed})", file=sys.stderr, flush=True)

    def line(self) -> str:
        """All in a line."""
        minutes = max(time.monotonic() - self._began, 1e-9) / 60
        held = sum(self._held.values())
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self._held.items())) or "none"
        return (
            f"{held} seeds held ({kinds}): {held / minutes:.0f} seeds/min, "
            f"{self._virtual / 3600 / minutes:.2f} simulated hours/min, {self._virtual / 3600:.2f} in all"
        )


if __name__ == "__main__":
    sys.exit(main())
