"""etcdctl does against a member what it does against etcd: the same commands, compared.

Both servers are given the same commands in the same order, so revisions are compared as they are.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from orchestra.cluster.backup import check_backup, restore_backup
from orchestra.cluster.bootstrap import alone
from orchestra.storage.disk import SystemDisk
from orchestra.storage.errors import Damaged
from tests.integration.real_etcd import COMMAND_SECONDS, Pair, serving_pair

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with serving_pair(tmp_path_factory.mktemp("pair")) as both:
        yield both


@pytest.fixture(scope="module")
def fruit(pair: Pair) -> Pair:
    """Both with some keys in them, written more than once."""
    for key, value in (("apple", "5"), ("banana", "3"), ("cherry", "9"), ("date", "1"), ("apple", "7")):
        pair.same("put", f"/fruit/{key}", value)
    return pair


@pytest.mark.parametrize(
    "arguments",
    [
        "/fruit/apple",
        "/fruit/none",
        "/fruit/apple --print-value-only",
        "/fruit/apple --hex",
        "/fruit/apple /fruit/cherry",
        "/fruit/cherry /fruit/apple",
        "/fruit/ --prefix",
        "/fruit/ --prefix -w json",
        "/fruit/ --prefix -w fields",
        "/fruit/b --from-key",
        "/fruit/ --prefix --limit 2",
        "/fruit/ --prefix --limit 2 -w json",
        "/fruit/ --prefix --limit 9 -w json",
        "/fruit/ --prefix --keys-only",
        "/fruit/ --prefix --keys-only -w json",
        "/fruit/ --prefix --count-only -w fields",
        "/fruit/ --prefix --count-only -w json --limit 1",
        "/fruit/ --prefix --rev 3 -w json",
        "/fruit/ --prefix --rev 100000",
        "/fruit/apple --rev 2 -w json",
        "/fruit/ --prefix --consistency s",
        "/fruit/ --prefix --consistency x",
        "--prefix",
        "--from-key -w json",
        *(
            f"/fruit/ --prefix --sort-by {target} --order {order} -w json {limit}".rstrip()
            for target in ("CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
            for order in ("ASCEND", "DESCEND")
            for limit in ("", "--limit 2")
        ),
        "/fruit/ --prefix --sort-by VALUE -w json",
        "/fruit/ --prefix --sort-by KEY --order SIDEWAYS",
    ],
)
def test_get(fruit: Pair, arguments: str) -> None:
    words = arguments.split()
    if words[0].startswith("--"):
        words.insert(0, "")
    fruit.same("get", *words)


@pytest.mark.parametrize(
    "arguments",
    [
        ("put", "/put/a", "1"),
        ("put", "/put/a", "2", "--prev-kv"),
        ("put", "/put/a", "3", "--prev-kv", "-w", "json"),
        ("put", "/put/a", "--ignore-value", "-w", "json"),
        ("put", "/put/none", "--ignore-value"),
        ("put", "/put/none", "x", "--ignore-lease"),
        ("put", "/put/a", "x", "--ignore-lease", "-w", "fields"),
        ("put", "/put/a", "x", "--lease", "1234"),
        ("put", "", "x"),
        ("get", "/put/", "--prefix", "-w", "json"),
        ("put", "/put/b", "1"),
        ("put", "/put/c", "1"),
        ("put", "/put/d", "1"),
        ("del", "/put/a"),
        ("del", "/put/a", "-w", "json"),
        ("del", "/put/b", "/put/d", "--prev-kv"),
        ("del", "/put/", "--prefix", "--prev-kv", "-w", "json"),
        ("del", "/put/", "--from-key", "--prefix"),
        ("get", "/put/", "--prefix", "-w", "fields"),
    ],
)
def test_put_and_del(pair: Pair, arguments: tuple[str, ...]) -> None:
    pair.same(*arguments)


@pytest.mark.parametrize(
    "said",
    [
        'mod("/txn/a") = "0"\n\nput /txn/a 1\n\nget /txn/a\n\n',
        'mod("/txn/a") = "0"\n\nput /txn/a 2\n\nget /txn/a\nput /txn/b 1\n\n',
        'value("/txn/a") = "1"\nver("/txn/b") > "0"\n\ndel /txn/b\nget /txn/a\n\nget /txn/b\n\n',
        'value("/txn/b") = ""\n\nput /txn/x 1\n\nget /txn/b\n\n',
        'create("/txn/a") < "100000"\n\nget /txn --prefix\ndel /txn --prefix --prev-kv\nget /txn --prefix\n\n\n',
        "\nput /txn/a 1\nput /txn/a 2\n\n\n",
        "\nput /txn/a 1\ndel /txn --prefix\n\n\n",
        "\n\n\n",
    ],
)
def test_txn(pair: Pair, said: str) -> None:
    pair.same("txn", stdin=said)
    pair.same("get", "/txn", "--prefix", "-w", "json")


def test_txn_says_what_it_does(pair: Pair) -> None:
    said = 'mod("/txn2") = "0"\n\nput /txn2 1\n\nget /txn2\n\n'
    assert "SUCCESS" in pair.same("txn", "-i", stdin=said).stdout
    assert "FAILURE" in pair.same("txn", "-i", "-w", "simple", stdin=said).stdout


def test_watch_from_a_revision(fruit: Pair) -> None:
    with fruit.started("watch", "/fruit/", "--prefix", "--rev", "1", "--prev-kv") as (theirs, ours):
        past = theirs.lines(17)
        assert past == ours.lines(17)
        assert past[:3] == ["PUT", "/fruit/apple", "5"]
        fruit.same("put", "/fruit/elder", "2")
        fruit.same("del", "/fruit/elder")
        new = theirs.lines(8)
        assert new == ours.lines(8)
        assert "DELETE" in new
        assert theirs.interrupted() == ours.interrupted()


def test_watch_in_json(fruit: Pair) -> None:
    with fruit.started("watch", "/fruit/apple", "--rev", "1", "-w", "json") as (theirs, ours):
        (said,) = theirs.lines(1)
        assert [said] == ours.lines(1)
        assert '"Events"' in said


def test_watch_runs_a_command(pair: Pair) -> None:
    pair.same("put", "/exec", "1")
    with pair.started("watch", "/exec", "--rev", "1", "--", "printenv", "ETCD_WATCH_KEY") as (theirs, ours):
        assert theirs.lines(4) == ours.lines(4)


def test_lease(pair: Pair) -> None:
    pair.same("lease", "grant", "100")
    pair.remember_lease()
    pair.same("put", "/leased/a", "1", "--lease", "{lease}")
    pair.same("put", "/leased/b", "1", "--lease", "{lease}")
    pair.same("get", "/leased/", "--prefix", "--keys-only")
    theirs, ours = pair.run("lease", "timetolive", "{lease}", "--keys")
    assert ours.code == theirs.code == 0
    assert "granted with TTL(100s), remaining(" in ours.stdout
    # In no order that etcd would promise.
    keys = [set(each.stdout.partition("keys([")[2].rstrip("])\n").split()) for each in (theirs, ours)]
    assert keys == [{"/leased/a", "/leased/b"}] * 2
    pair.same("lease", "keep-alive", "--once", "{lease}")
    pair.same("lease", "keep-alive", "--once", "{lease}", "-w", "json")
    pair.same("lease", "list")
    pair.same("put", "/leased/a", "2", "--ignore-lease")
    pair.same("put", "/leased/b", "2")
    pair.same("lease", "revoke", "{lease}")
    pair.same("lease", "revoke", "{lease}")
    pair.same("lease", "timetolive", "{lease}")
    pair.same("lease", "keep-alive", "--once", "{lease}")
    pair.same("get", "/leased/", "--prefix")


@pytest.mark.parametrize("ttl", ["0", "-5", "1", "9000000001", "9223372036854775807"])
def test_lease_bounds(pair: Pair, ttl: str) -> None:
    pair.same("lease", "grant", "--", ttl)


def test_a_lease_ends_by_itself(pair: Pair) -> None:
    pair.same("lease", "grant", "2")
    pair.remember_lease()
    pair.same("put", "/ends", "1", "--lease", "{lease}")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        theirs, ours = pair.run("get", "/ends")
        if not theirs.stdout and not ours.stdout:
            break
    pair.same("get", "/ends", "-w", "json")
    pair.same("lease", "timetolive", "{lease}")


def test_lock(pair: Pair) -> None:
    assert pair.same("lock", "/lock", "echo", "held").stdout == "held\n"
    with pair.started("lock", "/lock") as (theirs, ours):
        (key,) = theirs.lines(1)
        assert key.startswith("/lock/id")
        assert len(ours.lines(1)) == 1
        pair.same("get", "/lock", "--prefix", "--count-only", "-w", "json")
        with pair.started("lock", "/lock", "echo", "next") as (theirs_next, ours_next):
            assert theirs.interrupted().code == ours.interrupted().code
            assert theirs_next.finished().stdout == ours_next.finished().stdout == "next\n"
    pair.same("get", "/lock", "--prefix")


def test_elect(pair: Pair) -> None:
    with pair.started("elect", "/elect", "first") as (theirs, ours):
        assert [line.split("/")[1] for line in theirs.lines(2)[:1]] == ["elect"]
        assert len(ours.lines(2)) == 2
        with pair.started("elect", "--listen", "/elect") as (their_watch, our_watch):
            assert their_watch.lines(2)[1] == our_watch.lines(2)[1] == "first"
        assert theirs.interrupted().code == ours.interrupted().code
    pair.same("get", "/elect", "--prefix")


def test_member_list(pair: Pair) -> None:
    theirs, ours = pair.run("member", "list", "-w", "json")
    assert ours.code == theirs.code == 0
    said, known = json.loads(pair.ours.last_stdout), json.loads(pair.etcd.last_stdout)
    assert said.keys() == known.keys()
    assert len(said["members"]) == len(known["members"]) == 1
    assert said["members"][0]["clientURLs"] == [f"http://{pair.ours.address}"]
    assert pair.run("member", "list")[1].stdout.split(", ")[1] == "started"


@pytest.mark.parametrize(
    "arguments",
    [
        ("member", "remove", "1234"),
        ("member", "promote", "1234"),
        ("member", "update", "1234", "--peer-urls", "http://127.0.0.1:1"),
        ("member", "update", "1234", "--peer-urls", "nonsense"),
        ("member", "add", "x", "--peer-urls", "127.0.0.1:1"),
        ("move-leader", "1234"),
        ("alarm", "list"),
        ("alarm", "disarm"),
        ("defrag",),
        ("auth", "enable"),
        ("auth", "disable"),
        ("user", "list"),
        ("user", "get", "nobody"),
        ("user", "delete", "nobody"),
        ("user", "add", ":", "--interactive=false"),
        ("user", "grant-role", "nobody", "nothing"),
        ("user", "revoke-role", "nobody", "nothing"),
        ("role", "list"),
        ("role", "get", "nothing"),
        ("role", "delete", "nothing"),
        ("role", "grant-permission", "nothing", "read", "/a"),
        ("role", "revoke-permission", "nothing", "/a"),
        ("endpoint", "health"),
    ],
)
def test_what_is_for_operators(pair: Pair, arguments: tuple[str, ...]) -> None:
    pair.same(*arguments)


@pytest.mark.parametrize("arguments", [("user", "add", "root:root"), ("role", "add", "reader")])
def test_users_and_roles_are_refused(pair: Pair, arguments: tuple[str, ...]) -> None:
    # Not against etcd, which would keep them.
    _, ours = Pair(pair.ours, pair.ours).run(*arguments)
    assert (ours.code, ours.errors) == (1, "Error: etcdserver: not capable")


def test_endpoint_status(pair: Pair) -> None:
    theirs, ours = pair.run("endpoint", "status", "-w", "json")
    assert ours.code == theirs.code == 0
    ((said,), (known,)) = json.loads(pair.ours.last_stdout), json.loads(pair.etcd.last_stdout)
    assert said["Status"].keys() == known["Status"].keys()
    status = said["Status"]
    assert status["version"].startswith("3.4.")
    assert status["header"]["revision"] == known["Status"]["header"]["revision"]
    assert status["leader"] == status["header"]["member_id"] != 0
    assert status["raftAppliedIndex"] > 0
    assert status["dbSize"] > 0


def test_endpoint_hashkv(pair: Pair) -> None:
    first = pair.run("endpoint", "hashkv")
    assert [each.code for each in first] == [0, 0]
    ours = pair.ours.last_stdout
    pair.run("endpoint", "hashkv")
    assert pair.ours.last_stdout == ours
    pair.same("put", "/hash", "1")
    pair.run("endpoint", "hashkv")
    assert pair.ours.last_stdout != ours
    assert len(pair.ours.last_stdout.split(", ")) == 2


def test_snapshot_save(pair: Pair, tmp_path: Path) -> None:
    files = {side.name: tmp_path / side.name for side in (pair.etcd, pair.ours)}
    for side in (pair.etcd, pair.ours):
        saved = subprocess.run(
            side.command(["snapshot", "save", str(files[side.name])]),
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        assert (saved.returncode, saved.stdout) == (0, f"Snapshot saved at {files[side.name]}\n")
    # What etcd's clients know a whole one by.
    data = files["ours"].read_bytes()
    assert len(data) % 512 == len(files["etcd"].read_bytes()) % 512 == 32
    assert sha256(data[:-32]).digest() == data[-32:]
    # And ours: it can be restored from.
    assert check_backup(files["ours"]).revision
    restore_backup(SystemDisk(), files["ours"], tmp_path / "m1", alone("m1"))
    files["ours"].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Damaged, match="something follows the end"):
        check_backup(files["ours"])


def test_check_perf_wants_an_empty_prefix(pair: Pair) -> None:
    # The check itself takes a minute; what it asks first, and how it refuses, does not.
    pair.same("put", "/perf/a", "1")
    refused = pair.same("check", "perf", "--load", "s", "--prefix", "/perf/")
    assert "has keys" in refused.errors
    pair.same("check", "perf", "--load", "nonsense")


def test_compaction(pair: Pair) -> None:
    pair.same("put", "/compact", "1")
    pair.same("put", "/compact", "2")
    pair.same("get", "/compact", "-w", "json")
    revision = json.loads(pair.ours.last_stdout)["header"]["revision"]
    pair.same("compaction", str(revision + 100))
    pair.same("compaction", str(revision))
    pair.same("compaction", str(revision))
    pair.same("compaction", str(revision - 1), "--physical")
    pair.same("get", "/compact", "--rev", str(revision - 1))
    pair.same("get", "/compact", "--rev", str(revision), "-w", "json")
    pair.same("watch", "/compact", "--rev", str(revision - 1))
    with pair.started("watch", "/compact", "--rev", str(revision)) as (theirs, ours):
        assert theirs.lines(3) == ours.lines(3) == ["PUT", "/compact", "2"]
