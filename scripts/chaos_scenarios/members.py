"""Masters that come, go and come anew while the group works."""

import asyncio

from scripts.chaos_scenarios.cluster import READY_SECONDS
from scripts.chaos_scenarios.trial import Scenario, Trial

POLL_SECONDS = 0.05
NOT_A_LEARNER = "can only promote a learner"


async def replace_member(trial: Trial) -> None:
    """A master's disk is lost: it is removed, and enters anew with an empty one."""
    cluster = trial.cluster
    for number in trial.rounds():
        leader = await cluster.leader()
        victim = leader if number % 2 else trial.rng.choice(trial.others(leader))
        await cluster.masters[victim].kill()
        trial.fault(f"{victim} dies, and its disk is lost; {leader} leads")
        await trial.working()
        await cluster.insist("member", "remove", victim)
        trial.note(f"{victim} was removed")
        await cluster.join(victim)
        await has_vote(trial, victim)
        trial.note(f"{victim} has a vote again")
        await trial.working()
        await trial.pause(0.2, 0.6)


async def add_and_promote(trial: Trial) -> None:
    """A fourth master enters as a learner, is promoted, and is taken out again; the leader dies meanwhile."""
    cluster = trial.cluster
    for number in trial.rounds():
        await cluster.join("m4", learner=True)
        if number == 0:
            trial.workload.attend("m4")
        if number % 2:
            leader = cluster.masters[await cluster.leader(among=("m1", "m2", "m3"))]
            await leader.kill()
            trial.fault(f"kill -9 of {leader.name}, which leads")
            await trial.working()
            await leader.start()
        await promote(trial, "m4")
        trial.fault("m4 was promoted")
        await has_vote(trial, "m4")
        await trial.working()
        await cluster.insist("member", "remove", "m4")
        await cluster.masters["m4"].kill()
        cluster.forget("m4")
        trial.fault("m4 was removed")
        await trial.working()
        await trial.pause(0.1, 0.4)


async def promote(trial: Trial, name: str) -> None:
    """As soon as it has caught up. Raises: TimeoutError."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                await trial.cluster.type("member", "promote", name)
                return
            except OSError as refusal:
                # An attempt whose answer was lost may have been taken.
                if NOT_A_LEARNER in str(refusal):
                    return
                await asyncio.sleep(POLL_SECONDS)


async def has_vote(trial: Trial, name: str) -> None:
    """Waits until a master has run and has a vote. Raises: TimeoutError."""
    async with asyncio.timeout(READY_SECONDS), trial.cluster.client() as client:
        while True:
            for member in (await client.members()).members:
                if member.name == name and member.started and not member.learner:
                    return
            await asyncio.sleep(POLL_SECONDS)


SCENARIOS = (
    Scenario(
        "member-replaced", "a master's disk is lost; removed, it joins with an empty one", replace_member
    ),
    Scenario("member-added", "a fourth master joins, is promoted, and leaves; leaders die", add_and_promote),
)
