"""Masters as tables, as data and as words; the addresses of several on one machine."""

import json
from pathlib import Path

import pytest

from orchestra.base.errors import NotFound, OrchestraError
from orchestra.cli.local_addresses import api_addresses, free_port, reserve_block, reserve_for_masters
from orchestra.cli.printing.members import data, name, ordered, row
from orchestra.cli.verbs.cluster_info import master_lines
from orchestra.cli.verbs.member import find_member
from orchestra.pb import api_v1_pb2 as api

LEADER = api.ClusterMember(
    id="00000000000000a1", name="m1", peer_addresses=["10.0.0.1:7071"], api_address="10.0.0.1:7070",
    etcd_address="10.0.0.1:2379", leader=True, started=True, active=True,
)  # fmt: skip
SILENT = api.ClusterMember(
    id="00000000000000a2", name="m2", peer_addresses=["10.0.0.2:7071"], api_address="10.0.0.2:7070",
    started=True, active=False,
)  # fmt: skip
LEARNER = api.ClusterMember(
    id="00000000000000a3", name="m3", peer_addresses=["10.0.0.3:7071"], api_address="10.0.0.3:7070",
    started=True, learner=True,
)  # fmt: skip
NEW = api.ClusterMember(id="00000000000000a4", name="m4", peer_addresses=["a:1", "b:1"])
ALL = api.MembersResponse(cluster="c1", members=[NEW, LEARNER, SILENT, LEADER])


def test_a_row_for_each() -> None:
    assert [row(member)[1:] for member in ordered(ALL.members)] == [
        ["m1", "started", "leader", "10.0.0.1:7071", "10.0.0.1:7070", "10.0.0.1:2379"],
        ["m2", "unreachable", "follower", "10.0.0.2:7071", "10.0.0.2:7070", "<none>"],
        ["m3", "started", "learner", "10.0.0.3:7071", "10.0.0.3:7070", "<none>"],
        ["m4", "unstarted", "<none>", "a:1,b:1", "<none>", "<none>"],
    ]
    assert name(LEADER) == "member/m1"
    first = data(ALL)["members"][0]
    assert (data(ALL)["cluster"], first["name"], first["role"], first["status"]) == (
        "c1", "m1", "leader", "started",
    )  # fmt: skip


def test_found_by_name_or_id() -> None:
    assert find_member(ALL, "m2").id == find_member(ALL, "00000000000000a2").id == SILENT.id
    with pytest.raises(NotFound, match=r'member "m9" not found \(there are: m1, m2, m3, m4\)'):
        find_member(ALL, "m9")


def test_cluster_info_says_who_leads() -> None:
    assert master_lines(ordered(ALL.members)) == [
        "Orchestra master m1 is running at 10.0.0.1:7070 and leads",
        "Orchestra master m2 at 10.0.0.2:7070 does not answer",
        "Orchestra master m3 is running at 10.0.0.3:7070 as learner",
        "Orchestra master m4 has not been started yet",
    ]
    assert master_lines([LEARNER])[-1] == "No master leads: see that most of them run"


def test_masters_find_their_addresses_again(tmp_path: Path) -> None:
    block = reserve_for_masters(tmp_path, 3)
    with pytest.raises(OrchestraError, match="by which the masters of this one know each other"):
        reserve_for_masters(tmp_path, 3)
    block.lock.close()
    again = reserve_for_masters(tmp_path, 3)
    assert again.number == block.number
    with pytest.raises(OrchestraError, match="holds a cluster of 3 masters: give --masters=3"):
        reserve_for_masters(tmp_path, 1)
    again.lock.close()


def test_one_masters_directory_is_not_given_to_three(tmp_path: Path) -> None:
    (tmp_path / "m1").mkdir()
    (tmp_path / "m1" / "identity.json").write_text(json.dumps({}))
    with pytest.raises(OrchestraError, match="holds a cluster of 1 master: give --masters=1"):
        reserve_for_masters(tmp_path, 3)
    reserve_for_masters(tmp_path, 1).lock.close()


def test_apis_follow_the_first_one_or_have_addresses_of_their_own() -> None:
    block = reserve_block()
    try:
        own = api_addresses(block, 3, 0, exact=False)
        assert list(own) == ["m1", "m2", "m3"]
        assert own["m3"] == f"{block.master_address(3)}:7070"
        port = free_port()
        assert api_addresses(block, 1, port, exact=True) == {"m1": f"127.0.0.1:{port}"}
    finally:
        block.lock.close()
