"""A real etcd and a member of ours side by side: the same etcdctl command against both, compared."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.etcd_member import EtcdMember
from tests.integration.etcd_server import EtcdServer

COMMAND_SECONDS = 20.0

# 16 hexadecimal digits: ids of leases, of members and of the cluster.
_HEX_ID = re.compile(r"\b[0-9a-f]{14,16}\b")
# In JSON and fields, ids and terms are decimal.
_NUMBERS = re.compile(
    r'("?(?:cluster_id|member_id|raft_term|ID|ClusterID|MemberID|RaftTerm|raftTerm|raftIndex'
    r'|raftAppliedIndex|leader|dbSize|dbSizeInUse|hash|Hash)"? ?: ?)\d+'
)
_TOOK = re.compile(r"took = .*")
_LOG_LINE = re.compile(r"^(\{.*\}|\S+ \S+ [A-Z] \| .*)$")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did, with everything that no two servers share taken out."""

    code: int
    stdout: str
    errors: str


@dataclass(slots=True)
class Side:
    """One of the two servers. ids: the names given to its ids, in the order they were seen."""

    name: str
    address: str
    ids: dict[str, str] = field(default_factory=dict)
    last_stdout: str = ""

    def command(self, arguments: Sequence[str]) -> list[str]:
        """etcdctl's command line."""
        return ["etcdctl", "--endpoints", self.address, *arguments]

    def outcome(self, code: int, stdout: str, stderr: str) -> Outcome:
        """A command's outcome without what differs by nature."""
        self.last_stdout = stdout
        errors = [line for line in stderr.splitlines() if not _LOG_LINE.match(line)]
        return Outcome(code, self._normal(stdout), self._normal("\n".join(errors)))

    def _normal(self, text: str) -> str:
        text = text.replace(f"http://{self.address}", "URL").replace(self.address, "ENDPOINT")
        text = _NUMBERS.sub(r"\1N", text)
        text = _HEX_ID.sub(lambda found: self.ids.setdefault(found[0], f"id{len(self.ids)}"), text)
        return _TOOK.sub("took = T", text)


class Pair:
    """Both servers. What one is asked the other is asked too, so that their revisions go together."""

    def __init__(self, etcd: Side, ours: Side) -> None:
        self.etcd = etcd
        self.ours = ours

    def run(self, *arguments: str, stdin: str | None = None) -> tuple[Outcome, Outcome]:
        """Runs etcdctl against both; their outcomes, etcd's first.

        A word "{lease}" in the arguments is filled in with the id each side answered last.
        """
        started = [
            (side, self._start(side, [self._filled(side, each) for each in arguments], stdin is not None))
            for side in (self.etcd, self.ours)
        ]
        outcomes = []
        for side, process in started:
            try:
                stdout, stderr = process.communicate(stdin, timeout=COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                stdout, stderr = process.communicate()
            outcomes.append(side.outcome(process.returncode, stdout, stderr))
        return outcomes[0], outcomes[1]

    def same(self, *arguments: str, stdin: str | None = None) -> Outcome:
        """Runs etcdctl against both and requires the same outcome; what it was."""
        theirs, ours = self.run(*arguments, stdin=stdin)
        assert ours == theirs, f"etcdctl {' '.join(arguments)}\netcd: {theirs}\nours: {ours}"
        return ours

    @contextmanager
    def started(self, *arguments: str) -> Iterator[tuple["Running", "Running"]]:
        """etcdctl commands that go on until they are told to end, against both."""
        both = [
            Running(side, self._start(side, [self._filled(side, each) for each in arguments], False))
            for side in (self.etcd, self.ours)
        ]
        try:
            yield both[0], both[1]
        finally:
            for each in both:
                each.end()

    def remember_lease(self) -> None:
        """Takes the lease's id out of what both sides have just answered."""
        for side in (self.etcd, self.ours):
            found = re.search(r"lease ([0-9a-f]{16}) granted", side.last_stdout)
            assert found is not None, side.last_stdout
            side.ids["{lease}"] = found[1]

    def _filled(self, side: Side, word: str) -> str:
        return word.replace("{lease}", side.ids.get("{lease}", "{lease}"))

    def _start(self, side: Side, arguments: Sequence[str], stdin: bool) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            side.command(arguments),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ETCDCTL_API": "3"},
        )


class Running:
    """An etcdctl that goes on."""

    def __init__(self, side: Side, process: "subprocess.Popen[str]") -> None:
        self.side = side
        self.process = process

    def lines(self, count: int) -> list[str]:
        """Its next lines, normalised, waiting for them; fewer if it ends before."""
        assert self.process.stdout is not None
        found = []
        for _ in range(count):
            line = self.process.stdout.readline()
            if not line:
                break
            found.append(self.side.outcome(0, line, "").stdout.rstrip("\n"))
        return found

    def finished(self) -> Outcome:
        """Waits for its end."""
        stdout, stderr = self.process.communicate(timeout=COMMAND_SECONDS)
        return self.side.outcome(self.process.returncode, stdout, stderr)

    def interrupted(self) -> Outcome:
        """Sends SIGINT and waits for the end."""
        self.process.send_signal(signal.SIGINT)
        return self.finished()

    def end(self) -> None:
        """Ends it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def serving_pair(directory: Path) -> Iterator[Pair]:
    """A real etcd and a member of ours, both new."""
    etcd = EtcdServer(directory / "etcd")
    member = EtcdMember(directory / "member")
    try:
        etcd.launch()
        member.start()
        etcd.wait_ready()
        yield Pair(Side("etcd", etcd.address), Side("ours", member.address))
    finally:
        etcd.kill()
        member.kill()
