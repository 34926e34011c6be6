"""The runtime with real processes, with and without namespaces.

Every wait is for something that happens; the bound on each is the test's own timeout.
"""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agents.runtime.contract import (
    ContainerSpec,
    Exit,
    RuntimeFailure,
    RuntimeLost,
    SandboxSpec,
    VolumeMount,
)
from agents.runtime.local import Local, clear_leftovers
from agents.runtime.spawner import tree
from agents.runtime.spawner.containers import Forker

IS_ROOT = os.geteuid() == 0
# Namespaces need privilege: without it there is nothing to test, and CI has it.
ISOLATIONS = ["host", "namespaces"] if IS_ROOT else ["host"]
PATH = {"PATH": os.environ["PATH"]}
SLEEP = ["sleep", "1000"]


async def until(holds: Callable[[], bool]) -> None:
    """For what another process does and tells nobody: its files, its end."""
    while not holds():  # noqa: ASYNC110 - no event can come from there
        await asyncio.sleep(0.01)


class Machine:
    """A runtime, and short ways to ask it for things."""

    def __init__(self, runtime: Local, directory: Path) -> None:
        self.runtime = runtime
        self.directory = directory
        self._exits: asyncio.Queue[Exit] = asyncio.Queue()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for found in self.runtime.exits():
                self._exits.put_nowait(found)
        except RuntimeLost:
            pass

    async def pod(self, name: str, **words: object) -> None:
        (self.directory / name / "root").mkdir(parents=True)
        await self.runtime.open_sandbox(SandboxSpec(name, f"{name}-host", **words))  # type: ignore[arg-type]

    def log(self, pod: str, container: str = "main") -> Path:
        return self.directory / pod / f"{container}.log"

    async def start(
        self, pod: str, argv: list[str], container: str = "main", mounts: tuple[VolumeMount, ...] = ()
    ) -> int:
        launch = await self.runtime.start(
            ContainerSpec(
                f"{pod}/{container}/1", pod, argv, PATH, "/", str(self.log(pod, container)), mounts,
                str(self.directory / pod / "root"),
            )
        )  # fmt: skip
        return launch.pid

    def said(self, pod: str, container: str = "main") -> str:
        lines = self.log(pod, container).read_text().splitlines()
        return "\n".join(line[40:] for line in lines)

    async def until_said(self, pod: str, text: str, container: str = "main") -> str:
        await until(lambda: text in self.said(pod, container))
        return self.said(pod, container)

    async def exit(self) -> Exit:
        return await self._exits.get()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.runtime.close(stop=True)


@pytest.fixture(params=ISOLATIONS)
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Machine]:
    directory = tmp_path / "a path with spaces"
    runtime = await Local.open(directory, request.param)
    await runtime.recover()
    assert runtime.isolation == request.param
    found = Machine(runtime, directory)
    yield found
    await found.close()
    assert clear_leftovers(directory) == 0, "a process was left"


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("argv", "code", "number"),
    [
        (["true"], 0, 0),
        (["sh", "-c", "exit 42"], 42, 0),
        (["sh", "-c", "kill -TERM $$"], 143, 15),
        (["sh", "-c", "kill -KILL $$"], 137, 9),
    ],
)
async def test_an_end_is_told_with_its_code_and_signal(
    machine: Machine, argv: list[str], code: int, number: int
) -> None:
    await machine.pod("p")
    await machine.start("p", argv)
    found = await machine.exit()
    assert (found.code, found.signal, found.container) == (code, number, "p/main/1")
    assert found.exited_ns >= found.started_ns


@pytest.mark.parametrize(
    ("argv", "errno"), [(["no-such-program"], 2), (["/etc/passwd"], 13), (["/no/such/file"], 2)]
)
async def test_what_cannot_be_started_says_why(machine: Machine, argv: list[str], errno: int) -> None:
    await machine.pod("p")
    with pytest.raises(RuntimeFailure) as failure:
        await machine.start("p", argv)
    assert (failure.value.errno, failure.value.stage) == (errno, "exec")
    # The name is free again, because nothing ever ran under it.
    while True:
        try:
            await machine.start("p", ["true"])
            break
        except RuntimeFailure:
            await asyncio.sleep(0.01)
    assert (await machine.exit()).code == 0


