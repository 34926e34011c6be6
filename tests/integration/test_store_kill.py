"""kill -9 while writing: what was answered is there, round after round, on the same directory."""

import asyncio
import random
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from orchestra.cluster.member import Member
from orchestra.mvcc.model import Range

WRITER = Path(__file__).with_name("store_writer.py")
ROOT = Path(__file__).parents[2]
ROUNDS = 4


async def answered_until_killed(data_dir: Path, round_: int, lines: int) -> list[str]:
    """Starts a writer, kills it after so many answers; all that it said."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(data_dir), str(round_), stdout=PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    said: list[bytes] = []
    async with asyncio.timeout(30):
        while len(said) < lines:
            line = await writer.stdout.readline()
            assert line, "the writer ended by itself"
            said.append(line)
        writer.kill()
        # What it had said before it died counts too.
        said += (await writer.stdout.read()).splitlines(keepends=True)
        await writer.wait()
    return [line.decode().strip() for line in said if line.endswith(b"\n")]


async def test_no_answered_write_is_lost(tmp_path: Path) -> None:
    rng = random.Random(11)
    answered: set[str] = set()
    for round_ in range(ROUNDS):
        answered.update(await answered_until_killed(tmp_path, round_, rng.randrange(100, 1500)))
        async with await Member.open(tmp_path) as member:
            found = await member.store.range(Range(b"\0", b"\0"))
            revision = member.store.revision
        there = {kv.key.decode() for kv in found.kvs}
        assert answered <= there
        assert all(kv.value == kv.key * 20 for kv in found.kvs)
        # Nothing was done twice: each key was written once, at a revision of its own.
        assert {kv.version for kv in found.kvs} == {1}
        assert revision == len(there) + 1
