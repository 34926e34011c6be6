"""Masters that die or stand still."""

from scripts.chaos_scenarios.trial import Scenario, Trial


async def kill_leader(trial: Trial) -> None:
    """kill -9 of the leading master, again and again."""
    for _ in trial.rounds():
        leader = trial.cluster.masters[await trial.cluster.leader()]
        await leader.kill()
        trial.fault(f"kill -9 of {leader.name}, which leads")
        await trial.pause(0.3, 1.5)
        await leader.start()
        trial.note(f"{leader.name} starts again")
        await trial.working()
        await trial.pause(0.2, 0.8)


async def kill_any(trial: Trial) -> None:
    """kill -9 of any master, with no regard to who else is down."""
    masters = trial.cluster.masters
    for _ in trial.rounds():
        victim = masters[trial.rng.choice(sorted(masters))]
        await victim.kill()
        trial.fault(f"kill -9 of {victim.name}")
        await trial.pause(0.1, 0.8)
        dead = [master for master in masters.values() if not master.pid]
        if len(dead) > 1 or trial.rng.random() < 0.5:
            for master in dead:
                await master.start()
    await trial.cluster.restart()
    await trial.working()


async def kill_all(trial: Trial) -> None:
    """kill -9 of all masters at once."""
    masters = list(trial.cluster.masters.values())
    for _ in trial.rounds():
        for master in masters:
            await master.kill()
        trial.fault("kill -9 of all masters")
        await trial.pause(0.1, 0.5)
        trial.rng.shuffle(masters)
        for master in masters:
            await master.start()
            await trial.pause(0.0, 0.3)
        await trial.working()
        await trial.pause(0.3, 1.0)


async def freeze_leader(trial: Trial) -> None:
    """SIGSTOP of the leading master, for less and for more than an election takes."""
    for number in trial.rounds():
        leader = trial.cluster.masters[await trial.cluster.leader()]
        leader.freeze()
        trial.fault(f"SIGSTOP of {leader.name}, which leads")
        # An election begins after 0.5 s to 1 s of silence.
        await trial.pause(*((0.1, 0.4) if number % 2 else (1.2, 2.5)))
        leader.thaw()
        trial.note(f"SIGCONT of {leader.name}")
        await trial.working()
        await trial.pause(0.2, 0.6)


SCENARIOS = (
    Scenario("leader-killed", "kill -9 of the leading master, again and again", kill_leader),
    Scenario("masters-killed", "kill -9 of any master, also of two at a time", kill_any),
    Scenario("all-killed", "kill -9 of all masters at once", kill_all),
    Scenario("leader-frozen", "SIGSTOP of the leading master, short and long", freeze_leader),
)
