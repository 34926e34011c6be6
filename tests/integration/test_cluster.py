"""Whole clusters of real processes: what a user would see, and what is left when machines die."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestra.cli.local_cluster import LocalCluster, free_port
from orchestra.cli.up import follow, wait_for_node_ports, wait_for_nodes, wait_for_object
from orchestra.client import Client
from orchestra.objects.kinds import DEPLOYMENT, NODE, POD, REPLICA_SET, SERVICE, ApiObject
from orchestra.objects.manifests import load_documents
from orchestra.objects.readiness import is_ready
from orchestra.pb import core
from scripts.load import Load, ask

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
WAIT_SECONDS = 40.0


def quiet(line: str) -> None:
    """Nobody is watching."""


@asynccontextmanager
async def cluster_of(agents: int, *, keep: bool = True) -> AsyncIterator[tuple[LocalCluster, Client]]:
    cluster = LocalCluster(agents, port=free_port(), keep=keep, report=quiet)
    async with cluster, Client(cluster.server) as client:
        await wait_for_nodes(client, cluster, quiet)
        yield cluster, client


async def apply(client: Client, name: str, **changes: str) -> list[ApiObject]:
    text = (EXAMPLES / name).read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    loaded = load_documents(text.encode(), name)
    assert not loaded.problems
    return [(await client.apply(each.obj))[0] for each in loaded.objects]


def alive(pods: Mapping[str, ApiObject], app: str) -> list[ApiObject]:
    return [
        pod
        for pod in pods.values()
        if pod.metadata.labels.get("app") == app and not pod.metadata.HasField("deletionTimestamp")
    ]


async def ready(client: Client, app: str, count: int) -> list[ApiObject]:
    """Waits for just so many pods of an app, all ready."""
    found: list[ApiObject] = []

    def enough(pods: Mapping[str, ApiObject]) -> bool:
        found[:] = alive(pods, app)
        return len(found) == count and all(is_ready(pod) for pod in found)

    await follow(client, POD, "default", enough, WAIT_SECONDS)
    return found


async def log_says(client: Client, pod: str, container: str, wanted: str) -> str:
    """Follows a log until it says something."""
    said = b""
    async with asyncio.timeout(WAIT_SECONDS):
        async for data in client.logs("default", pod, container=container, follow=True):
            said += data
            if wanted.encode() in said:
                return said.decode()
    raise AssertionError(f"the log ended without {wanted!r}: {said.decode()}")


async def test_the_web_application_rolls_forth_and_back_without_a_failed_request() -> None:
    async with cluster_of(3) as (cluster, client):
        for obj in await apply(client, "web.yaml"):
            await wait_for_object(client, obj, quiet)
        targets = await wait_for_node_ports(cluster, await client.get(SERVICE, "default", "web"))
        counts: list[int] = []

        async def watch() -> None:
            pods: dict[str, ApiObject] = {}
            async for event in client.watch(POD, "default", labels="app=web", bookmarks=True):
                if event.obj is None:
                    counts.append(sum(is_ready(pod) for pod in alive(pods, "web")))
                elif event.type == "DELETED":
                    pods.pop(event.obj.metadata.uid, None)
                else:
                    pods[event.obj.metadata.uid] = event.obj

        watcher = asyncio.create_task(watch())
        async with Load(targets) as load:
            await wait_for_object(client, (await apply(client, "web-v2.yaml"))[0], quiet)
            assert "version 2" in await ask(*targets[0])
            await wait_for_object(client, (await apply(client, "web.yaml"))[0], quiet)
            assert "version 1" in await ask(*targets[1])
        watcher.cancel()
        await asyncio.wait([watcher])
        assert load.tally.failures == []
        assert load.tally.answers["version 2"] > 0
        assert min(counts) >= 3, "maxUnavailable is 0"
        deployment = await client.get(DEPLOYMENT, "default", "web")
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "3"
        assert len((await client.list(REPLICA_SET, "default")).items) == 2, (
            "the first version's set is used again"
        )


async def test_a_dead_agents_pods_are_replaced_and_it_gives_up_the_old_ones_when_it_returns() -> None:
    async with cluster_of(3, keep=False) as (cluster, client):
        await apply(client, "replicaset.yaml")
        before = await ready(client, "sleepers", 3)
        victim = before[0].spec.nodeName
        lost = {pod.metadata.uid for pod in before if pod.spec.nodeName == victim}
        # Only the agent dies: its pods go on running, and must be given up when it comes back.
        cluster.kill(cluster.agents[victim])

        def replaced(pods: Mapping[str, ApiObject]) -> bool:
            found = alive(pods, "sleepers")
            return len(found) == 3 and all(is_ready(p) and p.metadata.uid not in lost for p in found)

        await follow(client, POD, "default", replaced, WAIT_SECONDS)
        node = await client.get(NODE, "", victim)
        assert not is_ready(node)
        await cluster.restart(cluster.agents[victim])
        await wait_for_nodes(client, cluster, quiet)

        after = await ready(client, "sleepers", 3)
        assert not lost & {pod.metadata.uid for pod in after}


async def test_a_killed_master_comes_back_with_everything_and_no_pod_restarts() -> None:
    async with cluster_of(2) as (cluster, client):
        for obj in await apply(client, "web.yaml"):
            await wait_for_object(client, obj, quiet)
        before = {pod.metadata.uid: pod.status.containerStatuses[0] for pod in await ready(client, "web", 3)}
        targets = await wait_for_node_ports(cluster, await client.get(SERVICE, "default", "web"))
        master = cluster.master
        assert master is not None
        async with Load(targets[:1], clients=4) as load:
            for _ in range(2):
                master.started.clear()
                cluster.kill(master)
                async with asyncio.timeout(WAIT_SECONDS):
                    await master.started.wait()
                await wait_for_nodes(client, cluster, quiet)
        after = {pod.metadata.uid: pod.status.containerStatuses[0] for pod in await ready(client, "web", 3)}
        assert after.keys() == before.keys()
        for uid, status in after.items():
            assert (status.restartCount, status.containerID) == (0, before[uid].containerID)
        assert load.tally.failures == []
        await client.delete(DEPLOYMENT, "default", "web")
        await follow(client, POD, "default", lambda pods: not pods, WAIT_SECONDS)


async def test_two_containers_share_a_volume_and_a_host_name() -> None:
    async with cluster_of(1) as (_, client):
        await apply(client, "pair.yaml")
        await ready(client, "pair", 1)
        said = await log_says(client, "pair", "reader", "read on")
        line = next(line for line in said.splitlines() if "read on" in line)
        writer, reader = line.split(" from ")[1].split(", read on ")
        assert writer == reader


async def test_keepers_keep_their_numbers() -> None:
    async with cluster_of(2) as (_, client):
        await apply(client, "replicationcontroller.yaml")
        await apply(client, "replicaset.yaml")
        tickers = await ready(client, "ticker", 2)
        sleepers = await ready(client, "sleepers", 3)
        await client.delete(POD, "default", tickers[0].metadata.name)
        assert tickers[0].metadata.uid not in {pod.metadata.uid for pod in await ready(client, "ticker", 2)}

        # Relabelled out of the selector: let go, and replaced.
        free = sleepers[0].metadata.name
        await client.patch(POD, "default", free, {"metadata": {"labels": {"tier": "front"}}})

        def let_go(pods: Mapping[str, ApiObject]) -> bool:
            pod = pods.get(f"default/{free}")
            back = [p for p in alive(pods, "sleepers") if p.metadata.labels["tier"] == "back" and is_ready(p)]
            return pod is not None and not pod.metadata.ownerReferences and len(back) == 3

        await follow(client, POD, "default", let_go, WAIT_SECONDS)
        # Labelled back in: adopted, and one too many goes.
        await client.patch(POD, "default", free, {"metadata": {"labels": {"tier": "middle"}}})
        await ready(client, "sleepers", 3)


async def test_a_container_that_dies_is_restarted_and_one_that_may_not_is_not() -> None:
    def pod(name: str, script: str, policy: str) -> core.Pod:
        made = core.Pod()
        made.metadata.name = name
        made.spec.restartPolicy = policy
        made.spec.terminationGracePeriodSeconds = 1
        made.spec.containers.add(name="c", command=["/bin/sh", "-c", script])
        return made

    async with cluster_of(1) as (_, client):
        await client.create(pod("always", "exit 3", "Always"))
        await client.create(pod("never", "exit 3", "Never"))
        await client.create(pod("well", "exit 0", "OnFailure"))

        def as_wanted(pods: Mapping[str, ApiObject]) -> bool:
            if len(pods) < 3:
                return False
            states = {pod.metadata.name: pod.status for pod in pods.values()}
            return (
                states["never"].phase == "Failed"
                and states["well"].phase == "Succeeded"
                and bool(states["always"].containerStatuses)
                and states["always"].containerStatuses[0].restartCount >= 1
                and states["always"].containerStatuses[0].lastState.terminated.exitCode == 3
            )

        await follow(client, POD, "default", as_wanted, WAIT_SECONDS)
        never = await client.get(POD, "default", "never")
        assert never.status.containerStatuses[0].state.terminated.exitCode == 3
        assert never.status.containerStatuses[0].restartCount == 0


async def test_up_runs_the_example_and_leaves_nothing(tmp_path: Path) -> None:
    """The main job, as typed: the application answers, and Ctrl-C leaves no process, port or file."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "orchestra"),
        "up",
        "--port",
        str(free_port()),
        "-f",
        str(EXAMPLES / "web.yaml"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while "until Ctrl-C" not in said:
                line = (await process.stdout.readline()).decode()
                assert line, f"it ended: {said}"
                said += line
        address = next(
            word for line in said.splitlines() if " answers at " in line for word in line.split()[3:]
        )
        host, _, port = address.removeprefix("http://").partition(":")
        assert "version 1 from web-" in await ask(host, int(port))
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        process.send_signal(signal.SIGINT)
        rest = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    assert process.returncode == 0, rest
    assert "Traceback" not in said + rest
    assert list(tmp_path.iterdir()) == []
    left = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(tmp_path).encode() in _command_line(entry)
    ]
    assert left == []
    with pytest.raises(OSError, match=r"refused|111"):
        await ask(host, int(port))


def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
    except OSError:
        return b""


async def test_up_gives_up_on_a_master_that_cannot_run_and_shares_no_directory(tmp_path: Path) -> None:
    async def up() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "orchestra"), "up", "--agents=0", f"--data-dir={tmp_path / 'kept'}",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(WAIT_SECONDS):
            said, _ = await process.communicate()
        return process.returncode, said.decode()

    async with LocalCluster(0, data_dir=tmp_path / "kept", port=free_port(), report=quiet):
        code, said = await up()
    assert code == 1
    assert said.startswith(f"error: {tmp_path / 'kept'}: another orchestra up runs there\n")
    assert "Traceback" not in said
    shutil.rmtree(tmp_path / "kept" / "m1", ignore_errors=True)
    (tmp_path / "kept" / "m1").write_text("in the way")
    code, said = await up()
    assert code == 1
    assert said.count("m1: cannot be used as data directory (File exists)") == 3
    assert "error: the master does not start: its last words say why\n" in said
    assert "Traceback" not in said
