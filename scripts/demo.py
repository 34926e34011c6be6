"""A tour of the whole on a real cluster: each step is checked by what it sees."""

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from orchestra.base import log as logging
from orchestra.cli.local_cluster import LocalCluster, free_port
from orchestra.cli.up import follow, wait_for_node_ports, wait_for_nodes, wait_for_object
from orchestra.client import Client
from orchestra.objects.kinds import DEPLOYMENT, NODE, POD, REPLICA_SET, SERVICE, ApiObject
from orchestra.objects.readiness import is_ready
from scripts.load import Load, ask

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
NODE_PORT = 30080
WAIT_SECONDS = 30.0


class Failed(Exception):
    """A step does not hold."""


def expect(held: object, said: str) -> None:
    """Raises Failed with the sentence unless `held`."""
    if not held:
        raise Failed(said)


class Tour:
    """The cluster under the tour, and what the steps share."""

    def __init__(self, cluster: LocalCluster, client: Client, folder: Path) -> None:
        self.cluster = cluster
        self.client = client
        self.folder = folder

    async def orchestra(self, *words: str, code: int = 0) -> str:
        """Types a command; its output. The exit code has to be `code`."""
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "orchestra"),
            *words,
            env={**os.environ, "ORCHESTRA_SERVER": self.cluster.server},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
        said = out.decode() + err.decode()
        expect(
            process.returncode == code, f"orchestra {' '.join(words)} ended with {process.returncode}: {said}"
        )
        expect("Traceback" not in said, f"orchestra {' '.join(words)} printed a traceback: {said}")
        return said

    async def pods(self, labels: str) -> list[ApiObject]:
        """Pods that are not on their way out."""
        found = await self.client.list(POD, "default", labels=labels)
        return [pod for pod in found.items if not pod.metadata.HasField("deletionTimestamp")]

    async def ready_pods(self, labels: str, count: int) -> list[ApiObject]:
        """Waits until just so many pods are ready."""
        found: list[ApiObject] = []
        key, _, value = labels.partition("=")

        def enough(pods: object) -> bool:
            assert isinstance(pods, dict)
            found[:] = [
                pod
                for pod in pods.values()
                if pod.metadata.labels.get(key) == value and not pod.metadata.HasField("deletionTimestamp")
            ]
            return len(found) == count and all(is_ready(pod) for pod in found)

        try:
            await follow(self.client, POD, "default", enough, WAIT_SECONDS)
        except TimeoutError:
            states = [f"{pod.metadata.name}: {pod.status.phase}" for pod in found]
            raise Failed(f"not {count} ready pods with {labels} in {WAIT_SECONDS:g} s: {states}") from None
        return found

    async def deployment(self, name: str = "web") -> ApiObject:
        """The Deployment now."""
        return await self.client.get(DEPLOYMENT, "default", name)

    def targets(self) -> list[tuple[str, int]]:
        """Where the Service answers: the node port on every node."""
        return [(self.cluster.address(name), NODE_PORT) for name in self.cluster.agents]

    @asynccontextmanager
    async def availability(self, name: str) -> AsyncIterator[list[int]]:
        """Every count of ready pods of an app that a watch shows meanwhile."""
        seen: list[int] = []
        pods: dict[str, ApiObject] = {}
        first = asyncio.Event()

        async def watch() -> None:
            async for event in self.client.watch(POD, "default", labels=f"app={name}", bookmarks=True):
                if event.obj is not None:
                    if event.type == "DELETED":
                        pods.pop(event.obj.metadata.uid, None)
                    else:
                        pods[event.obj.metadata.uid] = event.obj
                if event.revision:
                    first.set()
                if first.is_set():
                    ready = [
                        p
                        for p in pods.values()
                        if is_ready(p) and not p.metadata.HasField("deletionTimestamp")
                    ]
                    seen.append(len(ready))

        task = asyncio.create_task(watch())
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await first.wait()
            yield seen
        finally:
            task.cancel()
            await asyncio.wait([task])


async def applies(tour: Tour) -> str:
    """Apply the web application; ask it through its Service on every node"""
    await tour.orchestra("apply", "-f", str(EXAMPLES / "web.yaml"))
    await wait_for_object(tour.client, await tour.deployment(), lambda line: None)
    await wait_for_object(tour.client, await tour.client.get(SERVICE, "default", "web"), lambda line: None)
    await wait_for_node_ports(tour.cluster, await tour.client.get(SERVICE, "default", "web"))
    answers = set()
    for host, port in tour.targets() * 10:
        answers.add(await ask(host, port))
    expect(len(answers) == 3, f"three pods should have answered, but these did: {sorted(answers)}")
    pods = await tour.pods("app=web")
    nodes = {pod.spec.nodeName for pod in pods}
    expect(len(nodes) == 3, f"three pods stand on {sorted(nodes)}")
    return "3 pods on 3 nodes, all three answer through any node's port"


