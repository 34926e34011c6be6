"""Several masters as real processes: any one may die, come back, come anew, or go; and all may be lost."""

import asyncio
import io
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestra.base.errors import ApiError
from orchestra.cli.local_cluster import LocalCluster, LocalProcess, free_port
from orchestra.cli.main import run
from orchestra.cli.up import follow, wait_for_node_ports, wait_for_nodes, wait_for_object
from orchestra.client import Client
from orchestra.objects.kinds import DEPLOYMENT, NODE, POD, SERVICE, ApiObject
from orchestra.objects.manifests import load_documents
from orchestra.objects.readiness import is_ready
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import core
from scripts.load import Load, ask

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
WAIT_SECONDS = 30.0


def quiet(line: str) -> None:
    """Nobody is watching."""


@asynccontextmanager
async def cluster_of(
    masters: int, agents: int, *, data_dir: Path | None = None, keep: bool = True, store: str = ""
) -> AsyncIterator[tuple[LocalCluster, Client]]:
    cluster = LocalCluster(
        agents, masters=masters, port=0, data_dir=data_dir, keep=keep, store=store, report=quiet
    )
    async with cluster, Client(cluster.server) as client:
        await wait_for_nodes(client, cluster, quiet)
        yield cluster, client


async def typed(server: str, *words: str, code: int = 0) -> str:
    """Types a command; what it says."""
    out, err = io.StringIO(), io.StringIO()
    ended = await run([*words, "--server", server], out=out, err=err)
    said = out.getvalue() + err.getvalue()
    assert ended == code, said
    assert "Traceback" not in said
    return said


async def apply(client: Client, name: str) -> list[ApiObject]:
    loaded = load_documents((EXAMPLES / name).read_bytes(), name)
    return [(await client.apply(each.obj))[0] for each in loaded.objects]


async def ready(client: Client, app: str, count: int) -> dict[str, tuple[str, str, int]]:
    """Waits for the ready pods of an app: each one's uid, container and restarts, by name."""
    found: dict[str, tuple[str, str, int]] = {}

    def enough(pods: Mapping[str, ApiObject]) -> bool:
        alive = [
            pod
            for pod in pods.values()
            if pod.metadata.labels.get("app") == app and not pod.metadata.HasField("deletionTimestamp")
        ]
        found.clear()
        for pod in alive:
            for status in pod.status.containerStatuses:
                found[pod.metadata.name] = (pod.metadata.uid, status.containerID, status.restartCount)
        return len(alive) == count and all(is_ready(pod) for pod in alive)

    await follow(client, POD, "default", enough, WAIT_SECONDS)
    return found


def service(name: str) -> core.Service:
    made = core.Service()
    made.metadata.name, made.metadata.namespace = name, "default"
    made.spec.ports.add(port=80)
    return made


class Writer:
    """Creates objects one after another while it is open; remembers which of them were acknowledged."""

    def __init__(self, client: Client) -> None:
        # The resourceVersion of each, by name.
        self.acknowledged: dict[str, str] = {}
        self.longest_seconds = 0.0
        self._client = client

    async def __aenter__(self) -> "Writer":
        self._task = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _write(self) -> None:
        number, last = 0, time.monotonic()
        while True:
            number += 1
            try:
                made = await self._client.create(service(f"written-{number}"))
            except ApiError:
                # Whether it is kept is not known; the next one has a name of its own.
                continue
            self.acknowledged[made.metadata.name] = made.metadata.resourceVersion
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - last)
            last = time.monotonic()
            await asyncio.sleep(0.002)


async def members(client: Client) -> dict[str, api.ClusterMember]:
    return {member.name: member for member in (await client.members()).members}


