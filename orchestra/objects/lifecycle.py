"""What a create, an update, a status update and a delete mean, whoever asks for them.

Pure: takes objects and says what is to be stored; the store's typed layer reads, writes and retries. The
order of a create is `defaults.set_defaults`, `prepare_create`, `validation.validate_create`; of an update
`set_defaults`, `prepare_update`, `validate_update` (or `validate_status_update`). No function here changes
the object that it is given.
"""

from orchestra.base.errors import BadRequest, Conflict, NotFound, Violation, invalid
from orchestra.objects.deletion import DeletePlan, check_preconditions, finalizers_done, plan_delete
from orchestra.objects.kinds import ENDPOINT_SLICE, NAMESPACE, NODE, POD, SERVICE, ApiObject, Kind, kind_of
from orchestra.objects.qos import qos_class
from orchestra.objects.times import time_from_ns
from orchestra.pb import core, meta

__all__ = [
    "DeletePlan",
    "check_preconditions",
    "copy_of",
    "finalizers_done",
    "generate_name",
    "has_spec",
    "namespace_not_allowed",
    "plan_delete",
    "prepare_binding",
    "prepare_create",
    "prepare_update",
]

NAMESPACE_DEFAULT = "default"
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
NAMESPACE_FINALIZER = "kubernetes"

GENERATED_NAME_LENGTH_MAX = 63
GENERATED_SUFFIX_LENGTH = 5

# Metadata that only the server says, and a create therefore starts without.
_SERVER_ONLY = (
    "selfLink",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
)
# Metadata that an update never changes.
_CARRIED = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
# Types of Service that have a port on every node.
_NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def copy_of(obj: ApiObject) -> ApiObject:
    """A copy that shares nothing with `obj`."""
    copy = type(obj)()
    copy.CopyFrom(obj)
    return copy


def has_spec(kind: Kind) -> bool:
    """Whether objects of the kind have a `spec`."""
    return "spec" in kind.message.DESCRIPTOR.fields_by_name


def generate_name(base: str, suffix: str) -> str:
    """The name that `generateName: base` becomes: the base, cut so that the whole fits a DNS label."""
    return base[: GENERATED_NAME_LENGTH_MAX - len(suffix)] + suffix


def prepare_create(obj: ApiObject, *, now_ns: int, uid: str, name_suffix: str) -> ApiObject:
    """The object as it is to be stored by a create: identity given, what only the server may say taken away.

    A Node keeps the status that it comes with (as in Kubernetes, where the node registers itself); every
    other kind starts with an empty one. `name_suffix` completes a generateName
    (`GENERATED_SUFFIX_LENGTH` characters).

    Raises: Invalid for a namespace on a kind that has none.
    """
    kind = kind_of(obj)
    created = copy_of(obj)
    metadata = created.metadata
    if kind.namespaced:
        metadata.namespace = metadata.namespace or NAMESPACE_DEFAULT
    elif metadata.namespace:
        raise invalid(kind.kind, metadata.name, [namespace_not_allowed()])
    if not metadata.name and metadata.generateName:
        metadata.name = generate_name(metadata.generateName, name_suffix)
    for field in _SERVER_ONLY:
        metadata.ClearField(field)
    metadata.uid = uid
    metadata.creationTimestamp.CopyFrom(time_from_ns(now_ns))
    if _has_generation(kind):
        metadata.generation = 1
    if kind.has_status and kind is not NODE:
        created.status.Clear()
        created.status.SetInParent()
    if kind is POD:
        created.status.phase = "Pending"
        created.status.qosClass = qos_class(created.spec)
    elif kind is NAMESPACE:
        created.status.phase = "Active"
        metadata.labels[NAMESPACE_NAME_LABEL] = metadata.name
        if NAMESPACE_FINALIZER not in created.spec.finalizers:
            created.spec.finalizers.append(NAMESPACE_FINALIZER)
    return created


def namespace_not_allowed() -> Violation:
    """A namespace was given to a kind that lives in none."""
    return Violation("metadata.namespace", "Forbidden: not allowed on this type", "FieldValueForbidden")


def prepare_update(new: ApiObject, old: ApiObject, *, subresource: str, now_ns: int) -> ApiObject:
    """The object as it is to be stored by an update of `old`; equal to `old` when nothing changes.

    subresource: "" for the object itself (status stays as it was), "status" (only the status changes), and
    for a Namespace "finalize" (only spec.finalizers changes).

    Raises: Conflict when `new` says a uid or a resourceVersion that is not the stored object's; NotFound when
    the kind has no such subresource.
    """
    kind = kind_of(old)
    _check_same_object(kind, new.metadata, old.metadata)
    if subresource == "status" and kind.has_status:
        return _status_replaced(kind, new, old)
    if subresource == "finalize" and kind is NAMESPACE:
        finalized = copy_of(old)
        del finalized.spec.finalizers[:]
        finalized.spec.finalizers.extend(new.spec.finalizers)
        return finalized
    if subresource:
        raise NotFound(
            f'{kind.resource} have no subresource "{subresource}"', kind=kind.resource, name=old.metadata.name
        )
    return _content_replaced(kind, new, old, now_ns)


def _check_same_object(kind: Kind, new: meta.ObjectMeta, old: meta.ObjectMeta) -> None:
    if new.uid and new.uid != old.uid:
        raise _conflict(kind, old.name, f"uid in precondition: {new.uid}, uid in object: {old.uid}")
    if new.resourceVersion and old.resourceVersion and new.resourceVersion != old.resourceVersion:
        raise _conflict(
            kind,
            old.name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )


