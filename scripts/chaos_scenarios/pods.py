"""The pods beside the workload: as many as are wanted, the same as before, and no process that is nobody's."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agents.runtime.spawner import tree
from orchestra.base.errors import ApiError, Expired
from orchestra.client import Client
from orchestra.objects.kinds import DEPLOYMENT, NODE, POD, ApiObject
from orchestra.objects.manifests import load_documents
from orchestra.objects.readiness import is_ready
from scripts.chaos_scenarios.cluster import POLL_SECONDS, READY_SECONDS

REPLICAS: Final = 4
_UID: Final = b"CHAOS_POD_UID="
_MANIFEST: Final = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: sleepers, namespace: default}}
spec:
  replicas: {REPLICAS}
  selector: {{matchLabels: {{app: sleepers}}}}
  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 1}}}}
  template:
    metadata: {{labels: {{app: sleepers}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: sleeper
          command: [sleep, "100000"]
          env:
            - {{name: VERSION, value: "1"}}
            - name: CHAOS_POD_UID
              valueFrom: {{fieldRef: {{fieldPath: metadata.uid}}}}
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
"""


async def deploy(client: Client, nodes: int) -> None:
    """As soon as there are so many nodes to spread over. Raises: ApiError, TimeoutError."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            ready = [node for node in (await client.list(NODE)).items if is_ready(node)]
            if len(ready) >= nodes:
                break
            await asyncio.sleep(POLL_SECONDS)
    (document,) = load_documents(_MANIFEST.encode(), "chaos").objects
    await client.apply(document.obj)


async def upgrade(client: Client, version: int) -> None:
    """A rolling upgrade begins. Raises: ApiError."""
    change = {"containers": [{"name": "sleeper", "env": [{"name": "VERSION", "value": str(version)}]}]}
    await client.patch(DEPLOYMENT, "default", "sleepers", {"spec": {"template": {"spec": change}}})


async def ready_pods(client: Client, seconds: float) -> dict[str, str]:
    """Waits for just as many ready pods of the newest version as are wanted: nodes by uid.

    Raises: TimeoutError, with how it stands.
    """
    stands = "nothing was answered"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            deployment = await client.get(DEPLOYMENT, "default", "sleepers", timeout=2.0)
            pods = (await client.list(POD, "default", labels="app=sleepers", timeout=2.0)).items
            nodes = (await client.list(NODE, timeout=2.0)).items
        except (ApiError, Expired) as error:
            stands = str(error)
        else:
            if _settled(deployment, pods) and all(map(is_ready, nodes)):
                return {pod.metadata.uid: pod.spec.nodeName for pod in pods}
            stands = ", ".join(map(_told, pods)) + f"; {deployment.status}".replace("\n", " ")
        await asyncio.sleep(0.1)
    raise TimeoutError(f"not {REPLICAS} ready pods after {seconds:g} s: {stands}")


def _settled(deployment: ApiObject, pods: list[ApiObject]) -> bool:
    status = deployment.status
    return (
        status.observedGeneration >= deployment.metadata.generation
        and status.updatedReplicas == status.replicas == status.availableReplicas == REPLICAS
        and len(pods) == REPLICAS
        and all(is_ready(pod) and not pod.metadata.HasField("deletionTimestamp") for pod in pods)
    )


def _told(pod: ApiObject) -> str:
    going = " going" if pod.metadata.HasField("deletionTimestamp") else ""
    ready = "ready" if is_ready(pod) else "not ready"
    return f"{pod.metadata.name} {pod.status.phase} {ready}{going} on {pod.spec.nodeName}"


async def check_processes(folders: Mapping[str, Path], pods: Mapping[str, str], seconds: float) -> list[str]:
    """What does not hold of the containers' processes on these agents, given nodes by pods' uids.

    What has just been stopped is given some time to go.
    """
    end = time.monotonic() + seconds
    while True:
        wrong = await asyncio.to_thread(_wrong, folders, pods)
        if not wrong or time.monotonic() > end:
            return wrong
        await asyncio.sleep(0.1)


def _wrong(folders: Mapping[str, Path], pods: Mapping[str, str]) -> list[str]:
    nodes = {int((folder / "spawner.tag").read_text()): name for name, folder in folders.items()}
    wrong, running = [], set()
    for pid, tag in tree.tagged():
        node = nodes.get(tree.node_tag_of(tag))
        if node is None:
            continue
        uid = _pod_of(pid)
        if pods.get(uid) == node:
            running.add(uid)
        elif uid:
            wrong.append(f"process {pid} on {node} belongs to pod {uid}, which is not there")
    wrong += [f"pod {uid} has no process on {node}" for uid, node in pods.items() if uid not in running]
    return wrong


def _pod_of(pid: int) -> str:
    """Its uid; "" for a process that is gone, or between its fork and its exec."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((each.removeprefix(_UID).decode() for each in variables if each.startswith(_UID)), "")