async def has_vote(client: Client, name: str) -> None:
    """Waits until a member has run and has a vote."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = (await members(client)).get(name)
            if found is not None and found.started and not found.learner:
                return
            await asyncio.sleep(0.02)


async def ended(process: LocalProcess) -> str:
    """Waits until a process has ended by itself, and was not well; its last words."""
    assert process.process is not None
    async with asyncio.timeout(WAIT_SECONDS):
        assert await process.process.wait() == 1
    return process.last_words()


async def test_the_leader_dies_amid_writes_and_a_rollout_and_everything_goes_on() -> None:
    async with cluster_of(3, 2) as (cluster, client):
        await apply(client, "replicaset.yaml")
        for obj in await apply(client, "web.yaml"):
            await wait_for_object(client, obj, quiet)
        targets = await wait_for_node_ports(cluster, await client.get(SERVICE, "default", "web"))
        untouched = await ready(client, "sleepers", 3)
        leader = await cluster.leader()
        not_ready: list[str] = []

        async def watch_nodes() -> None:
            async for event in client.watch(NODE):
                if event.obj is not None and not is_ready(event.obj):
                    not_ready.append(event.obj.metadata.name)

        watcher = asyncio.create_task(watch_nodes())
        async with Load(targets) as load, Writer(client) as writer:
            (deployment, *_) = await apply(client, "web-v2.yaml")
            cluster.kill(leader)
            follower = await cluster.leader(but=leader.name)
            await wait_for_object(client, deployment, quiet)
            assert "version 2" in await ask(*targets[0])
        watcher.cancel()
        await asyncio.wait((watcher,))

        assert load.tally.failures == []
        assert not_ready == []
        assert writer.longest_seconds < 5
        kept = {obj.metadata.name for obj in (await client.list(SERVICE, "default")).items}
        assert set(writer.acknowledged) <= kept
        assert await ready(client, "sleepers", 3) == untouched
        assert follower.name != leader.name
        await _every_master_serves(cluster)


async def _every_master_serves(cluster: LocalCluster) -> None:
    """Reads, writes, watches and logs, by any of them."""
    async with asyncio.timeout(WAIT_SECONDS):
        for name, server in cluster.servers.items():
            async with Client(server, retry_seconds=WAIT_SECONDS) as one:
                await one.create(service(f"by-{name}"))
                async for event in one.watch(SERVICE, "default"):
                    if event.obj is not None and event.obj.metadata.name == f"by-{name}":
                        break
                pod = next(
                    pod for pod in (await one.list(POD, "default", labels="app=web")).items if is_ready(pod)
                )
                assert [part async for part in one.logs("default", pod.metadata.name)]
                assert set(await members(one)) == {"m1", "m2", "m3"}
                assert (await one.status()).agents_connected == 2
    said = await typed(cluster.server, "cluster-info")
    assert said.count(" is running at ") == 3
    assert said.count(" and leads\n") == 1


async def test_masters_come_and_go_and_one_comes_back_without_its_disk() -> None:
    async with cluster_of(3, 0, keep=False) as (cluster, client):
        await client.create(service("before"))
        await cluster.join_master("m4")
        await has_vote(client, "m4")
        assert "m4     started   follower" in await typed(cluster.server, "member", "list")

        # The leader goes: it is told so, and another one leads.
        leader = await cluster.leader()
        said = await typed(cluster.server, "member", "remove", leader.name)
        assert f"({leader.name}) removed from cluster" in said
        assert "has been removed from the cluster" in await ended(leader)
        await cluster.leader(but=leader.name)

        # The disk of another one is lost: it must not begin as if it had never promised anything.
        lost = next(each for name, each in cluster.masters.items() if name not in (leader.name, "m4"))
        cluster.kill(lost)
        assert lost.process is not None
        await lost.process.wait()
        shutil.rmtree(cluster.data_dir / lost.name)
        await cluster.restart(lost)
        assert f"orchestra member remove {lost.name}; then start it with --join" in await ended(lost)
        await typed(cluster.server, "member", "remove", lost.name)
        await cluster.join_master(lost.name)
        await has_vote(client, lost.name)

        assert leader.name not in await members(client)
        async with Client(cluster.servers[lost.name]) as one:
            assert (await one.get(SERVICE, "default", "before")).metadata.name == "before"
        said = await typed(cluster.server, "member", "move-leader", lost.name)
        assert f"({lost.name})\n" in said
        assert (await members(client))[lost.name].leader


async def test_everything_is_lost_and_restored_from_a_snapshot(tmp_path: Path) -> None:
    file, folder = str(tmp_path / "backup.snapshot"), tmp_path / "cluster"

    async def picture(client: Client) -> dict[str, tuple[str, str]]:
        found = [obj for kind in (SERVICE, DEPLOYMENT) for obj in (await client.list(kind)).items]
        return {obj.metadata.name: (obj.metadata.uid, obj.metadata.resourceVersion) for obj in found}

    async with cluster_of(3, 0, data_dir=folder) as (cluster, client):
        for number in range(20):
            await client.create(service(f"s-{number}"))
        before = await picture(client)
        said = await typed(cluster.server, "snapshot", "save", file)
        assert f"Snapshot saved at {file}\n" in said
        await client.create(service("afterwards"))
        peers = ",".join(
            f"{name}={member.peer_addresses[0]}" for name, member in (await members(client)).items()
        )
    status = await typed("127.0.0.1:1", "snapshot", "status", file)
    assert said.endswith(status)
    for name in ("m1", "m2", "m3"):
        # One that was slow may not have begun to write.
        shutil.rmtree(folder / name, ignore_errors=True)
        words = (file, f"--data-dir={folder / name}", f"--name={name}", f"--initial-cluster={peers}")
        said = await typed("127.0.0.1:1", "snapshot", "restore", *words)
        assert f"({name}) of the new cluster " in said
    async with cluster_of(3, 0, data_dir=folder) as (cluster, client):
        assert await picture(client) == before
        made = await client.create(service("new"))
        assert int(made.metadata.resourceVersion) > max(int(version) for _, version in before.values())


async def test_a_majority_is_lost_for_good_and_saved_from_the_survivor(tmp_path: Path) -> None:
    file, folder = str(tmp_path / "survivor.snapshot"), tmp_path / "cluster"
    async with cluster_of(3, 0, data_dir=folder, keep=False) as (cluster, client):
        peers = ",".join(
            f"{name}={member.peer_addresses[0]}" for name, member in (await members(client)).items()
        )
        survivor = await cluster.leader()
        words = ("snapshot", "save", file, f"--data-dir={folder / survivor.name}")
        async with Writer(client) as writer:
            for number in range(30):
                made = await client.create(service(f"s-{number}"))
                writer.acknowledged[made.metadata.name] = made.metadata.resourceVersion
            lost = [master for master in cluster.masters.values() if master is not survivor]
            for master in lost:
                cluster.kill(master)
            for master in lost:
                assert master.process is not None
                await master.process.wait()
                shutil.rmtree(folder / master.name)
            # No majority, no leader; and while the master runs, its data directory is its own.
            await typed(cluster.servers[survivor.name], "snapshot", "save", file, code=1)
            said = await typed("127.0.0.1:1", *words, code=1)
            assert f"in use by process {survivor.pid}; stop the master" in said
        cluster.kill(survivor)
        assert survivor.process is not None
        await survivor.process.wait()
        said = await typed("127.0.0.1:1", *words)
        assert f"Snapshot saved at {file}\nIt holds the log of {survivor.name} up to term " in said
        assert "known to be committed" in said
    shutil.rmtree(folder / survivor.name)
    for name in ("m1", "m2", "m3"):
        options = (f"--data-dir={folder / name}", f"--name={name}", f"--initial-cluster={peers}")
        await typed("127.0.0.1:1", "snapshot", "restore", file, *options)
    async with cluster_of(3, 0, data_dir=folder) as (cluster, client):
        kept = {obj.metadata.name: obj.metadata.resourceVersion for obj in (await client.list(SERVICE)).items}
        assert writer.acknowledged.items() <= kept.items()
        await client.create(service("new"))


async def test_masters_on_an_etcd_cluster(tmp_path: Path) -> None:
    etcd, peer = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        "etcd", "--data-dir", str(tmp_path / "etcd"),
        "--listen-client-urls", f"http://127.0.0.1:{etcd}", "--advertise-client-urls", f"http://127.0.0.1:{etcd}",
        "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await _answers(etcd)
        async with cluster_of(2, 1, store=f"etcd://127.0.0.1:{etcd}") as (cluster, client):
            for obj in await apply(client, "web.yaml"):
                await wait_for_object(client, obj, quiet)
            leader = await cluster.leader()
            other = next(name for name in cluster.masters if name != leader.name)
            async with Client(cluster.servers[other]) as one:
                assert len((await one.list(POD, "default", labels="app=web")).items) == 3
                assert (await one.status()).leader == leader.name
            said = await typed(cluster.server, "member", "list", code=1)
            assert "etcdctl" in said
            await typed(cluster.server, "delete", "deployment", "web")
            await follow(client, POD, "default", lambda pods: not pods, WAIT_SECONDS)
    finally:
        process.kill()
        await process.wait()


async def _answers(port: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def test_a_lone_master_grows_to_three(tmp_path: Path) -> None:
    async with cluster_of(1, 0, data_dir=tmp_path / "alone") as (cluster, client):
        await client.create(service("before"))
        said = await typed(cluster.server, "member", "add", "m2", "--peer-addresses=10.0.0.1:1", code=1)
        assert "start it again with --peer-listen HOST:PORT" in said
    # Only the first of the masters needs it: the others have addresses of their own.
    flags = [f"--peer-listen=127.0.0.1:{free_port()}"]
    async with LocalCluster(
        0, port=0, data_dir=tmp_path / "alone", keep=False, master_flags=flags, report=quiet
    ) as cluster:
        flags.clear()
        async with Client(cluster.server) as client:
            await wait_for_nodes(client, cluster, quiet)
            for name in ("m2", "m3"):
                await cluster.join_master(name)
                await has_vote(client, name)
            leader = await cluster.leader()
            assert leader.name == "m1"
            cluster.kill(leader)
        async with Client(",".join(cluster.servers.values()), retry_seconds=WAIT_SECONDS) as client:
            assert (await client.get(SERVICE, "default", "before")).metadata.name == "before"
            assert sum(member.leader for member in (await members(client)).values()) == 1
