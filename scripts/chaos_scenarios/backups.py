"""Everything is lost but a file."""

import asyncio
import json
from pathlib import Path

from scripts.chaos_scenarios import history
from scripts.chaos_scenarios.history import Told
from scripts.chaos_scenarios.trial import Scenario, Trial


async def restore(trial: Trial) -> None:
    """A snapshot is saved under load; every master's disk is lost; three new masters begin from the file."""
    cluster = trial.cluster
    for number in trial.rounds():
        await trial.pause(0.5, 1.0)
        file = trial.folder / f"{number}.snapshot"
        saved = json.loads(await cluster.type("snapshot", "save", str(file), "-o", "json"))["revision"]
        await trial.pause(0.3, 1.0)
        before = trial.workload
        await before.quiesce()
        record = await history.read_history(cluster.etcd(await cluster.leader()), saved)
        await before.stop()
        _check_saved(trial, record, saved)
        await cluster.lose_masters()
        trial.fault(f"all masters and their disks are lost; revision {saved} was saved")
        await asyncio.gather(*(_restored(trial, file, name) for name in cluster.masters))
        again = await history.read_history(cluster.etcd(await cluster.leader()), saved)
        if again.events != record.events:
            trial.findings.violations.append("what was restored is not what had been saved")
        trial.renew_workload()
        await trial.working()
        await trial.settled()
        await trial.pause(1.0, 2.0)


async def _restored(trial: Trial, file: Path, name: str) -> None:
    cluster = trial.cluster
    where = ["--data-dir", str(cluster.data_dir(name)), "--name", name, "--initial-cluster", cluster.initial]
    await cluster.type("snapshot", "restore", str(file), *where)
    await cluster.masters[name].start()


def _check_saved(trial: Trial, record: Told, revision: int) -> None:
    """What came before the snapshot is what clients were told, as ever; what came after is given up."""
    *older, book = trial.books()
    history.check_calls([*older, history.up_to(book, revision)], record, trial.findings)
    watchers = trial.workload.watchers
    watched = [history.watched_up_to(watcher.watched, revision) for watcher in watchers]
    history.check_watches(watched, record, sum(watcher.resumed for watcher in watchers), trial.findings)


SCENARIOS = (Scenario("restored", "a snapshot is saved, all disks are lost, it is restored", restore),)
