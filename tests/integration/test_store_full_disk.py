"""A file that the system will not let grow: writes refused, reads answered, and on when there is room."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from orchestra.cluster.member import Member
from orchestra.mvcc.model import Range

FILLER = Path(__file__).with_name("store_filler.py")
ROOT = Path(__file__).parents[2]


async def test_a_full_disk_is_got_over(tmp_path: Path) -> None:
    filler = await asyncio.create_subprocess_exec(
        sys.executable, str(FILLER), str(tmp_path), stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    async with asyncio.timeout(30):
        said, complaints = await filler.communicate()
    assert filler.returncode == 0, complaints.decode()
    before, read, after = map(int, said.split())
    assert 20 < before == read
    async with await Member.open(tmp_path) as member:
        assert (await member.store.range(Range(b"0", b"\0"))).count == after