async def test_words_reach_the_program_as_they_are(machine: Machine) -> None:
    await machine.pod("p")
    odd = "a b; rm -rf $HOME `id` 'x' \"y\" \\ * ünï\n"
    await machine.start("p", [sys.executable, "-c", "import sys; print(repr(sys.argv[1]))", odd])
    await machine.exit()
    assert machine.said("p") == repr(odd)


_DAEMON = """
import os, sys, time
said, saying = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for name in list(os.environ):
            del os.environ[name]
        print("daemon", os.getpid(), flush=True)
        os.write(saying, b"+")
        time.sleep(1000)
    os._exit(0)
os.read(said, 1)
{after}
"""


@pytest.mark.parametrize("after", ["time.sleep(1000)", "os._exit(7)"])
async def test_a_double_forked_daemon_goes_with_its_container(machine: Machine, after: str) -> None:
    await machine.pod("p")
    await machine.start("p", [sys.executable, "-c", _DAEMON.format(after=after)])
    if "sleep" in after:
        said = await machine.until_said("p", "daemon")
        assert int(said.split()[-1]) in [pid for pid, _ in tree.tagged()]
        await machine.runtime.kill("p/main/1")
        assert (await machine.exit()).code == 137
    else:
        # The end of the main process is the end of the container.
        assert (await machine.exit()).code == 7
        said = machine.said("p")
    daemon = int(said.split()[-1])
    assert not _lives(daemon)


async def test_a_program_that_ignores_sigterm_ends_with_sigkill(machine: Machine) -> None:
    await machine.pod("p")
    await machine.start(
        "p",
        [
            sys.executable, "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)",
        ],
    )  # fmt: skip
    await machine.until_said("p", "up")
    await machine.runtime.signal("p/main/1", signal.SIGTERM)
    assert (await machine.runtime.execute("p/main/1", ["true"], 5)).code == 0
    await machine.runtime.kill("p/main/1")
    found = await machine.exit()
    assert (found.code, found.signal) == (137, 9)


async def test_two_containers_share_a_volume(machine: Machine) -> None:
    await machine.pod("p")
    volume = machine.directory / "p" / "volume"
    volume.mkdir()
    isolated = machine.runtime.isolation == "namespaces"
    places = ["/orchestra-test/deep/data", "/usr/share/orchestra-test"]
    mounts = [(VolumeMount(str(volume), place, False, str(volume)),) if isolated else () for place in places]
    where = places if isolated else [str(volume), str(volume)]
    await machine.start("p", ["sh", "-c", f"echo hello > '{where[0]}/f'"], "writer", mounts[0])
    assert (await machine.exit()).code == 0, machine.said("p", "writer")
    await machine.start("p", ["cat", f"{where[1]}/f"], "reader", mounts[1])
    assert (await machine.exit()).code == 0, machine.said("p", "reader")
    assert machine.said("p", "reader") == "hello"
    assert not any(Path(place).exists() for place in places), "a mount point was left on the host"


