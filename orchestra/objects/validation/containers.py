"""Rules of one container: what it runs, its ports, environment, files, limits."""

from collections.abc import Mapping

from orchestra.objects import names
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.ports import PROTOCOLS, validate_port_number
from orchestra.objects.validation.probes import validate_lifecycle, validate_probes
from orchestra.pb import core, meta

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def validate_container(
    found: Findings, container: core.Container, path: str, volumes: set[str], *, is_init: bool
) -> None:
    """One container of a pod. volumes: the names of the pod's volumes."""
    _program(found, container, path)
    validate_ports(found, container, path)
    _environment(found, container, path)
    _mounts(found, container, path, volumes)
    validate_resources(found, container.resources, f"{path}.resources")
    is_sidecar = is_init and container.restartPolicy == "Always"
    if is_init:
        found.one_of(f"{path}.restartPolicy", container.restartPolicy, ("Always",))
    elif container.restartPolicy:
        found.one_of(f"{path}.restartPolicy", container.restartPolicy, ("Always", "OnFailure", "Never"))
    if is_init and not is_sidecar:
        for field in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            if any(given.name == field for given, _ in container.ListFields()):
                found.forbidden(
                    f"{path}.{field}", "may not be set for init containers without restartPolicy=Always"
                )
    else:
        validate_probes(found, container, path)
        validate_lifecycle(found, container.lifecycle, f"{path}.lifecycle")


def _program(found: Findings, container: core.Container, path: str) -> None:
    found.check_required(f"{path}.name", container.name, names.dns_label)
    if not container.image and not container.command:
        found.required(
            f"{path}.command",
            "a container without an image runs its command from the node's own file system: "
            "set command (or image)",
        )
    elif container.image != container.image.strip():
        found.invalid(f"{path}.image", container.image, "must not have leading or trailing whitespace")
    if not container.image and container.command and not container.command[0]:
        found.invalid(f"{path}.command[0]", "", "must name a program")
    if any("\0" in word for word in (*container.command, *container.args)):
        found.invalid(f"{path}.command", "", "must not contain a null character")
    found.one_of(f"{path}.imagePullPolicy", container.imagePullPolicy, _PULL_POLICIES)
    found.one_of(f"{path}.terminationMessagePolicy", container.terminationMessagePolicy, _MESSAGE_POLICIES)
    if container.stdinOnce and not container.stdin:
        found.invalid(f"{path}.stdinOnce", True, "needs stdin: true")


def validate_ports(found: Findings, container: core.Container, path: str) -> None:
    """The declared ports: in range, names unique in the container."""
    seen_names = set[str]()
    for index, port in enumerate(container.ports):
        place = f"{path}.ports[{index}]"
        if port.name and found.check(f"{place}.name", port.name, names.port_name):
            found.unique(f"{place}.name", port.name, seen_names)
        if not port.containerPort:
            found.required(f"{place}.containerPort")
        else:
            validate_port_number(found, f"{place}.containerPort", port.containerPort)
        if port.hostPort:
            validate_port_number(found, f"{place}.hostPort", port.hostPort)
        found.one_of(f"{place}.protocol", port.protocol, PROTOCOLS, optional=False)


def _environment(found: Findings, container: core.Container, path: str) -> None:
    for index, variable in enumerate(container.env):
        place = f"{path}.env[{index}]"
        found.check_required(f"{place}.name", variable.name, names.env_var_name)
        if "\0" in variable.value:
            found.invalid(f"{place}.value", variable.value, "must not contain a null character")
        if not variable.HasField("valueFrom"):
            continue
        source = f"{place}.valueFrom"
        given = [field.name for field, _ in variable.valueFrom.ListFields()]
        if variable.value:
            found.invalid(source, given, "may not be specified when `value` is not empty")
        if not given:
            found.invalid(
                source,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )
        elif len(given) > 1:
            found.invalid(source, given, "may not have more than one field specified at a time")
        if variable.valueFrom.HasField("fieldRef") and not variable.valueFrom.fieldRef.fieldPath:
            found.required(f"{source}.fieldRef.fieldPath")
        if (
            variable.valueFrom.HasField("resourceFieldRef")
            and not variable.valueFrom.resourceFieldRef.resource
        ):
            found.required(f"{source}.resourceFieldRef.resource")
    for index, source_ in enumerate(container.envFrom):
        place = f"{path}.envFrom[{index}]"
        if source_.HasField("configMapRef") == source_.HasField("secretRef"):
            found.invalid(place, "", "must specify one of: `configMapRef` or `secretRef`")


def _mounts(found: Findings, container: core.Container, path: str, volumes: set[str]) -> None:
    seen = set[str]()
    for index, mount in enumerate(container.volumeMounts):
        place = f"{path}.volumeMounts[{index}]"
        if not mount.name:
            found.required(f"{place}.name")
        elif mount.name not in volumes:
            found.not_found(f"{place}.name", mount.name)
        if not mount.mountPath:
            found.required(f"{place}.mountPath")
        elif mount.mountPath in seen:
            found.invalid(f"{place}.mountPath", mount.mountPath, "must be unique")
        seen.add(mount.mountPath)
        for field, inner in (("subPath", mount.subPath), ("subPathExpr", mount.subPathExpr)):
            if inner.startswith("/"):
                found.invalid(f"{place}.{field}", inner, "must be a relative path")
            if ".." in inner.split("/"):
                found.invalid(f"{place}.{field}", inner, "must not contain '..'")
        if mount.subPath and mount.subPathExpr:
            found.invalid(
                f"{place}.subPathExpr", mount.subPathExpr, "subPathExpr and subPath are mutually exclusive"
            )
        found.one_of(f"{place}.mountPropagation", mount.mountPropagation, _PROPAGATIONS)


def validate_resources(found: Findings, resources: core.ResourceRequirements, path: str) -> None:
    """Limits and requests: amounts that are none below 0, no request above its limit."""
    validate_resource_list(found, resources.requests, f"{path}.requests")
    validate_resource_list(found, resources.limits, f"{path}.limits")
    for name, request in sorted(resources.requests.items()):
        if name not in resources.limits:
            continue
        limit = resources.limits[name].string
        quiet = Findings()
        asked, most = quiet.quantity("", request.string), quiet.quantity("", limit)
        if asked is not None and most is not None and asked > most:
            found.invalid(
                f"{path}.requests[{name}]",
                request.string,
                f"must be less than or equal to {name} limit of {limit}",
            )


def validate_resource_list(found: Findings, amounts: Mapping[str, meta.Quantity], path: str) -> None:
    """Names and amounts of resources."""
    for name, quantity in sorted(amounts.items()):
        place = f"{path}[{name}]"
        if found.check(place, name, names.qualified_name) and not _is_resource(name):
            found.invalid(
                place,
                name,
                "must be cpu, memory, ephemeral-storage, hugepages-<size>, or a name with a domain "
                "(example.com/name)",
            )
        amount = found.quantity(place, quantity.string)
        if amount is not None and "/" in name and amount.nanos % 1_000_000_000:
            found.invalid(place, quantity.string, "must be an integer")


def _is_resource(name: str) -> bool:
    return name in _STANDARD_RESOURCES or name.startswith("hugepages-") or "/" in name
