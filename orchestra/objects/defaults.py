"""Kubernetes' defaults, stored in the object so that every reader sees the same one.

What a field's absence means is decided here once. Defaults never overwrite what is given; "" and, where
Kubernetes has no pointer, 0 count as absent, as they do there. Applying them twice changes nothing.
Source: Kubernetes' pkg/apis/{core,apps,discovery}/v1/defaults.go.
"""

from collections.abc import Callable

from google.protobuf.message import Message

from orchestra.objects import intstr
from orchestra.objects.kinds import ApiObject
from orchestra.pb import apps, core, discovery

_FILE_MODE_DEFAULT = 0o644
_AFFINITY_TIMEOUT_SECONDS = 10_800
_TOKEN_EXPIRATION_SECONDS = 3_600


def set_defaults(obj: ApiObject) -> None:
    """Fills in, in place, what a manifest left out of an object that is about to be stored."""
    fill = _BY_MESSAGE.get(type(obj))
    if fill is not None:
        fill(obj)


def _pod(pod: core.Pod) -> None:
    set_pod_spec_defaults(pod.spec)
    if pod.spec.hostNetwork:
        for container in (*pod.spec.containers, *pod.spec.initContainers):
            for port in container.ports:
                if not port.hostPort:
                    port.hostPort = port.containerPort


def set_pod_spec_defaults(spec: core.PodSpec) -> None:
    """The defaults of a pod, whether it stands alone or in a template."""
    _text(spec, "restartPolicy", "Always")
    _text(spec, "dnsPolicy", "ClusterFirst")
    _text(spec, "schedulerName", "default-scheduler")
    _number(spec, "terminationGracePeriodSeconds", 30)
    if not spec.HasField("enableServiceLinks"):
        spec.enableServiceLinks = True
    spec.securityContext.SetInParent()
    if spec.serviceAccountName or spec.serviceAccount:
        # One field under two names; the old one follows the new one.
        spec.serviceAccountName = spec.serviceAccount = spec.serviceAccountName or spec.serviceAccount
    for volume in spec.volumes:
        _volume(volume.volumeSource)
    for container in (*spec.containers, *spec.initContainers):
        _container(container)
    for ephemeral in spec.ephemeralContainers:
        _container(ephemeral.ephemeralContainerCommon)


def _container(container: core.Container | core.EphemeralContainerCommon) -> None:
    _text(container, "terminationMessagePath", "/dev/termination-log")
    _text(container, "terminationMessagePolicy", "File")
    if container.image:
        _text(container, "imagePullPolicy", "Always" if _is_latest(container.image) else "IfNotPresent")
    for port in container.ports:
        _text(port, "protocol", "TCP")
    for variable in container.env:
        if variable.valueFrom.HasField("fieldRef"):
            _text(variable.valueFrom.fieldRef, "apiVersion", "v1")
    for name, limit in container.resources.limits.items():
        if name not in container.resources.requests:
            container.resources.requests[name].CopyFrom(limit)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.HasField(probe):
            _probe(getattr(container, probe))
    for handler in ("postStart", "preStop"):
        if container.lifecycle.HasField(handler):
            _http_get(getattr(container.lifecycle, handler))


def _is_latest(image: str) -> bool:
    """Whether an image reference means whatever is newest: tagged `latest`, or with no tag or digest."""
    if "@" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return not colon or tag == "latest"


def _probe(probe: core.Probe) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not getattr(probe, field):
            setattr(probe, field, value)
    _http_get(probe.handler)
    if probe.handler.HasField("grpc") and not probe.handler.grpc.HasField("service"):
        probe.handler.grpc.service = ""


def _http_get(handler: core.ProbeHandler | core.LifecycleHandler) -> None:
    if handler.HasField("httpGet"):
        _text(handler.httpGet, "path", "/")
        _text(handler.httpGet, "scheme", "HTTP")


