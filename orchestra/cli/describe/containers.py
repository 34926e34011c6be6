"""Containers, volumes, tolerations: what pods and pod templates have in common."""

from collections.abc import Mapping, Sequence

from orchestra.cli.describe.writer import Writer, annotations, labels, moment
from orchestra.objects.codec import to_json
from orchestra.pb import core, meta


def containers(
    writer: Writer,
    title: str,
    specs: Sequence[core.Container],
    statuses: Sequence[core.ContainerStatus] | None,
    level: int = 0,
    pod: core.Pod | None = None,
) -> None:
    """Every container, with its state where there is one. Templates stand one level further in."""
    by_name = {status.name: status for status in statuses or ()}
    writer.line(f"{title}:" + ("" if specs else " <none>"), level)
    indent = " " if level else ""
    for spec in specs:
        writer.line(f"{indent}{spec.name}:", 1)
        _container(writer, spec, by_name.get(spec.name), pod)


def _container(
    writer: Writer, spec: core.Container, status: core.ContainerStatus | None, pod: core.Pod | None
) -> None:
    if status is not None:
        writer.field("Container ID", status.containerID, 2)
    writer.field("Image", spec.image, 2)
    if status is not None:
        writer.field("Image ID", status.imageID, 2)
    _ports(writer, spec, status)
    for name, words in (("Command", spec.command), ("Args", spec.args)):
        if words:
            writer.line(f"{name}:", 2)
            for word in words:
                for part in word.split("\n"):
                    writer.line(part, 3)
    if spec.workingDir:
        writer.field("Working Dir", spec.workingDir, 2)
    if status is not None:
        _state(writer, "State", status.state)
        if status.lastState.HasField("terminated"):
            _state(writer, "Last State", status.lastState)
        writer.field("Ready", "True" if status.ready else "False", 2)
        writer.field("Restart Count", status.restartCount, 2)
    for name, amounts in (("Limits", spec.resources.limits), ("Requests", spec.resources.requests)):
        if amounts:
            writer.line(f"{name}:", 2)
            resources(writer, amounts, 3)
    for name, field in (
        ("Liveness", "livenessProbe"),
        ("Readiness", "readinessProbe"),
        ("Startup", "startupProbe"),
    ):
        if spec.HasField(field):  # type: ignore[arg-type]
            writer.field(name, probe(getattr(spec, field)), 2)
    _environment(writer, spec, pod)
    _mounts(writer, spec)


def _ports(writer: Writer, spec: core.Container, status: core.ContainerStatus | None) -> None:
    def said(ports: Sequence[core.ContainerPort], host: Mapping[int, int] | None) -> str:
        shown = [
            f"{port.containerPort if host is None else port.hostPort or host.get(port.containerPort, 0)}"
            f"/{port.protocol or 'TCP'}" + (f" ({port.name})" if port.name else "")
            for port in ports
        ]
        return ", ".join(shown)

    several = "s" if len(spec.ports) > 1 else ""
    given = {port.containerPort: port.hostPort for port in status.ports} if status is not None else {}
    writer.field(f"Port{several}", said(spec.ports, None) or "<none>", 2)
    writer.field(f"Host Port{several}", said(spec.ports, given) or "<none>", 2)


def _state(writer: Writer, name: str, state: core.ContainerState) -> None:
    if state.HasField("running"):
        writer.field(name, "Running", 2)
        writer.field("Started", moment(state.running.startedAt), 3)
    elif state.HasField("terminated"):
        ended = state.terminated
        writer.field(name, "Terminated", 2)
        if ended.reason:
            writer.field("Reason", ended.reason, 3)
        if ended.message:
            writer.field("Message", ended.message, 3)
        writer.field("Exit Code", ended.exitCode, 3)
        if ended.signal:
            writer.field("Signal", ended.signal, 3)
        writer.field("Started", moment(ended.startedAt), 3)
        writer.field("Finished", moment(ended.finishedAt), 3)
    else:
        writer.field(name, "Waiting", 2)
        if state.waiting.reason:
            writer.field("Reason", state.waiting.reason, 3)
        if state.waiting.message:
            writer.field("Message", state.waiting.message, 3)


def resources(writer: Writer, amounts: Mapping[str, meta.Quantity], level: int) -> None:
    """`cpu:  100m`, by name."""
    for name in sorted(amounts):
        writer.field(name, amounts[name].string, level)


def port_text(port: meta.IntOrString) -> str:
    """The number or the name."""
    return port.strVal if port.type else str(port.intVal)


def probe(found: core.Probe) -> str:
    """What is asked, and how often."""
    handler = found.handler
    if handler.HasField("exec"):
        asked = f"exec [{' '.join(handler.exec.command)}]"
    elif handler.HasField("httpGet"):
        get = handler.httpGet
        path = "/" + get.path.removeprefix("/")
        asked = f"http-get {(get.scheme or 'HTTP').lower()}://{get.host}:{port_text(get.port)}{path}"
    elif handler.HasField("tcpSocket"):
        asked = f"tcp-socket {handler.tcpSocket.host}:{port_text(handler.tcpSocket.port)}"
    elif handler.HasField("grpc"):
        asked = f"grpc <pod>:{handler.grpc.port} {handler.grpc.service}"
    else:
        asked = "unknown"
    return (
        f"{asked} delay={found.initialDelaySeconds}s timeout={found.timeoutSeconds}s "
        f"period={found.periodSeconds}s #success={found.successThreshold} #failure={found.failureThreshold}"
    )


