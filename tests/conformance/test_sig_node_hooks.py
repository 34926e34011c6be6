"""sig-node: lifecycle hooks."""

import sys
from typing import Any

import pytest

from orchestra.objects.kinds import EVENT, POD
from tests.conformance.place import (
    SLEEP,
    Place,
    container,
    is_ready,
    is_running,
    pod,
    restarts,
    server,
    shell,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY = {"httpGet": {"port": "http"}, "periodSeconds": 1}
# Ends well when it is told to.
ENDING = "trap 'echo TERM; exit 0' TERM; while :; do sleep 0.02; done"


def executing(script: str) -> Any:
    return {"exec": {"command": ["/bin/sh", "-c", script]}}


async def listener(place: Place) -> Any:
    """A pod that prints the path of each request; how a hook calls it."""
    await place.create(pod("listener", server(readinessProbe=READY)))
    found = await place.until(POD, "listener", is_ready)
    port = found.status.containerStatuses[0].ports[0].hostPort
    return {"httpGet": {"host": found.status.podIP, "port": port, "path": "/hooked"}}


async def test_poststart_exec(place: Place) -> None:
    """poststart exec"""
    volume = {"name": "work", "emptyDir": {}}
    mounts = [{"name": "work", "mountPath": "/tmp/work"}]
    started = {
        "lifecycle": {"postStart": executing('echo hooked >"$VOLUME_WORK"/hooked')},
        "volumeMounts": mounts,
    }
    script = 'until [ -f "$VOLUME_WORK"/hooked ]; do sleep 0.02; done; cat "$VOLUME_WORK"/hooked; exec sleep infinity'
    failing = {"lifecycle": {"postStart": executing("exit 7")}}
    await place.create_all(
        pod("p", shell(script, **started), volumes=[volume]), pod("failing", container(*SLEEP, **failing))
    )
    await place.log_until("p", "hooked")
    await place.until(POD, "p", is_ready)
    assert restarts(await place.get(POD, "p")) == 0
    await place.until(POD, "failing", lambda p: restarts(p) >= 1)
    await place.until_all(EVENT, lambda events: any(e.reason == "FailedPostStartHook" for e in events))


async def test_poststart_http(place: Place) -> None:
    """poststart http"""
    hook = await listener(place)
    await place.create(pod("p", container(*SLEEP, lifecycle={"postStart": hook})))
    await place.until(POD, "p", is_running)
    await place.log_until("listener", "/hooked")


async def test_prestop_exec(place: Place) -> None:
    """prestop exec"""
    hook = await listener(place)
    address, port = hook["httpGet"]["host"], hook["httpGet"]["port"]
    request = f"import urllib.request as u; u.urlopen('http://{address}:{port}/from-exec')"
    call = {"exec": {"command": [sys.executable, "-ISEc", request]}}
    await place.create(pod("p", shell(ENDING, lifecycle={"preStop": call})))
    await place.until(POD, "p", is_ready)
    await place.delete(POD, "p", grace_seconds=10)
    await place.log_until("listener", "/from-exec")
    await place.gone(POD, "p")


async def test_prestop_http(place: Place) -> None:
    """prestop http"""
    hook = await listener(place)
    await place.create(pod("p", shell(ENDING, lifecycle={"preStop": hook})))
    await place.until(POD, "p", is_ready)
    await place.delete(POD, "p", grace_seconds=10)
    await place.log_until("listener", "/hooked")
    await place.gone(POD, "p")


async def test_prestop_called_when_killing_a_pod(place: Place) -> None:
    """PreStop called when killing a pod"""
    # The order is seen by the program itself: the hook's file is there before TERM comes.
    script = "trap 'cat \"$VOLUME_WORK\"/stop; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    mounts = [{"name": "work", "mountPath": "/tmp/work"}]
    hook = {"preStop": executing('echo hook was first >"$VOLUME_WORK"/stop')}
    await place.create(
        pod(
            "p",
            shell(script, volumeMounts=mounts, lifecycle=hook),
            volumes=[{"name": "work", "emptyDir": {}}],
        )
    )
    await place.log_until("p", "up")
    await place.until(POD, "p", is_ready)
    await place.delete(POD, "p", grace_seconds=10)
    await place.log_until("p", "hook was first")
    await place.gone(POD, "p")
