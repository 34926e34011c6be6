"""A real agent, with real processes, against a master's API: what a pod's owner sees."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.agent import Agent, AgentSettings, run_agent, stop_leftovers
from agents.runtime.local import clear_leftovers
from agents.simulated import run_simulated
from orchestra.base.errors import NotFound
from orchestra.pb import core, discovery, meta
from tests.integration.api_master import Master, serving

SECONDS = 20
SERVER = ["python3", "-u", "-m", "http.server", "--bind", "0.0.0.0", "$(PORT)"]
ISOLATIONS = ["host", "namespaces"] if os.geteuid() == 0 else ["host"]


@pytest.fixture
async def master() -> AsyncIterator[Master]:
    async with serving() as running:
        yield running


def settings(master: Master, directory: Path, **words: Any) -> AgentSettings:
    made = AgentSettings(
        name="n1",
        masters=[master.address],
        data_dir=directory / "agent data",
        address="127.0.0.1",
        runtime="host",
        stop_pods_on_exit=True,
        exit_grace_seconds=0.2,
        backoff_initial_ms=50,
        linger_seconds=30,
    )
    return replace(made, **words)


@contextlib.asynccontextmanager
async def running(given: AgentSettings) -> AsyncIterator[Agent]:
    """An agent until the block ends; nothing of it is left then."""
    stop, agent = asyncio.Event(), Agent(given)
    task = asyncio.create_task(agent.run(stop))
    try:
        ready = asyncio.create_task(agent.ready.wait())
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        yield agent
    finally:
        stop.set()
        await task
        if given.stop_pods_on_exit:
            assert clear_leftovers(given.data_dir) == 0, "a process was left"
            pods = given.data_dir / "pods"
            assert not pods.exists() or not list(pods.iterdir())


async def killed(given: AgentSettings, body: Callable[[Agent], Any]) -> None:
    """Runs an agent and ends it without a word, as kill -9 does."""
    agent = Agent(given)
    task = asyncio.create_task(agent.run(asyncio.Event()))
    await agent.ready.wait()
    try:
        await body(agent)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    """For what happens without an event that a test could hear."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def pod(name: str, command: list[str], policy: str = "Always", **fields: Any) -> core.Pod:
    made = core.Pod()
    made.metadata.name, made.metadata.namespace = name, "default"
    made.spec.nodeName = "n1"
    made.spec.restartPolicy = policy
    made.spec.terminationGracePeriodSeconds = fields.get("grace", 1)
    made.spec.containers.add(name="main", command=command)
    return made


async def seen(master: Master, name: str, holds: Callable[[core.Pod], bool]) -> core.Pod:
    """The pod, as soon as it is so."""
    last: Any = None
    try:
        async with asyncio.timeout(SECONDS), master.client.watch("pods", "default") as watch:
            async for event in watch:
                if event.type != "DELETED" and event.obj.metadata.name == name:
                    last = event.obj
                    if holds(last):
                        return last
    except TimeoutError:
        raise AssertionError(f"not seen; the last was {last}") from None
    raise AssertionError


async def deleted(master: Master, name: str) -> None:
    """Deletes the pod and returns when there is no such pod any more."""
    await master.client.delete("pods", "default", name)
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(NotFound):
            while await master.client.get("pods", "default", name):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def first_bytes(master: Master, name: str, count: int) -> bytes:
    """What a pod says, as soon as it has said so much."""
    said = b""
    async with asyncio.timeout(SECONDS), master.client.logs("default", name, follow=True) as pieces:
        async for piece in pieces:
            said += piece
            if len(said) >= count:
                break
    return said


def main_of(found: core.Pod) -> core.ContainerStatus:
    """Of the first container; empty as long as the agent has not told of it."""
    return next(iter(found.status.containerStatuses), core.ContainerStatus())


def is_running(found: core.Pod) -> bool:
    return found.status.phase == "Running" and main_of(found).state.HasField("running")


