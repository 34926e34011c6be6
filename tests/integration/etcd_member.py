"""A member that serves etcd's API, as a process that ends with the tests that started it.

As a program: serves the store in DIR on a free port of 127.0.0.1 and prints the port.
"""

import subprocess
import sys
from pathlib import Path

import uvloop

from orchestra.cluster.member import Member
from orchestra.etcdapi.server import EtcdServer

ROOT = Path(__file__).resolve().parents[2]


class EtcdMember:
    """One member. start() again after kill() for the same data on another port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it and waits until it serves."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.integration.etcd_member"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.directory / "data")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        assert self.process.stdout is not None
        port = self.process.stdout.readline().strip()
        assert port, f"the member does not serve: {(self.directory / 'log').read_text()[-2000:]}"
        self.address = f"127.0.0.1:{port}"

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


async def _serve(directory: str) -> None:
    async with await Member.open(directory) as member:
        server = EtcdServer(member)
        port = await server.start("127.0.0.1:0")
        address = f"127.0.0.1:{port}"
        await member.publish(address, address)
        print(port, flush=True)
        await member.failed()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
