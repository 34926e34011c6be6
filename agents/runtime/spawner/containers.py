"""Sandboxes and containers as the spawner holds them: namespaces by file descriptor, processes by tag."""

import contextlib
import errno
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from typing import Any

from agents.runtime.spawner import child, syscalls, tree
from agents.runtime.spawner.capture import Capture, LogFile

_OUTPUT_MAX = 10 << 10
# Descriptors that no container gets: one container takes seven while it starts.
_FILES_KEPT = 24


class Sandbox:
    """One pod's shared part. blob: what the agent wants back after a restart; opaque here.

    (Plain classes here: importing dataclasses would double the spawner's memory.)
    """

    __slots__ = ("blob", "isolated", "namespaces", "pause", "pid_namespace", "pod", "tmpfs")

    def __init__(self, pod: str, isolated: bool, blob: str) -> None:
        self.pod = pod
        self.isolated = isolated
        self.blob = blob
        self.namespaces: list[tuple[int, int]] = []
        self.pid_namespace = -1
        # A descriptor of the process that keeps the PID namespace, -1 without one.
        self.pause = -1
        self.tmpfs: list[str] = []

    @property
    def own_pids(self) -> bool:
        """Whether containers share a PID namespace of the pod's own."""
        return self.pid_namespace >= 0


class Process:
    """A container's main process, or a command run inside one (`inside` is set then)."""

    def __init__(
        self, name: str, pod: str, pid: int, tag: int, status_fd: int, request: dict[str, Any]
    ) -> None:
        self.id = name
        self.pod = pod
        self.pid = pid
        self.tag = tag
        self.started_ns = time.time_ns()
        # Says whether the program could be run, -1 once that is known.
        self.status_fd = status_fd
        self.failure: dict[str, Any] | None = None
        self.request: int = request["id"]
        self.environment: dict[str, str] = request["env"]
        self.directory: str = request.get("cwd") or "/"
        # Of a container.
        self.log: LogFile | None = None
        self.captures: list[Capture] = []
        # Of a command.
        self.inside = ""
        self.output = bytearray()
        self.output_fd = -1
        self.deadline = 0.0
        self.timed_out = False
        # Its end: the main process reaped, then the whole tree gone and the output written.
        self.wait_status: int | None = None
        self.exited_ns = 0
        self.ended = False

    def exit(self) -> tuple[int, int]:
        """(exit code, signal): as a shell says it, 128 + signal for a killed process."""
        status = self.wait_status or 0
        if os.WIFSIGNALED(status):
            return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
        return os.WEXITSTATUS(status), 0

    def kill(self) -> None:
        """By its pid, which is ours until it is reaped: it may not have a group or a tag yet."""
        if self.wait_status is None:
            for kill in (os.kill, os.killpg):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(self.pid, signal.SIGKILL)

    def describe(self) -> dict[str, Any]:
        """As the agent is told."""
        code, number = self.exit()
        return {
            "container": self.id,
            "pod": self.pod,
            "pid": self.pid,
            "started_ns": self.started_ns,
            "ended": self.ended,
            "code": code,
            "signal": number,
            "exited_ns": self.exited_ns,
        }


_OWN_PID_NAMESPACE = "/proc/self/ns/pid"


@contextlib.contextmanager
def _children_in(pid_namespace: int, own: int) -> Iterator[None]:
    """Forks inside go into the PID namespace; the spawner itself always stays in its own."""
    if pid_namespace < 0:
        yield
        return
    syscalls.setns(pid_namespace, syscalls.CLONE_NEWPID)
    try:
        yield
    finally:
        # In the child this fails (an ancestor cannot be entered) and does not matter.
        with contextlib.suppress(OSError):
            syscalls.setns(own, syscalls.CLONE_NEWPID)


