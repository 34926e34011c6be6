"""Everything is lost but a file."""

import json
import shutil

from scripts.chaos_scenarios import history
from scripts.chaos_scenarios.trial import Scenario, Trial


async def restore(trial: Trial) -> None:
    """A snapshot is saved under load; every master's disk is lost; three new masters begin from the file."""
    cluster = trial.cluster
    for number in trial.rounds():
        await trial.pause(0.5, 1.0)
        file = trial.folder / f"{number}.snapshot"
        saved = json.loads(await cluster.type("snapshot", "save", str(file), "-o", "json"))
        await trial.pause(0.3, 1.0)
        before = trial.workload
        await before.quiesce()
        record = await history.read_history(cluster.etcd(await cluster.leader()), saved["revision"])
        await before.stop()
        for name in list(cluster.masters):
            await cluster.masters[name].kill()
            shutil.rmtree(cluster.data_dir(name))
        trial.fault()
        for name in list(cluster.masters):
            where = ["--data-dir", str(cluster.data_dir(name)), "--name", name]
            await cluster.type("snapshot", "restore", str(file), *where, "--initial-cluster", cluster.initial)
            await cluster.masters[name].start()
        leader = cluster.etcd(await cluster.leader())
        restored = await history.read_history(leader, saved["revision"])
        if restored.events != record.events:
            trial.findings.violations.append("what was restored is not what had been saved")
        trial.renew_workload()
        await trial.working()
        await trial.settled()


SCENARIOS = (Scenario("restored", "a snapshot is saved, all disks are lost, it is restored", restore),)
