"""One scenario on one fresh cluster: work, damage, healing, and what is checked in the end."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestra.base.errors import OrchestraError
from scripts.chaos_scenarios import history, pods
from scripts.chaos_scenarios.calls import Book, longest_gap
from scripts.chaos_scenarios.cluster import READY_SECONDS, Cluster
from scripts.chaos_scenarios.history import Findings
from scripts.chaos_scenarios.leasing import TTL_SECONDS
from scripts.chaos_scenarios.network import Network
from scripts.chaos_scenarios.workload import Workload
from tests.simulation.group.record import Violation

AGENTS: Final = 2
WARM_UP_SECONDS: Final = 0.7
CONVERGE_SECONDS: Final = 30.0
# A new leader gives every lease its whole time anew.
LEASE_END_SECONDS: Final = 2 * TTL_SECONDS + 5.0
ORPHAN_SECONDS: Final = 5.0
ROUNDS_MIN: Final = 2


@dataclass(frozen=True, slots=True)
class Scenario:
    """One sort of damage. same_pods: it must not cost a single pod. grace: how long a node without its agent
    keeps its pods, if not as long as it does by default."""

    name: str
    about: str
    damage: Callable[["Trial"], Awaitable[None]]
    same_pods: bool = True
    grace: str = ""


@dataclass(slots=True)
class Row:
    """How a trial went."""

    scenario: str
    seconds: float = 0.0
    faults: int = 0
    ok: int = 0
    refused: int = 0
    unknown: int = 0
    gap_ms: int = 0
    checked: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    # What calls without an answer were told, for whoever looks into a failure.
    whys: dict[str, int] = field(default_factory=dict)
    logs: str = ""


class Trial:
    """What a scenario works with."""

    def __init__(self, network: Network, folder: Path, seconds: float, seed: str, grace: str) -> None:
        self.rng = random.Random(seed)
        self.network = network
        self.folder = folder
        self.cluster = Cluster(network, folder, AGENTS, grace, self.rng)
        self.workloads = [Workload(self.cluster, seed)]
        self.findings = Findings()
        self.faults = 0
        self.pods: dict[str, str] = {}
        self._seconds = seconds
        self._seed = seed

    def rounds(self) -> Iterator[int]:
        """Numbers, for as long as damage is to be done."""
        end = time.monotonic() + self._seconds
        number = 0
        while number < ROUNDS_MIN or time.monotonic() < end:
            yield number
            number += 1

    async def pause(self, low: float, high: float) -> None:
        """A time within these bounds."""
        await asyncio.sleep(self.rng.uniform(low, high))

    def fault(self, what: str) -> None:
        """One more thing was damaged."""
        self.faults += 1
        self.note(what)

    def note(self, what: str) -> None:
        """For whoever looks into a failure; by the clock of the calls' times, and of the programs' logs."""
        with (self.folder / "story").open("a") as story:
            story.write(f"{time.monotonic():.3f} {what}\n")

    async def working(self, seconds: float = READY_SECONDS) -> None:
        """Waits until a write is acknowledged that was made from now on. Raises: TimeoutError."""
        book, since = self.workload.book, time.monotonic()
        async with asyncio.timeout(seconds):
            while book.newest_asked < since:
                book.wrote.clear()
                await book.wrote.wait()
        self.note("a write was acknowledged")

    def others(self, name: str) -> list[str]:
        """The masters but one."""
        return [other for other in sorted(self.cluster.masters) if other != name]

    async def settled(self) -> None:
        """Waits until just those pods are ready that are wanted. Raises: TimeoutError."""
        async with self.cluster.client() as client:
            await pods.ready_pods(client, CONVERGE_SECONDS)

    @property
    def workload(self) -> Workload:
        """The clients of now."""
        return self.workloads[-1]

    def renew_workload(self) -> None:
        """Clients that know nothing of those before."""
        self.workloads.append(Workload(self.cluster, self._seed, f"again {len(self.workloads)}/"))
        self.workload.start()

    def books(self) -> list[Book]:
        """What all of them saw."""
        return [workload.book for workload in self.workloads]


async def run_trial(scenario: Scenario, network: Network, folder: Path, seconds: float, seed: int) -> Row:
    """Runs it; what does not hold is in the row."""
    began = time.monotonic()
    row = Row(scenario.name)
    trial = Trial(network, folder, seconds, f"{scenario.name} {seed}", scenario.grace)
    try:
        await _lived(scenario, trial, row)
    except (OrchestraError, OSError, TimeoutError, Violation) as error:
        row.violations.append(f"{type(error).__name__}: {error or 'it took too long'}")
        row.violations += [f for program in trial.cluster.programs if (f := program.failure)]
    finally:
        network.heal()
        await trial.cluster.stop()
        row.violations += _left(trial)
        trial.note("the cluster is stopped")
    row.faults = trial.faults
    row.checked, row.violations = trial.findings.seen, row.violations + trial.findings.violations
    row.seconds = time.monotonic() - began
    return row


async def _lived(scenario: Scenario, trial: Trial, row: Row) -> None:
    cluster = trial.cluster
    trial.note("the cluster starts")
    await cluster.start()
    trial.note("a master leads")
    async with cluster.client() as client:
        await pods.deploy(client, len(cluster.agents))
        trial.pods = await pods.ready_pods(client, CONVERGE_SECONDS)
    trial.note("the pods are ready")
    async with _working(trial, row):
        await asyncio.sleep(WARM_UP_SECONDS)
        await scenario.damage(trial)
        trial.note("everything heals")
        trial.network.heal()
        await cluster.restart()
        await trial.working()
        workload = trial.workload
        await workload.quiesce()
        trial.note("the workload is at rest")
        await _converged(scenario, trial)
        trial.note("the pods are as they should be")
        await _checked(trial, workload)
        trial.note("the history is checked")


@asynccontextmanager
async def _working(trial: Trial, row: Row) -> AsyncIterator[None]:
    """The workload, and what it counted, however it ends."""
    trial.workload.start()
    since = time.monotonic()
    try:
        yield
    finally:
        try:
            await trial.workload.stop()
        finally:
            _count(trial.books(), since, row)


def _count(books: Sequence[Book], since: float, row: Row) -> None:
    writes: list[float] = []
    for book in books:
        row.ok += book.outcomes["ok"]
        row.refused += book.outcomes["refused"]
        row.unknown += book.outcomes["unknown"]
        row.whys |= book.whys
        writes += book.writes
    # To the last write: what comes then are the checks.
    row.gap_ms = round(1000 * longest_gap(writes, since, max(writes, default=time.monotonic())))


async def _converged(scenario: Scenario, trial: Trial) -> None:
    cluster, findings = trial.cluster, trial.findings
    async with cluster.client() as client:
        found = await pods.ready_pods(client, CONVERGE_SECONDS)
    if scenario.same_pods and found != trial.pods:
        lost = trial.pods.keys() - found.keys()
        findings.violations.append(f"{len(lost)} of {len(trial.pods)} pods were replaced: {sorted(lost)}")
    folders = {name: cluster.data_dir(name) for name in cluster.agents}
    findings.violations += await pods.check_processes(folders, found, ORPHAN_SECONDS)
    findings.violations += [failure for program in cluster.programs if (failure := program.failure)]
    findings.seen.append(f"{len(found)} pods")


async def _checked(trial: Trial, workload: Workload) -> None:
    findings, cluster = trial.findings, trial.cluster
    leader = await cluster.leader()
    end = time.monotonic() + LEASE_END_SECONDS
    addresses = {name: cluster.etcd(name) for name in cluster.masters}
    while left := await history.lease_keys(addresses[leader]):
        if time.monotonic() > end:
            findings.violations.append(f"leases that nobody keeps alive still hold {left}")
            break
        await asyncio.sleep(0.1)
    record = await history.same_everywhere(addresses, findings)
    await workload.told(history.newest_of(record), CONVERGE_SECONDS)
    history.check_calls(trial.books(), record, findings)
    resumed = sum(watcher.resumed for watcher in workload.watchers)
    history.check_watches([watcher.watched for watcher in workload.watchers], record, resumed, findings)
    held = [held for holder in workload.holders for held in holder.held]
    history.check_leases(held, workload.book, findings)


def _left(trial: Trial) -> list[str]:
    """Processes that outlived those that had started them."""
    return [
        f"process {pid} is left on {name}"
        for name in (*trial.cluster.masters, *trial.cluster.agents)
        for pid in trial.network.processes(name)
    ]
