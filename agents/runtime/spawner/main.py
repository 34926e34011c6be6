"""The spawner's loop: one epoll over the agent's connection, output pipes, children and deadlines.

Wire: a Unix stream socket in the data directory, frames of a 4-byte length and JSON. A request has an id and
gets one reply with it; events have none. One agent at a time: a newer connection takes over.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from agents.runtime.spawner import child, syscalls, tree
from agents.runtime.spawner.containers import Forker, Process, Sandbox, read_failure, take_output
from agents.runtime.spawner.link import Link

_TREE_RECHECK_S, _TREE_RECHECK_MAX_S = 0.005, 0.5
_LAST_WAIT_S = 5.0
# Without an agent and without anything to keep for the next one.
_LINGER_EMPTY_S = 1.0


class Spawner:
    """All state of the node's containers. Everything runs in the one thread of `run`."""

    def __init__(self, listener: socket.socket, node_tag: int, isolated: bool, linger_s: float) -> None:
        self._listener = listener
        self._forker = Forker(node_tag, isolated=isolated)
        self._linger_s = linger_s
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        # Containers by id, and commands inside them by theirs.
        self._processes: dict[str, Process] = {}
        self._by_pid: dict[int, Process] = {}
        # Main process gone, tree or pipes not yet.
        self._ending: set[str] = set()
        self._check_at, self._recheck_s = 0.0, _TREE_RECHECK_S
        self._closing: dict[str, int] = {}
        self._link: Link | None = None
        self._alone_since = time.monotonic()
        self._stopping = False

    # -- loop ------------------------------------------------------------------------------------

    def _watch(self, fd: int, handler: Callable[[], None], mask: int = select.EPOLLIN) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, mask)

    def _forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self) -> None:
        """Until told to shut down, or nobody has been connected for the linger time.

        One that has nothing to keep does not wait for ever.
        """
        wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        self._watch(wake_r, lambda: self._reap(wake_r))
        self._watch(self._listener.fileno(), self._accept)
        while not (self._stopping and not self._processes):
            for fd, _ in self._epoll.poll(self._wait_s()):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler()
            if self._ending and self._check_at <= time.monotonic():
                self._check_ending()
            self._check_deadlines()
        for sandbox in self._sandboxes.values():
            self._forker.close_sandbox(sandbox)
        self._sandboxes.clear()
        # What was just killed is waited for, so that no zombie is left to init.
        give_up = time.monotonic() + _LAST_WAIT_S
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < give_up:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    self._epoll.poll(_TREE_RECHECK_S)

    def _wait_s(self) -> float | None:
        waits = [p.deadline - time.monotonic() for p in self._processes.values() if p.deadline]
        if self._ending or self._stopping:
            waits.append(self._check_at - time.monotonic() if self._ending else _TREE_RECHECK_S)
        if self._link is None and self._linger() >= 0:
            waits.append(self._alone_since + self._linger() - time.monotonic())
        return max(0.001, min(waits)) if waits else None

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for process in list(self._processes.values()):
            if process.deadline and process.deadline <= now and not process.timed_out:
                process.timed_out, process.deadline = True, 0.0
                process.kill()
                tree.kill_session(process.pid, process.tag)
        if self._link is None and 0 <= self._linger() <= now - self._alone_since:
            self._stop_all()

    def _linger(self) -> float:
        if self._linger_s < 0 and not self._sandboxes and not self._processes:
            return _LINGER_EMPTY_S
        return self._linger_s

    def _reap(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(wake, 4096)) == 4096:
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._check_at, self._recheck_s = 0.0, _TREE_RECHECK_S
            process = self._by_pid.pop(pid, None)
            if process is not None:
                process.wait_status = status
                process.exited_ns = time.time_ns()
                self._ending.add(process.id)

    # -- ends ------------------------------------------------------------------------------------

    def _check_ending(self) -> None:
        # Each look is a walk through /proc; what does not die at once (a disk that hangs) may never.
        self._check_at = time.monotonic() + self._recheck_s
        self._recheck_s = min(self._recheck_s * 2, _TREE_RECHECK_MAX_S)
        for name in list(self._ending):
            process = self._processes.get(name)
            if process is None:
                self._ending.discard(name)
                continue
            if process.status_fd >= 0:
                self._started(process)
            if process.inside:
                if not (process.timed_out and tree.kill_session(process.pid, process.tag)):
                    self._end_command(process)
                continue
            alive = tree.members(process.tag)
            if alive:
                for pid in alive:
                    tree.kill(pid, process.tag)
                continue
            self._end_container(process)

    def _end_container(self, process: Process) -> None:
        self._ending.discard(process.id)
        for capture in process.captures:
            self._forget(capture.fd)
            capture.drain()
            capture.close()
        process.captures.clear()
        if process.log is not None:
            process.log.close()
        process.ended = True
        if process.failure is None:
            self._send({"event": "exit", **process.describe()})
        else:
            self._processes.pop(process.id, None)
        if self._stopping:
            self._processes.pop(process.id, None)
        self._finish_closing(process.pod)

    def _end_command(self, process: Process) -> None:
        self._ending.discard(process.id)
        self._processes.pop(process.id, None)
        if process.output_fd >= 0:
            take_output(process)
            self._forget(process.output_fd)
            os.close(process.output_fd)
        if process.failure is not None:
            return
        code, _ = process.exit()
        self._send({
            "id": process.request, "ok": True, "code": code, "timed_out": process.timed_out,
            "output": process.output.decode(errors="replace"),
        })  # fmt: skip

    def _stop_all(self) -> None:
        self._stopping = True
        for process in list(self._processes.values()):
            if process.ended:
                self._processes.pop(process.id)
            else:
                self._kill_tree(process)

    def _kill_tree(self, process: Process) -> None:
        process.kill()
        for pid in tree.members(process.tag):
            tree.kill(pid, process.tag)

    # -- agent -----------------------------------------------------------------------------------

    def _accept(self) -> None:
        # The one before goes first: its descriptor may be the last.
        self._drop_agent()
        try:
            agent, _ = self._listener.accept()
        except OSError:
            # The machine is out of something; a caller still in line is the loop's next round.
            time.sleep(_TREE_RECHECK_S)
            return
        link = Link(agent)
        self._link = link
        self._watch(link.fileno(), lambda: self._receive(link))

    def _drop_agent(self) -> None:
        if self._link is not None:
            self._forget(self._link.fileno())
            self._link.close()
            self._link = None
            self._alone_since = time.monotonic()

    def _receive(self, link: Link) -> None:
        for request in link.receive():
            self._answer(request)
        self._after(link)

    def _send(self, message: dict[str, Any]) -> None:
        if self._link is not None:
            self._link.send(message)
            self._after(self._link)

    def _after(self, link: Link) -> None:
        if self._link is not link:
            return
        if link.broken:
            self._drop_agent()
        else:
            self._epoll.modify(link.fileno(), select.EPOLLIN | (select.EPOLLOUT if link.unsent else 0))

    # -- requests --------------------------------------------------------------------------------

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            reply = getattr(self, f"_do_{request['op']}")(request)
        except Exception as error:  # noqa: BLE001 - no request may end the process that every container needs
            number = error.errno if isinstance(error, OSError) else 0
            said = f"no such container or pod: {error}" if isinstance(error, KeyError) else str(error)
            reply = {"ok": False, "errno": number or 0, "error": said, "stage": "prepare"}
        if reply is not None:
            self._send({"id": request["id"], **reply})

    def _do_open(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["pod"] not in self._sandboxes:
            self._sandboxes[request["pod"]] = self._forker.open_sandbox(request)
        return {"ok": True}

    def _do_remember(self, request: dict[str, Any]) -> dict[str, Any]:
        self._sandboxes[request["pod"]].blob = request["blob"]
        return {"ok": True}

    def _do_start(self, request: dict[str, Any]) -> None:
        if request["container"] in self._processes:
            raise FileExistsError(17, f"container {request['container']} has been started already")
        sandbox = self._sandboxes[request["pod"]]
        process = self._forker.start(sandbox, request)
        self._add(process)
        for capture in process.captures:
            self._watch(capture.fd, lambda capture=capture: self._capture(capture))  # type: ignore[misc]

    def _do_execute(self, request: dict[str, Any]) -> None:
        main = self._processes[request["container"]]
        if main.wait_status is not None:
            raise ProcessLookupError(3, f"container {main.id} has ended")
        process = self._forker.execute(self._sandboxes[main.pod], main, request)
        self._add(process)
        self._watch(process.output_fd, lambda: self._command_output(process))

    def _add(self, process: Process) -> None:
        self._processes[process.id] = process
        self._by_pid[process.pid] = process
        self._watch(process.status_fd, lambda: self._started(process))

    def _started(self, process: Process) -> None:
        try:
            process.failure = read_failure(process.status_fd)
        except BlockingIOError:
            return
        self._forget(process.status_fd)
        os.close(process.status_fd)
        process.status_fd = -1
        if process.failure is not None:
            self._send({"id": process.request, "ok": False, **process.failure})
        elif not process.inside:
            self._send({
                "id": process.request, "ok": True, "pid": process.pid, "started_ns": process.started_ns,
            })  # fmt: skip

    def _capture(self, capture: Any) -> None:
        if not capture.read():
            self._forget(capture.fd)

    def _command_output(self, process: Process) -> None:
        if not take_output(process):
            self._forget(process.output_fd)

    def _do_signal(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._processes[request["container"]]
        if process.wait_status is None:
            os.kill(process.pid, request["signal"])
        return {"ok": True}

    def _do_kill(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._processes[request["container"]]
        if not process.ended:
            self._kill_tree(process)
        return {"ok": True}

    def _do_acknowledge(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._processes.get(request["container"])
        if process is not None and process.ended:
            del self._processes[process.id]
        return {"ok": True}

    def _do_stats(self, request: dict[str, Any]) -> dict[str, Any]:
        tags = {
            p.tag: p.id
            for p in self._processes.values()
            if p.pod == request["pod"] and not p.inside and not p.ended
        }
        usage: dict[str, list[int]] = {name: [0, 0, 0] for name in tags.values()}
        for pid, tag in tree.tagged():
            if tag in tags:
                found = usage[tags[tag]]
                for index, value in enumerate(tree.usage(pid)):
                    found[index] += value
        return {"ok": True, "usage": usage}

    def _do_close(self, request: dict[str, Any]) -> dict[str, Any] | None:
        pod = request["pod"]
        if pod not in self._sandboxes:
            return {"ok": True}
        for process in self._processes.values():
            if process.pod == pod and not process.ended:
                self._kill_tree(process)
        self._closing[pod] = request["id"]
        self._finish_closing(pod)
        return None

    def _finish_closing(self, pod: str) -> None:
        if pod not in self._closing:
            return
        mine = [p for p in self._processes.values() if p.pod == pod]
        if any(not p.ended and not p.inside for p in mine):
            return
        for process in mine:
            if process.ended:
                del self._processes[process.id]
        self._forker.close_sandbox(self._sandboxes.pop(pod))
        self._send({"id": self._closing.pop(pod), "ok": True})

    def _do_list(self, request: dict[str, Any]) -> dict[str, Any]:
        return {
            "ok": True,
            "isolated": self._forker.isolated,
            "pods": [{"pod": s.pod, "blob": s.blob} for s in self._sandboxes.values()],
            "containers": [
                p.describe() for p in self._processes.values() if not p.inside and p.failure is None
            ],
        }

    def _do_shutdown(self, request: dict[str, Any]) -> dict[str, Any]:
        self._stop_all()
        return {"ok": True}


def main(arguments: list[str]) -> int:
    """spawner LISTENER_FD NODE_TAG RUNTIME LINGER_SECONDS READY_FD."""
    listener_fd, node_tag, runtime, linger_s, ready_fd = arguments
    ready = int(ready_fd)
    os.set_inheritable(int(listener_fd), False)
    os.set_inheritable(ready, False)
    listener = socket.socket(fileno=int(listener_fd))
    syscalls.set_process_name("orchestra-spawn")
    syscalls.become_subreaper()
    why_not = "asked for" if runtime == "host" else child.can_isolate()
    if why_not and runtime == "namespaces":
        os.write(ready, f"!this user cannot make namespaces here ({why_not})".encode())
        return 1
    if not why_not:
        # A mount namespace of the spawner's own: memory volumes are never seen on the host, and go with it.
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_SLAVE | syscalls.MS_REC)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    spawner = Spawner(listener, int(node_tag), not why_not, float(linger_s))
    gc.collect()
    gc.freeze()
    os.write(ready, b"+")
    os.close(ready)
    spawner.run()
    return 0
