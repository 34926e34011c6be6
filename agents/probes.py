"""Asking a container how it is: exec, HTTP, TCP, gRPC.

A probe runs once at once (after its initialDelaySeconds), then, until its first success, every 25 ms growing
by half each time up to periodSeconds, then every periodSeconds: a container that is ready after 80 ms is
known to be after 100 ms instead of after a period. A failure counts towards failureThreshold at most once a
period, so the quick questions at the start do not use up a budget that the manifest counts in periods.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agents.environment import HostPort
from agents.pod_words import Probe, ProbeResult
from agents.runtime.contract import Runtime
from orchestra.aio.mailbox import MailboxClosed
from orchestra.base.errors import OrchestraError
from orchestra.base.log import get_logger
from orchestra.objects import intstr
from orchestra.pb import core, meta

log = get_logger("agent.probe")

_FIRST_WAIT_S = 0.025
_FIRST_EXEC_WAIT_S = 0.2
_GROWTH = 1.5
_STATUS_LINE_MAX = 4096
_TIMEOUT_DEFAULT_S = 1
_PERIOD_DEFAULT_S = 10


class Target:
    """Where a container is asked. Ports are given as the manifest names them."""

    def __init__(self, runtime: Runtime, container: str, address: str, ports: Sequence[HostPort]) -> None:
        self._runtime = runtime
        self._container = container
        self._address = address
        self._ports = ports

    def port(self, asked: meta.IntOrString) -> int:
        """The host's port for a declared port's name or number; any other number is itself.

        Raises: ValueError for a name nobody declared.
        """
        for port in self._ports:
            if asked.strVal == port.name and port.name and intstr.is_string(asked):
                return port.host_port
            if not intstr.is_string(asked) and asked.intVal == port.container_port:
                return port.host_port
        if intstr.is_string(asked):
            if asked.strVal.isdigit():
                return int(asked.strVal)
            raise ValueError(f'the container declares no port named "{asked.strVal}"')
        return asked.intVal

    async def ask(self, handler: Any, timeout_s: float) -> str:
        """Runs a probe's or hook's handler. "" when it passed, else what was wrong."""
        try:
            async with asyncio.timeout(timeout_s):
                if handler.HasField("exec"):
                    return await self._exec(handler.exec.command, timeout_s)
                if handler.HasField("httpGet"):
                    return await self._http(handler.httpGet)
                if handler.HasField("tcpSocket"):
                    return await self._tcp(handler.tcpSocket)
                if "grpc" in handler.DESCRIPTOR.fields_by_name and handler.HasField("grpc"):
                    return await self._grpc(handler.grpc, timeout_s)
                if "sleep" in handler.DESCRIPTOR.fields_by_name and handler.HasField("sleep"):
                    await asyncio.sleep(handler.sleep.seconds)
                return ""
        except TimeoutError:
            return f"timed out after {timeout_s:g}s"
        except (OSError, ValueError, OrchestraError) as error:
            return str(error) or type(error).__name__

    async def _exec(self, command: Sequence[str], timeout_s: float) -> str:
        # The spawner keeps the time, because it has to kill what runs.
        result = await self._runtime.execute(self._container, command, timeout_s * 0.98)
        if result.timed_out:
            return f"command timed out: {result.output.strip()}"
        return "" if result.code == 0 else (result.output.strip() or f"exit code {result.code}")

    async def _connect(self, host: str, port: int, tls: bool = False) -> Any:
        context = None
        if tls:
            import ssl

            # As Kubernetes does: a probe asks whether somebody answers, not who.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return await asyncio.open_connection(host or self._address, port, ssl=context, limit=_STATUS_LINE_MAX)

    async def _tcp(self, action: core.TCPSocketAction) -> str:
        _, writer = await self._connect(action.host, self.port(action.port))
        writer.transport.abort()
        return ""

    async def _http(self, action: core.HTTPGetAction) -> str:
        port = self.port(action.port)
        tls = action.scheme.upper() == "HTTPS"
        reader, writer = await self._connect(action.host, port, tls)
        try:
            headers = {"Host": f"{action.host or self._address}:{port}", "Accept": "*/*"}
            headers["User-Agent"] = "kube-probe/1.0 (orchestra)"
            headers["Connection"] = "close"
            headers.update({header.name: header.value for header in action.httpHeaders})
            path = action.path if action.path.startswith("/") else f"/{action.path}"
            lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
            writer.write("\r\n".join(lines).encode())
            line = (await reader.readline()).decode("latin-1").split(None, 2)
            if len(line) < 2 or not line[0].startswith("HTTP/") or not line[1].isdigit():
                return "the answer is no HTTP"
            code = int(line[1])
            return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"
        finally:
            writer.transport.abort()

    async def _grpc(self, action: core.GRPCAction, timeout_s: float) -> str:
        import grpc.aio

        from orchestra.aio.rpc.channel import open_channel

        asked = intstr.of(action.port)
        name = action.service.encode()
        # HealthCheckRequest{service=1} and HealthCheckResponse{status=1}: SERVING is 1.
        request = b"\x0a" + bytes([len(name)]) + name if name else b""
        async with open_channel(f"{self._address}:{self.port(asked)}") as channel:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                answer = await check(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                return f"gRPC health check failed: {error.code().name}"
        return "" if answer == b"\x08\x01" else "service unhealthy"


class Prober:
    """The running probes of one run of one container."""

    def __init__(
        self,
        container: core.Container,
        run: int,
        target: Target,
        tell: Callable[[ProbeResult], Awaitable[None]],
    ) -> None:
        self._container = container
        self.run = run
        self._target = target
        self._tell = tell
        self._tasks: dict[Probe, asyncio.Task[None]] = {}

    def start(self, started_up: bool) -> None:
        """Starts what has its turn: the startup probe alone, or all the others after it."""
        for kind, probe in self._probes().items():
            if (kind is Probe.STARTUP) is started_up:
                self._cancel(kind)
            elif kind not in self._tasks:
                self._tasks[kind] = asyncio.get_running_loop().create_task(
                    self._ask_for_ever(kind, probe), name=f"probe/{self._container.name}/{kind.value}"
                )

    def stop(self) -> None:
        """No more questions; a running one's answer is not told."""
        for kind in list(self._tasks):
            self._cancel(kind)

    def _cancel(self, kind: Probe) -> None:
        task = self._tasks.pop(kind, None)
        if task is not None:
            task.cancel()

    def _probes(self) -> Mapping[Probe, core.Probe]:
        fields = {kind: f"{kind.value}Probe" for kind in Probe}
        set_fields = {field.name: value for field, value in self._container.ListFields()}
        return {kind: set_fields[name] for kind, name in fields.items() if name in set_fields}

    async def _ask_for_ever(self, kind: Probe, probe: core.Probe) -> None:
        loop = asyncio.get_running_loop()
        period = float(probe.periodSeconds or _PERIOD_DEFAULT_S)
        timeout = float(probe.timeoutSeconds or _TIMEOUT_DEFAULT_S)
        if probe.initialDelaySeconds:
            await asyncio.sleep(probe.initialDelaySeconds)
        wait = _FIRST_EXEC_WAIT_S if probe.handler.HasField("exec") else _FIRST_WAIT_S
        wait = min(wait, period)
        # The first failures are part of starting: counting begins one period after the first question.
        counted_at = loop.time()
        while True:
            began = loop.time()
            try:
                wrong = await self._target.ask(probe.handler, timeout)
            except Exception as error:  # noqa: BLE001 - a probe that ends unheard leaves its container as it is
                log.error("a probe failed by a defect", error, container=self._container.name)
                wrong = f"{type(error).__name__}: {error}"
            if not wrong:
                wait = period
            if not wrong or loop.time() - counted_at >= period * 0.99:
                counted_at = loop.time()
                try:
                    await self._tell(ProbeResult(self._container.name, self.run, kind, not wrong, wrong))
                except MailboxClosed:
                    return
            await asyncio.sleep(max(0.0, began + wait - loop.time()))
            wait = min(wait * _GROWTH, period)
