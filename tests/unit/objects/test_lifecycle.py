"""Create, update, status update and binding: what is kept, what is taken away, what is refused."""

import pytest

from orchestra.base.errors import BadRequest, Conflict, Invalid, NotFound
from orchestra.objects import lifecycle
from orchestra.objects.defaults import set_defaults
from orchestra.pb import apps, core, discovery, meta

NOW_NS = 1_800_000_000_123_456_789
NOW = 1_800_000_000


def created(obj, suffix="abcde"):
    set_defaults(obj)
    return lifecycle.prepare_create(obj, now_ns=NOW_NS, uid="u1", name_suffix=suffix)


def updated(new, old, subresource=""):
    return lifecycle.prepare_update(new, old, subresource=subresource, now_ns=NOW_NS)


def pod(**spec):
    return core.Pod(
        metadata=meta.ObjectMeta(name="web"),
        spec=core.PodSpec(containers=[core.Container(name="app", command=["sleep", "1"])], **spec),
    )


def deployment(replicas=3):
    return apps.Deployment(
        metadata=meta.ObjectMeta(name="web", namespace="shop"), spec=apps.DeploymentSpec(replicas=replicas)
    )


def test_create_gives_an_identity_and_drops_what_only_the_server_says():
    given = pod()
    given.metadata.MergeFrom(
        meta.ObjectMeta(
            uid="mine", resourceVersion="7", selfLink="/x", generation=9, deletionGracePeriodSeconds=3,
            deletionTimestamp=meta.Time(seconds=1), creationTimestamp=meta.Time(seconds=1),
            managedFields=[meta.ManagedFieldsEntry(manager="kubectl")],
        )
    )  # fmt: skip
    given.status.podIP = "10.0.0.1"
    before = lifecycle.copy_of(given)
    stored = lifecycle.prepare_create(given, now_ns=NOW_NS, uid="u1", name_suffix="x")
    assert given == before
    assert stored.metadata == meta.ObjectMeta(
        name="web", namespace="default", uid="u1", generation=1, creationTimestamp=meta.Time(seconds=NOW)
    )
    assert stored.status == core.PodStatus(phase="Pending", qosClass="BestEffort")


def test_generate_name_is_completed_and_cut_to_a_label():
    short = core.Pod(metadata=meta.ObjectMeta(generateName="web-"))
    assert created(short).metadata.name == "web-abcde"
    long = core.Pod(metadata=meta.ObjectMeta(generateName="w" * 100))
    assert created(long).metadata.name == "w" * 58 + "abcde"
    named = core.Pod(metadata=meta.ObjectMeta(name="web", generateName="other-"))
    assert created(named).metadata.name == "web"


def test_a_cluster_scoped_kind_refuses_a_namespace():
    node = core.Node(metadata=meta.ObjectMeta(name="n1", namespace="default"))
    with pytest.raises(Invalid, match=r'Node "n1" is invalid: metadata.namespace: Forbidden: not allowed'):
        created(node)


def test_a_namespace_starts_active_labelled_and_held_by_its_finalizer():
    stored = created(core.Namespace(metadata=meta.ObjectMeta(generateName="shop-")))
    assert stored.status.phase == "Active"
    assert list(stored.spec.finalizers) == ["kubernetes"]
    assert stored.metadata.labels == {"kubernetes.io/metadata.name": "shop-abcde"}


def test_status_is_cleared_on_create_but_a_node_keeps_its_own():
    given = deployment()
    given.status.readyReplicas = 5
    stored = created(given)
    assert stored.HasField("status")
    assert not stored.status.ListFields()
    node = core.Node(metadata=meta.ObjectMeta(name="n1"), status=core.NodeStatus(phase="x"))
    assert created(node).status.phase == "x"


@pytest.mark.parametrize(
    ("obj", "generation"),
    [
        (deployment(), 1),
        (discovery.EndpointSlice(metadata=meta.ObjectMeta(name="s"), addressType="IPv4"), 1),
        (core.Event(metadata=meta.ObjectMeta(name="e")), 0),
    ],
)
def test_generation_starts_at_one_where_there_is_something_to_generate(obj, generation):
    assert created(obj).metadata.generation == generation


def test_update_carries_identity_and_status_over_and_counts_the_generation():
    old = created(deployment())
    old.metadata.resourceVersion = "5"
    old.status.readyReplicas = 3
    new = deployment(replicas=6)
    set_defaults(new)
    new.status.readyReplicas = 99
    new.metadata.labels["tier"] = "web"
    stored = updated(new, old)
    assert stored.spec.replicas == 6
    assert stored.status.readyReplicas == 3
    assert stored.metadata.uid == "u1"
    assert stored.metadata.generation == 2
    assert stored.metadata.resourceVersion == "5"
    assert stored.metadata.labels == {"tier": "web"}


def test_an_update_that_changes_only_metadata_keeps_the_generation_and_no_change_is_equal():
    old = created(deployment())
    new = lifecycle.copy_of(old)
    assert updated(new, old) == old
    new.metadata.annotations["a"] = "b"
    assert updated(new, old).metadata.generation == 1


def test_an_endpoint_slice_counts_changes_of_its_endpoints():
    old = created(discovery.EndpointSlice(metadata=meta.ObjectMeta(name="s"), addressType="IPv4"))
    new = lifecycle.copy_of(old)
    new.endpoints.add(addresses=["127.0.0.1"])
    assert updated(new, old).metadata.generation == 2


