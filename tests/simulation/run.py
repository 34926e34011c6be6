"""python -m tests.simulation.run --seeds 1..200: worlds by seed, each told once; stops at the first that fails."""

import argparse
import sys
import time

from tests.simulation import trace
from tests.simulation.stories import TURBULENT_SECONDS, turbulence
from tests.simulation.world import Failed, World, simulate


def main() -> int:
    """0 if every seed held."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", default="1..20", help="A..B, or one seed")
    parser.add_argument(
        "--seconds", type=float, default=TURBULENT_SECONDS, help="virtual seconds of turbulence"
    )
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure")
    parser.add_argument("--hash", action="store_true", help="print each world's hash")
    parser.add_argument("--lines", type=int, default=trace.KEPT_LINES, help="of a failed world's trace")
    options = parser.parse_args()
    trace.KEPT_LINES = options.lines
    first, _, last = options.seeds.partition("..")
    began, told, virtual, failed = time.monotonic(), 0, 0.0, []

    async def story(world: World) -> None:
        await turbulence(world, options.seconds)

    for seed in range(int(first), int(last or first) + 1):
        try:
            digest, seconds = simulate(seed, story)
        except Failed as error:
            print(error, file=sys.stderr)
            failed.append(seed)
            if not options.keep_going:
                break
        else:
            told, virtual = told + 1, virtual + seconds
            if options.hash:
                print(f"{seed} {digest}")
    minutes = (time.monotonic() - began) / 60
    print(
        f"{told} seeds held, {told / minutes:.0f} seeds/min, {virtual / 3600 / minutes:.1f} virtual hours/min"
    )
    if failed:
        print(f"failed: {' '.join(map(str, failed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