def _volume(source: core.VolumeSource) -> None:
    if not source.ListFields():
        source.emptyDir.SetInParent()
    if source.HasField("hostPath") and not source.hostPath.HasField("type"):
        source.hostPath.type = ""
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if source.HasField(name):
            _number(getattr(source, name), "defaultMode", _FILE_MODE_DEFAULT)
    items: list[core.DownwardAPIVolumeFile] = list(source.downwardAPI.items)
    for projection in source.projected.sources:
        items.extend(projection.downwardAPI.items)
        if projection.HasField("serviceAccountToken"):
            _number(projection.serviceAccountToken, "expirationSeconds", _TOKEN_EXPIRATION_SECONDS)
    for item in items:
        if item.HasField("fieldRef"):
            _text(item.fieldRef, "apiVersion", "v1")


def _replication_controller(controller: core.ReplicationController) -> None:
    spec = controller.spec
    labels = spec.template.metadata.labels if spec.HasField("template") else {}
    if not spec.selector:
        spec.selector.update(labels)
    if not controller.metadata.labels:
        controller.metadata.labels.update(labels)
    _number(spec, "replicas", 1)
    if spec.HasField("template"):
        set_pod_spec_defaults(spec.template.spec)


def _replica_set(replica_set: apps.ReplicaSet) -> None:
    _number(replica_set.spec, "replicas", 1)
    if replica_set.spec.HasField("template"):
        set_pod_spec_defaults(replica_set.spec.template.spec)


def _deployment(deployment: apps.Deployment) -> None:
    spec = deployment.spec
    _number(spec, "replicas", 1)
    _number(spec, "revisionHistoryLimit", 10)
    _number(spec, "progressDeadlineSeconds", 600)
    _text(spec.strategy, "type", "RollingUpdate")
    if spec.strategy.type == "RollingUpdate":
        for field in ("maxUnavailable", "maxSurge"):
            if not spec.strategy.rollingUpdate.HasField(field):
                getattr(spec.strategy.rollingUpdate, field).CopyFrom(intstr.of("25%"))
    set_pod_spec_defaults(spec.template.spec)


def _service(service: core.Service) -> None:
    spec = service.spec
    _text(spec, "type", "ClusterIP")
    _text(spec, "sessionAffinity", "None")
    if spec.sessionAffinity == "ClientIP" and not spec.sessionAffinityConfig.clientIP.HasField(
        "timeoutSeconds"
    ):
        spec.sessionAffinityConfig.clientIP.timeoutSeconds = _AFFINITY_TIMEOUT_SECONDS
    for port in spec.ports:
        _text(port, "protocol", "TCP")
        target = port.targetPort
        if not target.strVal and not target.intVal:
            target.CopyFrom(intstr.of(port.port))
    if spec.type in ("NodePort", "LoadBalancer"):
        _text(spec, "externalTrafficPolicy", "Cluster")
    if spec.type in ("ClusterIP", "NodePort", "LoadBalancer"):
        _text(spec, "internalTrafficPolicy", "Cluster")
    if spec.type == "LoadBalancer" and not spec.HasField("allocateLoadBalancerNodePorts"):
        spec.allocateLoadBalancerNodePorts = True


def _namespace(namespace: core.Namespace) -> None:
    if namespace.metadata.name:
        namespace.metadata.labels["kubernetes.io/metadata.name"] = namespace.metadata.name


def _node(node: core.Node) -> None:
    if not node.status.allocatable:
        for name, quantity in node.status.capacity.items():
            node.status.allocatable[name].CopyFrom(quantity)
    if node.spec.podCIDR and not node.spec.podCIDRs:
        node.spec.podCIDRs.append(node.spec.podCIDR)


def _endpoint_slice(endpoint_slice: discovery.EndpointSlice) -> None:
    for port in endpoint_slice.ports:
        _text(port, "protocol", "TCP")
        if not port.HasField("name"):
            port.name = ""


def _text(message: Message, field: str, value: str) -> None:
    if not getattr(message, field):
        setattr(message, field, value)


def _number(message: Message, field: str, value: int) -> None:
    if not message.HasField(field):
        setattr(message, field, value)


# An Event has no defaults: every field of it is said by who records it.
_BY_MESSAGE: dict[type[Message], Callable[[ApiObject], None]] = {
    core.Pod: _pod,
    core.ReplicationController: _replication_controller,
    apps.ReplicaSet: _replica_set,
    apps.Deployment: _deployment,
    core.Service: _service,
    core.Namespace: _namespace,
    core.Node: _node,
    discovery.EndpointSlice: _endpoint_slice,
}
