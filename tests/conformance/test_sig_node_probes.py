"""sig-node: probes and lifecycle hooks."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestra.objects.kinds import POD
from tests.conformance.place import (
    SLEEP,
    Place,
    condition,
    container,
    is_ready,
    is_running,
    pod,
    restarts,
    server,
    shell,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTTP = {"httpGet": {"path": "/healthz", "port": "http"}}
HEALTH = str(Path(__file__).parent / "health.py")
TCP = {"tcpSocket": {"port": "http"}}
# A period of one second is the shortest that there is.
EACH_SECOND = {"periodSeconds": 1, "failureThreshold": 1}
# Long enough for a wrongly counted probe to have done its harm.
SETTLED_SECONDS = 1.7
# However long a program takes to start, that is not what is tested.
STARTUP = {**TCP, "periodSeconds": 1, "failureThreshold": 30}


def asked(handler: Any, **fields: Any) -> Any:
    return {**handler, **EACH_SECOND, **fields}


def executing(*command: str) -> Any:
    return {"exec": {"command": list(command)}}


async def never_restarted(place: Place, manifest: Any) -> None:
    await place.create(manifest)
    await place.until(POD, "p", is_ready)
    await asyncio.sleep(SETTLED_SECONDS)
    found = await place.get(POD, "p")
    assert (restarts(found), is_ready(found)) == (0, True)


async def restarted(place: Place, manifest: Any, times: int = 1) -> list[Any]:
    await place.create(manifest)
    states = await place.history(POD, "p", lambda p: restarts(p) >= times)
    counts = [restarts(state) for state in states]
    assert counts == sorted(counts)
    return states


async def test_http_liveness_ok(place: Place) -> None:
    """http liveness ok: no restart"""
    await never_restarted(place, pod("p", server(livenessProbe=asked(HTTP), startupProbe=STARTUP)))


def grpc_server(**fields: Any) -> Any:
    probes = {"livenessProbe": asked({"grpc": {"port": 5000}}), "startupProbe": STARTUP}
    ports = [{"name": "http", "containerPort": 5000}]
    return pod("p", container(sys.executable, HEALTH, ports=ports, **probes, **fields))


async def test_grpc_liveness_ok(place: Place) -> None:
    """grpc liveness ok: no restart"""
    await never_restarted(place, grpc_server())


async def test_grpc_liveness_fails(place: Place) -> None:
    """grpc liveness fails: restart"""
    await restarted(place, grpc_server(env=[{"name": "FAIL_AFTER", "value": "0"}]))


async def test_tcp_liveness_ok(place: Place) -> None:
    """tcp liveness ok: no restart"""
    await never_restarted(place, pod("p", server(livenessProbe=asked(TCP), startupProbe=STARTUP)))


async def test_exec_liveness_ok(place: Place) -> None:
    """exec liveness ok: no restart"""
    await never_restarted(place, pod("p", container(*SLEEP, livenessProbe=asked(executing("true")))))


async def test_http_liveness_fails(place: Place) -> None:
    """http liveness fails: restart"""
    env = [{"name": "FAIL_AFTER", "value": "1"}]
    states = await restarted(place, pod("p", server(env=env, livenessProbe=asked(HTTP))))
    assert any(is_ready(state) for state in states)


async def test_exec_liveness_fails(place: Place) -> None:
    """exec liveness fails: restart"""
    probe = asked(executing("false"))
    await restarted(place, pod("p", container(*SLEEP, livenessProbe=probe)))


async def test_restart_count_only_grows(place: Place) -> None:
    """restart count only grows"""
    states = await restarted(place, pod("p", shell("exit 1")), times=5)
    assert restarts(states[-1]) == 5


async def test_readiness_initial_delay(place: Place) -> None:
    """readiness initial delay"""
    probe = asked(HTTP, initialDelaySeconds=1)
    await place.create(pod("p", server(readinessProbe=probe)))
    found = await place.until(POD, "p", is_ready)
    started = found.status.containerStatuses[0].state.running.startedAt
    # Both times are whole seconds.
    assert condition(found, "Ready").lastTransitionTime.seconds - started.seconds >= 1
    assert restarts(found) == 0


async def test_readiness_always_fails(place: Place) -> None:
    """readiness always fails"""
    probe = asked(executing("false"))
    await place.create(pod("p", container(*SLEEP, readinessProbe=probe)))
    await place.until(POD, "p", is_running)
    await asyncio.sleep(SETTLED_SECONDS)
    found = await place.get(POD, "p")
    assert (restarts(found), is_ready(found)) == (0, False)