class Forker:
    """Makes sandboxes and processes. Knows nothing of the event loop."""

    def __init__(self, node_tag: int, *, isolated: bool) -> None:
        self._node_tag = node_tag
        self._counter = 0
        self.isolated = isolated
        self._own_pid_namespace = os.open(_OWN_PID_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)

    def next_tag(self) -> int:
        """A tag no living container wears (the counter wraps after four million starts)."""
        self._counter = (self._counter + 1) % (1 << tree.COUNTER_BITS)
        return (self._node_tag << tree.COUNTER_BITS) | self._counter

    def _keep_some_files(self) -> None:
        """Refuses before the last descriptors are used: what watches and ends containers needs them.

        The kernel gives the lowest free number, so a high one says that nearly all are taken.
        Raises: OSError.
        """
        lowest = os.dup(self._own_pid_namespace)
        os.close(lowest)
        if lowest + _FILES_KEPT > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            raise OSError(errno.EMFILE, "the node's spawner has too many open files: raise ulimit -n")

    def open_sandbox(self, request: dict[str, Any]) -> Sandbox:
        """Raises: OSError when a namespace or a memory volume cannot be made; nothing is left then."""
        sandbox = Sandbox(request["pod"], self.isolated, request.get("blob", ""))
        if not self.isolated:
            return sandbox
        self._keep_some_files()
        try:
            for path, size in request.get("tmpfs", ()):
                data = f"mode=1777,size={size}" if size else "mode=1777"
                syscalls.mount("orchestra", path, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, data)
                sandbox.tmpfs.append(path)
            self._make_namespaces(sandbox, request["hostname"])
            if request.get("share_pids"):
                self._make_pid_namespace(sandbox)
        except OSError:
            self.close_sandbox(sandbox)
            raise
        return sandbox

    def _make_namespaces(self, sandbox: Sandbox, hostname: str) -> None:
        """UTS and IPC namespaces live on by the file descriptors: no process has to stay in them."""
        ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
        done_r, done_w = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
        except OSError:
            _close_all(ready_r, ready_w, done_r, done_w)
            raise
        if pid == 0:
            try:
                os.close(done_w)
                syscalls.unshare(syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC)
                syscalls.set_hostname(hostname)
                os.write(ready_w, b"+")
                os.read(done_r, 1)
            except BaseException as error:  # noqa: BLE001 - the parent must hear of anything at all
                os.write(ready_w, str(error).encode()[:500] or b"?")
            finally:
                os._exit(0)
        os.close(ready_w)
        os.close(done_r)
        try:
            said = os.read(ready_r, 512)
            if said != b"+":
                raise OSError(1, said.decode(errors="replace") or "the namespaces could not be made")
            for name, kind in (("uts", syscalls.CLONE_NEWUTS), ("ipc", syscalls.CLONE_NEWIPC)):
                fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
                sandbox.namespaces.append((fd, kind))
        finally:
            os.close(ready_r)
            os.close(done_w)

    def _make_pid_namespace(self, sandbox: Sandbox) -> None:
        status_r, status_w = os.pipe2(os.O_CLOEXEC)
        try:
            syscalls.unshare(syscalls.CLONE_NEWPID)
            try:
                pid = os.fork()
                if pid == 0:
                    child.hold_pids(status_w)
            finally:
                syscalls.setns(self._own_pid_namespace, syscalls.CLONE_NEWPID)
            os.close(status_w)
            status_w = -1
            # Not by its number, which may be another's by the time the pod is closed.
            sandbox.pause = os.pidfd_open(pid)
            failure = os.read(status_r, 512)
            if failure:
                raise OSError(2, failure.decode(errors="replace"))
            sandbox.pid_namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(status_r)
            if status_w >= 0:
                os.close(status_w)

    def close_sandbox(self, sandbox: Sandbox) -> None:
        """Lets go of everything of the pod; its containers have ended before."""
        if sandbox.pause >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(sandbox.pause, signal.SIGKILL)
            os.close(sandbox.pause)
        for fd, _ in sandbox.namespaces:
            os.close(fd)
        if sandbox.pid_namespace >= 0:
            os.close(sandbox.pid_namespace)
        for path in reversed(sandbox.tmpfs):
            with contextlib.suppress(OSError):
                syscalls.unmount(path)
        sandbox.namespaces.clear()
        sandbox.tmpfs.clear()
        sandbox.pid_namespace = sandbox.pause = -1

    def start(self, sandbox: Sandbox, request: dict[str, Any]) -> Process:
        """Forks a container. Whether its program could be run is said on `status_fd`, by closing it."""
        self._keep_some_files()
        log = LogFile(request["log"], request["log_bytes_max"], request["log_files_max"])
        out_r, out_w = os.pipe2(os.O_CLOEXEC)
        err_r, err_w = os.pipe2(os.O_CLOEXEC)
        tag = self.next_tag()
        try:
            pid, status = self._fork(sandbox, request, tag, (out_w, err_w), -1)
        except OSError:
            # No process more is allowed, say; it will be tried again and again.
            _close_all(out_r, err_r)
            log.close()
            raise
        finally:
            _close_all(out_w, err_w)
        os.set_blocking(out_r, False)
        os.set_blocking(err_r, False)
        process = Process(request["container"], sandbox.pod, pid, tag, status, request)
        process.log = log
        process.captures = [Capture(out_r, b"stdout", log), Capture(err_r, b"stderr", log)]
        return process

    def execute(self, sandbox: Sandbox, main: Process, request: dict[str, Any]) -> Process:
        """Forks a command inside a running container."""
        self._keep_some_files()
        request = {**request, "env": main.environment, "cwd": main.directory}
        out_r, out_w = os.pipe2(os.O_CLOEXEC)
        mounts = -1
        try:
            if sandbox.isolated:
                mounts = os.open(f"/proc/{main.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            pid, status = self._fork(sandbox, request, main.tag, (out_w, out_w), mounts)
        except OSError:
            os.close(out_r)
            raise
        finally:
            os.close(out_w)
            if mounts >= 0:
                os.close(mounts)
        os.set_blocking(out_r, False)
        process = Process(f"{main.id}#{request['id']}", sandbox.pod, pid, main.tag, status, request)
        process.inside = main.id
        process.output_fd = out_r
        process.deadline = time.monotonic() + request["timeout_ms"] / 1000
        return process

    def _fork(
        self, sandbox: Sandbox, request: dict[str, Any], tag: int, streams: tuple[int, int], mounts: int
    ) -> tuple[int, int]:
        status_r, status_w = os.pipe2(os.O_CLOEXEC)
        try:
            with _children_in(sandbox.pid_namespace, self._own_pid_namespace):
                pid = os.fork()
                if pid == 0:
                    child.run(
                        request,
                        tag=tag,
                        namespaces=sandbox.namespaces,
                        own_pids=sandbox.own_pids,
                        isolated=sandbox.isolated,
                        enter_mounts=mounts,
                        streams=streams,
                        status=status_w,
                    )
        except OSError:
            os.close(status_r)
            raise
        finally:
            os.close(status_w)
        os.set_blocking(status_r, False)
        return pid, status_r


def _close_all(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def read_failure(fd: int) -> dict[str, Any] | None:
    """What a child said before it gave up, None if its program runs. Raises: BlockingIOError."""
    said = os.read(fd, 4096)
    if not said:
        return None
    try:
        failure: dict[str, Any] = json.loads(said)
    except ValueError:
        return {"stage": "prepare", "errno": 0, "error": said.decode(errors="replace")}
    return failure


def take_output(process: Process) -> bool:
    """Reads a command's output, keeping its first part. False at the end."""
    while True:
        try:
            chunk = os.read(process.output_fd, 1 << 16)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        room = _OUTPUT_MAX - len(process.output)
        if room > 0:
            process.output += chunk[:room]
