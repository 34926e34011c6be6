"""Which processes belong to a container, however far they have run from it.

Process groups and sessions are left by setsid, parents by a double fork. What no process leaves by itself is
its resource limits: RLIMIT_LOCKS has had no effect since Linux 2.4.25, is inherited over fork and exec and
needs no privilege to lower, so each container gets its own value of it: its tag. A tag is a node's random
part and a counter, so one agent's leftovers can be told from everything else on the machine, and never by a
pid alone.

Source: getrlimit(2), RLIMIT_LOCKS.
"""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator

_RLIMIT_LOCKS = 10
COUNTER_BITS = 22
_NODE_BITS = 40


def new_node_tag() -> int:
    """A random node part that this process is allowed to set (below its own hard limit)."""
    hard = resource.getrlimit(_RLIMIT_LOCKS)[1]
    top = 1 << _NODE_BITS
    if hard != resource.RLIM_INFINITY:
        top = min(top, hard >> COUNTER_BITS)
    return 1 + int.from_bytes(os.urandom(8), "big") % max(1, top - 1)


def node_tag_of(tag: int) -> int:
    """The node part of a container's tag."""
    return tag >> COUNTER_BITS


def wear(tag: int) -> None:
    """Puts the tag on this process and everything that it will start."""
    resource.setrlimit(_RLIMIT_LOCKS, (tag, tag))


def _tag_of(pid: int) -> int:
    try:
        return resource.prlimit(pid, _RLIMIT_LOCKS)[0]
    except PermissionError:
        # Another user's process: the file says it to everybody.
        try:
            with open(f"/proc/{pid}/limits", "rb") as limits:
                for line in limits:
                    if line.startswith(b"Max file locks"):
                        word = line.split()[3]
                        return -1 if word == b"unlimited" else int(word)
        except OSError:
            pass
        return -1
    except OSError:
        return -1


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            state = stat.read(512).rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in (b"Z", b"X")


def tagged() -> Iterator[tuple[int, int]]:
    """(pid, tag) of every living process that wears a tag."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            pid = int(name)
            tag = _tag_of(pid)
            if tag > 0 and tag >> COUNTER_BITS and _alive(pid):
                yield pid, tag


def members(tag: int) -> list[int]:
    """The living processes of one container."""
    return [pid for pid, worn in tagged() if worn == tag]


def leftovers(node_tag: int) -> list[int]:
    """The living processes of any container of one node."""
    return [pid for pid, worn in tagged() if node_tag_of(worn) == node_tag]


def kill(pid: int, tag: int, number: int = signal.SIGKILL) -> None:
    """Signals a process if it still wears the tag (node part or whole): a reused pid is left alone."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        worn = _tag_of(pid)
        if tag in (worn, node_tag_of(worn)):
            signal.pidfd_send_signal(fd, number)
    except OSError:
        pass
    finally:
        os.close(fd)


def usage(pid: int) -> tuple[int, int, int]:
    """(cpu milliseconds, resident bytes, 1) of one process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return 0, 0, 0
    ticks = int(fields[11]) + int(fields[12])
    return ticks * 1000 // os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), 1


def kill_session(pid: int, tag: int) -> bool:
    """Kills a command and what it started in its own session; the container around it lives on.

    Whether there was anything to kill: until there is not, it has not ended.
    """
    found_any = False
    for found, worn in tagged():
        if worn == tag:
            with contextlib.suppress(OSError):
                if os.getsid(found) == pid:
                    found_any = True
                    kill(found, tag)
    return found_any
