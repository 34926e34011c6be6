"""Power lost at any operation of the disk, again and again on one data directory.

After each loss the directory opens, holds every command that was safe, and its machine is exactly what the
commands up to its last one make.
"""

import random
from pathlib import Path

import pytest

from orchestra.cluster.datadir import DataDirectory
from orchestra.mvcc.commands import encode
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.model import DeleteRange, Put, Txn
from orchestra.mvcc.snapshot import snapshot, state_hash
from tests.unit.storage.crashing import Crash, CrashingDisk

DIRECTORY = Path("/data")
LIVES = 12


def some_command(rng: random.Random) -> bytes:
    key = b"%d" % rng.randrange(30)
    value = rng.randbytes(rng.choice((0, 5, 200, 3000)))
    op = DeleteRange(key) if rng.random() < 0.2 else Put(key, value + bytes(rng.choice((0, 0, 600))))
    return encode(Txn((), (op,)))


class World:
    """The commands that were written, and how many of them are known to be safe."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = CrashingDisk(self.rng)
        self.commands: list[bytes] = []
        self.safe = 0

    def open(self) -> DataDirectory:
        """Opens the directory and checks it."""
        directory = DataDirectory.open(self.disk, DIRECTORY, "m1", 8000)
        applied = directory.machine.applied_index
        assert self.safe <= applied <= len(self.commands)
        del self.commands[applied:]
        self.safe = applied
        expected = Machine()
        for index, command in enumerate(self.commands, 1):
            expected.apply(index, command)
        assert state_hash(directory.machine) == state_hash(expected)
        return directory

    def write(self, directory: DataDirectory) -> None:
        batch = [some_command(self.rng) for _ in range(self.rng.randint(1, 4))]
        self.commands += batch
        directory.wal.append(batch)
        self.safe = len(self.commands)
        for command in batch:
            directory.machine.apply(directory.machine.applied_index + 1, command)

    def take_snapshot(self, directory: DataDirectory) -> None:
        writer = directory.snapshots.begin(directory.machine.applied_index)
        for chunk in snapshot(directory.machine):
            writer.write(chunk)
        writer.commit()
        directory.wal.drop_through(directory.snapshots.prune())

    def live(self) -> None:
        """From an opening, which may fail too, to the next loss of power."""
        self.disk.operations_left = self.rng.randrange(80)
        directory = self.open()
        while True:
            if self.rng.random() < 0.1:
                self.take_snapshot(directory)
            else:
                self.write(directory)


@pytest.mark.parametrize("seed", range(24))
def test_nothing_safe_is_lost(seed: int) -> None:
    world = World(seed)
    for _ in range(LIVES):
        with pytest.raises(Crash):
            world.live()
        world.disk.crash()
    world.open()
    assert world.safe > 0
