"""What a master is told at its start, read from its flags and checked. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestra.aio.rpc.channel import check_address
from orchestra.base.errors import UsageError
from orchestra.cli.flags import NODE_EVICTION_GRACE, Flag
from orchestra.objects.names import dns_subdomain

EMBEDDED = "embedded"
_ETCD = "etcd://"
DEFAULT_LISTEN = "127.0.0.1:7070"
DEFAULT_DATA_DIR = "./orchestra-master"
# Addresses that are for listening on only: nobody can be sent there.
_WILDCARDS = ("0.0.0.0", "[::]", "::", "*")

FLAGS = (
    Flag("name", "This master's name, its own in the cluster.", default="m1"),
    Flag("data-dir", "Where the store keeps its log and snapshots.", default=DEFAULT_DATA_DIR),
    Flag("listen", "Where the API listens (HOST:PORT).", default=DEFAULT_LISTEN),
    Flag(
        "advertise",
        "Where agents, clients and other masters are sent for this master's API (HOST:PORT; default: "
        "--listen).",
    ),
    Flag("peer-listen", "Where other masters reach this one (HOST:PORT; without it, it stays alone)."),
    Flag(
        "initial-cluster",
        "All masters of a cluster that begins, this one among them, each with its peer address "
        "(m1=HOST:PORT,m2=HOST:PORT,...); the same for each of them.",
        shape="list",
    ),
    Flag(
        "initial-cluster-token",
        "With --initial-cluster: sets this cluster apart from another one with the same list.",
    ),
    Flag(
        "join",
        "Become a master of a running cluster: API addresses of its masters (HOST:PORT,...).",
        shape="list",
    ),
    Flag("learner", "With --join: stay a learner until `orchestra member promote`.", shape="bool"),
    Flag("etcd-listen", "Where etcd's v3 API is served (HOST:PORT; without it, it is not)."),
    Flag(
        "store",
        "Where the cluster's state is kept: embedded, or an etcd cluster (etcd://HOST:PORT,HOST:PORT,...).",
        default=EMBEDDED,
    ),
    NODE_EVICTION_GRACE,
    Flag("with-parent", "End when standard input ends.", shape="bool"),
)


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """What a master is told at its start.

    advertise: "" for the address it listens on. initial_cluster: peer addresses by name, empty for a master
    that begins alone. join: API addresses of running masters. etcd: addresses of an etcd cluster; empty for
    the embedded store.
    node_eviction_grace_ms: how long a node whose agent's stream closed keeps its pods.
    """

    name: str
    data_dir: Path
    listen: str
    node_eviction_grace_ms: int
    advertise: str = ""
    peer_listen: str = ""
    peer_advertise: str = ""
    initial_cluster: Mapping[str, str] = field(default_factory=dict)
    initial_cluster_token: str = ""
    join: tuple[str, ...] = ()
    learner: bool = False
    etcd_listen: str = ""
    etcd: tuple[str, ...] = ()

    def api_address(self, port: int) -> str:
        """Where others are sent for the API, which listens on `port`; "" if that cannot be told."""
        if self.advertise:
            return self.advertise
        return "" if is_wildcard(self.listen) else f"{host_of(self.listen)}:{port}"

    def etcd_address(self, port: int) -> str:
        """Where others are sent for etcd's API, which listens on `port`; "" if that cannot be told."""
        if not is_wildcard(self.etcd_listen):
            return f"{host_of(self.etcd_listen)}:{port}"
        return f"{host_of(self.advertise)}:{port}" if self.advertise else ""


def settings_of(options: Any, given: set[str]) -> MasterSettings:
    """The settings that the flags name.

    Raises: UsageError, with what to write instead.
    """
    if options.node_eviction_grace < 0:
        raise UsageError("--node-eviction-grace must not be negative")
    if dns_subdomain(options.name):
        raise UsageError(f'--name takes lower case letters, digits, "-" and ".", as m1; got "{options.name}"')
    etcd = _etcd(options, given)
    initial = initial_cluster(options.initial_cluster)
    _combination(options, given, initial)
    peer_listen, peer_advertise = _peer(options, initial)
    if (peer_listen or etcd) and is_wildcard(options.listen) and not options.advertise:
        raise UsageError(
            f"--listen={options.listen} is every address of this machine: say with --advertise HOST:PORT by "
            "which one agents, clients and the other masters reach this master"
        )
    if etcd and options.listen.endswith(":0") and not options.advertise:
        raise UsageError("--listen names a port with --store=etcd://...: the other masters are sent there")
    return MasterSettings(
        name=options.name,
        data_dir=Path(options.data_dir),
        listen=_address("--listen", options.listen),
        node_eviction_grace_ms=int(options.node_eviction_grace * 1000),
        advertise=_reachable("--advertise", options.advertise) if options.advertise else "",
        peer_listen=peer_listen,
        peer_advertise=peer_advertise,
        initial_cluster=initial,
        initial_cluster_token=options.initial_cluster_token,
        join=tuple(_reachable("--join", address) for address in options.join),
        learner=options.learner,
        etcd_listen=_address("--etcd-listen", options.etcd_listen) if options.etcd_listen else "",
        etcd=etcd,
    )


