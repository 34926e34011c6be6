"""Agents' sessions over a real stream: orders down, reports up, draining, refusals, logs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from orchestra.aio.rpc.limits import Keepalive
from orchestra.apiserver import sessions
from orchestra.base.errors import BadRequest, NotFound, Unavailable
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import core, discovery, meta
from tests.integration.api_master import Master, serving
from tests.integration.scripted_agent import SECONDS, ScriptedAgent, agent_of, pod_on, report_of


@pytest.fixture
async def master() -> AsyncIterator[Master]:
    async with serving() as running:
        yield running


async def seen(master: Master, kind: str, name: str, condition: Callable[[Any], bool]) -> Any:
    """The object, as soon as it is so."""
    namespace = "" if kind == "nodes" else "default"
    async with asyncio.timeout(SECONDS), master.client.watch(kind, namespace) as watch:
        async for event in watch:
            if event.type != "DELETED" and event.obj.metadata.name == name and condition(event.obj):
                return event.obj
    raise AssertionError


async def gone(master: Master, name: str) -> None:
    """Returns when the pod is no more."""
    async with asyncio.timeout(SECONDS), master.client.watch("pods", "default", bookmarks=True) as watch:
        held = False
        async for event in watch:
            held = (
                (held or event.type == "ADDED") and event.type != "DELETED"
                if event.obj is not None and event.obj.metadata.name == name
                else held
            )
            if event.revision and not held:
                return


async def liveness_of(master: Master, node: str, connected: bool) -> None:
    """Returns when the node is known to be connected, or not."""
    changed = asyncio.Event()
    unsubscribe = master.liveness.subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(SECONDS):
            while (state := master.liveness.state(node)) is None or state.connected is not connected:
                changed.clear()
                await changed.wait()
    finally:
        unsubscribe()


async def joined(master: Master, one: ScriptedAgent, **fields: Any) -> None:
    """Connects an agent; returns when its node is known to be alive."""
    await one.connect(**fields)
    await liveness_of(master, one.name, connected=True)


def slice_of(name: str, pods: list[core.Pod], ready: bool = True) -> discovery.EndpointSlice:
    made = discovery.EndpointSlice(
        metadata=meta.ObjectMeta(name=name, namespace="default"), addressType="IPv4"
    )
    made.metadata.labels["kubernetes.io/service-name"] = "web"
    for pod in pods:
        endpoint = made.endpoints.add(addresses=["127.0.0.1"], nodeName=pod.spec.nodeName)
        endpoint.conditions.ready = ready
        endpoint.targetRef.kind, endpoint.targetRef.name = "Pod", pod.metadata.name
        endpoint.targetRef.namespace, endpoint.targetRef.uid = "default", pod.metadata.uid
    made.ports.add(name="http", port=8080, protocol="TCP")
    return made


async def test_registering_makes_a_node_and_a_second_time_keeps_what_others_set(master: Master) -> None:
    async with agent_of(master.address) as first:
        await joined(master, first, labels={"disk": "ssd", "rack": "1"})
        assert first.received[0].HasField("welcome")
        assert first.received[0].welcome.master == "m1"
    node = await master.client.get("nodes", "", "n1")
    assert node.metadata.labels["kubernetes.io/hostname"] == "n1"
    assert node.metadata.labels["kubernetes.io/arch"] == "amd64"
    assert node.metadata.labels["disk"] == "ssd"
    assert node.status.capacity["cpu"].string == "4"
    assert node.status.addresses[0].address == "127.77.0.10"
    patch = {"spec": {"unschedulable": True}, "metadata": {"labels": {"mine": "kept"}}}
    await master.client.patch("nodes", "", "n1", patch)
    await liveness_of(master, "n1", connected=False)
    async with agent_of(master.address, instance="i2") as second:
        await joined(master, second, labels={"disk": "hdd"})
    node = await master.client.get("nodes", "", "n1")
    assert node.spec.unschedulable
    labels = dict(node.metadata.labels)
    assert (labels["disk"], labels["mine"], "rack" in labels) == ("hdd", "kept", False)


async def test_registering_again_unchanged_writes_nothing(master: Master) -> None:
    async with agent_of(master.address) as first:
        await joined(master, first)
    before = await master.client.get("nodes", "", "n1")
    await liveness_of(master, "n1", connected=False)
    async with agent_of(master.address) as second:
        await joined(master, second)
    after = await master.client.get("nodes", "", "n1")
    assert after.metadata.resourceVersion == before.metadata.resourceVersion


async def test_the_first_picture_then_increments(master: Master) -> None:
    client = master.client
    mine = await client.create(pod_on("n1", "mine"))
    await client.create(pod_on("n2", "other"))
    service = core.Service(metadata=meta.ObjectMeta(name="web", namespace="default"))
    service.spec.type = "NodePort"
    service.spec.selector["app"] = "web"
    service.spec.ports.add(port=80)
    await client.create(service)
    inside = core.Service()
    inside.CopyFrom(service)
    inside.metadata.name, inside.spec.type = "inside", "ClusterIP"
    await client.create(inside)
    await client.create(slice_of("web-1", [mine]))
    async with agent_of(master.address) as one:
        await joined(master, one)
        assert set(one.pods) == {mine.metadata.uid}
        assert set(one.others) == {("service", "web"), ("endpoint_slice", "web-1")}
        later = await client.create(pod_on("n1", "later"))
        await one.until(lambda: later.metadata.uid in one.pods)
        await client.delete("services", "default", "web")
        await one.until(lambda: ("service", "web") not in one.others)
        await client.delete("pods", "default", "mine", grace_seconds=0)
        await one.until(lambda: mine.metadata.uid not in one.pods)
        waiting = await client.create(pod_on("", "waiting"))
        await master.objects.bind("default", "waiting", waiting.metadata.uid, "n1")
        await one.until(lambda: waiting.metadata.uid in one.pods)


async def test_a_large_picture_comes_in_several_messages(master: Master) -> None:
    for number in range(6):
        big = pod_on("n1", f"big-{number}")
        big.metadata.annotations["text"] = "x" * 250_000
        await master.client.create(big)
    async with agent_of(master.address) as one:
        await joined(master, one)
        assert len(one.pods) == 6
        orders = [message.orders for message in one.received if message.HasField("orders")]
        assert len(orders) > 1
        assert [said.synced for said in orders] == [False] * (len(orders) - 1) + [True]


async def test_statuses_are_written_and_keep_what_others_said(master: Master) -> None:
    waiting = await master.client.create(pod_on("", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        await master.objects.bind("default", "web", waiting.metadata.uid, "n1")
        await one.until(lambda: waiting.metadata.uid in one.pods)
        pod = one.pods[waiting.metadata.uid]
        ready = core.PodCondition(type="Ready", status="True")
        await one.report(pod, phase="Running", podIP="127.0.0.1", conditions=[ready])
        running = await seen(master, "pods", "web", lambda pod: pod.status.phase == "Running")
        conditions = {condition.type: condition for condition in running.status.conditions}
        assert (conditions["Ready"].status, conditions["PodScheduled"].status) == ("True", "True")
        assert conditions["Ready"].HasField("lastTransitionTime")
        assert running.status.qosClass
        assert running.metadata.generation == pod.metadata.generation


async def test_one_bad_report_does_not_stop_the_others(master: Master) -> None:
    good = await master.client.create(pod_on("n1", "good"))
    elsewhere = await master.client.create(pod_on("n2", "elsewhere"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        reports = [
            agent.PodReport(
                namespace="default", name="nobody", uid="u", status=core.PodStatus(phase="Running")
            ),
            agent.PodReport(namespace="default", name="", uid="v"),
            agent.PodReport(namespace="a/b", name="..", uid="w"),
            agent.PodReport(
                namespace="default", name="good", uid="another", status=core.PodStatus(phase="Failed")
            ),
            report_of(elsewhere, phase="Failed"),
            report_of(good, phase="Running"),
        ]
        await one.send(status_report=agent.StatusReport(pods=reports))
        await seen(master, "pods", "good", lambda pod: pod.status.phase == "Running")
        assert (await master.client.get("pods", "default", "elsewhere")).status.phase == "Pending"


async def test_pods_told_at_registration_are_taken_in(master: Master) -> None:
    held = await master.client.create(pod_on("n1", "held"))
    async with agent_of(master.address) as one:
        await joined(master, one, pods=[report_of(held, phase="Running")])
        await seen(master, "pods", "held", lambda pod: pod.status.phase == "Running")


async def test_a_pod_that_has_fully_stopped_is_removed(master: Master) -> None:
    held = await master.client.create(pod_on("n1", "held"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        await one.report(held, phase="Running")
        await seen(master, "pods", "held", lambda pod: pod.status.phase == "Running")
        _, removed = await master.client.delete("pods", "default", "held")
        assert not removed
        await one.until(lambda: held.metadata.uid in one.drained)
        assert one.pods[held.metadata.uid].metadata.HasField("deletionTimestamp")
        await one.report(held, phase="Succeeded", finished=True)
        await gone(master, "held")
        await one.until(lambda: held.metadata.uid not in one.pods)


async def test_a_pod_that_ended_before_it_was_deleted_needs_no_second_word(master: Master) -> None:
    held = await master.client.create(pod_on("n1", "held"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        # Its end is known, but its phase is one that still has a grace period.
        await one.report(held, phase="Running", finished=True)
        await seen(master, "pods", "held", lambda pod: pod.status.phase == "Running")
        await master.client.delete("pods", "default", "held")
        await gone(master, "held")


async def test_drained_comes_after_every_agent_has_applied_the_change(master: Master) -> None:
    client = master.client
    pod = await client.create(pod_on("n1", "web"))
    listed = await client.create(slice_of("web-1", [pod]))
    uid = pod.metadata.uid
    async with agent_of(master.address, "n1") as one, agent_of(master.address, "n2", "i2") as two:
        for each in (one, two):
            await joined(master, each)
            await each.applied()
        await client.delete("pods", "default", "web")
        await one.until(lambda: one.pods[uid].metadata.HasField("deletionTimestamp"))
        listed.endpoints[0].conditions.ready = False
        listed.endpoints[0].conditions.terminating = True
        listed.metadata.ClearField("resourceVersion")
        await client.update(listed)
        for each in (one, two):
            await each.until(
                lambda each=each: not each.others["endpoint_slice", "web-1"].endpoints[0].conditions.ready
            )
        await one.applied()
        assert one.drained == []
        applied_at = asyncio.get_running_loop().time()
        await two.applied()
        await one.until(lambda: one.drained == [uid])
        assert asyncio.get_running_loop().time() - applied_at < 1.5, (
            "it was the change, not the time, that drained"
        )
        assert two.drained == []


async def test_an_agent_that_never_applies_holds_a_pod_only_so_long(master: Master) -> None:
    client = master.client
    pod = await client.create(pod_on("n1", "web"))
    await client.create(slice_of("web-1", [pod]))
    async with agent_of(master.address, "n1") as one, agent_of(master.address, "n2", "i2") as two:
        await joined(master, one)
        await joined(master, two)
        began = asyncio.get_running_loop().time()
        await client.delete("pods", "default", "web")
        await one.until(lambda: one.drained == [pod.metadata.uid])
        assert asyncio.get_running_loop().time() - began > 1


async def test_an_agent_that_leaves_is_not_waited_for(master: Master) -> None:
    client = master.client
    pod = await client.create(pod_on("n1", "web"))
    listed = await client.create(slice_of("web-1", [pod]))
    async with agent_of(master.address, "n1") as one:
        await joined(master, one)
        async with agent_of(master.address, "n2", "i2") as two:
            await joined(master, two)
            await client.delete("pods", "default", "web")
            await client.delete("endpointslices", "default", listed.metadata.name)
            await one.until(lambda: not one.others)
            await one.applied()
            assert one.drained == []
        left_at = asyncio.get_running_loop().time()
        await one.until(lambda: one.drained == [pod.metadata.uid])
        assert asyncio.get_running_loop().time() - left_at < 1.5


async def test_a_reconnecting_agent_is_told_again_what_is_drained(master: Master) -> None:
    pod = await master.client.create(pod_on("n1", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        await master.client.delete("pods", "default", "web")
        await one.until(lambda: one.drained == [pod.metadata.uid])
    await liveness_of(master, "n1", connected=False)
    async with agent_of(master.address) as again:
        await joined(master, again)
        await again.until(lambda: again.drained == [pod.metadata.uid])


async def test_a_second_agent_of_the_same_name_is_refused(master: Master) -> None:
    async with agent_of(master.address) as one:
        await joined(master, one)
        async with agent_of(master.address, instance="i2") as two:
            await two.register()
            answer = await two.read()
            assert answer is not None
            assert 'another agent named "n1" is connected' in answer.refused.reason
            assert answer.refused.retry_after_ms > 0
            assert await two.read() is None
        await master.client.create(pod_on("n1", "web"))
        await one.until(lambda: len(one.pods) == 1)
    await liveness_of(master, "n1", connected=False)
    async with agent_of(master.address, instance="i2") as three:
        await joined(master, three)


async def test_an_agent_that_starts_anew_before_its_end_was_noticed_is_let_in(master: Master) -> None:
    async with agent_of(master.address, instance="i2") as successor:
        async with agent_of(master.address) as one:
            await joined(master, one)
            await successor.register()
        # The first one's stream has ended only now.
        answer = await successor.read()
        assert answer is not None
        assert answer.HasField("welcome")


async def test_the_same_agent_dialling_again_replaces_its_old_session(master: Master) -> None:
    async with agent_of(master.address) as one, agent_of(master.address) as again:
        await joined(master, one)
        await joined(master, again)
        await liveness_of(master, "n1", connected=True)
        await master.client.create(pod_on("n1", "web"))
        await again.until(lambda: len(again.pods) == 1)


@pytest.mark.parametrize(
    ("name", "instance", "said"), [("N_1", "i", "not valid"), ("n1", "", "instance"), ("", "i", "not valid")]
)
async def test_a_wrong_registration_is_refused(master: Master, name: str, instance: str, said: str) -> None:
    async with agent_of(master.address, name, instance) as one:
        await one.register()
        answer = await one.read()
        assert answer is not None
        assert said in answer.refused.reason


async def test_what_cannot_be_a_node_is_refused(master: Master) -> None:
    async with agent_of(master.address) as one:
        await one.register(labels={"not a label": "x"})
        answer = await one.read()
        assert answer is not None
        assert "not a label" in answer.refused.reason
        assert await one.read() is None


async def test_another_nodes_pod_cannot_be_said_to_have_stopped(master: Master) -> None:
    own = await master.client.create(pod_on("n1", "own"))
    foreign = await master.client.create(pod_on("n2", "foreign"))
    await master.client.delete("pods", "default", "foreign")
    async with agent_of(master.address) as one:
        await joined(master, one)
        reports = [report_of(foreign, finished=True, phase="Succeeded"), report_of(own, phase="Running")]
        await one.send(status_report=agent.StatusReport(pods=reports))
        await seen(master, "pods", "own", lambda pod: pod.status.phase == "Running")
    assert (await master.client.get("pods", "default", "foreign")).metadata.uid == foreign.metadata.uid


async def test_a_session_that_does_not_begin_with_register(master: Master) -> None:
    async with agent_of(master.address) as one:
        await one.send(heartbeat=agent.Heartbeat())
        with pytest.raises(Exception, match="has to be Register"):
            await one.read()


async def test_heartbeats_stay_in_memory(master: Master) -> None:
    async with agent_of(master.address) as one:
        await joined(master, one)
        before = master.store.revision
        pod = await master.client.create(pod_on("n1", "web"))
        await one.send(heartbeat=agent.Heartbeat(cpu_millis=250, memory_bytes=1 << 30))
        # The stream is in order: what comes after the heartbeat has been seen after it.
        await one.report(pod, phase="Running")
        await seen(master, "pods", "web", lambda pod: pod.status.phase == "Running")
        usage = master.server.hub.usage("n1")
        assert usage is not None
        assert usage.cpu_millis == 250
        assert master.store.revision == before + 2
    await liveness_of(master, "n1", connected=False)
    assert master.server.hub.usage("n1") is None


async def test_a_node_is_alive_once_its_agent_acts_on_the_whole_picture(master: Master) -> None:
    async with agent_of(master.address) as one:
        await one.register()
        await one.until(lambda: one.synced)
        assert master.liveness.state("n1") is None, "it may not answer on its node ports yet"
        await one.applied()
        await liveness_of(master, "n1", connected=True)


async def test_a_closed_stream_is_known_at_once(master: Master) -> None:
    async with agent_of(master.address) as one:
        await joined(master, one)
        await liveness_of(master, "n1", connected=True)
    await liveness_of(master, "n1", connected=False)
    state = master.liveness.state("n1")
    assert state is not None
    assert state.restarting_until_ns is None


async def test_a_goodbye_gives_time_to_restart(master: Master) -> None:
    async with agent_of(master.address) as one:
        await joined(master, one)
        await one.send(goodbye=agent.Goodbye(restarting=True, restart_seconds=30))
        await one.call.done_writing()
        assert await one.read() is None
    await liveness_of(master, "n1", connected=False)
    state = master.liveness.state("n1")
    assert state is not None
    assert state.restarting_until_ns is not None
    assert state.restarting_until_ns - state.since_ns == 30_000_000_000


async def test_last_words_are_written(master: Master) -> None:
    pods = [await master.client.create(pod_on("n1", f"web-{number}")) for number in range(20)]
    async with agent_of(master.address) as one:
        await joined(master, one)
        reports = [report_of(pod, phase="Succeeded") for pod in pods]
        await one.send(status_report=agent.StatusReport(pods=reports))
        await one.send(goodbye=agent.Goodbye())
        await one.call.done_writing()
        assert await one.read() is None
    listed = await master.client.list("pods", "default")
    assert {pod.status.phase for pod in listed} == {"Succeeded"}


async def test_events_of_agents_are_recorded(master: Master) -> None:
    pod = await master.client.create(pod_on("n1", "web"))
    foreign = await master.client.create(pod_on("n2", "foreign"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        events = []
        for about in (foreign, pod):
            event = core.Event(reason="Started", message="Started container main", type="Normal")
            event.involvedObject.kind, event.involvedObject.apiVersion = "Pod", "v1"
            event.involvedObject.namespace, event.involvedObject.name = "default", about.metadata.name
            event.involvedObject.uid = about.metadata.uid
            events.append(event)
        await one.send(event_report=agent.EventReport(events=events))
        async with asyncio.timeout(SECONDS), master.client.watch("events", "default") as watch:
            told = (await anext(watch)).obj
        assert (told.involvedObject.name, told.source.component, told.source.host) == ("web", "agent", "n1")


async def test_deleting_a_node_makes_its_agent_register_anew(master: Master) -> None:
    async with agent_of(master.address) as one:
        await joined(master, one)
        await master.client.delete("nodes", "", "n1")
        with pytest.raises(Exception, match="register anew"):
            await one.until(lambda: False)


async def test_a_stopping_master_tells_its_agents_and_does_not_suspect_them(master: Master) -> None:
    async with agent_of(master.address) as one:
        await joined(master, one)
        await liveness_of(master, "n1", connected=True)
        await master.server.stop(1)
        with pytest.raises(Exception, match="stopping"):
            await one.until(lambda: False)
    state = master.liveness.state("n1")
    assert state is not None
    assert state.connected


async def test_an_agent_that_takes_nothing_is_disconnected(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "STALL_SECONDS", 0.3)
    async with agent_of(master.address) as one:
        await joined(master, one)
        for number in range(30):
            big = pod_on("n1", f"big-{number}")
            big.metadata.annotations["text"] = "x" * 250_000
            await master.client.create(big)
        await liveness_of(master, "n1", connected=False)
        with pytest.raises(grpc.aio.AioRpcError, match="dial again"):
            await one.until(lambda: False)


async def test_a_machine_that_dies_without_a_word_is_found_on_both_ends() -> None:
    quick = Keepalive(interval_ms=100, timeout_ms=700, without_calls=True)
    async with serving(keepalive=quick) as master, Cable(master.port) as cable:
        one = ScriptedAgent(cable.address, "n1", "i1", keepalive=quick)
        await joined(master, one)
        cable.cut.set()
        await liveness_of(master, "n1", connected=False)
        with pytest.raises(grpc.aio.AioRpcError):
            await one.read()
        await one.close()


class Cable:
    """A connection to a port that can be cut without either end being told."""

    def __init__(self, port: int) -> None:
        self.cut = asyncio.Event()
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Cable":
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _joined(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far, far_out = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [near_out, far_out]
        self._tasks |= {
            asyncio.create_task(self._copy(near, far_out)),
            asyncio.create_task(self._copy(far, near_out)),
        }

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while (data := await source.read(65536)) and not self.cut.is_set():
            sink.write(data)
            await sink.drain()
        await asyncio.Event().wait()


# Logs.

Push = Callable[[agent.OpenLog], Awaitable[None]]


async def pushing(one: Any, *messages: agent.PushLogMessage) -> agent.OpenLog:
    """Waits for the order to open a log and pushes the messages."""
    await one.until(lambda: one.received[-1].HasField("open_log"))
    wanted = one.received[-1].open_log
    call = one.stub.PushLog()
    await call.write(agent.PushLogMessage(id=wanted.id))
    for message in messages:
        await call.write(message)
    await call.done_writing()
    await call
    return wanted


async def test_a_log_is_bridged(master: Master) -> None:
    pod = await master.client.create(pod_on("n1", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        pushed = asyncio.create_task(
            pushing(one, agent.PushLogMessage(data=b"one\n"), agent.PushLogMessage(data=b"x" * 200_000))
        )
        async with asyncio.timeout(SECONDS):
            pieces = [piece async for piece in master.client.logs("default", "web", tail_lines=5)]
            wanted = await pushed
    assert b"".join(pieces) == b"one\n" + b"x" * 200_000
    assert max(map(len, pieces)) <= 64 * 1024
    assert (wanted.uid, wanted.options.container, wanted.options.tail_lines) == (pod.metadata.uid, "main", 5)
    assert len(master.server.hub.relays) == 0


async def test_a_log_that_cannot_be_read_says_why(master: Master) -> None:
    await master.client.create(pod_on("n1", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        pushed = asyncio.create_task(pushing(one, agent.PushLogMessage(error="there is no earlier run")))
        with pytest.raises(BadRequest, match="no earlier run"):
            await anext(master.client.logs("default", "web", previous=True))
        await pushed


async def test_logs_that_nobody_can_have(master: Master) -> None:
    client = master.client
    two = pod_on("n1", "two")
    two.spec.containers.add(name="side", command=["sleep", "1"])
    await client.create(two)
    await client.create(pod_on("", "waiting"))
    for name, container, error, said in (
        ("nobody", "", NotFound, "not found"),
        ("two", "", BadRequest, r"choose one of: \[main side\]"),
        ("two", "other", BadRequest, "container other is not valid"),
        ("waiting", "", BadRequest, "not on a node yet"),
        ("two", "side", Unavailable, 'node "n1", whose agent is not connected'),
    ):
        with pytest.raises(error, match=said):
            await anext(client.logs("default", name, container))


async def test_an_agent_lost_before_it_dials_ends_the_log(master: Master) -> None:
    await master.client.create(pod_on("n1", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        reading = asyncio.create_task(anext(master.client.logs("default", "web")))
        await one.until(lambda: one.received[-1].HasField("open_log"))
    with pytest.raises(Unavailable, match="gone"):
        async with asyncio.timeout(SECONDS):
            await reading


async def test_a_reader_that_leaves_ends_the_agents_stream(master: Master) -> None:
    await master.client.create(pod_on("n1", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        stream = master.client.logs("default", "web", follow=True)
        reading = asyncio.create_task(anext(stream))
        await one.until(lambda: one.received[-1].HasField("open_log"))
        call = one.stub.PushLog()
        await call.write(agent.PushLogMessage(id=one.received[-1].open_log.id, data=b"one\n"))
        async with asyncio.timeout(SECONDS):
            assert await reading == b"one\n"
            stream.close()
            await call


async def test_a_reader_that_takes_nothing_holds_the_agent_back(master: Master) -> None:
    await master.client.create(pod_on("n1", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        stream = master.client.logs("default", "web", follow=True)
        reading = asyncio.create_task(anext(stream))
        await one.until(lambda: one.received[-1].HasField("open_log"))
        call = one.stub.PushLog()
        await call.write(agent.PushLogMessage(id=one.received[-1].open_log.id, data=b"x" * 65536))
        await reading
        written = 0
        with contextlib.suppress(TimeoutError):
            while written < 100_000_000:
                async with asyncio.timeout(0.5):
                    await call.write(agent.PushLogMessage(data=b"x" * 65536))
                written += 65536
        assert written < 50_000_000
        stream.close()


async def test_an_agent_that_dies_while_it_pushes_ends_the_reader(master: Master) -> None:
    await master.client.create(pod_on("n1", "web"))
    async with agent_of(master.address) as one:
        await joined(master, one)
        stream = master.client.logs("default", "web", follow=True)
        reading = asyncio.create_task(anext(stream))
        await one.until(lambda: one.received[-1].HasField("open_log"))
        call = one.stub.PushLog()
        await call.write(agent.PushLogMessage(id=one.received[-1].open_log.id, data=b"one\n"))
        assert await reading == b"one\n"
        call.cancel()
        with pytest.raises(Unavailable, match="was lost while"):
            async with asyncio.timeout(SECONDS):
                await anext(stream)


async def test_a_log_nobody_asked_for_is_refused(master: Master) -> None:
    async with agent_of(master.address) as one:
        call = one.stub.PushLog()
        await call.write(agent.PushLogMessage(id="made-up"))
        with pytest.raises(Exception, match="nobody waits"):
            async with asyncio.timeout(SECONDS):
                await call
