"""What the steps of the demo share: the cluster under the tour, commands as typed, and what is expected."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestra.cli.local_cluster import LocalCluster
from orchestra.cli.up import follow
from orchestra.client import Client
from orchestra.objects.kinds import DEPLOYMENT, NODE, POD, REPLICA_SET, SERVICE, ApiObject
from orchestra.objects.readiness import is_ready

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


async def picture(client: Client, *, but: str = "") -> dict[str, tuple[str, ...]]:
    """What there is, with the runs of its containers; without one app's."""
    seen: dict[str, tuple[str, ...]] = {}
    for kind in (NODE, SERVICE, DEPLOYMENT, REPLICA_SET):
        for obj in (await client.list(kind, labels=f"app!={but}")).items:
            if obj.metadata.name != but:
                seen[f"{kind.kind}/{obj.metadata.name}"] = (obj.metadata.uid,)
    for pod in (await client.list(POD, labels=f"app!={but}")).items:
        runs = [f"{s.name}:{s.restartCount}:{s.containerID}" for s in pod.status.containerStatuses]
        seen[f"Pod/{pod.metadata.name}"] = (pod.metadata.uid, pod.spec.nodeName, *runs)
    return seen


def expect_same(before: dict[str, tuple[str, ...]], after: dict[str, tuple[str, ...]]) -> None:
    """Raises Failed unless the pictures are the same."""
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    expect(not changed, f"changed: { {name: (before.get(name), after.get(name)) for name in changed} }")
