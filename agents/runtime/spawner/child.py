"""What happens between fork and exec: namespaces, volumes, session, limits, then the program.

Runs in the forked child of a process that has one thread, so ordinary Python is safe here.
"""

import contextlib
import errno
import json
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from agents.runtime.spawner import mounts, syscalls, tree

EXIT_NOT_STARTED = 127


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _point_streams(stdout: int, stderr: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)


def _raise_core_limits() -> None:
    # What a service expects to find, whatever shell started the agent.
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(
    request: dict[str, Any],
    *,
    tag: int,
    namespaces: Sequence[tuple[int, int]],
    own_pids: bool,
    isolated: bool,
    enter_mounts: int,
    streams: tuple[int, int],
    status: int,
) -> None:
    """Becomes the container's program. Never returns: a failure is written to `status` as JSON.

    namespaces: (fd, kind) to enter. enter_mounts: a running container's mount namespace to join, or -1.
    """
    stage = "prepare"
    try:
        _reset_signals()
        os.setsid()
        syscalls.set_parent_death_signal(signal.SIGKILL)
        tree.wear(tag)
        _point_streams(*streams)
        stage = "namespaces"
        for fd, kind in namespaces:
            syscalls.setns(fd, kind)
        if enter_mounts >= 0:
            syscalls.setns(enter_mounts, syscalls.CLONE_NEWNS)
        elif isolated:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            stage = "volumes"
            wanted = [mounts.Mount(*item) for item in request.get("mounts", ())]
            mounts.build(wanted, request.get("scratch", ""), own_pids=own_pids)
        stage = "working directory"
        where = request.get("cwd") or "/"
        try:
            os.chdir(where)
        except OSError as error:
            raise OSError(error.errno, f"{where}: {error.strerror}") from None
        os.umask(0o022)
        _raise_core_limits()
        stage = "exec"
        argv: list[str] = request["argv"]
        os.execve(find_program(argv[0], request["env"]), argv, request["env"])
    except BaseException as error:  # noqa: BLE001 - the parent must hear of anything at all
        number = error.errno if isinstance(error, OSError) else 0
        said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        with contextlib.suppress(OSError):
            os.write(status, json.dumps({"stage": stage, "errno": number or 0, "error": said}).encode())
    finally:
        os._exit(EXIT_NOT_STARTED)


def find_program(name: str, environment: Mapping[str, str]) -> str:
    """Where $PATH has the program; a name with a slash is a path already.

    A folder of $PATH that may not be searched does not have it: execvp would say that it may not be run.
    Raises: FileNotFoundError.
    """
    if "/" in name:
        return name
    for folder in environment.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def hold_pids(status: int) -> None:
    """Becomes PID 1 of a shared PID namespace: waits, and lets the kernel reap orphans (SIGCHLD ignored)."""
    try:
        _reset_signals()
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        syscalls.set_parent_death_signal(signal.SIGKILL)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.execvpe("sleep", ["orchestra-pause", "2147483647"], {"PATH": os.defpath})
    except BaseException as error:  # noqa: BLE001 - the parent must hear of anything at all
        with contextlib.suppress(OSError):
            os.write(status, f"sleep (coreutils) is needed for shareProcessNamespace: {error}".encode())
    finally:
        os._exit(EXIT_NOT_STARTED)


def _probe_privilege() -> str:
    """ "" when namespaces can be made here, else why not. Runs in a fork of its own."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC)
        syscalls.mount("", "/", "", syscalls.MS_SLAVE | syscalls.MS_REC)
        syscalls.set_hostname("orchestra-probe")
    except OSError as error:
        return str(error.strerror or error)
    return ""


def can_isolate() -> str:
    """ "" when this machine lets the caller make namespaces, else why not."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.write(write, _probe_privilege().encode() or b"+")
        os._exit(0)
    os.close(write)
    said = os.read(read, 512)
    os.close(read)
    os.waitpid(pid, 0)
    return "" if said == b"+" else said.decode() or "unknown"
