"""The kinds: what each is called, where it lives and which message holds it.

One table; everything that has to know a kind's plural, short names or API group asks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from google.protobuf.message import Message

from orchestra.base.errors import NotFound
from orchestra.pb import api_v1_pb2 as api
from orchestra.pb import apps, core, discovery, meta

# A generated message of one of the kinds: it has `metadata`, and by kind `spec` and `status`. The generated
# classes share no base that says so, hence Any.
ApiObject: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the API.

    oneof: its name in the Object oneof, whose number is the Kind enum's value.
    """

    number: int
    oneof: str
    kind: str
    group: str
    version: str
    plural: str
    singular: str
    message: type[Message]
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    has_status: bool = True
    scalable: bool = False
    verbs: tuple[str, ...] = field(
        default=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    )

    @property
    def api_version(self) -> str:
        """`apps/v1`, and `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`deployments.apps`, and `pods` for the core group: the name used in errors."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """Where the kind's objects stand in the store."""
        return f"/registry/{self.plural}/"

    def key(self, namespace: str, name: str) -> str:
        """The store key of one object (`/registry/pods/default/web`, `/registry/nodes/n1`)."""
        return f"/registry/{self.plural}/{namespace}/{name}" if self.namespaced else self.prefix + name

    def new(self) -> ApiObject:
        """An empty object of the kind."""
        return self.message()


NAMESPACE = Kind(
    1, "namespace", "Namespace", "", "v1", "namespaces", "namespace", core.Namespace,
    namespaced=False, short_names=("ns",),
)  # fmt: skip
NODE = Kind(
    2, "node", "Node", "", "v1", "nodes", "node", core.Node, namespaced=False, short_names=("no",)
)  # fmt: skip
POD = Kind(
    3, "pod", "Pod", "", "v1", "pods", "pod", core.Pod, short_names=("po",), categories=("all",)
)  # fmt: skip
REPLICATION_CONTROLLER = Kind(
    4, "replication_controller", "ReplicationController", "", "v1", "replicationcontrollers",
    "replicationcontroller", core.ReplicationController, short_names=("rc",), categories=("all",),
    scalable=True,
)  # fmt: skip
SERVICE = Kind(
    5, "service", "Service", "", "v1", "services", "service", core.Service,
    short_names=("svc",), categories=("all",),
)  # fmt: skip
EVENT = Kind(
    6, "event", "Event", "", "v1", "events", "event", core.Event, short_names=("ev",), has_status=False
)  # fmt: skip
REPLICA_SET = Kind(
    7, "replica_set", "ReplicaSet", "apps", "v1", "replicasets", "replicaset", apps.ReplicaSet,
    short_names=("rs",), categories=("all",), scalable=True,
)  # fmt: skip
DEPLOYMENT = Kind(
    8, "deployment", "Deployment", "apps", "v1", "deployments", "deployment", apps.Deployment,
    short_names=("deploy",), categories=("all",), scalable=True,
)  # fmt: skip
ENDPOINT_SLICE = Kind(
    9, "endpoint_slice", "EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", "endpointslice",
    discovery.EndpointSlice, has_status=False,
)  # fmt: skip

KINDS: tuple[Kind, ...] = (
    NAMESPACE, NODE, POD, REPLICATION_CONTROLLER, SERVICE, EVENT, REPLICA_SET, DEPLOYMENT, ENDPOINT_SLICE,
)  # fmt: skip

BY_NUMBER: Mapping[int, Kind] = {kind.number: kind for kind in KINDS}
BY_NAME: Mapping[str, Kind] = {kind.kind: kind for kind in KINDS}
BY_PLURAL: Mapping[str, Kind] = {kind.plural: kind for kind in KINDS}
_BY_MESSAGE: Mapping[type[Message], Kind] = {kind.message: kind for kind in KINDS}
_BY_GVK: Mapping[tuple[str, str], Kind] = {(kind.api_version, kind.kind): kind for kind in KINDS}


def kind_of(obj: Message) -> Kind:
    """The kind of an object."""
    return _BY_MESSAGE[type(obj)]


def kind_numbered(number: int) -> Kind:
    """The kind of an API Kind enum value.

    Raises: NotFound for a number that is none.
    """
    kind = BY_NUMBER.get(number)
    if kind is None:
        raise NotFound(f"the server has no kind numbered {number}: name one of api.Kind")
    return kind


def kind_for(api_version: str, kind: str) -> Kind | None:
    """The kind a manifest names by apiVersion and kind, None if there is no such."""
    return _BY_GVK.get((api_version, kind))


def kind_named(word: str) -> Kind | None:
    """The kind a person means by a word: plural, singular, short name, Kind, or `deployments.apps`."""
    wanted = word.lower()
    for kind in KINDS:
        if wanted in (kind.plural, kind.singular, kind.kind.lower(), *kind.short_names):
            return kind
        if kind.group and wanted in (
            f"{kind.plural}.{kind.group}",
            f"{kind.plural}.{kind.version}.{kind.group}",
        ):
            return kind
    return None


def wrap(obj: ApiObject) -> api.Object:
    """The object inside the API's oneof. Shares nothing with `obj`."""
    envelope = api.Object()
    getattr(envelope, kind_of(obj).oneof).CopyFrom(obj)
    return envelope


def unwrap(envelope: api.Object) -> ApiObject:
    """The object inside the oneof, None if it is empty."""
    which = envelope.WhichOneof("object")
    return getattr(envelope, which) if which else None


def metadata_of(obj: ApiObject) -> meta.ObjectMeta:
    """The object's metadata, typed."""
    found: meta.ObjectMeta = obj.metadata
    return found


def name_of(obj: ApiObject) -> str:
    """`namespace/name`, or `name` where the kind has no namespace: for logs."""
    found = metadata_of(obj)
    return f"{found.namespace}/{found.name}" if found.namespace else found.name