def _pod_field(pod: core.Pod | None, path: str) -> str:
    """The value of a fieldRef, as far as the pod tells it."""
    if pod is None:
        return ""
    for prefix, values in (("labels", pod.metadata.labels), ("annotations", pod.metadata.annotations)):
        if path.startswith(f"metadata.{prefix}['") and path.endswith("']"):
            return values.get(path[len(f"metadata.{prefix}['") : -2], "")
    at: object = pod
    for step in path.split("."):
        at = getattr(at, step, "")
    return at if isinstance(at, str) else ""


def _environment(writer: Writer, spec: core.Container, pod: core.Pod | None) -> None:
    if spec.envFrom:
        writer.line("Environment Variables from:", 2)
        for source in spec.envFrom:
            kind = "ConfigMap" if source.HasField("configMapRef") else "Secret"
            ref = source.configMapRef if source.HasField("configMapRef") else source.secretRef
            prefix = f" with prefix '{source.prefix}'" if source.prefix else ""
            optional = str(ref.optional).lower()
            writer.line(f"{ref.localObjectReference.name}\t{kind}{prefix}\tOptional: {optional}", 3)
    if not spec.env:
        writer.line("Environment:\t<none>", 2)
        return
    writer.line("Environment:", 2)
    for variable in spec.env:
        source_of = variable.valueFrom
        if not variable.HasField("valueFrom"):
            writer.field(variable.name, variable.value, 3)
        elif source_of.HasField("fieldRef"):
            path = source_of.fieldRef.fieldPath
            version = source_of.fieldRef.apiVersion or "v1"
            writer.line(f"{variable.name}:\t{_pod_field(pod, path)} ({version}:{path})", 3)
        elif source_of.HasField("resourceFieldRef"):
            writer.line(f"{variable.name}:\t ({source_of.resourceFieldRef.resource})", 3)
        else:
            secret = source_of.HasField("secretKeyRef")
            key = source_of.secretKeyRef if secret else source_of.configMapKeyRef
            where = (
                f"in secret '{key.localObjectReference.name}'"
                if secret
                else (f"of config map '{key.localObjectReference.name}'")
            )
            optional = str(key.optional).lower()
            writer.line(f"{variable.name}:\t<set to the key '{key.key}' {where}>\tOptional: {optional}", 3)


def _mounts(writer: Writer, spec: core.Container) -> None:
    writer.line("Mounts:" + ("" if spec.volumeMounts else "\t<none>"), 2)
    for mount in sorted(spec.volumeMounts, key=lambda mount: mount.mountPath):
        flags = "ro" if mount.readOnly else "rw"
        if mount.subPath:
            flags += f',path="{mount.subPath}"'
        writer.line(f"{mount.mountPath} from {mount.name} ({flags})", 3)


_SOURCES = {
    "emptyDir": "EmptyDir (a temporary directory that shares a pod's lifetime)",
    "hostPath": "HostPath (bare host directory volume)",
    "configMap": "ConfigMap (a volume populated by a ConfigMap)",
    "secret": "Secret (a volume populated by a Secret)",
    "projected": "Projected (a volume that contains injected data from multiple sources)",
}


def volumes(writer: Writer, found: Sequence[core.Volume], level: int = 0) -> None:
    """Every volume with its source's fields."""
    if not found:
        writer.line("Volumes:\t<none>", level)
        return
    writer.line("Volumes:", level)
    for volume in found:
        writer.line((" " if level else "") + f"{volume.name}:", 1)
        source = next((f.name for f, _ in volume.volumeSource.ListFields()), "")
        if not source:
            writer.line("<unknown>", 1)
            continue
        values = getattr(volume.volumeSource, source)
        writer.field("Type", _SOURCES.get(source, source[:1].upper() + source[1:]), 2)
        if source == "emptyDir":
            writer.field("Medium", values.medium, 2)
            writer.field("SizeLimit", values.sizeLimit.string or "<unset>", 2)
        elif source == "hostPath":
            writer.field("Path", values.path, 2)
            writer.field("HostPathType", values.type, 2)
        else:
            for name, value in to_json(values).items():
                writer.field(name[:1].upper() + name[1:], value, 2)


def tolerations(found: Sequence[core.Toleration]) -> list[str]:
    """`key=value:effect op=Exists for 30s`, by key."""
    lines = []
    for toleration in sorted(found, key=lambda toleration: toleration.key):
        text = toleration.key
        if toleration.value:
            text += f"={toleration.value}"
        if toleration.effect:
            text += f":{toleration.effect}"
        if toleration.operator == "Exists" and not toleration.value:
            text += " op=Exists" if text else "op=Exists"
        if toleration.HasField("tolerationSeconds"):
            text += f" for {toleration.tolerationSeconds}s"
        lines.append(text)
    return lines


def template(writer: Writer, found: core.PodTemplateSpec) -> None:
    """A pod template, under its own heading."""
    writer.line("Pod Template:")
    labels(writer, "Labels", found.metadata.labels, 1)
    if found.metadata.annotations:
        annotations(writer, found.metadata.annotations, 1)
    if found.spec.serviceAccountName:
        writer.field("Service Account", found.spec.serviceAccountName, 1)
    if found.spec.initContainers:
        containers(writer, "Init Containers", found.spec.initContainers, None, 1)
    containers(writer, "Containers", found.spec.containers, None, 1)
    volumes(writer, found.spec.volumes, 1)
    if found.spec.priorityClassName:
        writer.field("Priority Class Name", found.spec.priorityClassName, 1)
    labels(writer, "Node-Selectors", found.spec.nodeSelector, 1)
    writer.many("Tolerations", tolerations(found.spec.tolerations), 1)