def test_a_deletion_under_way_survives_updates():
    old = created(deployment())
    old.metadata.deletionTimestamp.seconds = NOW
    old.metadata.deletionGracePeriodSeconds = 0
    new = deployment()
    stored = updated(new, old)
    assert stored.metadata.deletionTimestamp.seconds == NOW
    assert stored.metadata.HasField("deletionGracePeriodSeconds")
    fresh = created(deployment())
    new.metadata.deletionTimestamp.seconds = NOW
    assert not updated(new, fresh).metadata.HasField("deletionTimestamp")


def test_status_update_changes_nothing_but_the_status():
    old = created(pod())
    new = lifecycle.copy_of(old)
    new.spec.nodeName = "n1"
    new.metadata.labels["x"] = "y"
    new.status.ClearField("qosClass")
    new.status.phase = "Running"
    new.status.conditions.add(type="Ready", status="True")
    stored = updated(new, old, "status")
    assert stored.spec == old.spec
    assert stored.metadata == old.metadata
    assert stored.status.phase == "Running"
    assert stored.status.qosClass == "BestEffort"
    assert [condition.type for condition in stored.status.conditions] == ["Ready"]


def test_unknown_subresources_are_not_found():
    old = created(pod())
    with pytest.raises(NotFound, match='pods have no subresource "colour"'):
        updated(old, old, "colour")
    event = core.Event(metadata=meta.ObjectMeta(name="e"))
    with pytest.raises(NotFound, match='events have no subresource "status"'):
        updated(event, event, "status")


def test_another_uid_or_an_old_version_is_a_conflict():
    old = created(pod())
    old.metadata.resourceVersion = "8"
    new = lifecycle.copy_of(old)
    new.metadata.uid = "u2"
    with pytest.raises(Conflict, match=r'on pods "web": uid in precondition: u2, uid in object: u1'):
        updated(new, old)
    new.metadata.uid = "u1"
    new.metadata.resourceVersion = "7"
    with pytest.raises(Conflict, match="the object has been modified; please apply your changes"):
        updated(new, old, "status")


def test_a_namespace_is_let_go_only_through_finalize():
    old = created(core.Namespace(metadata=meta.ObjectMeta(name="shop")))
    new = core.Namespace(metadata=meta.ObjectMeta(name="shop"))
    assert updated(new, old) == old
    assert not updated(new, old, "finalize").spec.finalizers


def service(type_="NodePort", node_ports=(0,)):
    ports = [core.ServicePort(name=f"p{i}", port=80 + i) for i in range(len(node_ports))]
    for port, node_port in zip(ports, node_ports, strict=True):
        if node_port:
            port.nodePort = node_port
    return core.Service(metadata=meta.ObjectMeta(name="web"), spec=core.ServiceSpec(type=type_, ports=ports))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (service(node_ports=(30001,)), service(), [30001]),
        (service(node_ports=(30001, 30002)), service(node_ports=(30002, 0)), [30002, 0]),
        (service(node_ports=(30001,)), service(node_ports=(30009,)), [30009]),
        (service(node_ports=(30001,)), service("ClusterIP", (30001,)), [0]),
        (service(node_ports=(30001,)), service("ClusterIP"), [0]),
    ],
)
def test_a_service_keeps_its_node_ports(old, new, expected):
    assert [port.nodePort for port in updated(new, created(old)).spec.ports] == expected


def test_a_no_execute_taint_says_since_when():
    old = created(core.Node(metadata=meta.ObjectMeta(name="n1")))
    new = lifecycle.copy_of(old)
    new.spec.taints.add(key="gone", effect="NoExecute")
    new.spec.taints.add(key="busy", effect="NoSchedule")
    stored = updated(new, old)
    assert [taint.timeAdded.seconds for taint in stored.spec.taints] == [NOW, 0]
    del new.spec.taints[:]
    new.spec.taints.add(key="gone", effect="NoExecute")
    later = lifecycle.prepare_update(new, stored, subresource="", now_ns=NOW_NS * 2)
    assert later.spec.taints[0].timeAdded.seconds == NOW


def test_binding_places_a_pod_once():
    old = created(pod())
    bound = lifecycle.prepare_binding(old, "n1", now_ns=NOW_NS)
    assert not old.spec.nodeName
    assert bound.spec.nodeName == "n1"
    assert [(c.type, c.status, c.lastTransitionTime.seconds) for c in bound.status.conditions] == [
        ("PodScheduled", "True", NOW)
    ]
    with pytest.raises(Conflict, match='pod web is already assigned to node "n1"'):
        lifecycle.prepare_binding(bound, "n2", now_ns=NOW_NS)
    with pytest.raises(BadRequest, match="needs the name of a node"):
        lifecycle.prepare_binding(old, "", now_ns=NOW_NS)
    old.metadata.deletionTimestamp.seconds = NOW
    with pytest.raises(Conflict, match="is being deleted"):
        lifecycle.prepare_binding(old, "n1", now_ns=NOW_NS)


def test_binding_replaces_the_condition_that_said_unschedulable():
    old = created(pod())
    old.status.conditions.add(type="PodScheduled", status="False", reason="Unschedulable")
    old.status.conditions.add(type="Ready", status="False")
    bound = lifecycle.prepare_binding(old, "n1", now_ns=NOW_NS)
    assert {c.type: c.status for c in bound.status.conditions} == {"Ready": "False", "PodScheduled": "True"}