@pytest.mark.skipif(not IS_ROOT, reason="without privilege there are no namespaces to test")
class TestNamespaces:
    @pytest.fixture
    async def isolated(self, tmp_path: Path) -> AsyncIterator[Machine]:
        runtime = await Local.open(tmp_path, "namespaces")
        await runtime.recover()
        found = Machine(runtime, tmp_path)
        yield found
        await found.close()
        assert clear_leftovers(tmp_path) == 0, "a process was left"

    async def test_the_host_name_is_the_pods_and_shared(self, isolated: Machine) -> None:
        await isolated.pod("p")
        for name in ("one", "two"):
            await isolated.start(
                "p", ["sh", "-c", "hostname; readlink /proc/self/ns/uts /proc/self/ns/ipc"], name
            )
            await isolated.exit()
        assert isolated.said("p", "one") == isolated.said("p", "two")
        assert isolated.said("p", "one").startswith("p-host\n")
        assert os.uname().nodename != "p-host"
        assert os.readlink("/proc/self/ns/uts") not in isolated.said("p", "one")

    async def test_a_shared_pid_namespace_shows_the_pods_processes_only(self, isolated: Machine) -> None:
        await isolated.pod("p", share_pids=True)
        await isolated.start("p", SLEEP, "sleeper")
        await isolated.start("p", ["sh", "-c", "ls /proc | grep -c '^[0-9]'; cat /proc/1/cmdline"], "looker")
        assert (await isolated.exit()).container == "p/looker/1"
        said = isolated.said("p", "looker")
        # PID 1, the sleeper, the shell, and its two helpers.
        assert int(said.split("\n")[0]) <= 5
        assert "orchestra-pause" in said

    async def test_a_missing_mount_point_below_a_directory_keeps_what_is_there(
        self, isolated: Machine
    ) -> None:
        await isolated.pod("p")
        volume = isolated.directory / "p" / "volume"
        volume.mkdir()
        mount = VolumeMount(str(volume), "/etc/orchestra-test", False, str(volume))
        await isolated.start(
            "p", ["sh", "-c", "touch /etc/orchestra-test/f && cat /etc/passwd"], mounts=(mount,)
        )
        assert (await isolated.exit()).code == 0
        assert isolated.said("p") == Path("/etc/passwd").read_text().rstrip("\n")
        assert (volume / "f").exists()
        assert not Path("/etc/orchestra-test").exists()

    async def test_a_read_only_mount_cannot_be_written(self, isolated: Machine) -> None:
        await isolated.pod("p")
        volume = isolated.directory / "p" / "volume"
        volume.mkdir()
        mount = VolumeMount(str(volume), "/orchestra-test", True, str(volume))
        await isolated.start("p", ["touch", "/orchestra-test/f"], mounts=(mount,))
        assert (await isolated.exit()).code != 0
        assert not (volume / "f").exists()

    async def test_a_memory_volume_is_seen_by_containers_and_not_by_the_host(self, isolated: Machine) -> None:
        volume = isolated.directory / "memory"
        volume.mkdir()
        await isolated.pod("p", memory_volumes=((str(volume), 1 << 20),))
        mount = VolumeMount(str(volume), "/orchestra-test", False, str(volume))
        await isolated.start("p", ["sh", "-c", "echo x > /orchestra-test/f"], "one", (mount,))
        assert (await isolated.exit()).code == 0
        await isolated.start(
            "p", ["sh", "-c", "df -t tmpfs /orchestra-test && cat /orchestra-test/f"], "two", (mount,)
        )
        assert (await isolated.exit()).code == 0
        assert not (volume / "f").exists()
        assert str(volume) not in Path("/proc/self/mounts").read_text()

    async def test_a_sub_path_that_leads_out_of_its_volume_is_refused(self, isolated: Machine) -> None:
        await isolated.pod("p")
        volume = isolated.directory / "p" / "volume"
        volume.mkdir()
        (volume / "out").symlink_to("/etc")
        mount = VolumeMount(str(volume / "out"), "/orchestra-test", False, str(volume))
        with pytest.raises(RuntimeFailure, match="out of the volume"):
            await isolated.start("p", ["true"], mounts=(mount,))


