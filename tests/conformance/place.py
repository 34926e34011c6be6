"""What the conformance tests are written in: manifests as Kubernetes has them, and waits that end with an event."""

import asyncio
import io
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestra.cli.local_cluster import LocalCluster
from orchestra.cli.main import run
from orchestra.client import Client, WatchEvent
from orchestra.objects.codec import from_manifest, to_manifest
from orchestra.objects.kinds import DEPLOYMENT, NAMESPACE, POD, ApiObject, Kind

SECONDS = 30.0
SERVER = str(Path(__file__).parent / "server.py")
SLEEP = ("sleep", "infinity")

Manifest = dict[str, Any]


def container(*command: str, name: str = "c", **fields: Any) -> Manifest:
    """A container that runs a program."""
    return {"name": name, "command": list(command), **fields}


def shell(script: str, name: str = "c", **fields: Any) -> Manifest:
    """A container that runs a shell script."""
    return container("/bin/sh", "-c", script, name=name, **fields)


def server(name: str = "server", port: int = 80, **fields: Any) -> Manifest:
    """A container that answers HTTP: see server.py."""
    ports = [{"name": "http", "containerPort": port}]
    return container(sys.executable, "-ISE", SERVER, name=name, ports=ports, **fields)


def pod_spec(*containers: Manifest, **spec: Any) -> Manifest:
    """A pod's spec that ends soon after it is told to."""
    return {"terminationGracePeriodSeconds": 1, "containers": list(containers or [container(*SLEEP)]), **spec}


def pod(name: str, *containers: Manifest, labels: Mapping[str, str] | None = None, **spec: Any) -> Manifest:
    """A pod."""
    metadata = {"name": name, "labels": dict(labels or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(*containers, **spec)}


def template(app: str, *containers: Manifest, **spec: Any) -> Manifest:
    """A pod template whose pods are labelled `app`."""
    return {"metadata": {"labels": {"app": app}}, "spec": pod_spec(*containers, **spec)}


def keeper(kind: str, name: str, replicas: int, *containers: Manifest, **spec: Any) -> Manifest:
    """A Deployment, ReplicaSet or ReplicationController of pods labelled `app: <name>`."""
    chosen: Manifest = {"app": name}
    return {
        "apiVersion": "v1" if kind == "ReplicationController" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": chosen if kind == "ReplicationController" else {"matchLabels": chosen},
            "template": template(name, *containers),
            **spec,
        },
    }


def plain(name: str, value: str = "", **labels: str) -> Manifest:
    """An object that nobody but its author changes, as a ConfigMap is."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": labels, "annotations": {"value": value}},
        "addressType": "IPv4",
        "endpoints": [],
    }


def message(manifest: Manifest) -> ApiObject:
    """The object that a manifest describes."""
    obj, violations = from_manifest(manifest)
    assert not violations, violations
    assert obj is not None
    return obj


def condition(obj: ApiObject, kind: str) -> Any:
    """The object's condition of a type, or None."""
    return next((found for found in obj.status.conditions if found.type == kind), None)


def is_true(obj: ApiObject, kind: str) -> bool:
    """Whether a condition is there and True."""
    found = condition(obj, kind)
    return found is not None and found.status == "True"


def is_ready(obj: ApiObject) -> bool:
    """Whether it is Ready."""
    return is_true(obj, "Ready")


def is_running(obj: ApiObject) -> bool:
    """Whether the pod runs."""
    return bool(obj.status.phase == "Running")


def is_over(obj: ApiObject) -> bool:
    """Whether the pod has ended for good."""
    return obj.status.phase in ("Succeeded", "Failed")


def is_deleting(obj: ApiObject) -> bool:
    """Whether it is on its way out."""
    return bool(obj.metadata.HasField("deletionTimestamp"))


def controller(obj: ApiObject) -> str:
    """The uid of the owner that controls it, "" if none does."""
    return next((owner.uid for owner in obj.metadata.ownerReferences if owner.controller), "")


def restarts(obj: ApiObject) -> int:
    """How often the pod's first container was restarted."""
    return sum(status.restartCount for status in obj.status.containerStatuses[:1])


def names(objects: Sequence[ApiObject]) -> set[str]:
    """Their names."""
    return {obj.metadata.name for obj in objects}


