"""One real cluster for each file of tests, a namespace for each test, and the count of behaviours that hold."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from orchestra.cli.local_cluster import LocalCluster, free_port
from orchestra.cli.up import wait_for_nodes
from orchestra.client import Client
from orchestra.objects.kinds import NAMESPACE
from tests.conformance.place import Place, message

AREAS = (
    "sig-api-machinery",
    "sig-apps",
    "sig-architecture",
    "sig-cli",
    "sig-instrumentation",
    "sig-network",
    "sig-node",
    "sig-scheduling",
)
HERE = Path(__file__).parent
# What a node says it has, whatever this machine is.
CAPACITY = "cpu=4,memory=4Gi,pods=110"


def _quiet(line: str) -> None:
    """Nobody is watching."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[LocalCluster]:
    """A master and two agents. Containers that keep ending are started again without a long wait."""
    flags = ("--max-container-restart-period", "100ms")
    async with LocalCluster(
        2, port=free_port(), capacity=CAPACITY, agent_flags=flags, keep=False, report=_quiet
    ) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """A client of the cluster, once its nodes are ready."""
    async with Client(cluster.server) as client:
        await wait_for_nodes(client, cluster, _quiet)
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def place(
    cluster: LocalCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    """A namespace of the test's own; it is on its way out when the test ends."""
    monkeypatch.setenv("ORCHESTRA_CONFIG", "/dev/null")
    monkeypatch.delenv("ORCHESTRA_SERVER", raising=False)
    made = await client.create(
        message({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "conformance-"}})
    )
    name = made.metadata.name
    try:
        yield Place(client, cluster, name)
    finally:
        await client.delete_collection("pods", name, grace_seconds=0)
        await client.delete(NAMESPACE, "", name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """`conformance: sig-apps 19, sig-node 52 = 71 behaviours hold`."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        path = Path(report.location[0])
        if report.when == "call" and path.parent.name == HERE.name and path.stem.startswith("test_sig_"):
            counts[
                next(area for area in AREAS if path.stem.startswith(f"test_{area}".replace("-", "_")))
            ] += 1
    if counts:
        areas = ", ".join(f"{area} {count}" for area, count in sorted(counts.items()))
        terminalreporter.write_line(f"conformance: {areas}; {counts.total()} behaviours hold")
