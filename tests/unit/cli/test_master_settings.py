"""What a master's flags come to, and what is said of a combination that makes no sense."""

import pytest

from orchestra.base.errors import UsageError
from orchestra.cli.flags import parse
from orchestra.cli.masters.settings import FLAGS, MasterSettings, settings_of

THREE = "--initial-cluster=m1=10.0.0.1:7071,m2=10.0.0.2:7071,m3=10.0.0.3:7071"


def read(*words: str) -> MasterSettings:
    parsed = parse(FLAGS, words)
    return settings_of(parsed.options, parsed.given)


def test_a_master_without_flags_is_alone_on_this_machine() -> None:
    settings = read()
    assert (settings.name, settings.listen, str(settings.data_dir)) == (
        "m1", "127.0.0.1:7070", "orchestra-master",
    )  # fmt: skip
    assert (settings.peer_listen, settings.peer_advertise, settings.join, settings.etcd) == ("", "", (), ())
    assert settings.initial_cluster == {}
    assert settings.api_address(7070) == "127.0.0.1:7070"


@pytest.mark.parametrize(
    ("words", "listen", "advertise"),
    [
        ([THREE], "10.0.0.1:7071", "10.0.0.1:7071"),
        ([THREE, "--name=m2", "--listen=10.0.0.2:7070"], "10.0.0.2:7071", "10.0.0.2:7071"),
        (
            [THREE, "--peer-listen=0.0.0.0:7071", "--listen=0.0.0.0:7070", "--advertise=10.0.0.1:7070"],
            "0.0.0.0:7071",
            "10.0.0.1:7071",
        ),
        (["--peer-listen=10.0.0.9:7071"], "10.0.0.9:7071", "10.0.0.9:7071"),
        (
            ["--join=a:7070", "--peer-listen=[::]:9", "--listen=[::]:7070", "--advertise=m4.example:7070"],
            "[::]:9",
            "m4.example:9",
        ),
    ],
)
def test_where_peers_are_sent(words: list[str], listen: str, advertise: str) -> None:
    settings = read(*words)
    assert (settings.peer_listen, settings.peer_advertise) == (listen, advertise)


def test_where_clients_are_sent() -> None:
    assert read("--listen=10.0.0.1:0").api_address(4711) == "10.0.0.1:4711"
    assert read("--listen=0.0.0.0:7070").api_address(7070) == ""
    assert read("--listen=0.0.0.0:7070", "--advertise=pi:80").api_address(7070) == "pi:80"
    settings = read("--listen=0.0.0.0:7070", "--advertise=pi:80", "--etcd-listen=0.0.0.0:2379")
    assert settings.etcd_address(2379) == "pi:2379"
    assert read("--etcd-listen=10.0.0.1:0").etcd_address(99) == "10.0.0.1:99"


def test_a_store_that_is_etcds() -> None:
    assert read("--store=etcd://a:1,b:2").etcd == ("a:1", "b:2")
    assert read("--store=etcd://a:1,etcd://b:2").etcd == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name=M 1"], "--name takes lower case letters"),
        (["--node-eviction-grace=-1s"], "must not be negative"),
        (["--listen=nowhere"], '--listen: "nowhere" is no address'),
        (["--store=sqlite"], '--store is "embedded" or "etcd://HOST:PORT'),
        (["--store=etcd://"], "names no address"),
        (["--store=etcd://a:1", "--data-dir=d"], "--data-dir is for the embedded store"),
        (["--store=etcd://a:1", "--join=a:1"], "--join is for the embedded store"),
        (["--store=etcd://a:1", "--listen=0.0.0.0:7070"], "say with --advertise HOST:PORT"),
        ([THREE, "--name=m4"], "--initial-cluster names m1, m2, m3, not this master: its --name is m4"),
        (["--initial-cluster=m1"], 'NAME=HOST:PORT pairs, got "m1"'),
        (["--initial-cluster=m1=a:1,m1=b:1"], "names m1 twice"),
        (["--initial-cluster=m1=a:1,m2=a:1"], "gives m1 and m2 the same address a:1"),
        (["--initial-cluster=m1=0.0.0.0:1,m2=a:1"], "0.0.0.0:1 is for listening only"),
        (["--initial-cluster=m1=a:0,m2=b:1"], "a:0 has no port"),
        ([THREE, "--join=a:1"], "give one of them"),
        (["--join=a:1"], "--join needs --peer-listen HOST:PORT"),
        (["--join=a", "--peer-listen=b:1"], '--join: "a" is no address'),
        (["--learner"], "--learner goes with --join"),
        (["--initial-cluster-token=t"], "--initial-cluster-token goes with --initial-cluster"),
        (["--peer-listen=0.0.0.0:7071"], "--peer-listen=0.0.0.0:7071 is every address of this machine"),
        (
            ["--peer-listen=10.0.0.1:7071", "--listen=0.0.0.0:7070"],
            "--listen=0.0.0.0:7070 is every address of this machine",
        ),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        read(*words)
    assert said in str(error.value)
