"""A disk that is full for a while."""

import asyncio
import errno
import itertools
import os
from pathlib import Path

from orchestra.mvcc.model import Put
from orchestra.storage.wal import SEGMENT_BYTES
from scripts.chaos_scenarios.calls import Endpoint, NoAnswer
from scripts.chaos_scenarios.trial import Scenario, Trial

DISK_BYTES = 160 * 1024 * 1024
# What the log sets aside at a time: with a full disk it goes on so far.
LOG_BYTES = SEGMENT_BYTES
VALUE_BYTES = 512 * 1024
# All values written stay within what history is kept of: it is read from its beginning in the end.
ROUNDS_MAX = 3
NO_SPACE = "database space exceeded"
RETRY_SECONDS = 0.05
_PIECE = 1024 * 1024


async def fill_disk(trial: Trial) -> None:
    """A master's disk, one of its own, is filled by others and has room again."""
    cluster = trial.cluster
    victim = trial.rng.choice(sorted(cluster.masters))
    await move_to_small_disk(trial, victim)
    for number in itertools.islice(trial.rounds(), ROUNDS_MAX):
        if number % 2 == 0:
            await cluster.insist("member", "move-leader", victim)
        ballast = cluster.data_dir(victim) / "ballast"
        await asyncio.to_thread(fill, ballast)
        trial.fault(f"the disk of {victim} is full")
        await use_up_log(trial, victim)
        # The others have room, and go on.
        await trial.working()
        await trial.pause(0.5, 1.5)
        if number % 3 == 1:
            await cluster.masters[victim].kill()
            trial.fault(f"kill -9 of {victim}")
        ballast.unlink()
        trial.note("there is room again")
        await cluster.restart()
        await trial.working()
        await trial.pause(0.3, 0.8)


async def use_up_log(trial: Trial, victim: str) -> None:
    """Writes until the room that its log had set aside is used up, and it says that its disk is full."""
    at = Endpoint(f"filler {trial.faults}", trial.cluster.etcd(victim), trial.workload.book)
    try:
        for number in range(LOG_BYTES // VALUE_BYTES + 8):
            value = f"filler {trial.faults} {number} ".encode().ljust(VALUE_BYTES, b".")
            try:
                await at.put(Put(b"filler", value))
            except NoAnswer as refusal:
                if NO_SPACE in str(refusal):
                    return
                await asyncio.sleep(RETRY_SECONDS)
        trial.findings.violations.append(f"{victim} did not say that its disk was full")
    finally:
        await at.close()


async def move_to_small_disk(trial: Trial, name: str) -> None:
    """A master goes on with its data on a disk of DISK_BYTES; only this process and its children see it."""
    master, folder = trial.cluster.masters[name], trial.cluster.data_dir(name)
    await master.kill()
    aside = folder.with_suffix(".aside")
    folder.rename(aside)
    folder.mkdir()
    await command("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder))
    await command("cp", "-a", f"{aside}/.", str(folder))
    await master.start()
    await trial.working()


async def release(folder: Path, *, keep: bool) -> None:
    """Takes away the small disks of a trial; keep: what is on them stays, beside where they were."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        at = Path(line.split()[1])
        if folder in at.parents:
            if keep:
                await command("cp", "-a", "--sparse=always", str(at), f"{at}.kept")
            await command("umount", "--lazy", str(at))


async def command(*words: str) -> None:
    """Raises: OSError when it fails."""
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode:
        raise OSError(f"{' '.join(words)}: {said.decode().strip()}")


def fill(path: Path) -> None:
    """Writes until there is no room."""
    with path.open("wb", buffering=0) as file:
        piece = _PIECE
        while piece:
            try:
                if file.write(bytes(piece)) < piece:
                    piece //= 2
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece //= 2
        os.fsync(file.fileno())


SCENARIOS = (Scenario("disk-full", "a master's disk is full, leading or not, then has room", fill_disk),)
