"""Objects that are right, one maker for each kind."""

from collections.abc import Callable, Mapping

from orchestra.objects import kinds
from orchestra.objects.kinds import ApiObject, Kind
from orchestra.pb import apps, core, discovery, meta


def metadata(
    name: str, labels: Mapping[str, str] | None = None, namespace: str = "default"
) -> meta.ObjectMeta:
    return meta.ObjectMeta(name=name, namespace=namespace or None, labels=labels or {})


def pod(name: str = "", namespace: str = "default", **labels: str) -> core.Pod:
    made = core.Pod(metadata=metadata(name, labels, namespace))
    made.spec.containers.add(name="c", command=["sleep", "60"])
    return made


def _template(labels: Mapping[str, str]) -> core.PodTemplateSpec:
    template = core.PodTemplateSpec(metadata=meta.ObjectMeta(labels=labels))
    template.spec.containers.add(name="c", command=["sleep", "60"])
    return template


def deployment(name: str, replicas: int = 1, **labels: str) -> apps.Deployment:
    own = {"app": name}
    made = apps.Deployment(metadata=metadata(name, labels))
    made.spec.replicas = replicas
    made.spec.selector.matchLabels.update(own)
    made.spec.template.CopyFrom(_template(own))
    return made


def _replica_set(name: str, labels: Mapping[str, str]) -> apps.ReplicaSet:
    own = {"app": name}
    made = apps.ReplicaSet(metadata=metadata(name, labels))
    made.spec.selector.matchLabels.update(own)
    made.spec.template.CopyFrom(_template(own))
    return made


def _replication_controller(name: str, labels: Mapping[str, str]) -> core.ReplicationController:
    own = {"app": name}
    made = core.ReplicationController(metadata=metadata(name, labels))
    made.spec.selector.update(own)
    made.spec.template.CopyFrom(_template(own))
    return made


def service(name: str, type_: str = "ClusterIP", node_port: int = 0, **labels: str) -> core.Service:
    made = core.Service(metadata=metadata(name, labels))
    made.spec.type = type_
    made.spec.selector["app"] = "web"
    port = made.spec.ports.add(name="http", port=80)
    if node_port:
        port.nodePort = node_port
    return made


def namespace(name: str, **labels: str) -> core.Namespace:
    return core.Namespace(metadata=metadata(name, labels, ""))


def node(name: str, **labels: str) -> core.Node:
    return core.Node(metadata=metadata(name, labels, ""))


def _event(name: str, labels: Mapping[str, str]) -> core.Event:
    made = core.Event(metadata=metadata(name, labels), reason="Tested", message="said", type="Normal")
    made.involvedObject.CopyFrom(core.ObjectReference(kind="Pod", namespace="default", name="web"))
    return made


def _endpoint_slice(name: str, labels: Mapping[str, str]) -> discovery.EndpointSlice:
    made = discovery.EndpointSlice(metadata=metadata(name, labels), addressType="IPv4")
    made.ports.add(name="http", port=80, protocol="TCP")
    return made


MAKERS: Mapping[Kind, Callable[[str, Mapping[str, str]], ApiObject]] = {
    kinds.NAMESPACE: lambda name, labels: namespace(name, **labels),
    kinds.NODE: lambda name, labels: node(name, **labels),
    kinds.POD: lambda name, labels: pod(name, **labels),
    kinds.REPLICATION_CONTROLLER: _replication_controller,
    kinds.SERVICE: lambda name, labels: service(name, **labels),
    kinds.EVENT: _event,
    kinds.REPLICA_SET: _replica_set,
    kinds.DEPLOYMENT: lambda name, labels: deployment(name, **labels),
    kinds.ENDPOINT_SLICE: _endpoint_slice,
}


def sample(kind: Kind, name: str, **labels: str) -> ApiObject:
    """An object of the kind that can be created."""
    return MAKERS[kind](name, labels)