async def scales(tour: Tour) -> str:
    """Scale 3 to 6 by editing the file, and back with the command"""
    edited = tour.folder / "web.yaml"
    edited.write_text((EXAMPLES / "web.yaml").read_text().replace("replicas: 3", "replicas: 6"))
    said = await tour.orchestra("apply", "-f", str(edited))
    expect("deployment.apps/web configured" in said, f"apply said {said!r}")
    await tour.ready_pods("app=web", 6)
    await tour.orchestra("scale", "deployment/web", "--replicas=3")
    await tour.ready_pods("app=web", 3)
    await tour.orchestra("scale", "deployment/web", "--replicas=6")
    await tour.ready_pods("app=web", 6)
    return "3 → 6 (file), → 3 → 6 (scale)"


async def rolls(tour: Tour) -> str:
    """Roll to version 2 and undo it, with clients that ask without pause"""
    edited = tour.folder / "web-v2.yaml"
    edited.write_text((EXAMPLES / "web-v2.yaml").read_text().replace("replicas: 3", "replicas: 6"))
    async with Load(tour.targets()) as load, tour.availability("web") as ready:
        await tour.orchestra("apply", "-f", str(edited))
        await tour.orchestra("rollout", "status", "deployment/web", "--timeout=60s")
        for host, port in tour.targets():
            expect("version 2" in await ask(host, port), "an old version answered after the rollout")
        await tour.orchestra("rollout", "undo", "deployment/web")
        await tour.orchestra("rollout", "status", "deployment/web", "--timeout=60s")
        for host, port in tour.targets():
            expect("version 1" in await ask(host, port), "version 2 answered after the undo")
    tally = load.tally
    expect(
        not tally.failures, f"{len(tally.failures)} of {tally.asked} requests failed: {tally.failures[:3]}"
    )
    expect(
        min(ready) >= 6, f"only {min(ready)} pods were ready at one time, the strategy allows no fewer than 6"
    )
    history = await tour.orchestra("rollout", "history", "deployment/web")
    expect("second version" in history and "first version" in history, f"the history says {history!r}")
    return f"{tally.asked} requests, none failed; {dict(tally.answers)}; never fewer than {min(ready)} ready"


async def pauses(tour: Tour) -> str:
    """Pause, change twice, resume: one rollout"""
    before = (await tour.deployment()).metadata.annotations["deployment.kubernetes.io/revision"]
    await tour.orchestra("rollout", "pause", "deployment/web")
    for change in ({"terminationGracePeriodSeconds": 5}, {"priority": 0, "terminationGracePeriodSeconds": 6}):
        await tour.client.patch(
            DEPLOYMENT, "default", "web", {"spec": {"template": {"spec": change}}}, type="strategic"
        )
    await tour.orchestra("rollout", "resume", "deployment/web")
    await tour.orchestra("rollout", "status", "deployment/web", "--timeout=60s")
    after = (await tour.deployment()).metadata.annotations["deployment.kubernetes.io/revision"]
    expect(
        int(after) == int(before) + 1, f"revision {before} became {after}: the changes were not one rollout"
    )
    return f"revision {before} → {after}"


async def shares(tour: Tour) -> str:
    """Two containers of one pod share a volume and the host name; keepers keep their numbers"""
    for name in ("pair", "replicationcontroller", "replicaset"):
        await tour.orchestra("apply", "-f", str(EXAMPLES / f"{name}.yaml"))
    await tour.ready_pods("app=pair", 1)
    deadline = time.monotonic() + WAIT_SECONDS
    said = ""
    while "read on" not in said and time.monotonic() < deadline:
        said = await tour.orchestra("logs", "pair", "-c", "reader")
    found = re.search(r"line \d+ from (\S+), read on (\S+)", said)
    expect(found is not None, f"the reader said {said!r}")
    assert found is not None
    expect(found[1] == found[2], f"the containers see the host names {found[1]} and {found[2]}")
    await tour.ready_pods("app=ticker", 2)
    sleepers = await tour.ready_pods("app=sleepers", 3)
    gone = sleepers[0].metadata.name
    await tour.orchestra("delete", "pod", gone)
    again = {pod.metadata.name for pod in await tour.ready_pods("app=sleepers", 3)}
    expect(gone not in again, f"{gone} was deleted and is still there")
    return f"host name {found[1]} in both; the deleted pod {gone} was replaced"


async def loses_an_agent(tour: Tour) -> str:
    """kill -9 of one agent and its pods"""
    pods = await tour.pods("app=web")
    victim = pods[0].spec.nodeName
    lost = {pod.metadata.uid for pod in pods if pod.spec.nodeName == victim}
    not_ready_after = 0.0
    began = time.monotonic()
    tour.cluster.kill_machine(tour.cluster.agents[victim])

    def not_ready(nodes: object) -> bool:
        assert isinstance(nodes, dict)
        return not is_ready(nodes[f"/{victim}"])

    def replaced(found: object) -> bool:
        assert isinstance(found, dict)
        running = [
            pod
            for pod in found.values()
            if pod.metadata.labels.get("app") == "web"
            and pod.status.phase == "Running"
            and pod.metadata.uid not in lost
            and not pod.metadata.HasField("deletionTimestamp")
        ]
        return len(running) >= 6

    await follow(tour.client, NODE, "", not_ready, WAIT_SECONDS)
    not_ready_after = time.monotonic() - began
    await follow(tour.client, POD, "default", replaced, WAIT_SECONDS)
    took = time.monotonic() - began
    expect(took <= 2.0, f"replacements were Running after {took:.2f} s, more than 2 s")
    await tour.ready_pods("app=web", 6)
    return f"{victim} NotReady after {not_ready_after * 1000:.0f} ms, {len(lost)} pods replaced after {took * 1000:.0f} ms"


