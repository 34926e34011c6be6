"""Defaults: Kubernetes' own values, stored, never over what was given, and the same when applied twice."""

import pytest

from orchestra.objects.codec import from_manifest, to_json
from orchestra.objects.defaults import set_defaults
from orchestra.objects.lifecycle import copy_of
from orchestra.objects.qos import qos_class

POD = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
       "terminationGracePeriodSeconds": 30, "enableServiceLinks": True, "securityContext": {}}  # fmt: skip
CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}


def of(kind, spec=None, api_version="v1", **top):
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, **top}
    if spec is not None:
        body["spec"] = spec
    obj, violations = from_manifest(body)
    assert violations == []
    return obj


def defaulted(obj):
    set_defaults(obj)
    once = copy_of(obj)
    set_defaults(obj)
    assert obj == once
    return to_json(obj, fill_required=False)


def pod_spec(**container):
    return defaulted(of("Pod", {"containers": [{"name": "a", **container}]}))["spec"]


def test_pod():
    assert pod_spec(command=["x"]) == {**POD, "containers": [{"name": "a", "command": ["x"], **CONTAINER}]}


def test_what_is_given_stays():
    given = {"restartPolicy": "Never", "dnsPolicy": "Default", "schedulerName": "mine", "enableServiceLinks": False,
             "terminationGracePeriodSeconds": 0, "securityContext": {"runAsUser": 5}}  # fmt: skip
    spec = defaulted(of("Pod", {**given, "containers": []}))["spec"]
    assert spec == given


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"), ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"), (None, None),
    ],
)  # fmt: skip
def test_image_pull_policy(image, policy):
    container = pod_spec(**({"image": image} if image else {}))["containers"][0]
    assert container.get("imagePullPolicy") == policy


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"ports": [{"containerPort": 80}]}, "ports", [{"containerPort": 80, "protocol": "TCP"}]),
        ({"readinessProbe": {"httpGet": {"port": 80}}}, "readinessProbe",
         {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
          "successThreshold": 1, "failureThreshold": 3}),
        ({"livenessProbe": {"exec": {"command": ["x"]}, "periodSeconds": 2}}, "livenessProbe",
         {"exec": {"command": ["x"]}, "timeoutSeconds": 1, "periodSeconds": 2, "successThreshold": 1,
          "failureThreshold": 3}),
        ({"lifecycle": {"preStop": {"httpGet": {"port": 80}}}}, "lifecycle",
         {"preStop": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}}),
        ({"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}}, "resources",
         {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}, "env",
         [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]),
    ],
)  # fmt: skip
def test_containers(given, field, expected):
    assert pod_spec(**given)["containers"][0][field] == expected


def test_init_containers_are_containers():
    spec = defaulted(of("Pod", {"containers": [], "initContainers": [{"name": "a"}]}))["spec"]
    assert spec["initContainers"] == [{"name": "a", **CONTAINER}]


def test_volumes():
    volumes = [
        {"name": "a"},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "hostPath": {"path": "/x"}},
    ]
    assert defaulted(of("Pod", {"containers": [], "volumes": volumes}))["spec"]["volumes"] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
        {"name": "c", "hostPath": {"path": "/x", "type": ""}},
    ]


def test_no_tolerations_are_added():
    assert "tolerations" not in pod_spec()


def test_a_pod_on_the_hosts_network_has_its_ports_there_but_a_template_does_not():
    spec = {"hostNetwork": True, "containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}
    pod = defaulted(of("Pod", spec))
    assert pod["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    keeper = defaulted(of("ReplicaSet", {"template": {"spec": spec}}, "apps/v1"))
    assert "hostPort" not in keeper["spec"]["template"]["spec"]["containers"][0]["ports"][0]


def test_deployment():
    spec = defaulted(of("Deployment", {"template": {"spec": {"containers": []}}}, "apps/v1"))["spec"]
    assert spec.pop("template")["spec"] == POD
    assert spec == {
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
    }  # fmt: skip


def test_deployment_keeps_zeroes_and_other_strategies():
    given = {
        "replicas": 0,
        "revisionHistoryLimit": 0,
        "progressDeadlineSeconds": 5,
        "strategy": {"type": "Recreate"},
    }
    spec = defaulted(of("Deployment", dict(given), "apps/v1"))["spec"]
    del spec["template"]
    assert spec == given
    rolling = {"strategy": {"rollingUpdate": {"maxSurge": 0}}}
    spec = defaulted(of("Deployment", rolling, "apps/v1"))["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "25%"}


def test_replication_controller_takes_its_labels_from_its_template():
    template = {"metadata": {"labels": {"app": "web"}}}
    body = defaulted(of("ReplicationController", {"template": template}))
    assert body["metadata"]["labels"] == {"app": "web"}
    assert body["spec"]["selector"] == {"app": "web"}
    assert body["spec"]["replicas"] == 1
    own = defaulted(of("ReplicationController", {"template": template, "selector": {"a": "b"}}))
    assert own["spec"]["selector"] == {"a": "b"}
    assert "template" not in defaulted(of("ReplicationController", {}))["spec"]


def test_replica_set():
    assert defaulted(of("ReplicaSet", {}, "apps/v1"))["spec"] == {"replicas": 1}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ports": [{"port": 80}]},
         {"type": "ClusterIP", "internalTrafficPolicy": "Cluster",
          "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
        ({"type": "NodePort", "ports": [{"port": 80, "targetPort": "http", "protocol": "UDP"}]},
         {"type": "NodePort", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
          "ports": [{"port": 80, "protocol": "UDP", "targetPort": "http"}]}),
        ({"type": "LoadBalancer"},
         {"type": "LoadBalancer", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
          "allocateLoadBalancerNodePorts": True}),
        ({"type": "ExternalName", "externalName": "a.b"}, {"type": "ExternalName", "externalName": "a.b"}),
    ],
)  # fmt: skip
def test_service(given, expected):
    assert defaulted(of("Service", given))["spec"] == {"sessionAffinity": "None", **expected}


def test_service_with_affinity():
    spec = defaulted(of("Service", {"sessionAffinity": "ClientIP"}))["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_the_others():
    assert defaulted(of("Namespace"))["metadata"]["labels"] == {"kubernetes.io/metadata.name": "web"}
    node = defaulted(of("Node", {"podCIDR": "10.0.0.0/24"}, status={"capacity": {"cpu": "4"}}))
    assert node["status"]["allocatable"] == {"cpu": "4"}
    assert node["spec"]["podCIDRs"] == ["10.0.0.0/24"]
    endpoints = of("EndpointSlice", None, "discovery.k8s.io/v1", addressType="IPv4", ports=[{"port": 80}])
    assert defaulted(endpoints)["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    event = of("Event", None, involvedObject={"name": "x"})
    before = copy_of(event)
    set_defaults(event)
    assert event == before


CPU, MEMORY = {"cpu": "1"}, {"memory": "1Gi"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"requests": CPU}], "Burstable"),
        ([{"limits": CPU}], "Burstable"),
        ([{"limits": {**CPU, **MEMORY}}], "Guaranteed"),
        ([{"limits": {**CPU, **MEMORY}, "requests": {"cpu": "1000m"}}], "Guaranteed"),
        ([{"limits": {**CPU, **MEMORY}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {**CPU, **MEMORY}}, {}], "Burstable"),
        ([{"requests": {"example.com/gpu": "1"}}], "BestEffort"),
    ],
)
def test_qos_class(resources, expected):
    containers = [{"name": f"c{i}", "resources": each} for i, each in enumerate(resources)]
    assert qos_class(of("Pod", {"containers": containers}).spec) == expected
