"""A disk that is full for a while."""

import asyncio
import errno
import os
from pathlib import Path

from scripts.chaos_scenarios.trial import Scenario, Trial

# A log segment, what is written in a trial, and little more.
DISK_BYTES = 40 * 1024 * 1024
_PIECE = 1024 * 1024


async def fill_disk(trial: Trial) -> None:
    """A master's disk, a small one, is filled by others and has room again."""
    cluster = trial.cluster
    victim = trial.rng.choice(sorted(cluster.masters))
    await move_to_small_disk(trial, victim)
    for number in trial.rounds():
        if number % 2 == 0:
            await cluster.insist("member", "move-leader", victim)
        ballast = cluster.data_dir(victim) / "ballast"
        await asyncio.to_thread(fill, ballast)
        trial.fault()
        await trial.pause(1.0, 2.5)
        # The others have room, and go on.
        await trial.working()
        if number % 3 == 2:
            await cluster.masters[victim].kill()
            trial.fault()
        ballast.unlink()
        await cluster.restart()
        await trial.working()
        await trial.pause(0.3, 0.8)


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