def _conflict(kind: Kind, name: str, why: str) -> Conflict:
    return Conflict(
        f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}', kind=kind.resource, name=name
    )


def _status_replaced(kind: Kind, new: ApiObject, old: ApiObject) -> ApiObject:
    updated = copy_of(old)
    updated.status.CopyFrom(new.status)
    if kind is POD and old.status.qosClass:
        updated.status.qosClass = old.status.qosClass
    elif kind is NAMESPACE:
        # The phase of a namespace follows from its deletion and is never a writer's word.
        updated.status.phase = "Terminating" if old.metadata.HasField("deletionTimestamp") else "Active"
    return updated


def _content_replaced(kind: Kind, new: ApiObject, old: ApiObject, now_ns: int) -> ApiObject:
    updated = copy_of(new)
    metadata = updated.metadata
    if kind.namespaced and not metadata.namespace:
        metadata.namespace = old.metadata.namespace
    metadata.ClearField("selfLink")
    metadata.ClearField("managedFields")
    for field in _CARRIED:
        _carry(field, metadata, old.metadata)
    if kind.has_status:
        _carry("status", updated, old)
    if kind is NAMESPACE:
        metadata.labels[NAMESPACE_NAME_LABEL] = metadata.name
        _carry("spec", updated, old)
    elif kind is SERVICE:
        _carry_allocated(updated.spec, old.spec)
    elif kind is NODE:
        _stamp_taints(updated.spec, old.spec, now_ns)
    if _has_generation(kind) and _content_differs(kind, updated, old):
        metadata.generation = old.metadata.generation + 1
    return updated


def _carry(field: str, target: ApiObject, source: ApiObject) -> None:
    """`target.field` becomes what it is in `source`, absent if it is absent there."""
    if not source.HasField(field):
        target.ClearField(field)
    elif source.DESCRIPTOR.fields_by_name[field].message_type is not None:
        getattr(target, field).CopyFrom(getattr(source, field))
    else:
        setattr(target, field, getattr(source, field))


def _has_generation(kind: Kind) -> bool:
    return has_spec(kind) or kind is ENDPOINT_SLICE


def _content_differs(kind: Kind, new: ApiObject, old: ApiObject) -> bool:
    if has_spec(kind):
        return bool(new.spec != old.spec)
    left, right = copy_of(new), copy_of(old)
    left.ClearField("metadata")
    right.ClearField("metadata")
    return bool(left != right)


def _carry_allocated(new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    """Keeps what the server allocated and an update does not speak of: the cluster address, the node ports.

    Source: Kubernetes' patchAllocatedValues and dropTypeDependentFields (pkg/registry/core/service/storage).
    """
    if old.type != "ExternalName" and new.type != "ExternalName" and not new.clusterIP:
        _carry("clusterIP", new, old)
        if not new.clusterIPs:
            new.clusterIPs.extend(old.clusterIPs)
    had, wants = old.type in _NODE_PORT_TYPES, new.type in _NODE_PORT_TYPES
    given = {port.nodePort for port in new.ports if port.nodePort}
    before = {port.name: port.nodePort for port in old.ports if port.nodePort}
    if had and wants:
        for port in new.ports:
            kept = before.get(port.name, 0)
            if not port.nodePort and kept and kept not in given:
                port.nodePort = kept
    elif had and given <= set(before.values()):
        for port in new.ports:
            port.ClearField("nodePort")
    if had and not wants and new.externalTrafficPolicy == old.externalTrafficPolicy:
        new.ClearField("externalTrafficPolicy")


def _stamp_taints(new: core.NodeSpec, old: core.NodeSpec, now_ns: int) -> None:
    """A NoExecute taint says since when it is there, because tolerationSeconds count from then."""
    since = {(taint.key, taint.value, taint.effect): taint for taint in old.taints}
    for taint in new.taints:
        if taint.effect != "NoExecute" or taint.HasField("timeAdded"):
            continue
        known = since.get((taint.key, taint.value, taint.effect))
        if known is not None and known.HasField("timeAdded"):
            taint.timeAdded.CopyFrom(known.timeAdded)
        else:
            taint.timeAdded.CopyFrom(time_from_ns(now_ns))


def prepare_binding(pod: core.Pod, node_name: str, *, now_ns: int) -> core.Pod:
    """The pod placed on a node, with its condition PodScheduled true.

    Raises: Conflict when the pod already has a node or is being deleted; BadRequest without a node name.
    """
    if not node_name:
        raise BadRequest("a binding needs the name of a node: set target.name")
    name = pod.metadata.name
    if pod.metadata.HasField("deletionTimestamp"):
        raise _conflict(POD, name, f"pod {name} is being deleted, cannot be assigned to a node")
    if pod.spec.nodeName:
        raise _conflict(POD, name, f'pod {name} is already assigned to node "{pod.spec.nodeName}"')
    bound: core.Pod = copy_of(pod)
    bound.spec.nodeName = node_name
    kept = [condition for condition in bound.status.conditions if condition.type != "PodScheduled"]
    known = next((c for c in bound.status.conditions if c.type == "PodScheduled"), None)
    since = time_from_ns(now_ns)
    if known is not None and known.status == "True" and known.HasField("lastTransitionTime"):
        since = known.lastTransitionTime
    scheduled = core.PodCondition(type="PodScheduled", status="True", lastTransitionTime=since)
    fresh = core.PodStatus(conditions=[*kept, scheduled])
    bound.status.ClearField("conditions")
    bound.status.MergeFrom(fresh)
    return bound
