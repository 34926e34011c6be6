"""Networks that part. Clients reach every master all the while."""

from scripts.chaos_scenarios.trial import Scenario, Trial


async def partition_leader(trial: Trial) -> None:
    """The leading master and the others do not hear each other."""
    for _ in trial.rounds():
        leader = await trial.cluster.leader()
        others = trial.others(leader)
        trial.network.cut([leader], others)
        trial.fault(f"{leader}, which leads, is cut off from {others}")
        # What those decide who are the majority.
        await trial.cluster.leader(among=others)
        await trial.pause(0.5, 2.0)
        trial.network.heal()
        trial.note("the network is whole")
        await trial.working()
        await trial.pause(0.3, 0.8)


async def partition_one_way(trial: Trial) -> None:
    """Some master is not heard any more, or does not hear; the other direction passes."""
    for number in trial.rounds():
        name = await trial.cluster.leader() if number % 2 == 0 else await trial.cluster.follower()
        others = trial.others(name)
        if trial.rng.random() < 0.3:
            others = [trial.rng.choice(others)]
        deaf, mute = ([name], others) if trial.rng.random() < 0.5 else (others, [name])
        trial.network.cut(deaf, mute, one_way=True)
        trial.fault(f"{deaf} do not hear {mute}")
        await trial.pause(1.0, 2.5)
        await trial.working()
        trial.network.heal()
        trial.note("the network is whole")
        await trial.working()
        await trial.pause(0.3, 0.8)


async def partition_minority(trial: Trial) -> None:
    """A follower is cut off, and comes back; then everybody from everybody."""
    names = sorted(trial.cluster.masters)
    for number in trial.rounds():
        follower = await trial.cluster.follower()
        trial.network.cut([follower], trial.others(follower))
        trial.fault(f"{follower}, which follows, is cut off")
        await trial.pause(0.5, 2.0)
        await trial.working()
        if number % 2:
            # No two hear each other: nobody may go on.
            for name in names:
                trial.network.cut([name], trial.others(name))
            trial.fault("all are cut off from all")
            await trial.pause(0.5, 1.5)
        trial.network.heal()
        trial.note("the network is whole")
        await trial.working()
        await trial.pause(0.3, 0.8)


async def unplug_leader(trial: Trial) -> None:
    """The leading master's cable is pulled: neither masters, agents nor clients hear it."""
    for _ in trial.rounds():
        leader = await trial.cluster.leader()
        trial.network.link(leader, up=False)
        trial.fault(f"the cable of {leader}, which leads, is pulled")
        await trial.cluster.leader(among=trial.others(leader))
        await trial.pause(0.5, 2.0)
        trial.network.link(leader, up=True)
        trial.note("the cable is in again")
        await trial.working()
        await trial.pause(0.3, 0.8)


SCENARIOS = (
    Scenario("leader-partitioned", "the leading master is cut off from the others", partition_leader),
    Scenario("one-way", "a master does not hear others, or is not heard", partition_one_way),
    Scenario(
        "minority-partitioned",
        "a follower is cut off, then all from all, clients everywhere",
        partition_minority,
    ),
    Scenario(
        "leader-unplugged", "the leading master's link is down, for clients and agents too", unplug_leader
    ),
)
