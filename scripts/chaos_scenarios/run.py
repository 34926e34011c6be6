"""The part of a run that lives at the centre of its network, with mounts of its own."""

import argparse
import asyncio
import ctypes
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestra.base import log as logging
from scripts.chaos_scenarios import disks
from scripts.chaos_scenarios.catalogue import SCENARIOS
from scripts.chaos_scenarios.network import Network
from scripts.chaos_scenarios.table import Table
from scripts.chaos_scenarios.trial import Row, run_trial

MACHINES = ("m1", "m2", "m3", "m4", "n1", "n2")
_PR_SET_PDEATHSIG = 1


async def run(options: argparse.Namespace) -> bool:
    """Runs the scenarios named; whether everything held."""
    network = Network(options.run, MACHINES)
    table = Table(options.scenarios)
    rows: list[Row] = []
    if not options.json:
        print(table.head(), flush=True)
    for name in options.scenarios:
        folder = Path(options.folder) / name
        folder.mkdir()
        row = await run_trial(SCENARIOS[name], network, folder, options.seconds, options.seed)
        await disks.release(folder, keep=bool(row.violations))
        row.logs = str(folder) if row.violations else ""
        rows.append(row)
        if not options.json:
            print(table.line(row), flush=True)
    if options.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    return not any(row.violations for row in rows)


async def _until_told(options: argparse.Namespace) -> int:
    running = asyncio.ensure_future(run(options))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        return 0 if await running else 1
    except asyncio.CancelledError:
        print("chaos: interrupted", file=sys.stderr)
        return 130


def main(words: Sequence[str]) -> int:
    """Called by scripts/chaos.py only."""
    # Should the one that cleans up die, nothing here may stay.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        return 1
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=int)
    parser.add_argument("--folder")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("scenarios", nargs="+")
    logging.configure(0)
    return asyncio.run(_until_told(parser.parse_args(words)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
