"""Runs scenarios of damage on real masters and agents, in network namespaces of their own.

This process makes the network and takes it away again, whatever becomes of the one that works in it.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.chaos_scenarios.catalogue import SCENARIOS
from scripts.chaos_scenarios.network import CENTRE, Network, sweep
from scripts.chaos_scenarios.run import MACHINES

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 6.0
END_SECONDS = 30.0
TOOLS = ("ip", "nft", "nsenter", "unshare")


def options_of() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Real masters and agents under damage: whether every acknowledged write, watch, lease and "
        "pod is what was promised. Exit code 1 if not.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="all of them by default")
    parser.add_argument("--list", action="store_true", help="the scenarios, and what they do")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of damage in each (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of everything that is chosen (default: 1)")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)} (there are: {', '.join(SCENARIOS)})")
    return options


def main() -> int:
    """Returns the exit code."""
    options = options_of()
    if options.list:
        width = max(map(len, SCENARIOS))
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:{width}}  {scenario.about}")
        return 0
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        why = f"{', '.join(missing)} is not on PATH" if missing else "this is not root"
        print(f"chaos: network namespaces are needed, and {why}", file=sys.stderr)
        return 2
    left = sweep()
    if left:
        print(f"chaos: removed what a dead run had left: {', '.join(left)}", file=sys.stderr)
    return run(options)


def run(options: argparse.Namespace) -> int:
    """The scenarios, in a network that is there for them only."""
    network = Network(os.getpid(), MACHINES)
    folder = Path(tempfile.mkdtemp(prefix=f"orchestra-chaos-{os.getpid()}-"))
    stopping: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    code = 130
    try:
        network.make()
        if not stopping:
            code = _inside(network, folder, options, stopping)
    finally:
        network.remove()
        if code == 1:
            print(
                f"chaos: what did not hold is told above; logs and data are kept in {folder}", file=sys.stderr
            )
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _inside(network: Network, folder: Path, options: argparse.Namespace, stopping: list[int]) -> int:
    names = options.scenarios or list(SCENARIOS)
    command = ["nsenter", f"--net={network.namespace(CENTRE)}"]
    command += ["unshare", "--mount", "--propagation", "private"]
    command += [sys.executable, "-m", "scripts.chaos_scenarios.run", "--run", str(os.getpid())]
    command += ["--folder", str(folder), "--seconds", str(options.seconds), "--seed", str(options.seed)]
    command += ["--json"] * options.json + names
    inside = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    while True:
        try:
            return inside.wait(0.2)
        except subprocess.TimeoutExpired:
            if stopping:
                break
    inside.terminate()
    try:
        inside.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        inside.kill()
        inside.wait()
    return 130


if __name__ == "__main__":
    sys.exit(main())
