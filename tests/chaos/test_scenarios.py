"""A few scenarios of chaos, shortly; all of them for long: ./scripts/chaos."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.chaos_scenarios.network import sweep

ROOT = Path(__file__).resolve().parents[2]
NETNS = Path("/run/netns")

# Root without ip and nft is no reason: ./scripts/install-nftables brings them, and then it has to work.
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def left_by(pid: int) -> list[Path]:
    """Namespaces and folders of a run."""
    return [*NETNS.glob(f"orch-chaos-{pid}-*"), *Path("/tmp").glob(f"orchestra-chaos-{pid}-*")]


@pytest.mark.parametrize("scenario", ["leader-killed", "leader-partitioned"])
def test_everything_that_was_promised_holds(scenario: str) -> None:
    command = [sys.executable, str(ROOT / "scripts/chaos.py"), scenario, "--seconds", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as chaos:
        said, _ = chaos.communicate(timeout=100)
    rows = json.loads(said)
    assert chaos.returncode == 0, said
    (row,) = rows
    assert row["faults"] >= 2
    assert row["ok"] > 100
    assert row["violations"] == []
    assert left_by(chaos.pid) == []


async def test_interrupted_it_leaves_nothing() -> None:
    chaos = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "scripts/chaos.py"), "leader-killed", stdout=asyncio.subprocess.PIPE
    )
    assert chaos.stdout is not None
    # The table's head: there is a network, and masters are about to start.
    assert await chaos.stdout.readline()
    assert left_by(chaos.pid)
    chaos.send_signal(signal.SIGINT)
    async with asyncio.timeout(40):
        assert await chaos.wait() == 130
    assert left_by(chaos.pid) == []


def test_unknown_scenarios_are_refused() -> None:
    command = [sys.executable, str(ROOT / "scripts/chaos.py"), "no-such"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such scenario: no-such" in done.stderr


def test_what_a_dead_run_left_is_removed_by_the_next_one() -> None:
    command = [sys.executable, str(ROOT / "scripts/chaos.py"), "leader-killed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as chaos:
        assert chaos.stdout is not None
        assert chaos.stdout.readline()
        chaos.kill()
        # Its output is held open by the part inside, which ends by itself.
        chaos.stdout.read()
    assert left_by(chaos.pid)
    try:
        assert any(f"-{chaos.pid}-" in name for name in sweep())
        assert not list(NETNS.glob(f"orch-chaos-{chaos.pid}-*"))
    finally:
        for folder in Path("/tmp").glob(f"orchestra-chaos-{chaos.pid}-*"):
            shutil.rmtree(folder)