def _etcd(options: Any, given: set[str]) -> tuple[str, ...]:
    store = options.store
    if store == EMBEDDED:
        return ()
    if not store.startswith(_ETCD):
        raise UsageError(f'--store is "{EMBEDDED}" or "{_ETCD}HOST:PORT,HOST:PORT,...", got "{store}"')
    for flag in ("data-dir", "peer-listen", "initial-cluster", "join", "learner", "etcd-listen"):
        if flag in given:
            raise UsageError(f"--{flag} is for the embedded store; with --store={store} the state is etcd's")
    addresses = [part.strip().removeprefix(_ETCD) for part in store.removeprefix(_ETCD).split(",")]
    found = tuple(_reachable("--store", address) for address in addresses if address)
    if not found:
        raise UsageError(f"--store={store} names no address: {_ETCD}HOST:PORT,HOST:PORT,...")
    return found


def initial_cluster(words: list[str]) -> dict[str, str]:
    """Peer addresses by name. Raises: UsageError."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, address = word.partition("=")
        if not equals or not name:
            raise UsageError(f'--initial-cluster takes NAME=HOST:PORT pairs, got "{word}"')
        if name in found:
            raise UsageError(f"--initial-cluster names {name} twice")
        if dns_subdomain(name):
            raise UsageError(f'--initial-cluster: "{name}" is no name of a master')
        address = _reachable("--initial-cluster", address)
        other = next((known for known, where in found.items() if where == address), "")
        if other:
            raise UsageError(f"--initial-cluster gives {other} and {name} the same address {address}")
        found[name] = address
    return found


def _combination(options: Any, given: set[str], initial: Mapping[str, str]) -> None:
    if initial and options.join:
        raise UsageError(
            "--initial-cluster begins a cluster and --join enters one that runs: give one of them"
        )
    if initial and options.name not in initial:
        raise UsageError(
            f"--initial-cluster names {', '.join(initial)}, not this master: its --name is {options.name}"
        )
    if options.initial_cluster_token and not initial:
        raise UsageError("--initial-cluster-token goes with --initial-cluster")
    if options.join and not options.peer_listen:
        raise UsageError("--join needs --peer-listen HOST:PORT: where the other masters reach this one")
    if options.learner and not options.join:
        raise UsageError("--learner goes with --join")


def _peer(options: Any, initial: Mapping[str, str]) -> tuple[str, str]:
    """Where it listens for its peers, and where they are sent."""
    own = initial.get(options.name, "")
    listen = options.peer_listen or own
    if not listen:
        return "", ""
    _address("--peer-listen", listen)
    if own:
        return listen, own
    if not is_wildcard(listen):
        return listen, listen
    if not options.advertise:
        raise UsageError(
            f"--peer-listen={listen} is every address of this machine: say with --advertise HOST:PORT by "
            "which one the other masters reach it (the port is the API's)"
        )
    return listen, f"{host_of(options.advertise)}:{listen.rpartition(':')[2]}"


def _address(flag: str, address: str) -> str:
    try:
        return check_address(address)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None


def _reachable(flag: str, address: str) -> str:
    """An address that others can be sent to."""
    _address(flag, address)
    if is_wildcard(address):
        raise UsageError(f"{flag}: {address} is for listening only: name an address of the machine")
    if address.endswith(":0"):
        raise UsageError(f"{flag}: {address} has no port that others could be sent to")
    return address


def host_of(address: str) -> str:
    """HOST of HOST:PORT."""
    return address.rpartition(":")[0]


def is_wildcard(address: str) -> bool:
    """Whether it stands for every address of the machine."""
    return host_of(address) in _WILDCARDS
