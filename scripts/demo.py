"""A tour of the whole on a real cluster: each step is checked by what it sees."""

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from orchestra.base import log as logging
from orchestra.cli.local_cluster import LocalCluster
from orchestra.cli.up import follow, wait_for_node_ports, wait_for_nodes, wait_for_object
from orchestra.client import Client
from orchestra.objects.kinds import DEPLOYMENT, NODE, POD, SERVICE
from orchestra.objects.readiness import is_ready
from scripts.load import Load, ask
from scripts.tour import WAIT_SECONDS, Failed, Tour, expect, expect_same, picture

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


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


async def loses_the_leading_master(tour: Tour) -> str:
    """kill -9 of the leading one of three masters while the web application is upgraded under load"""
    await wait_for_nodes(tour.client, tour.cluster, lambda line: None)
    await tour.ready_pods("app=web", 6)
    before = await picture(tour.client, but="web")
    leader = await tour.cluster.leader()
    old = {pod.metadata.uid for pod in await tour.pods("app=web")}

    def under_way(pods: object) -> bool:
        assert isinstance(pods, dict)
        found = [pod for pod in pods.values() if pod.metadata.labels.get("app") == "web"]
        return any(is_ready(pod) and pod.metadata.uid not in old for pod in found)

    async with Load(tour.targets()) as load, tour.availability("web") as ready:
        await tour.orchestra("apply", "-f", str(tour.folder / "web-v2.yaml"))
        await follow(tour.client, POD, "default", under_way, WAIT_SECONDS)
        began = time.monotonic()
        leader.started.clear()
        tour.cluster.kill(leader)
        successor = await tour.cluster.leader(but=leader.name)
        took = time.monotonic() - began
        await tour.orchestra("rollout", "status", "deployment/web", "--timeout=60s")
        for host, port in tour.targets():
            expect("version 2" in await ask(host, port), "an old version answered after the rollout")
    tally = load.tally
    expect(
        not tally.failures, f"{len(tally.failures)} of {tally.asked} requests failed: {tally.failures[:3]}"
    )
    expect(
        min(ready) >= 6, f"only {min(ready)} pods were ready at one time, the strategy allows no fewer than 6"
    )
    expect_same(before, await picture(tour.client, but="web"))
    async with asyncio.timeout(WAIT_SECONDS):
        await leader.started.wait()
    said = await tour.orchestra("member", "list")
    expect(said.count(" started ") == 3, f"member list said {said!r}")
    return (
        f"{leader.name} died, {successor.name} leads after {took * 1000:.0f} ms and ends the upgrade; "
        f"{tally.asked} requests, none failed; never fewer than {min(ready)} ready"
    )


async def loses_all_masters(tour: Tour) -> str:
    """kill -9 of all three masters while clients ask: nothing is lost, no pod restarts"""
    await wait_for_nodes(tour.client, tour.cluster, lambda line: None)
    await tour.ready_pods("app=web", 6)
    before = await picture(tour.client)
    async with Load([tour.targets()[0]]) as load:
        began = time.monotonic()
        for master in tour.cluster.masters.values():
            master.started.clear()
            tour.cluster.kill(master)
        async with asyncio.timeout(WAIT_SECONDS):
            for master in tour.cluster.masters.values():
                await master.started.wait()
        await wait_for_nodes(tour.client, tour.cluster, lambda line: None)
        took = time.monotonic() - began
        await tour.ready_pods("app=web", 6)
        after = await picture(tour.client)
    expect_same(before, after)
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
    applies, scales, rolls, pauses, shares, explains, loses_an_agent, loses_the_leading_master, loses_all_masters,
    cleans,
)  # fmt: skip


async def tour() -> bool:
    """Walks the steps; whether all held."""
    held = True
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orchestra-demo-") as folder:
        cluster = LocalCluster(
            3, masters=3, port=0, report=lambda line: print(f"         ({line})", flush=True)
        )
        async with cluster, Client(cluster.server) as client:
            await wait_for_nodes(client, cluster, lambda line: None)
            print(
                f"{time.monotonic() - began:6.1f}s  ok      A cluster from nothing: 3 masters, 3 agents, 3 nodes Ready"
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
