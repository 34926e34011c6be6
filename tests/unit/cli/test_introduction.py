"""What a master answers to others who ask whether they are known, while its store is not open yet."""

from pathlib import Path

import pytest

from orchestra.base.errors import Unavailable
from orchestra.cli.masters.embedded import Introduction
from orchestra.cli.masters.joining import has_run
from orchestra.cluster.bootstrap import together
from orchestra.cluster.member import Member

_CLUSTER = {"m1": ["127.0.0.1:1"], "m2": ["127.0.0.1:2"], "m3": ["127.0.0.1:3"]}


async def test_who_opens_its_store_does_not_say_that_it_knows_nobody(tmp_path: Path) -> None:
    """Else, when all start at once and one has lost its disk, that one would begin anew under its old id."""
    data_dir = tmp_path / "m2"
    assert not has_run(data_dir)
    new = Introduction(is_new=True)
    assert not new.hello().cluster
    async with await Member.open(data_dir, "m2", bootstrap=together(_CLUSTER, "m2")) as member:
        new.member = member
        assert new.hello().cluster == member.cluster_id
    assert has_run(data_dir)
    opening = Introduction(is_new=False)
    with pytest.raises(Unavailable):
        opening.hello()
