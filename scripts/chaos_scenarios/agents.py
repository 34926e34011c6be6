"""Agents that die or are cut off, and upgrades while masters die."""

import contextlib
import os
import signal

from scripts.chaos_scenarios import pods
from scripts.chaos_scenarios.trial import Scenario, Trial


async def kill_agent(trial: Trial) -> None:
    """kill -9 of an agent; its pods run on, and the next one takes them over."""
    for _ in trial.rounds():
        agent = trial.cluster.agents[trial.rng.choice(sorted(trial.cluster.agents))]
        await agent.kill()
        trial.fault(f"kill -9 of {agent.name}, its pods run on")
        # Less than the grace after which its pods are given up.
        await trial.pause(0.0, 0.5)
        await agent.start()
        await trial.pause(0.5, 1.5)
        await trial.settled()


async def kill_machine(trial: Trial) -> None:
    """kill -9 of an agent and of every process of its machine."""
    for _ in trial.rounds():
        name = trial.rng.choice(sorted(trial.cluster.agents))
        agent = trial.cluster.agents[name]
        for pid in trial.network.processes(name):
            if pid != agent.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await agent.kill()
        trial.fault(f"kill -9 of {name} and its pods")
        await trial.pause(0.0, 4.0)
        await agent.start()
        await trial.settled()


async def partition_agents(trial: Trial) -> None:
    """Agents and masters do not hear each other: some agents some masters, or one agent all of them."""
    masters, agents = sorted(trial.cluster.masters), sorted(trial.cluster.agents)
    for number in trial.rounds():
        if number % 2:
            # For longer than the grace: the pods are replaced, and never run twice for long.
            trial.network.cut([agent := trial.rng.choice(agents)], masters)
            trial.fault(f"{agent} is cut off from all masters")
            await trial.pause(4.0, 7.0)
        else:
            trial.network.cut(agents, [leader := await trial.cluster.leader()])
            trial.fault(f"agents are cut off from {leader}, which leads")
            await trial.pause(0.3, 1.0)
        trial.network.heal()
        await trial.settled()


async def upgrade(trial: Trial) -> None:
    """Rolling upgrades, in each of which the leading master is killed."""
    cluster = trial.cluster
    for number in trial.rounds():
        async with cluster.client() as client:
            await pods.upgrade(client, number + 2)
        await trial.pause(0.1, 1.0)
        leader = cluster.masters[await cluster.leader()]
        await leader.kill()
        trial.fault(f"kill -9 of {leader.name}, which leads, in upgrade {number}")
        await trial.pause(0.1, 1.0)
        await leader.start()
        await trial.settled()
    async with cluster.client() as client:
        for pod in (await client.list("pods", "default", labels="app=sleepers")).items:
            version = next(each.value for each in pod.spec.containers[0].env if each.name == "VERSION")
            if version != str(number + 2):
                trial.findings.violations.append(f"{pod.metadata.name} is of version {version}")


SCENARIOS = (
    Scenario("agent-killed", "kill -9 of an agent, whose pods run on", kill_agent, grace="30s"),
    Scenario(
        "agent-machine-killed",
        "kill -9 of an agent with all its pods",
        kill_machine,
        same_pods=False,
    ),
    Scenario(
        "agents-partitioned",
        "agents are cut off from masters",
        partition_agents,
        same_pods=False,
    ),
    Scenario("upgrade", "rolling upgrades, the leading master killed in each", upgrade, same_pods=False),
)