async def test_commands_run_inside_and_are_killed_in_time(machine: Machine) -> None:
    await machine.pod("p")
    await machine.start("p", SLEEP)
    good = await machine.runtime.execute("p/main/1", ["sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (good.code, sorted(good.output.split()), good.timed_out) == (3, ["err", "out"], False)
    late = await machine.runtime.execute("p/main/1", ["sh", "-c", "sleep 1000 & sleep 1000"], 0.1)
    assert late.timed_out
    usage = await machine.runtime.stats("p")
    # The container itself was not touched, and nothing of the command is left.
    assert usage["p/main/1"].processes == 1
    assert usage["p/main/1"].memory_bytes > 0
    with pytest.raises(RuntimeFailure):
        await machine.runtime.execute("p/main/1", ["no-such-program"], 1)


async def test_closing_a_sandbox_leaves_nothing(machine: Machine) -> None:
    await machine.pod("p")
    pids = [await machine.start("p", SLEEP, name) for name in ("one", "two")]
    await machine.runtime.close_sandbox("p")
    assert not any(alive(pid) for pid in pids)
    await machine.runtime.close_sandbox("p")


async def test_a_sandbox_closed_while_its_containers_start_leaves_nothing(machine: Machine) -> None:
    for number in range(10):
        name = f"p{number}"
        await machine.pod(name)
        starting = asyncio.create_task(machine.start(name, SLEEP))
        await asyncio.sleep(0)
        await machine.runtime.close_sandbox(name)
        (result,) = await asyncio.gather(starting, return_exceptions=True)
        # It may have run for a moment or not at all; now it does not.
        assert isinstance(result, RuntimeFailure) or not _lives(result)  # type: ignore[arg-type]


async def test_an_agent_that_comes_back_finds_what_runs_and_what_ended(tmp_path: Path) -> None:
    first = await Local.open(tmp_path, "auto")
    await first.recover()
    for pod in ("p", "q"):
        (tmp_path / pod / "root").mkdir(parents=True)
        await first.open_sandbox(SandboxSpec(pod, pod, checkpoint=f"state of {pod}"))
    go = tmp_path / "go"
    os.mkfifo(go)
    waits = ["sh", "-c", f"read line < '{go}'; echo $line; exit 5"]
    for pod, argv in (("p", SLEEP), ("q", waits)):
        log = str(tmp_path / pod / "log")
        await first.start(
            ContainerSpec(f"{pod}/c/1", pod, argv, PATH, "/", log, (), str(tmp_path / pod / "root"))
        )
    await first.remember("q", "newer state of q")
    await first.close(stop=False)
    # While nobody is there, one of them says something and ends.
    await asyncio.to_thread(go.write_text, "last words\n")
    log_file = tmp_path / "q" / "log"
    await until(lambda: "last words" in log_file.read_text())

    second = await Local.open(tmp_path, "auto")
    try:
        found = await second.recover()
        while not found.exits:
            found = await second.recover()
        assert found.sandboxes == {"p": "state of p", "q": "newer state of q"}
        assert [(e.container, e.code) for e in found.exits] == [("q/c/1", 5)]
        assert list(found.running) == ["p/c/1"]
        assert alive(found.running["p/c/1"].pid)
    finally:
        await second.close(stop=True)
    assert clear_leftovers(tmp_path) == 0


async def test_what_a_killed_spawner_leaves_is_cleared_at_the_next_start(tmp_path: Path) -> None:
    first = await Local.open(tmp_path, "host")
    await first.recover()
    (tmp_path / "p").mkdir()
    await first.open_sandbox(SandboxSpec("p", "p"))
    argv = [sys.executable, "-c", _DAEMON.format(after="time.sleep(1000)")]
    log = tmp_path / "p" / "log"
    launch = await first.start(ContainerSpec("p/c/1", "p", argv, PATH, "/", str(log)))
    await until(lambda: "daemon" in log.read_text())
    daemon = int(log.read_text().split()[-1])
    spawner = int(Path(f"/proc/{launch.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(spawner, signal.SIGKILL)
    with pytest.raises(RuntimeLost):
        async for _ in first.exits():
            pass
    await first.close(stop=False)
    assert alive(daemon)
    second = await Local.open(tmp_path, "host")
    try:
        found = await second.recover()
        assert (found.running, found.sandboxes) == ({}, {})
        assert not _lives(daemon)
    finally:
        await second.close(stop=True)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


async def test_a_spawner_nobody_comes_back_to_ends_after_its_time(tmp_path: Path) -> None:
    first = await Local.open(tmp_path, "host", linger_s=0.05)
    await first.recover()
    (tmp_path / "p").mkdir()
    await first.open_sandbox(SandboxSpec("p", "p"))
    launch = await first.start(ContainerSpec("p/c/1", "p", SLEEP, PATH, "/", str(tmp_path / "p" / "log")))
    spawner = int(Path(f"/proc/{launch.pid}/stat").read_text().rpartition(")")[2].split()[1])
    await first.close(stop=False)
    await until(lambda: not _lives(launch.pid) and not _lives(spawner))
    assert await Local.connect(tmp_path) is None


async def test_a_spawner_that_keeps_for_ever_ends_when_it_has_nothing_to_keep(tmp_path: Path) -> None:
    first = await Local.open(tmp_path, "host")
    await first.recover()
    await first.close(stop=False)
    async with asyncio.timeout(20):
        while (again := await Local.connect(tmp_path)) is not None:
            await again.close(stop=False)
            await asyncio.sleep(1.1)


async def test_output_is_kept_whole_and_files_are_rotated(machine: Machine) -> None:
    await machine.pod("p")
    program = "import sys\nfor i in range(20000): print('line', i)\nsys.stdout.write('no newline at the end')"
    spec = ContainerSpec(
        "p/main/1", "p", [sys.executable, "-c", program], PATH, "/", str(machine.log("p")), (),
        str(machine.directory / "p" / "root"), log_bytes_max=200_000, log_files_max=20,
    )  # fmt: skip
    await machine.runtime.start(spec)
    assert (await machine.exit()).code == 0
    log = machine.log("p")
    files = sorted(
        log.parent.glob("main.log*"), key=lambda p: -int(p.suffix[1:] if p.suffix != ".log" else 0)
    )
    assert len(files) > 2
    assert all(file.stat().st_size <= 200_000 for file in files)
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert [line[40:] for line in lines[:-1]] == [f"line {i}" for i in range(20000)]
    assert lines[-1][38:] == "P no newline at the end"


async def test_a_request_nobody_knows_costs_no_container(machine: Machine) -> None:
    await machine.pod("p")
    pid = await machine.start("p", SLEEP)
    with pytest.raises(RuntimeFailure, match="_do_unheard_of"):
        await machine.runtime._ask("unheard_of")
    os.kill(pid, 0)


async def test_without_descriptors_containers_are_refused_and_none_is_lost(machine: Machine) -> None:
    await machine.pod("p")
    await machine.start("p", SLEEP)
    spawner = machine.runtime._child
    used = len(os.listdir(f"/proc/{spawner}/fd"))
    resource.prlimit(spawner, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    for attempt in range(10):
        with pytest.raises(RuntimeFailure, match="too many open files"):
            await machine.start("p", SLEEP, f"other{attempt}")
    assert len(os.listdir(f"/proc/{spawner}/fd")) == used
    await machine.runtime.kill("p/main/1")
    assert (await machine.exit()).signal == signal.SIGKILL


async def test_a_refused_fork_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    forker = Forker(tree.new_node_tag(), isolated=False)
    sandbox = forker.open_sandbox({"pod": "p"})
    request = {"log": str(tmp_path / "log"), "log_bytes_max": 1000, "log_files_max": 2}
    monkeypatch.setattr(os, "fork", refused)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BlockingIOError):
        forker.start(sandbox, request)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_an_agent_whose_spawner_serves_another_one_is_not_held_up(tmp_path: Path) -> None:
    first = await Local.open(tmp_path, "host")
    second = await Local.open(tmp_path, "host")
    try:
        with pytest.raises(RuntimeLost):
            async for _ in first.exits():
                pass
        await first.close(stop=False)
    finally:
        await second.close(stop=True)


async def test_a_container_that_starts_too_late_for_its_agent_is_killed(machine: Machine) -> None:
    await machine.pod("p")
    spawner = machine.runtime._child
    words = {"container": "p/main/1", "pod": "p", "argv": SLEEP, "env": PATH, "cwd": "/", "scratch": ""}
    os.kill(spawner, signal.SIGSTOP)
    try:
        with pytest.raises(RuntimeFailure, match="did not answer start"):
            await machine.runtime._ask(
                "start",
                timeout_s=0.1,
                log=str(machine.log("p")),
                log_bytes_max=1000,
                log_files_max=2,
                **words,
            )
    finally:
        os.kill(spawner, signal.SIGCONT)
    assert (await machine.exit()).signal == signal.SIGKILL
