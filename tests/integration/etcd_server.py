"""A real etcd, as a process that ends with the tests that started it."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 10.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


class EtcdServer:
    """One member of an etcd cluster; start() again after kill() for the same data on the same ports.

    options: more of etcd's own. Synced to disk only as far as tests need it: not at all.
    """

    def __init__(self, directory: Path, *options: str, name: str = "e1", cluster: str = "") -> None:
        self.client_port, self.peer_port = free_ports(2)
        self.address = f"127.0.0.1:{self.client_port}"
        self.directory = directory
        self.name = name
        self.cluster = cluster
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def as_member(self) -> str:
        """What the cluster's other members know it by."""
        return f"{self.name}=http://127.0.0.1:{self.peer_port}"

    def launch(self) -> None:
        """Starts it without waiting."""
        client, peer = f"http://{self.address}", f"http://127.0.0.1:{self.peer_port}"
        self.directory.mkdir(parents=True, exist_ok=True)
        command = ["setpriv", "--pdeathsig", "KILL", "etcd", "--name", self.name]
        command += [
            "--data-dir",
            str(self.directory / "data"),
            "--initial-cluster",
            self.cluster or self.as_member,
        ]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)

    def wait_ready(self) -> None:
        """Returns when it serves."""
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://{self.address}/health", timeout=1) as answer:
                    if b'"true"' in answer.read():
                        return
            except (urllib.error.URLError, OSError):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"etcd does not serve: {(self.directory / 'log').read_text()[-2000:]}")

    def start(self) -> None:
        """Starts it and waits until it serves."""
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
