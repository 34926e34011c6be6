"""The scale subresource: one shape over the kinds that have replicas."""

from orchestra.base.errors import NotFound, PreconditionFailed, Violation, invalid
from orchestra.objects.kinds import REPLICATION_CONTROLLER, ApiObject, Kind, kind_of
from orchestra.objects.selectors import selector_from, selector_from_map
from orchestra.pb import autoscaling


def check_scalable(kind: Kind, name: str) -> None:
    """Raises NotFound for a kind that cannot be scaled."""
    if not kind.scalable:
        raise NotFound(f'{kind.resource} have no subresource "scale"', kind=kind.resource, name=name)


def scale_of(obj: ApiObject) -> autoscaling.Scale:
    """The object's scale."""
    kind = kind_of(obj)
    scale = autoscaling.Scale()
    metadata = obj.metadata
    for field in ("name", "namespace", "uid", "resourceVersion"):
        setattr(scale.metadata, field, getattr(metadata, field))
    scale.metadata.creationTimestamp.CopyFrom(metadata.creationTimestamp)
    scale.spec.replicas = obj.spec.replicas
    scale.status.replicas = obj.status.replicas
    chosen = (
        selector_from_map(obj.spec.selector)
        if kind is REPLICATION_CONTROLLER
        else selector_from(obj.spec.selector)
    )
    scale.status.selector = str(chosen)
    return scale


def set_replicas(obj: ApiObject, scale: autoscaling.Scale, current_replicas: int | None) -> None:
    """Gives `obj` (a private copy) the scale's replicas; its resourceVersion and uid become demands.

    Raises: PreconditionFailed when `current_replicas` is not what the object has; Invalid.
    """
    kind, name = kind_of(obj), obj.metadata.name
    if scale.spec.replicas < 0:
        violation = Violation(
            "spec.replicas", f"Invalid value: {scale.spec.replicas}: must be greater than or equal to 0"
        )
        raise invalid("Scale", name, [violation])
    if current_replicas is not None and obj.spec.replicas != current_replicas:
        raise PreconditionFailed(
            f'{kind.resource} "{name}" was not scaled: expected replicas to be {current_replicas}, '
            f"was {obj.spec.replicas}",
            kind=kind.resource,
            name=name,
        )
    if scale.metadata.resourceVersion:
        obj.metadata.resourceVersion = scale.metadata.resourceVersion
    if scale.metadata.uid:
        obj.metadata.uid = scale.metadata.uid
    obj.spec.replicas = scale.spec.replicas