def is_ready(found: core.Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_a_server_becomes_ready_answers_on_its_node_port_and_leaves_nothing(
    master: Master, tmp_path: Path, isolation: str
) -> None:
    async with running(settings(master, tmp_path, runtime=isolation)) as agent:
        wanted = pod("web", SERVER)
        container = wanted.spec.containers[0]
        container.ports.add(name="http", containerPort=80)
        container.readinessProbe.handler.httpGet.path = "/"
        container.readinessProbe.handler.httpGet.port.CopyFrom(meta.IntOrString(type=1, strVal="http"))
        await master.client.create(wanted)
        found = await seen(master, "web", is_ready)
        (port,) = main_of(found).ports
        assert (port.name, port.containerPort, port.hostIP) == ("http", 80, "127.0.0.1")

        node_port = agent_port(agent)
        service = core.Service()
        service.metadata.name, service.metadata.namespace = "web", "default"
        service.spec.type = "NodePort"
        service.spec.selector["app"] = "web"
        service.spec.ports.add(name="http", port=80, nodePort=node_port)
        await master.client.create(service)
        endpoints = discovery.EndpointSlice(addressType="IPv4")
        endpoints.metadata.name, endpoints.metadata.namespace = "web-1", "default"
        endpoints.metadata.labels["kubernetes.io/service-name"] = "web"
        endpoints.ports.add(name="http", port=port.hostPort, protocol="TCP")
        endpoints.endpoints.add(addresses=["127.0.0.1"]).conditions.ready = True
        await master.client.create(endpoints)
        assert "200 OK" in await get(node_port)

        assert b'"GET / HTTP/1.' in b"".join([c async for c in master.client.logs("default", "web")])
        await deleted(master, "web")


def agent_port(agent: Agent) -> int:
    """A node port that no other test run on this machine is likely to have."""
    del agent
    return 30_000 + os.getpid() % 2_700


async def get(port: int) -> str:
    """The first line of the answer, once somebody listens."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                line = await reader.readline()
                writer.close()
                if line:
                    return line.decode()
            await asyncio.sleep(0.01)


async def test_ends_restarts_and_failures_are_told_as_kubernetes_words_them(
    master: Master, tmp_path: Path
) -> None:
    async with running(settings(master, tmp_path)):
        await master.client.create(pod("good", ["true"], "Never"))
        await master.client.create(pod("bad", ["sh", "-c", "echo why; exit 3"], "Never"))
        await master.client.create(pod("shot", ["sh", "-c", "kill -9 $$$$"], "Never"))
        await master.client.create(pod("loop", ["sh", "-c", "exit 3"]))
        await master.client.create(pod("none", ["no-such-program"]))
        good = await seen(master, "good", lambda p: p.status.phase == "Succeeded")
        assert main_of(good).state.terminated.reason == "Completed"
        bad = await seen(master, "bad", lambda p: p.status.phase == "Failed")
        assert (main_of(bad).state.terminated.exitCode, main_of(bad).state.terminated.reason) == (3, "Error")
        shot = await seen(master, "shot", lambda p: p.status.phase == "Failed")
        assert (main_of(shot).state.terminated.exitCode, main_of(shot).state.terminated.signal) == (137, 9)
        loop = await seen(master, "loop", lambda p: main_of(p).state.waiting.reason == "CrashLoopBackOff")
        assert main_of(loop).restartCount >= 1
        assert main_of(loop).lastState.terminated.exitCode == 3
        none = await seen(master, "none", lambda p: main_of(p).state.waiting.reason == "CrashLoopBackOff")
        assert 'exec: "no-such-program": executable file not found in $PATH' in (
            main_of(none).lastState.terminated.message
        )
        assert b"".join([c async for c in master.client.logs("default", "bad")]) == b"why\n"


async def test_init_containers_prepare_a_volume_for_the_others(master: Master, tmp_path: Path) -> None:
    async with running(settings(master, tmp_path)):
        wanted = pod("two", ["sh", "-c", 'cat "$VOLUME_DATA/f"; cat "$(VOLUME_DATA)/f"; sleep 1000'])
        wanted.spec.volumes.add(name="data").volumeSource.emptyDir.SetInParent()
        first = wanted.spec.initContainers.add(
            name="first", command=["sh", "-c", 'echo hi > "$VOLUME_DATA/f"']
        )
        for container in (first, wanted.spec.containers[0]):
            container.volumeMounts.add(name="data", mountPath="/data")
        await master.client.create(wanted)
        found = await seen(master, "two", is_running)
        assert found.status.initContainerStatuses[0].state.terminated.reason == "Completed"
        assert await first_bytes(master, "two", len(b"hi\nhi\n")) == b"hi\nhi\n"


async def test_an_agent_killed_and_started_again_takes_its_pods_over(master: Master, tmp_path: Path) -> None:
    given = settings(master, tmp_path)
    program = "import os,time; print(os.getpid(), flush=True); time.sleep(1000)"
    uid = ""
    before = b""

    async def first(agent: Agent) -> None:
        nonlocal uid, before
        await master.client.create(pod("stays", [sys.executable, "-c", program]))
        await master.client.create(pod("ends", ["sh", "-c", "sleep 0.3; exit 9"], "Never"))
        found = await seen(master, "stays", is_running)
        await seen(master, "ends", is_running)
        uid = main_of(found).containerID
        before = await first_bytes(master, "stays", 2)

    await killed(given, first)
    async with running(given):
        ended = await seen(master, "ends", lambda p: p.status.phase == "Failed")
        assert main_of(ended).state.terminated.exitCode == 9
        found = await seen(master, "stays", is_running)
        assert main_of(found).containerID == uid
        assert main_of(found).restartCount == 0
        assert b"".join([c async for c in master.client.logs("default", "stays")]) == before


async def test_a_pod_that_has_ended_keeps_its_log_over_a_restart_and_goes_wholly(
    master: Master, tmp_path: Path
) -> None:
    given = settings(master, tmp_path, stop_pods_on_exit=False)
    async with running(given):
        await master.client.create(pod("done", ["sh", "-c", "echo bye; exit 4"], "Never"))
        before = await seen(master, "done", lambda p: p.status.phase == "Failed")
    (given.data_dir / "pods" / "default_stale_uid-of-nobody" / "logs").mkdir(parents=True)
    async with running(replace(given, stop_pods_on_exit=True)) as agent:
        await until(lambda: len(list((given.data_dir / "pods").iterdir())) == 1 and bool(agent.pods()))
        assert b"".join([c async for c in master.client.logs("default", "done")]) == b"bye\n"
        again = await seen(master, "done", lambda p: p.status.phase == "Failed")
        assert main_of(again).state.terminated == main_of(before).state.terminated
        await deleted(master, "done")


async def test_when_the_spawner_dies_its_pods_are_started_again(master: Master, tmp_path: Path) -> None:
    given, stop = settings(master, tmp_path), asyncio.Event()
    task = asyncio.create_task(run_agent(given, stop))
    await master.client.create(pod("again", ["sh", "-c", "echo $PPID; sleep 1000"]))
    await master.client.create(pod("once", ["sleep", "1000"], "Never"))
    await seen(master, "again", is_running)
    await seen(master, "once", is_running)
    spawner = int(await first_bytes(master, "again", 2))
    os.kill(spawner, signal.SIGKILL)
    again = await seen(master, "again", lambda p: is_running(p) and main_of(p).restartCount == 1)
    assert main_of(again).lastState.terminated.reason == "ContainerStatusUnknown"
    once = await seen(master, "once", lambda p: p.status.phase == "Failed")
    assert main_of(once).restartCount == 0
    stop.set()
    await task
    assert clear_leftovers(given.data_dir) == 0


async def test_pods_that_were_deleted_meanwhile_are_stopped_on_return(master: Master, tmp_path: Path) -> None:
    given = settings(master, tmp_path)

    async def first(agent: Agent) -> None:
        await master.client.create(pod("old", ["sleep", "1000"]))
        await seen(master, "old", is_running)

    await killed(given, first)
    await master.client.delete("pods", "default", "old", grace_seconds=0)
    async with running(given) as agent:
        await until(lambda: not agent.pods())
        assert clear_leftovers(given.data_dir) == 0


async def test_an_agent_that_leaves_its_pods_running_can_be_cleared_up_after(
    master: Master, tmp_path: Path
) -> None:
    given = settings(master, tmp_path, stop_pods_on_exit=False, linger_seconds=None)
    async with running(given):
        await master.client.create(pod("stays", ["sleep", "1000"]))
        await seen(master, "stays", is_running)
    assert await stop_leftovers(given.data_dir) == 0
    assert clear_leftovers(given.data_dir) == 0


async def test_pods_go_on_and_are_restarted_while_no_master_answers(tmp_path: Path) -> None:
    async with serving() as first:
        given = settings(first, tmp_path)
        async with running(given) as agent:
            marks = tmp_path / "marks"
            marks.mkdir()
            await first.client.create(pod("loop", ["sh", "-c", f"touch '{marks}'/$$$$; sleep 0.05"]))
            await seen(first, "loop", is_running)
            await first.server.stop(0)
            count = len(list(marks.iterdir()))
            await until(lambda: len(list(marks.iterdir())) >= count + 2)
            async with serving(first.store, port=first.port) as second:
                await seen(second, "loop", lambda p: main_of(p).restartCount >= 2)
                assert agent.pods()


async def test_model_agents_run_and_finish_pods(master: Master) -> None:
    ready = asyncio.Event()
    task = asyncio.create_task(run_simulated(master.address, 5, prefix="n", ready=ready))
    async with asyncio.timeout(SECONDS):
        await ready.wait()
    wanted = pod("model", ["anything"])
    wanted.spec.containers[0].readinessProbe.handler.tcpSocket.port.CopyFrom(meta.IntOrString(intVal=80))
    await master.client.create(wanted)
    await seen(master, "model", is_ready)
    await deleted(master, "model")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
