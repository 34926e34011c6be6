"""A network for each run: a namespace for every machine, on a bridge in a namespace of its own.

Everything is named orch-chaos-<pid>-…; the machine's own network is neither used nor seen.
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

PREFIX = "orch-chaos"
CENTRE = "net"
_SUBNET = "10.77.0"
_NAMES = re.compile(rf"^{PREFIX}-(\d+)-\w+$")
_NETNS = Path("/run/netns")


class Network:
    """The namespaces of one run. The centre holds the bridge, and whoever watches: it is never cut off."""

    def __init__(self, run: int, machines: Sequence[str]) -> None:
        self._prefix = f"{PREFIX}-{run}"
        self._hosts = {name: f"{_SUBNET}.{number}" for number, name in enumerate(machines, 11)}
        # Who does not hear whom.
        self._deaf: dict[str, set[str]] = {name: set() for name in machines}

    def address(self, machine: str) -> str:
        """The machine's address."""
        return self._hosts[machine]

    def namespace(self, machine: str) -> str:
        """Where the machine's namespace is found."""
        return str(_NETNS / f"{self._prefix}-{machine}")

    def make(self) -> None:
        """Raises: CalledProcessError."""
        centre = f"{self._prefix}-{CENTRE}"
        _ip([f"netns add {centre}", *(f"netns add {self._prefix}-{name}" for name in self._hosts)])
        lines = ["link set lo up", "link add bridge type bridge", "link set bridge up"]
        lines.append(f"address add {_SUBNET}.1/24 dev bridge")
        for name in self._hosts:
            peer = f"{self._prefix}-{name}"
            lines.append(f"link add port-{name} type veth peer name eth0 netns {peer}")
            lines.append(f"link set port-{name} master bridge up")
        _ip(lines, centre)
        for name, address in self._hosts.items():
            within = ["link set lo up", f"address add {address}/24 dev eth0", "link set eth0 up"]
            _ip(within, f"{self._prefix}-{name}")

    def remove(self) -> None:
        """With every process that is still inside. Safe to call twice."""
        for name in (*self._hosts, CENTRE):
            _remove(f"{self._prefix}-{name}")

    def processes(self, machine: str) -> list[int]:
        """Who is inside."""
        return _inside(f"{self._prefix}-{machine}")

    def cut(self, one: Iterable[str], other: Iterable[str], *, one_way: bool = False) -> None:
        """Nothing passes between the two any more; one_way: only the first do not hear the others."""
        one, other = set(one), set(other)
        for name in one:
            self._deafen(name, self._deaf[name] | other - {name})
        for name in other if not one_way else ():
            self._deafen(name, self._deaf[name] | one - {name})

    def heal(self) -> None:
        """Everybody hears everybody."""
        for name, deaf in self._deaf.items():
            if deaf:
                self._deafen(name, set())

    def link(self, machine: str, *, up: bool) -> None:
        """Pulls the machine's cable, or puts it in again: nobody at all hears it."""
        _ip([f"link set port-{machine} {'up' if up else 'down'}"], f"{self._prefix}-{CENTRE}")

    def _deafen(self, name: str, deaf: set[str]) -> None:
        rules = ["add table inet chaos", "delete table inet chaos"]
        if deaf:
            addresses = ", ".join(sorted(self._hosts[each] for each in deaf))
            rules += [
                "add table inet chaos",
                "add chain inet chaos input { type filter hook input priority 0; policy accept; }",
                f"add rule inet chaos input ip saddr {{ {addresses} }} drop",
            ]
        _run(["nsenter", f"--net={self.namespace(name)}", "nft", "-f", "-"], "\n".join(rules) + "\n")
        self._deaf[name] = deaf


def sweep() -> list[str]:
    """Removes what runs left that are dead; the names of it."""
    left = []
    for name in sorted(os.listdir(_NETNS)) if _NETNS.is_dir() else ():
        found = _NAMES.match(name)
        if found and not _runs(int(found[1])):
            _remove(name)
            left.append(name)
    return left


def _runs(pid: int) -> bool:
    """Whether it is a run that lives; its number may have gone to another program."""
    try:
        return b"chaos.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _remove(namespace: str) -> None:
    for _ in range(50):
        inside = _inside(namespace)
        if not inside:
            break
        for pid in inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if (_NETNS / namespace).exists():
        subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def _inside(namespace: str) -> list[int]:
    found = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True)
    return [int(word) for word in found.stdout.split() if int(word) != os.getpid()]


def _ip(lines: Sequence[str], namespace: str = "") -> None:
    within = ["-netns", namespace] if namespace else []
    _run(["ip", *within, "-batch", "-"], "\n".join(lines) + "\n")


def _run(command: Sequence[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}; it was told:\n{text}")
