"""What may still change: updates and status updates, each refusal with its sentence and the changed field's path."""

import pytest

from orchestra.objects.codec import from_manifest
from orchestra.objects.defaults import set_defaults
from orchestra.objects.lifecycle import copy_of, prepare_create
from orchestra.objects.validation import validate_status_update, validate_update

POD_ONLY = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`"


def stored(kind, spec=None, api_version="v1", **top):
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, **top}
    if spec is not None:
        body["spec"] = spec
    obj, violations = from_manifest(body)
    assert violations == []
    set_defaults(obj)
    return prepare_create(obj, now_ns=10**18, uid="u1", name_suffix="abcde")


def pod(**spec):
    containers = [{"name": "app", "image": "nginx:1", "env": [{"name": "A", "value": "1"}]}]
    return stored("Pod", {"containers": containers, **spec})


def workload(kind):
    template = {
        "metadata": {"labels": {"app": "web", "tier": "x"}},
        "spec": {"containers": [{"name": "a", "image": "i"}]},
    }
    return stored(kind, {"selector": {"matchLabels": {"app": "web"}}, "template": template}, "apps/v1")


def service(**spec):
    return stored("Service", {"ports": [{"port": 80}], **spec})


def said(old, change, check=validate_update):
    new = copy_of(old)
    change(new)
    return [str(violation) for violation in check(new, old)]


def assign(path, value):
    """Sets `spec.containers.0.image`."""

    def change(obj):
        *way, last = path.split(".")
        for step in way:
            obj = obj[int(step)] if step.isdecimal() else getattr(obj, step)
        setattr(obj, last, value)

    return change


def scheduled():
    return pod(nodeName="n1")


@pytest.mark.parametrize(
    ("old", "change", "expected"),
    [
        (pod(), assign("spec.containers.0.image", "nginx:2"), []),
        (pod(), assign("spec.activeDeadlineSeconds", 5), []),
        (pod(activeDeadlineSeconds=9), assign("spec.activeDeadlineSeconds", 5), []),
        (pod(activeDeadlineSeconds=9), assign("spec.activeDeadlineSeconds", 10),
         ["spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value 9"]),
        (pod(activeDeadlineSeconds=9), lambda new: new.spec.ClearField("activeDeadlineSeconds"),
         ["spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"]),
        (pod(), lambda new: new.spec.tolerations.add(key="a", operator="Exists"), []),
        (pod(tolerations=[{"key": "a"}]), lambda new: new.spec.ClearField("tolerations"),
         ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]),
        (pod(), assign("spec.nodeName", "n1"), []),
        (scheduled(), assign("spec.nodeName", "n2"), ['spec.nodeName: Invalid value: "n2": field is immutable']),
        (scheduled(), lambda new: new.spec.ClearField("nodeName"),
         ['spec.nodeName: Invalid value: "": field is immutable']),
        (pod(), assign("spec.containers.0.env.0.value", "2"), [f"spec.containers[0].env[0].value: {POD_ONLY}"]),
        (pod(), assign("spec.restartPolicy", "Never"), [f"spec.restartPolicy: {POD_ONLY}"]),
        (pod(), lambda new: new.spec.containers[0].command.append("x"), [f"spec.containers[0].command: {POD_ONLY}"]),
        (pod(), lambda new: new.spec.containers.add(name="b", image="i"),
         ["spec.containers: Forbidden: pod updates may not add or remove containers"]),
        (pod(schedulingGates=[{"name": "g"}]), lambda new: new.spec.ClearField("schedulingGates"), []),
        (pod(), lambda new: new.spec.schedulingGates.add(name="g"),
         ["spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gates"]),
    ],
)  # fmt: skip
def test_pods(old, change, expected):
    problems = said(old, change)
    assert len(problems) == len(expected), problems
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet"])
def test_a_selector_is_for_life(kind):
    old = workload(kind)

    def change(new):
        new.spec.selector.matchLabels["tier"] = "x"

    assert said(old, change) == [
        'spec.selector: Invalid value: {"matchLabels": {"app": "web", "tier": "x"}}: field is immutable'
    ]
    assert said(old, assign("spec.replicas", 7)) == []
    assert said(old, assign("spec.replicas", -7)) == [
        "spec.replicas: Invalid value: -7: must be greater than or equal to 0"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (assign("metadata.name", "other"), ['metadata.name: Invalid value: "other": field is immutable']),
        (assign("metadata.namespace", "other"), ['metadata.namespace: Invalid value: "other": field is immutable']),
        (assign("metadata.uid", "u2"), ['metadata.uid: Invalid value: "u2": field is immutable']),
        (assign("metadata.creationTimestamp.seconds", 5),
         ["metadata.creationTimestamp: Invalid value: 5: field is immutable"]),
        (lambda new: new.metadata.labels.update(a="b"), []),
        (lambda new: new.metadata.finalizers.append("a.b/c"), []),
    ],
)  # fmt: skip
def test_metadata(change, expected):
    assert said(pod(), change) == expected


def test_finalizers_of_what_is_going_may_only_go():
    old = pod()
    old.metadata.finalizers.extend(["a.b/c", "a.b/d"])
    old.metadata.deletionTimestamp.seconds = 5
    assert said(old, lambda new: new.metadata.finalizers.pop()) == []
    assert said(old, lambda new: new.metadata.finalizers.append("a.b/e")) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers "a.b/e"'
    ]


def test_services_keep_their_address():
    old = service(clusterIP="10.0.0.1")
    assert said(old, assign("spec.clusterIP", "10.0.0.2")) == [
        'spec.clusterIP: Invalid value: "10.0.0.2": field is immutable'
    ]
    assert said(service(), assign("spec.clusterIP", "10.0.0.2")) == []


def test_nodes_and_slices_keep_what_they_are():
    node = stored("Node", {"podCIDR": "10.0.0.0/24", "providerID": "x"})

    def change(new):
        new.spec.podCIDR = "10.0.1.0/24"
        new.spec.podCIDRs[0] = "10.0.1.0/24"
        new.spec.providerID = "y"

    assert said(node, change) == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid',
        'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid',
    ]
    assert said(node, assign("spec.unschedulable", True)) == []
    endpoints = stored("EndpointSlice", None, "discovery.k8s.io/v1", addressType="IPv4")
    assert said(endpoints, assign("addressType", "IPv6")) == [
        'addressType: Invalid value: "IPv6": field is immutable'
    ]


def terminated():
    old = pod(restartPolicy="Never")
    old.status.containerStatuses.add(name="app").state.terminated.exitCode = 0
    return old


def restarted(new):
    new.status.containerStatuses[0].state.running.SetInParent()
    new.status.containerStatuses[0].state.ClearField("terminated")


@pytest.mark.parametrize(
    ("old", "change", "expected"),
    [
        (pod(), assign("status.phase", "Running"), []),
        (pod(), assign("status.podIP", "127.77.0.10"), []),
        (pod(), assign("status.podIP", "here"),
         ['status.podIP: Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        (pod(), lambda new: new.status.containerStatuses.add(name="app").ports.add(containerPort=80, hostPort=70000),
         ["status.containerStatuses[0].ports[0].hostPort: Invalid value: 70000: must be between 1 and 65535, "
          "inclusive"]),
        (pod(), assign("status.phase", "Dancing"),
         ['status.phase: Unsupported value: "Dancing": supported values: "Pending", "Running", "Succeeded", "Failed", '
          '"Unknown"']),
        (pod(), lambda new: new.status.conditions.add(type="Ready", status="Maybe"),
         ['status.conditions[0].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown"']),
        (pod(), lambda new: new.status.conditions.extend([type(new.status.conditions.add())(type="A", status="True")]),
         ["status.conditions[0].type: Required value", "status.conditions[0].status: Required value: supported values: "
          '"True", "False", "Unknown"']),
        (terminated(), restarted,
         ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state: the pod's "
          "restartPolicy is Never"]),
        (workload("Deployment"), assign("status.readyReplicas", -1),
         ["status.readyReplicas: Invalid value: -1: must be greater than or equal to 0"]),
        (workload("ReplicaSet"), assign("status.readyReplicas", 1),
         ["status.readyReplicas: Invalid value: 1: cannot be greater than status.replicas"]),
        (stored("Node"), lambda new: new.status.capacity["cpu"].MergeFrom(type(new.status.capacity["cpu"])(string="x")),
         ['status.capacity[cpu]: Invalid value: "x": "x" is not a quantity: write a number with an optional suffix, '
          "such as 500m, 2, 1.5, 128Mi or 1G"]),
        (stored("Namespace"), assign("status.phase", "Terminating"),
         ["status.phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"]),
        (service(), lambda new: new.status.SetInParent(), []),
    ],
)  # fmt: skip
def test_status(old, change, expected):
    assert said(old, change, validate_status_update) == expected
