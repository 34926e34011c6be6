"""Rules of probes and lifecycle hooks."""

from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.ports import validate_port_number, validate_port_reference
from orchestra.pb import core

_SCHEMES = ("HTTP", "HTTPS")


def validate_probes(found: Findings, container: core.Container, path: str) -> None:
    """The container's three probes."""
    for name, given, probe in (
        ("livenessProbe", container.HasField("livenessProbe"), container.livenessProbe),
        ("readinessProbe", container.HasField("readinessProbe"), container.readinessProbe),
        ("startupProbe", container.HasField("startupProbe"), container.startupProbe),
    ):
        if given:
            _probe(found, probe, f"{path}.{name}", is_readiness=name == "readinessProbe")


def _probe(found: Findings, probe: core.Probe, path: str, *, is_readiness: bool) -> None:
    handlers = [field.name for field, _ in probe.handler.ListFields()]
    _one_handler(found, handlers, path, "exec, httpGet, tcpSocket or grpc")
    _exec(found, probe.handler.exec, "exec" in handlers, path)
    _http(found, probe.handler.httpGet, "httpGet" in handlers, path)
    if "tcpSocket" in handlers:
        validate_port_reference(found, probe.handler.tcpSocket.port, f"{path}.tcpSocket.port")
    if "grpc" in handlers:
        validate_port_number(found, f"{path}.grpc.port", probe.handler.grpc.port)
    found.at_least(f"{path}.initialDelaySeconds", probe.initialDelaySeconds, 0)
    for field in ("timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        # 0 is what an absent number is, and becomes the default.
        found.at_least(f"{path}.{field}", getattr(probe, field), 0)
    if not is_readiness and probe.successThreshold not in (0, 1):
        found.invalid(f"{path}.successThreshold", probe.successThreshold, "must be 1")
    if not probe.HasField("terminationGracePeriodSeconds"):
        return
    if is_readiness:
        found.invalid(
            f"{path}.terminationGracePeriodSeconds",
            probe.terminationGracePeriodSeconds,
            "must not be set for readinessProbes",
        )
    elif probe.terminationGracePeriodSeconds <= 0:
        found.invalid(
            f"{path}.terminationGracePeriodSeconds",
            probe.terminationGracePeriodSeconds,
            "must be greater than 0",
        )


def validate_lifecycle(found: Findings, lifecycle: core.Lifecycle, path: str) -> None:
    """What runs after a container's start and before its stop."""
    for name, given, handler in (
        ("postStart", lifecycle.HasField("postStart"), lifecycle.postStart),
        ("preStop", lifecycle.HasField("preStop"), lifecycle.preStop),
    ):
        if not given:
            continue
        place = f"{path}.{name}"
        handlers = [field.name for field, _ in handler.ListFields()]
        _one_handler(found, handlers, place, "exec, httpGet, tcpSocket or sleep")
        _exec(found, handler.exec, "exec" in handlers, place)
        _http(found, handler.httpGet, "httpGet" in handlers, place)
        if "tcpSocket" in handlers:
            validate_port_reference(found, handler.tcpSocket.port, f"{place}.tcpSocket.port")
        if "sleep" in handlers:
            found.at_least(f"{place}.sleep.seconds", handler.sleep.seconds, 0)


def _one_handler(found: Findings, handlers: list[str], path: str, known: str) -> None:
    if not handlers:
        found.required(path, f"must specify a handler type: {known}")
    for extra in handlers[1:]:
        found.forbidden(
            f"{path}.{extra}", f"may not specify more than 1 handler type ({handlers[0]} is there)"
        )


def _exec(found: Findings, action: core.ExecAction, given: bool, path: str) -> None:
    if given and not action.command:
        found.required(f"{path}.exec.command")


def _http(found: Findings, action: core.HTTPGetAction, given: bool, path: str) -> None:
    if not given:
        return
    if not action.path:
        found.required(f"{path}.httpGet.path")
    validate_port_reference(found, action.port, f"{path}.httpGet.port")
    found.one_of(f"{path}.httpGet.scheme", action.scheme, _SCHEMES)
    for index, header in enumerate(action.httpHeaders):
        if not header.name:
            found.required(f"{path}.httpGet.httpHeaders[{index}].name")