@dataclass(frozen=True, slots=True)
class Place:
    """One test's namespace on a cluster that other tests use too."""

    client: Client
    cluster: LocalCluster
    namespace: str

    async def create(self, *manifests: Manifest) -> Any:
        """Creates all at once; the first as created."""
        return (await self.create_all(*manifests))[0]

    async def create_all(self, *manifests: Manifest) -> list[Any]:
        """Creates all at once; as created, in this order."""
        objects = [self.message(manifest) for manifest in manifests]
        return list(await asyncio.gather(*(self.client.create(obj) for obj in objects)))

    def message(self, manifest: Manifest) -> Any:
        """The object that a manifest describes, in this namespace."""
        obj = message(manifest)
        obj.metadata.namespace = self.namespace
        return obj

    async def get(self, kind: Kind, name: str) -> Any:
        """One object."""
        return await self.client.get(kind, self.namespace, name)

    async def all(self, kind: Kind, labels: str = "") -> list[Any]:
        """The objects of a kind here."""
        return (await self.client.list(kind, self.namespace, labels=labels)).items

    async def revision(self, kind: Kind) -> int:
        """Up to where all that has happened has happened."""
        return (await self.client.list(kind, self.namespace, limit=1)).revision

    async def patch(self, kind: Kind, name: str, patch: Manifest, subresource: str = "") -> Any:
        """A strategic merge patch."""
        return await self.client.patch(kind, self.namespace, name, patch, subresource=subresource)

    async def replace(self, kind: Kind, name: str, change: Callable[[Any], object]) -> Any:
        """Reads, changes, and writes back."""
        obj = await self.get(kind, name)
        change(obj)
        obj.metadata.ClearField("resourceVersion")
        return await self.client.update(obj)

    async def delete(self, kind: Kind, name: str, **options: Any) -> None:
        """Asks for it to be deleted."""
        await self.client.delete(kind, self.namespace, name, **options)

    async def until(
        self, kind: Kind, name: str, holds: Callable[[Any], bool], *, seconds: float = SECONDS
    ) -> Any:
        """The first state of an object that is as wanted."""
        return (await self.history(kind, name, holds, seconds=seconds))[-1]

    async def history(
        self, kind: Kind, name: str, holds: Callable[[Any], bool], *, seconds: float = SECONDS
    ) -> list[Any]:
        """Every state of an object that is seen from now on, up to the first that is as wanted."""
        seen: list[Any] = []
        namespace = self.namespace if kind.namespaced else ""
        try:
            async with asyncio.timeout(seconds):
                async with self.client.watch(kind, namespace, fields=f"metadata.name={name}") as watch:
                    async for event in watch:
                        assert event.type != "DELETED", f"{kind.kind} {name} is gone"
                        seen.append(event.obj)
                        if holds(event.obj):
                            return seen
        except TimeoutError:
            last = to_manifest(seen[-1]) if seen else "it was never there"
            raise AssertionError(f"{kind.kind} {name} did not become as wanted: {last}") from None
        raise AssertionError("the watch ended")

    async def until_all(
        self,
        kind: Kind,
        holds: Callable[[list[Any]], bool],
        *,
        labels: str = "",
        seconds: float = SECONDS,
    ) -> list[Any]:
        """The first set of all objects of a kind that is as wanted."""
        objects: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                async with self.client.watch(kind, self.namespace, labels=labels, bookmarks=True) as watch:
                    async for event in watch:
                        if event.obj is None:
                            if holds(list(objects.values())):
                                return list(objects.values())
                        elif event.type == "DELETED":
                            objects.pop(event.obj.metadata.name, None)
                        else:
                            objects[event.obj.metadata.name] = event.obj
        except TimeoutError:
            last = [to_manifest(obj) for obj in objects.values()]
            raise AssertionError(f"{kind.resource} did not become as wanted: {last}") from None
        raise AssertionError("the watch ended")

    async def gone(self, kind: Kind, name: str, *, seconds: float = SECONDS) -> None:
        """Waits until there is no such object."""
        await self.until_all(kind, lambda found: name not in names(found), seconds=seconds)

    async def get_namespace(self) -> Any:
        """The namespace itself."""
        return await self.client.get(NAMESPACE, "", self.namespace)

    async def namespace_gone(self) -> None:
        """Waits until the namespace is not there any more."""
        async with asyncio.timeout(SECONDS):
            async with self.client.watch(
                NAMESPACE, fields=f"metadata.name={self.namespace}", bookmarks=True
            ) as watch:
                there = False
                async for event in watch:
                    there = event.type != "DELETED" if event.obj is not None else there
                    if event.obj is None and not there:
                        return

    async def ready_pods(self, app: str, count: int, *, but: Sequence[str] = ()) -> list[Any]:
        """Waits for just so many pods of an app, all ready; those named by uid in `but` do not count."""

        def kept(pods: list[Any]) -> list[Any]:
            return [p for p in pods if not is_deleting(p) and p.metadata.uid not in but]

        found = await self.until_all(
            POD, lambda pods: len(kept(pods)) == count and all(map(is_ready, kept(pods))), labels=f"app={app}"
        )
        return kept(found)

    async def rolled_out(self, name: str) -> Any:
        """Waits until a Deployment has nothing but new pods, and all of them available."""

        def done(deployment: Any) -> bool:
            status, wanted = deployment.status, deployment.spec.replicas
            return bool(
                status.observedGeneration >= deployment.metadata.generation
                and status.updatedReplicas == status.availableReplicas == status.replicas == wanted
            )

        return await self.until(DEPLOYMENT, name, done)

    async def log(self, name: str, container: str = "", **options: Any) -> str:
        """A container's output up to now."""
        said = b""
        async with asyncio.timeout(SECONDS):
            async for data in self.client.logs(self.namespace, name, container, **options):
                said += data
        return said.decode()

    async def log_until(self, name: str, wanted: str, container: str = "") -> str:
        """Follows a container's output, from its start, until it says something."""
        await self.until(POD, name, lambda pod: pod.status.phase != "Pending")
        said = ""
        try:
            async with asyncio.timeout(SECONDS):
                async for data in self.client.logs(self.namespace, name, container, follow=True):
                    said += data.decode()
                    if wanted in said:
                        return said
        except TimeoutError:
            pass
        raise AssertionError(f"the log of {name} never said {wanted!r}: {said!r}")

    async def output(self, manifest: Manifest) -> str:
        """Runs a pod to its end; what it said, having succeeded."""
        name = (await self.create(manifest)).metadata.name
        ended = await self.until(POD, name, is_over)
        said = await self.log(name)
        assert ended.status.phase == "Succeeded", (to_manifest(ended)["status"], said)
        return said

    @asynccontextmanager
    async def watching(
        self, kind: Kind, *, labels: str = "", revision: int | None = None
    ) -> AsyncIterator["Seen"]:
        """Notes every event of a kind here: what is there when it is first read, or what comes after `revision`."""
        async with self.client.watch(kind, self.namespace, labels=labels, revision=revision) as watch:
            yield Seen(watch)

    async def type(self, line: str) -> str:
        """Types a line as a person would; what is printed, having succeeded."""
        code, out, err = await self.try_to_type(line)
        assert code == 0, (line, err)
        return out

    async def try_to_type(self, line: str) -> tuple[int, str, str]:
        """Types a line; exit code, output, errors."""
        out, err = io.StringIO(), io.StringIO()
        given = ["--server", self.cluster.server, "-n", self.namespace]
        words = shlex.split(line)
        at = words.index("--") if "--" in words else len(words)
        code = await run([*words[:at], *given, *words[at:]], out=out, err=err)
        return code, out.getvalue(), err.getvalue()


class Seen:
    """The events of one watch, in order."""

    def __init__(self, watch: AsyncIterator[WatchEvent]) -> None:
        self._watch = watch
        self.events: list[WatchEvent] = []

    async def next(self, seconds: float = SECONDS) -> tuple[str, Any]:
        """The next event's type and object."""
        event = await asyncio.wait_for(anext(self._watch), seconds)
        self.events.append(event)
        return event.type, event.obj

    async def until(self, type: str, holds: Callable[[Any], bool] = lambda _: True) -> Any:
        """The object of the next event of a type that is as wanted."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    said, obj = await self.next()
                    if said == type and holds(obj):
                        return obj
        except TimeoutError:
            seen = [(event.type, event.obj and event.obj.metadata.name) for event in self.events]
            raise AssertionError(f"no {type} as wanted came, only {seen}") from None
