"""Every rule of a create: one change to a right object, and the very sentence that it gets."""

import copy

import pytest

from orchestra.objects.codec import from_manifest
from orchestra.objects.defaults import set_defaults
from orchestra.objects.validation import validate_create
from orchestra.objects.validation.findings import VIOLATIONS_MAX

LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
CONTAINER = {"name": "app", "command": ["sleep", "1"]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
META = {"name": "web", "namespace": "default"}
BASES = {
    "Pod": {"apiVersion": "v1", "metadata": META, "spec": {"containers": [CONTAINER]}},
    "ReplicationController": {"apiVersion": "v1", "metadata": META,
                              "spec": {"selector": {"app": "web"}, "template": TEMPLATE}},
    "ReplicaSet": {"apiVersion": "apps/v1", "metadata": META,
                   "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}},
    "Deployment": {"apiVersion": "apps/v1", "metadata": META,
                   "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}},
    "Service": {"apiVersion": "v1", "metadata": META, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
    "Namespace": {"apiVersion": "v1", "metadata": {"name": "shop"}},
    "Node": {"apiVersion": "v1", "metadata": {"name": "n1"}},
    "Event": {"apiVersion": "v1", "metadata": META,
              "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "default"}},
    "EndpointSlice": {"apiVersion": "discovery.k8s.io/v1", "metadata": META, "addressType": "IPv4",
                      "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"port": 80}]},
}  # fmt: skip
ABSENT = object()


def build(kind, changes):
    """The base of the kind with values put at paths (`spec/containers/0/name`)."""
    data = {"kind": kind, **copy.deepcopy(BASES[kind])}
    for path, value in changes.items():
        *way, last = [int(step) if step.isdecimal() else step for step in path.split("/")]
        place = data
        for step, following in zip(way, (*way[1:], last), strict=True) if way else ():
            if isinstance(step, int):
                place = place[step]
            else:
                place = place.setdefault(step, [{}] if isinstance(following, int) else {})
        if value is ABSENT:
            del place[last]
        elif isinstance(place, list):
            place[last:] = [value]
        else:
            place[last] = value
    obj, violations = from_manifest(data)
    assert violations == []
    set_defaults(obj)
    return obj


def said(kind, changes):
    return [str(violation) for violation in validate_create(build(kind, changes))]


def check(kind, path, value, expected):
    changes = path if isinstance(path, dict) else {path: value}
    problems = said(kind, changes)
    if expected is None:
        assert problems == []
    else:
        assert len(problems) == 1, problems
        assert problems[0].startswith(expected), problems[0]


@pytest.mark.parametrize("kind", BASES)
def test_what_is_right_is_right(kind):
    assert said(kind, {}) == []


@pytest.mark.parametrize(
    ("kind", "path", "value", "expected"),
    [
        ("Pod", "metadata/name", ABSENT, "metadata.name: Required value: name or generateName is required"),
        ("Pod", "metadata/name", "Web", 'metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must'),
        ("Pod", "metadata/name", "a" * 254, f'metadata.name: Invalid value: "{"a" * 127}…": must be no more than 253'),
        ("Pod", "metadata/name", "a.b", None),
        ("Pod", {"metadata/name": ABSENT, "metadata/generateName": "web-"}, None, None),
        ("Pod", "metadata/generateName", "Web-", 'metadata.generateName: Invalid value: "Web-": a lowercase RFC'),
        ("Service", "metadata/name", "1web", 'metadata.name: Invalid value: "1web": a DNS-1035 label must'),
        ("Service", "metadata/name", "a" * 64, f'metadata.name: Invalid value: "{"a" * 64}": must be no more than 63'),
        ("Namespace", "metadata/name", "a.b", 'metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must'),
        ("Namespace", "metadata/namespace", "x", "metadata.namespace: Forbidden: not allowed on this type"),
        ("Pod", "metadata/namespace", "X", 'metadata.namespace: Invalid value: "X": a lowercase RFC 1123 label must'),
        ("Pod", "metadata/namespace", ABSENT, "metadata.namespace: Required value"),
        ("Pod", "metadata/labels", {"app": "-x"}, f'metadata.labels[app]: Invalid value: "-x": {LABEL_VALUE}'),
        ("Pod", "metadata/labels", {"app": "x" * 64}, f'metadata.labels[app]: Invalid value: "{"x" * 64}": must be no'),
        ("Pod", "metadata/labels", {"a b": "x"}, 'metadata.labels[a b]: Invalid value: "a b": name part must consist'),
        ("Pod", "metadata/labels", {"/b": "x"}, 'metadata.labels[/b]: Invalid value: "/b": prefix part must be non'),
        ("Pod", "metadata/labels", {"a/b": ""}, None),
        ("Pod", "metadata/annotations", {"a b": "x"}, 'metadata.annotations[a b]: Invalid value: "a b": name part'),
        ("Pod", "metadata/annotations", {"a": "x" * 262144},
         "metadata.annotations: Too long: may not be more than 262144 bytes"),
        ("Pod", "metadata/annotations", {"a": "x" * 262143}, None),
        ("Pod", "metadata/finalizers", ["mine"], 'metadata.finalizers[0]: Invalid value: "mine": name is neither a'),
        ("Pod", "metadata/finalizers", ["a/b", "orphan"], None),
        ("Pod", "metadata/finalizers", ["foregroundDeletion", "orphan"],
         'metadata.finalizers: Invalid value: ["foregroundDeletion", "orphan"]: finalizers orphan and'),
        ("Pod", "metadata/ownerReferences", [{"apiVersion": "v1", "kind": "Pod", "name": "a"}],
         "metadata.ownerReferences[0].uid: Required value: must not be empty"),
        ("Pod", "metadata/ownerReferences",
         [{"apiVersion": "v1", "kind": "Pod", "name": n, "uid": n, "controller": True} for n in "ab"],
         'metadata.ownerReferences: Invalid value: ["a", "b"]: only one reference can have controller set to true'),
    ],
)  # fmt: skip
def test_metadata(kind, path, value, expected):
    check(kind, path, value, expected)


C = "spec/containers/0"
PC = "spec.containers[0]"
PROBE = f"{C}/readinessProbe"
NEEDS_COMMAND = (
    "a container without an image runs its command from the node's own file system: set command (or image)"
)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec/containers", [], "spec.containers: Required value: a pod needs at least one container"),
        ("spec/containers/1", CONTAINER, 'spec.containers[1].name: Duplicate value: "app"'),
        ("spec/initContainers", [CONTAINER], 'spec.containers[0].name: Duplicate value: "app"'),
        (f"{C}/name", "", f"{PC}.name: Required value"),
        (f"{C}/name", "a.b", f'{PC}.name: Invalid value: "a.b": a lowercase RFC 1123 label'),
        (f"{C}/command", [], f"{PC}.command: Required value: {NEEDS_COMMAND}"),
        (f"{C}/command", [""], f'{PC}.command[0]: Invalid value: "": must name a program'),
        ({f"{C}/command": [], f"{C}/image": "nginx"}, None, None),
        (f"{C}/image", "nginx ", f'{PC}.image: Invalid value: "nginx ": must not have leading or trailing whitespace'),
        (f"{C}/imagePullPolicy", "Often",
         f'{PC}.imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"'),
        (f"{C}/ports", [{"containerPort": 0}], f"{PC}.ports[0].containerPort: Required value"),
        (f"{C}/ports", [{"containerPort": 65536}],
         f"{PC}.ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive"),
        (f"{C}/ports", [{"containerPort": 1, "hostPort": -1}], f"{PC}.ports[0].hostPort: Invalid value: -1: must be"),
        (f"{C}/ports", [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}],
         f'{PC}.ports[1].name: Duplicate value: "a"'),
        (f"{C}/ports", [{"containerPort": 1, "name": "a" * 16}], f'{PC}.ports[0].name: Invalid value: "{"a" * 16}": must'),
        (f"{C}/ports", [{"containerPort": 1, "protocol": "ICMP"}],
         f'{PC}.ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"'),
        (f"{C}/ports", [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}],
         f"{PC}.ports[1].hostPort: Duplicate value: 9"),
        (f"{C}/env", [{"name": ""}], f"{PC}.env[0].name: Required value"),
        (f"{C}/env", [{"name": "a=b"}], f'{PC}.env[0].name: Invalid value: "a=b": a valid environment variable name'),
        (f"{C}/env", [{"name": "a", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
         f'{PC}.env[0].valueFrom: Invalid value: ["fieldRef"]: may not be specified when `value` is not empty'),
        (f"{C}/env", [{"name": "a", "valueFrom": {}}], f'{PC}.env[0].valueFrom: Invalid value: "": must specify one of'),
        (f"{C}/env", [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": ""}}}],
         f"{PC}.env[0].valueFrom.fieldRef.fieldPath: Required value"),
        (f"{C}/envFrom", [{}], f'{PC}.envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or'),
        (f"{C}/volumeMounts", [{"name": "d", "mountPath": "/d"}], f'{PC}.volumeMounts[0].name: Not found: "d"'),
        ({"spec/volumes": [{"name": "d"}], f"{C}/volumeMounts": [{"name": "d", "mountPath": ""}]}, None,
         f"{PC}.volumeMounts[0].mountPath: Required value"),
        ({"spec/volumes": [{"name": "d"}], f"{C}/volumeMounts": [{"name": "d", "mountPath": "/d"}] * 2}, None,
         f'{PC}.volumeMounts[1].mountPath: Invalid value: "/d": must be unique'),
        ({"spec/volumes": [{"name": "d"}], f"{C}/volumeMounts": [{"name": "d", "mountPath": "/d", "subPath": "../x"}]},
         None, f"{PC}.volumeMounts[0].subPath: Invalid value: \"../x\": must not contain '..'"),
        (f"{C}/resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
         f'{PC}.resources.requests[cpu]: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        (f"{C}/resources", {"requests": {"cpu": "1"}, "limits": {"cpu": "1000m"}}, None),
        (f"{C}/resources", {"requests": {"cpu": "-1"}},
         f'{PC}.resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0'),
        (f"{C}/resources", {"requests": {"gpu": "1"}}, f'{PC}.resources.requests[gpu]: Invalid value: "gpu": must be cpu'),
        (f"{C}/resources", {"requests": {"a.b/gpu": "500m"}},
         f'{PC}.resources.requests[a.b/gpu]: Invalid value: "500m": must be an integer'),
        (PROBE, {}, f"{PC}.readinessProbe: Required value: must specify a handler type"),
        (PROBE, {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}},
         f"{PC}.readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type (exec is there)"),
        (PROBE, {"exec": {}}, f"{PC}.readinessProbe.exec.command: Required value"),
        (PROBE, {"httpGet": {"port": 0}}, f"{PC}.readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and"),
        (PROBE, {"httpGet": {"port": "http"}}, None),
        (PROBE, {"httpGet": {"port": "a_b"}}, f'{PC}.readinessProbe.httpGet.port: Invalid value: "a_b": must contain'),
        (PROBE, {"httpGet": {"port": 1, "scheme": "FTP"}},
         f'{PC}.readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"'),
        (PROBE, {"tcpSocket": {"port": 1}, "periodSeconds": -1},
         f"{PC}.readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"),
        (f"{C}/livenessProbe", {"tcpSocket": {"port": 1}, "successThreshold": 2},
         f"{PC}.livenessProbe.successThreshold: Invalid value: 2: must be 1"),
        (PROBE, {"tcpSocket": {"port": 1}, "successThreshold": 2}, None),
        (PROBE, {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 2},
         f"{PC}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 2: must not be set for readinessProbes"),
        (f"{C}/lifecycle", {"preStop": {}}, f"{PC}.lifecycle.preStop: Required value: must specify a handler type"),
        (f"{C}/lifecycle", {"preStop": {"sleep": {"seconds": 1}}}, None),
        ("spec/initContainers", [{"name": "i", "image": "x", "readinessProbe": {"tcpSocket": {"port": 1}}}],
         "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers"),
        ("spec/initContainers",
         [{"name": "i", "image": "x", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}}], None),
        ("spec/volumes", [{"name": "a"}, {"name": "a"}], 'spec.volumes[1].name: Duplicate value: "a"'),
        ("spec/volumes", [{"name": "A"}], 'spec.volumes[0].name: Invalid value: "A": a lowercase RFC 1123 label'),
        ("spec/volumes", [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}],
         "spec.volumes[0].emptyDir: Forbidden: may not specify more than 1 volume type (hostPath is there)"),
        ("spec/volumes", [{"name": "a", "hostPath": {"path": ""}}], "spec.volumes[0].hostPath.path: Required value"),
        ("spec/volumes", [{"name": "a", "hostPath": {"path": "/x/../y"}}],
         "spec.volumes[0].hostPath.path: Invalid value: \"/x/../y\": must not contain '..'"),
        ("spec/volumes", [{"name": "a", "emptyDir": {"sizeLimit": "-1"}}],
         'spec.volumes[0].emptyDir.sizeLimit: Invalid value: "-1": must be greater than or equal to 0'),
        ("spec/volumes", [{"name": "a", "configMap": {}}], "spec.volumes[0].configMap.name: Required value"),
        ("spec/restartPolicy", "Maybe",
         'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"'),
        ("spec/terminationGracePeriodSeconds", -1,
         "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"),
        ("spec/activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and"),
        ("spec/nodeSelector", {"a": "-"}, 'spec.nodeSelector[a]: Invalid value: "-": a valid label'),
        ("spec/nodeName", "N_1", 'spec.nodeName: Invalid value: "N_1": a lowercase RFC 1123 subdomain'),
        ("spec/hostname", "a.b", 'spec.hostname: Invalid value: "a.b": a lowercase RFC 1123 label'),
        ("spec/tolerations", [{"operator": "Equal"}],
         'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty'),
        ("spec/tolerations", [{"operator": "Exists"}], None),
        ("spec/tolerations", [{"key": "a", "operator": "Has"}],
         'spec.tolerations[0].operator: Unsupported value: "Has": supported values: "Equal", "Exists"'),
        ("spec/tolerations", [{"key": "a", "operator": "Exists", "value": "x"}],
         "spec.tolerations[0].value: Invalid value: \"x\": value must be empty when `operator` is 'Exists'"),
        ("spec/tolerations", [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3}],
         "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when"),
        ("spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": []},
         "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value"),
        ("spec/topologySpreadConstraints", [{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway"}],
         "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
        ("spec/readinessGates", [{"conditionType": "a b"}], "spec.readinessGates[0].conditionType: Invalid value"),
    ],
)  # fmt: skip
def test_pods(path, value, expected):
    check("Pod", path, value, expected)


MISMATCH = '{"app": "wob"}: `selector` does not match template `labels`'
TEMPLATE_APP = "spec/template/metadata/labels/app"
ROLLING = "spec/strategy/rollingUpdate"
PERCENT = "a valid percent string must be a whole number followed by '%' (e.g. '25%')"


@pytest.mark.parametrize(
    ("kind", "path", "value", "expected"),
    [
        *[(kind, "spec/replicas", -1, "spec.replicas: Invalid value: -1: must be greater than or equal to 0")
          for kind in ("Deployment", "ReplicaSet", "ReplicationController")],
        *[(kind, TEMPLATE_APP, "wob", f"spec.template.metadata.labels: Invalid value: {MISMATCH}")
          for kind in ("Deployment", "ReplicaSet", "ReplicationController")],
        *[(kind, "spec/minReadySeconds", -1, "spec.minReadySeconds: Invalid value: -1: must be greater than or equal")
          for kind in ("Deployment", "ReplicaSet", "ReplicationController")],
        *[(kind, "spec/template/spec/restartPolicy", "Never",
           'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"')
          for kind in ("Deployment", "ReplicaSet", "ReplicationController")],
        ("Deployment", "spec/selector", {}, "spec.selector: Required value: say with matchLabels which pods it keeps"),
        ("Deployment", "spec/selector", ABSENT, "spec.selector: Required value"),
        ("ReplicaSet", "spec/template", ABSENT, "spec.template: Required value"),
        ("ReplicationController", {"spec/selector": ABSENT, TEMPLATE_APP: ABSENT}, None, "spec.selector: Required value"),
        ("Deployment", "spec/selector/matchLabels/app", "-", 'spec.selector.matchLabels[app]: Invalid value: "-": a valid'),
        ("Deployment", "spec/selector/matchExpressions", [{"key": "app", "operator": "Is"}],
         'spec.selector.matchExpressions[0].operator: Unsupported value: "Is": supported values: "In", "NotIn"'),
        ("Deployment", "spec/selector/matchExpressions", [{"key": "app", "operator": "In"}],
         "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In'"),
        ("Deployment", "spec/selector/matchExpressions", [{"key": "app", "operator": "Exists", "values": ["x"]}],
         "spec.selector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists'"),
        ("Deployment", "spec/selector/matchExpressions", [{"key": "app", "operator": "NotIn", "values": ["web"]}],
         'spec.template.metadata.labels: Invalid value: {"app": "web"}: `selector` does not match'),
        ("Deployment", "spec/template/spec/containers/0/name", "A_b",
         'spec.template.spec.containers[0].name: Invalid value: "A_b": a lowercase RFC 1123 label'),
        ("Deployment", "spec/template/metadata/annotations", {"a b": ""},
         "spec.template.metadata.annotations[a b]: Invalid value"),
        ("Deployment", "spec/template/spec/activeDeadlineSeconds", 5,
         "spec.template.spec.activeDeadlineSeconds: Forbidden: not allowed"),
        ("Deployment", "spec/revisionHistoryLimit", -1, "spec.revisionHistoryLimit: Invalid value: -1: must be greater"),
        ("Deployment", {"spec/progressDeadlineSeconds": 5, "spec/minReadySeconds": 5}, None,
         "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"),
        ("Deployment", "spec/strategy/type", "Rolling",
         'spec.strategy.type: Unsupported value: "Rolling": supported values: "Recreate", "RollingUpdate"'),
        ("Deployment", "spec/strategy", {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
         "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
        ("Deployment", ROLLING, {"maxSurge": 0, "maxUnavailable": 0},
         "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
        ("Deployment", ROLLING, {"maxSurge": 0, "maxUnavailable": "0%"},
         'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0'),
        ("Deployment", ROLLING, {"maxSurge": 0, "maxUnavailable": 1}, None),
        ("Deployment", ROLLING, {"maxSurge": "a lot"},
         f'spec.strategy.rollingUpdate.maxSurge: Invalid value: "a lot": {PERCENT}'),
        ("Deployment", ROLLING, {"maxUnavailable": "101%"},
         'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%'),
        ("Deployment", ROLLING, {"maxSurge": "200%"}, None),
        ("Deployment", ROLLING, {"maxSurge": -1}, "spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: must be"),
    ],
)  # fmt: skip
def test_workloads(kind, path, value, expected):
    check(kind, path, value, expected)


PORT = "spec.ports[0]"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec/ports", [], "spec.ports: Required value: a service needs at least one port"),
        ({"spec/ports": [], "spec/clusterIP": "None"}, None, None),
        ({"spec/ports": [], "spec/type": "ExternalName", "spec/externalName": "example.com"}, None, None),
        ({"spec/type": "ExternalName"}, None, "spec.externalName: Required value"),
        ({"spec/type": "ExternalName", "spec/externalName": "a.b", "spec/clusterIP": "1.2.3.4"}, None,
         "spec.clusterIP: Forbidden: may not be set when `type` is 'ExternalName'"),
        ("spec/type", "NodePrt",
         'spec.type: Unsupported value: "NodePrt": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
         '"NodePort"'),
        ("spec/ports", [{"port": 80, "name": "a"}, {"port": 81}], "spec.ports[1].name: Required value: every port of"),
        ("spec/ports", [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}],
         'spec.ports[1].name: Duplicate value: "a"'),
        ("spec/ports", [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}],
         'spec.ports[1]: Duplicate value: "80/TCP"'),
        ("spec/ports", [{"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "UDP"}], None),
        ("spec/ports", [{"port": 70000, "targetPort": 1}], f"{PORT}.port: Invalid value: 70000: must be between 1 and"),
        ("spec/ports/0/targetPort", "a_b", f'{PORT}.targetPort: Invalid value: "a_b": must contain only alpha'),
        ("spec/ports/0/targetPort", -1, f"{PORT}.targetPort: Invalid value: -1: must be between 1 and 65535"),
        ("spec/ports/0/protocol", "tcp", f'{PORT}.protocol: Unsupported value: "tcp": supported values: "TCP"'),
        ("spec/ports/0/nodePort", 30000, f"{PORT}.nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ({"spec/type": "NodePort", "spec/ports/0/nodePort": 30000}, None, None),
        ({"spec/type": "NodePort", "spec/ports/0/nodePort": 80}, None,
         f"{PORT}.nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is "
         "30000-32767"),
        ({"spec/type": "NodePort", "spec/ports": [{"port": 1, "name": "a", "nodePort": 30001},
                                                 {"port": 2, "name": "b", "nodePort": 30001}]}, None,
         "spec.ports[1].nodePort: Duplicate value: 30001"),
        ({"spec/type": "NodePort", "spec/clusterIP": "None"}, None,
         "spec.clusterIP: Invalid value: \"None\": may not be set to 'None' for NodePort services"),
        ("spec/clusterIP", "1.2.3", 'spec.clusterIP: Invalid value: "1.2.3": must be a valid IP address'),
        ("spec/selector/app", "-", 'spec.selector[app]: Invalid value: "-": a valid label'),
        ("spec/sessionAffinity", "Yes",
         'spec.sessionAffinity: Unsupported value: "Yes": supported values: "ClientIP", "None"'),
        ({"spec/sessionAffinity": "ClientIP", "spec/sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}, None,
         "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be between 1 and 86400"),
        ("spec/internalTrafficPolicy", "Far",
         'spec.internalTrafficPolicy: Unsupported value: "Far": supported values: "Cluster", "Local"'),
        ("spec/externalTrafficPolicy", "Local",
         'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'),
        ("spec/externalIPs", ["x"], 'spec.externalIPs[0]: Invalid value: "x": must be a valid IP address'),
    ],
)  # fmt: skip
def test_services(path, value, expected):
    check("Service", path, value, expected)


@pytest.mark.parametrize(
    ("kind", "path", "value", "expected"),
    [
        ("Node", "spec/taints", [{"key": "a", "effect": "Go"}],
         'spec.taints[0].effect: Unsupported value: "Go": supported values: "NoSchedule", "PreferNoSchedule", '
         '"NoExecute"'),
        ("Node", "spec/taints", [{"key": "", "effect": "NoExecute"}], "spec.taints[0].key: Required value"),
        ("Node", "spec/taints", [{"key": "a", "effect": ""}], "spec.taints[0].effect: Required value: supported values"),
        ("Node", "spec/taints", [{"key": "a", "effect": "NoExecute"}] * 2,
         'spec.taints[1]: Duplicate value: "a:NoExecute"'),
        ("Node", "spec/podCIDR", "10.0.0.0", 'spec.podCIDRs[0]: Invalid value: "10.0.0.0": must be a valid CIDR'),
        ("Node", "spec/podCIDR", "10.0.0.0/24", None),
        ("Node", {"spec/podCIDR": "10.0.0.0/24", "spec/podCIDRs": ["10.0.1.0/24"]}, None,
         'spec.podCIDRs[0]: Invalid value: "10.0.1.0/24": must be the same as spec.podCIDR'),
        ("Node", "status", {"capacity": {"cpu": "-4"}, "allocatable": {"cpu": "4"}},
         'status.capacity[cpu]: Invalid value: "-4": must be greater than or equal to 0'),
        ("Node", "status/addresses", [{"type": "InternalIP", "address": ""}],
         "status.addresses[0].address: Required value"),
        ("Namespace", "spec/finalizers", ["mine"], 'spec.finalizers[0]: Invalid value: "mine": name is neither'),
        ("Event", "involvedObject/namespace", "shop",
         'involvedObject.namespace: Invalid value: "shop": does not match event.namespace'),
        ("Event", "involvedObject", {"apiVersion": "v1", "kind": "Node", "name": "n1"}, None),
        ("Event", {"involvedObject": {"apiVersion": "v1", "kind": "Node", "name": "n1"}, "metadata/namespace": "shop"},
         None, 'involvedObject.namespace: Invalid value: "": does not match event.namespace: what has no namespace'),
        ("Event", "type", "Bad", 'type: Unsupported value: "Bad": supported values: "Normal", "Warning"'),
        ("EndpointSlice", "addressType", "IPv5",
         'addressType: Unsupported value: "IPv5": supported values: "IPv4", "IPv6", "FQDN"'),
        ("EndpointSlice", "addressType", "IPv6",
         'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": must be a valid IPv6 address'),
        ("EndpointSlice", "endpoints", [{"addresses": []}],
         "endpoints[0].addresses: Required value: must contain at least 1 address"),
        ("EndpointSlice", "endpoints", [{"addresses": ["1.1.1.1"]}] * 1001,
         "endpoints: Too many: 1001: must have at most 1000 items"),
        ("EndpointSlice", "endpoints", [{"addresses": ["1.1.1.1"]}] * 1000, None),
        ("EndpointSlice", "ports", [{"name": f"p{i}", "port": 1} for i in range(101)],
         "ports: Too many: 101: must have at most 100 items"),
        ("EndpointSlice", "ports", [{"port": 1}, {"port": 2}], 'ports[1].name: Duplicate value: ""'),
        ("EndpointSlice", "ports", [{"port": 0}], "ports[0].port: Invalid value: 0: must be between 1 and 65535"),
    ],
)  # fmt: skip
def test_the_other_kinds(kind, path, value, expected):
    check(kind, path, value, expected)


def test_violations_are_bounded():
    ports = [{"port": 80, "name": f"p{number}"} for number in range(VIOLATIONS_MAX + 10)]
    assert len(said("Service", {"spec/ports": ports})) == VIOLATIONS_MAX


def test_every_violation_is_found_at_once():
    problems = said("Deployment", {"spec/replicas": -1, TEMPLATE_APP: "wob", "metadata/name": "Web"})
    assert [problem.split(":")[0] for problem in problems] == [
        "metadata.name", "spec.template.metadata.labels", "spec.replicas",
    ]  # fmt: skip
