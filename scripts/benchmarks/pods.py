"""How fast pods come, and come again: on real agents, and on a thousand simulated ones."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from orchestra.cli.local_cluster import LocalCluster, free_port
from orchestra.cli.up import follow, wait_for_nodes
from orchestra.client import Client
from orchestra.objects.kinds import NODE, POD, ApiObject
from orchestra.objects.readiness import is_ready
from orchestra.pb import apps, core
from scripts.benchmarks import anchors
from scripts.benchmarks.figures import Figure, latency
from scripts.benchmarks.processes import cpu_seconds

STARTS = 100
KILLS = 10
SIMULATED_AGENTS = 1_000
SIMULATED_PODS = 5_000
STOP_SECONDS = 20.0


@contextlib.asynccontextmanager
async def cluster_of(agents: int, **settings: object) -> AsyncIterator[tuple[LocalCluster, Client]]:
    """A cluster with every node Ready, and a client of it."""
    cluster = LocalCluster(agents, port=free_port(), report=lambda line: None, **settings)  # type: ignore[arg-type]
    async with cluster, Client(cluster.server) as client:
        await wait_for_nodes(client, cluster, lambda line: None)
        yield cluster, client


@contextlib.asynccontextmanager
async def simulated_agents(cluster: LocalCluster, count: int) -> AsyncIterator[None]:
    """Model agents of the cluster, in a process of their own."""
    script = Path(__file__).parent / "simulated.py"
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), cluster.server, str(count))
    ended = asyncio.ensure_future(process.wait())

    def stop(_: object) -> None:
        alive.reschedule(0)

    try:
        async with asyncio.timeout(None) as alive:
            ended.add_done_callback(stop)
            try:
                yield
            finally:
                ended.remove_done_callback(stop)
    except TimeoutError:
        if ended.done():
            raise RuntimeError("the model agents' process has ended by itself") from None
        raise
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(ended), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await ended


def sleeper(name: str) -> core.Pod:
    """A pod that only sleeps."""
    pod = core.Pod()
    pod.metadata.name = name
    pod.metadata.namespace = "default"
    pod.spec.terminationGracePeriodSeconds = 0
    pod.spec.containers.add(name="c", command=["sleep", "infinity"])
    return pod


def sleepers(name: str, replicas: int) -> apps.ReplicaSet:
    """A ReplicaSet of pods that only sleep."""
    made = apps.ReplicaSet()
    made.metadata.name = name
    made.metadata.namespace = "default"
    made.spec.replicas = replicas
    made.spec.selector.matchLabels["app"] = name
    made.spec.template.metadata.labels["app"] = name
    made.spec.template.spec.CopyFrom(sleeper(name).spec)
    return made


async def pod_start_ms() -> list[Figure]:
    """One pod at a time on an idle cluster: from the apply call to a watcher seeing Running."""
    taken: list[float] = []
    async with cluster_of(1) as (_, client):
        running: dict[str, asyncio.Future[float]] = {}
        gone: dict[str, asyncio.Future[None]] = {}

        async def watch() -> None:
            async for event in client.watch(POD, "default"):
                if event.obj is None:
                    continue
                name = event.obj.metadata.name
                if event.type == "DELETED":
                    gone[name].set_result(None)
                elif event.obj.status.phase == "Running" and name in running and not running[name].done():
                    running[name].set_result(time.perf_counter())

        watcher = asyncio.create_task(watch())
        loop = asyncio.get_running_loop()
        for number in range(STARTS + 3):
            name = f"start-{number}"
            running[name], gone[name] = loop.create_future(), loop.create_future()
            began = time.perf_counter()
            await client.apply(sleeper(name))
            async with asyncio.timeout(30):
                ended = await running[name]
            if number >= 3:  # The first few warm caches on both sides.
                taken.append((ended - began) * 1000)
            await client.delete(POD, "default", name, grace_seconds=0)
            async with asyncio.timeout(30):
                await gone[name]
        watcher.cancel()
        await asyncio.wait([watcher])
    return [latency("pod_start_ms", taken, anchor="posix_spawn_ms", anchor_value=anchors.spawn_ms())]


async def pods_per_s() -> list[Figure]:
    """One ReplicaSet of 5,000 pods over a thousand simulated agents: created, bound and Running."""
    async with cluster_of(0) as (cluster, client), simulated_agents(cluster, SIMULATED_AGENTS):
        await follow(
            client,
            NODE,
            "",
            lambda nodes: len(nodes) >= SIMULATED_AGENTS and all(map(is_ready, nodes.values())),
            120,
        )
        assert cluster.master is not None
        cpu = cpu_seconds(cluster.master.pid)
        revision = (await client.list(POD, "default")).revision
        began = time.perf_counter()
        await client.create(sleepers("many", SIMULATED_PODS))
        seen = await _seen_running(client, revision, SIMULATED_PODS, 300)
        took = seen[-1] - began
        cpu = cpu_seconds(cluster.master.pid) - cpu
    echo = await anchors.grpc_echo_per_s()
    notes: dict[str, float | int | str] = {
        "pods": SIMULATED_PODS,
        "agents": SIMULATED_AGENTS,
        "seconds": round(took, 2),
        "sustained": round(sustained(seen)),
        "master_cpu_ms_per_pod": round(cpu / SIMULATED_PODS * 1000, 3),
    }
    return [
        Figure("pods_per_s", SIMULATED_PODS / took, "pods/s", anchor="grpc_echo_per_s", anchor_value=echo,
               notes=notes)
    ]  # fmt: skip


async def _seen_running(client: Client, revision: int, count: int, seconds: float) -> list[float]:
    """When a watcher saw each of `count` pods Running for the first time.

    Raises: TimeoutError.
    """
    seen: dict[str, float] = {}
    async with asyncio.timeout(seconds):
        async for event in client.watch(POD, "default", revision=revision):
            if event.obj is not None and event.obj.status.phase == "Running":
                seen.setdefault(event.obj.metadata.uid, time.perf_counter())
                if len(seen) == count:
                    break
    return list(seen.values())


def sustained(times: Sequence[float]) -> float:
    """The rate over the middle of a run: its first and its last tenth left out.

    Units: per second.
    """
    tenth = len(times) // 10
    middle = times[tenth : len(times) - tenth]
    return (len(middle) - 1) / (middle[-1] - middle[0]) if middle[-1] > middle[0] else 0.0


async def agent_failover_ms() -> list[Figure]:
    """kill -9 of one of three agents with its pods: until all six replicas are Running on the others."""
    taken: list[float] = []
    async with cluster_of(3, keep=False) as (cluster, client):
        await client.create(sleepers("six", 6))
        running: list[ApiObject] = []

        def six_running(pods: object) -> bool:
            assert isinstance(pods, dict)
            running[:] = [
                pod
                for pod in pods.values()
                if pod.status.phase == "Running" and not pod.metadata.HasField("deletionTimestamp")
            ]
            return len(running) >= 6

        for _ in range(KILLS):
            await follow(client, POD, "default", six_running, 60)
            victim = running[0].spec.nodeName
            lost = {pod.metadata.uid for pod in running if pod.spec.nodeName == victim}
            began = time.perf_counter()
            cluster.kill_machine(cluster.agents[victim])

            def replaced(pods: object, lost: set[str] = lost) -> bool:
                assert isinstance(pods, dict)
                return six_running({key: pod for key, pod in pods.items() if pod.metadata.uid not in lost})

            await follow(client, POD, "default", replaced, 60)
            taken.append((time.perf_counter() - began) * 1000)
            await cluster.restart(cluster.agents[victim])
            await wait_for_nodes(client, cluster, lambda line: None)
    return [latency("agent_failover_ms", taken)]