async def loses_the_master(tour: Tour) -> str:
    """kill -9 of the master while clients ask: nothing is lost, no pod restarts"""
    await wait_for_nodes(tour.client, tour.cluster, lambda line: None)
    await tour.ready_pods("app=web", 6)

    async def picture() -> dict[str, tuple[str, ...]]:
        seen = {}
        for kind in (NODE, SERVICE, DEPLOYMENT, REPLICA_SET):
            for obj in (await tour.client.list(kind)).items:
                seen[f"{kind.kind}/{obj.metadata.name}"] = (obj.metadata.uid,)
        for pod in (await tour.client.list(POD)).items:
            runs = [f"{s.name}:{s.restartCount}:{s.containerID}" for s in pod.status.containerStatuses]
            seen[f"Pod/{pod.metadata.name}"] = (pod.metadata.uid, pod.spec.nodeName, *runs)
        return seen

    before = await picture()
    master = tour.cluster.master
    assert master is not None
    async with Load([tour.targets()[0]]) as load:
        began = time.monotonic()
        tour.cluster.kill(master)
        master.started.clear()
        async with asyncio.timeout(WAIT_SECONDS):
            await master.started.wait()
        await wait_for_nodes(tour.client, tour.cluster, lambda line: None)
        took = time.monotonic() - began
        await tour.ready_pods("app=web", 6)
        after = await picture()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    expect(
        not changed, f"changed by the master's death: { {n: (before.get(n), after.get(n)) for n in changed} }"
    )
    expect(not load.tally.failures, f"{len(load.tally.failures)} requests failed: {load.tally.failures[:3]}")
    return (
        f"{len(before)} objects as before, {load.tally.asked} requests answered, all Ready after {took:.1f} s"
    )


async def explains(tour: Tour) -> str:
    """A mistake is answered with its line and a suggestion, and nothing is applied"""
    wrong = tour.folder / "wrong.yaml"
    wrong.write_text(
        (EXAMPLES / "web.yaml").read_text().replace("command:", "comand:").replace("name: web", "name: wrong")
    )
    said = await tour.orchestra("apply", "-f", str(wrong), code=1)
    expect(
        'did you mean "command"?' in said and re.search(r"wrong\.yaml:\d+: ", said), f"apply said {said!r}"
    )
    await tour.orchestra("get", "deployment", "wrong", code=1)
    return next(line for line in said.splitlines() if "did you mean" in line).split("/")[-1]


async def cleans(tour: Tour) -> str:
    """Delete everything: no pod is left"""
    await tour.orchestra("delete", "deployment,service,rs,rc,pod", "--all", "--grace-period=1")
    await follow(tour.client, POD, "default", lambda pods: not pods, WAIT_SECONDS)
    return "no pod is left"


def command_of(pid: int) -> str:
    """The command of a process, "" if there is none (or only its exit code, which init has yet to collect)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


STEPS: tuple[Callable[[Tour], Awaitable[str]], ...] = (
    applies, scales, rolls, pauses, shares, explains, loses_an_agent, loses_the_master, cleans,
)  # fmt: skip


async def tour() -> bool:
    """Walks the steps; whether all held."""
    held = True
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orchestra-demo-") as folder:
        cluster = LocalCluster(
            3, port=free_port(), report=lambda line: print(f"         ({line})", flush=True)
        )
        async with cluster, Client(cluster.server) as client:
            await wait_for_nodes(client, cluster, lambda line: None)
            print(
                f"{time.monotonic() - began:6.1f}s  ok      A cluster from nothing: 1 master, 3 agents, 3 nodes Ready"
            )
            walk = Tour(cluster, client, Path(folder))
            for step in STEPS:
                start = time.monotonic()
                title = (step.__doc__ or step.__name__).strip()
                try:
                    said, mark = await step(walk), "ok"
                except (Failed, TimeoutError, OSError, ValueError) as failure:
                    said, mark, held = f"{type(failure).__name__}: {failure}", "FAILED", False
                print(f"{time.monotonic() - start:6.1f}s  {mark:6}  {title}\n{'':17}{said}", flush=True)
            pids, data_dir = cluster.pids(), cluster.data_dir
        left = [f"{pid} ({words})" for pid in pids if (words := command_of(pid))]
    if left or data_dir.exists():
        held = False
        print(f"         FAILED  Stopping left processes {left} or {data_dir}")
    print(f"{time.monotonic() - began:6.1f}s  {'every step held' if held else 'a step did not hold'}")
    return held


if __name__ == "__main__":
    logging.configure(0)
    sys.exit(0 if asyncio.run(tour()) else 1)
