"""Many model agents in one process of their own: `python scripts/benchmarks/simulated.py MASTER COUNT`."""

import asyncio
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import uvloop

from agents.simulated import run_simulated


async def main(master: str, count: int) -> None:
    """Runs until SIGTERM."""
    agents = asyncio.ensure_future(run_simulated(master, count))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, agents.cancel)
    await asyncio.wait([agents])
    if not agents.cancelled():
        agents.result()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
