"""Tables against golden texts: objects and a time in, kubectl's columns out."""

from typing import Any

import pytest

from orchestra.cli.printing import pods
from orchestra.cli.printing.tables import TABLES, TableOptions, TablePrinter, plain_table
from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    KINDS,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    Kind,
)
from tests.unit.cli.written import NOW_NS, ago, golden, obj


def table(kind: Kind, objects: list[Any], **options: Any) -> str:
    return TablePrinter(kind, TableOptions(**options)).text(objects, NOW_NS)


def pod(status: str, *, spec: str = "{containers: [{name: a}]}", metadata: str = "") -> Any:
    return obj(f"""
        apiVersion: v1
        kind: Pod
        metadata: {{name: web, namespace: default, creationTimestamp: {ago(90)}{metadata}}}
        spec: {spec}
        status: {status}
    """)


TWO = "{containers: [{name: a}, {name: b}]}"
INIT = "{containers: [{name: a}], initContainers: [{name: i}, {name: j}]}"
RUNNING = "state: {running: {}}, ready: true, restartCount: 0, image: '', imageID: ''"
NOT_READY = "state: {running: {}}, ready: false, restartCount: 0, image: '', imageID: ''"


def waiting(reason: str, restarts: int = 0) -> str:
    return f"state: {{waiting: {{reason: {reason}}}}}, ready: false, restartCount: {restarts}, image: '', imageID: ''"


def ended(inner: str, restarts: int = 0) -> str:
    return (
        f"state: {{terminated: {{{inner}}}}}, ready: false, restartCount: {restarts}, image: '', imageID: ''"
    )


@pytest.mark.parametrize(
    ("status", "spec", "metadata", "ready", "said", "restarts"),
    [
        ("{phase: Pending}", "", "", "0/1", "Pending", "0"),
        ("{phase: Failed, reason: Evicted}", "", "", "0/1", "Evicted", "0"),
        (f"{{phase: Running, containerStatuses: [{{name: a, {RUNNING}}}]}}", "", "", "1/1", "Running", "0"),
        (f"{{phase: Running, containerStatuses: [{{name: a, {NOT_READY}}}]}}", "", "", "0/1", "Running", "0"),
        (
            f"{{phase: Pending, containerStatuses: [{{name: a, {waiting('ContainerCreating')}}}]}}",
            "", "", "0/1", "ContainerCreating", "0",
        ),
        (
            f"{{phase: Running, containerStatuses: [{{name: a, {waiting('CrashLoopBackOff', 3)}, "
            f"lastState: {{terminated: {{exitCode: 1, finishedAt: {ago(30)}}}}}}}]}}",
            "", "", "0/1", "CrashLoopBackOff", "3 (30s ago)",
        ),
        (
            f"{{phase: Succeeded, containerStatuses: [{{name: a, {ended('exitCode: 0, reason: Completed')}}}]}}",
            "", "", "0/1", "Completed", "0",
        ),
        (f"{{phase: Failed, containerStatuses: [{{name: a, {ended('exitCode: 3')}}}]}}", "", "", "0/1",
         "ExitCode:3", "0"),
        (
            f"{{phase: Failed, containerStatuses: [{{name: a, {ended('exitCode: 137, signal: 9')}}}]}}",
            "", "", "0/1", "Signal:9", "0",
        ),
        (
            f"{{phase: Running, conditions: [{{type: Ready, status: 'True'}}], containerStatuses: "
            f"[{{name: a, {ended('exitCode: 0, reason: Completed')}}}, {{name: b, {RUNNING}}}]}}",
            TWO, "", "1/2", "Running", "0",
        ),
        (
            f"{{phase: Running, containerStatuses: "
            f"[{{name: a, {ended('exitCode: 0, reason: Completed')}}}, {{name: b, {RUNNING}}}]}}",
            TWO, "", "1/2", "NotReady", "0",
        ),
        (f"{{phase: Pending, initContainerStatuses: [{{name: i, {NOT_READY}}}]}}", INIT, "", "0/1", "Init:0/2", "0"),
        (
            f"{{phase: Pending, initContainerStatuses: [{{name: i, {ended('exitCode: 0')}}}, "
            f"{{name: j, {NOT_READY}}}]}}",
            INIT, "", "0/1", "Init:1/2", "0",
        ),
        (
            f"{{phase: Pending, initContainerStatuses: [{{name: i, {ended('exitCode: 2', 4)}}}]}}",
            INIT, "", "0/1", "Init:ExitCode:2", "4",
        ),
        (
            f"{{phase: Pending, initContainerStatuses: [{{name: i, {waiting('CrashLoopBackOff', 1)}}}]}}",
            INIT, "", "0/1", "Init:CrashLoopBackOff", "1",
        ),
        (
            f"{{phase: Running, initContainerStatuses: [{{name: i, started: true, {RUNNING}}}], "
            f"containerStatuses: [{{name: a, {RUNNING}}}]}}",
            "{containers: [{name: a}], initContainers: [{name: i, restartPolicy: Always}]}",
            "", "2/2", "Running", "0",
        ),
        ("{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}",
         "", "", "0/1", "SchedulingGated", "0"),
        (
            f"{{phase: Running, containerStatuses: [{{name: a, {RUNNING}}}]}}",
            "", f", deletionTimestamp: {ago(1)}", "1/1", "Terminating", "0",
        ),
        ("{phase: Running, reason: NodeLost}", "", f", deletionTimestamp: {ago(1)}", "0/1", "Unknown", "0"),
        ("{phase: Succeeded}", "", f", deletionTimestamp: {ago(1)}", "0/1", "Succeeded", "0"),
    ],
)  # fmt: skip
def test_the_status_of_a_pod(
    status: str, spec: str, metadata: str, ready: str, said: str, restarts: str
) -> None:
    made = pod(status, spec=spec or "{containers: [{name: a}]}", metadata=metadata)
    assert pods.row(made, NOW_NS)[1:4] == [ready, said, restarts]


def test_pods_wide() -> None:
    made = pod(
        f"{{phase: Running, podIP: 127.77.1.11, podIPs: [{{ip: 127.77.1.11}}], conditions: "
        f"[{{type: ok, status: 'True'}}], containerStatuses: [{{name: a, {RUNNING}}}]}}",
        spec="{containers: [{name: a}], nodeName: n1, readinessGates: [{conditionType: ok}, {conditionType: other}]}",
        metadata=", labels: {app: web, tier: front}",
    )
    assert table(POD, [made]) == golden("""
        NAME   READY   STATUS    RESTARTS   AGE
        web    1/1     Running   0          90s
    """)
    assert table(POD, [made], wide=True) == golden("""
        NAME   READY   STATUS    RESTARTS   AGE   IP            NODE   NOMINATED NODE   READINESS GATES
        web    1/1     Running   0          90s   127.77.1.11   n1     <none>           1/2
    """)
    assert table(POD, [made], with_namespace=True, with_kind=True) == golden("""
        NAMESPACE   NAME      READY   STATUS    RESTARTS   AGE
        default     pod/web   1/1     Running   0          90s
    """)
    assert table(POD, [made], show_labels=True, label_columns=("tier", "x/none")) == golden("""
        NAME   READY   STATUS    RESTARTS   AGE   TIER    NONE   LABELS
        web    1/1     Running   0          90s   front          app=web,tier=front
    """)
    assert table(POD, [made], headers=False) == "web   1/1   Running   0     90s\n"


TEMPLATE = (
    "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: x:1}, {name: b}]}}"
)
META = f"metadata: {{name: web, namespace: default, creationTimestamp: {ago(3600 * 5)}}}"


def test_workloads() -> None:
    deployment = obj(f"""
        apiVersion: apps/v1
        kind: Deployment
        {META}
        spec: {{replicas: 3, selector: {{matchLabels: {{app: web}}}}, {TEMPLATE}}}
        status: {{readyReplicas: 2, updatedReplicas: 3, availableReplicas: 1}}
    """)
    assert table(DEPLOYMENT, [deployment], wide=True) == golden("""
        NAME   READY   UP-TO-DATE   AVAILABLE   AGE   CONTAINERS   IMAGES   SELECTOR
        web    2/3     3            1           5h    a,b          x:1      app=web
    """)
    replica_set = obj(f"""
        apiVersion: apps/v1
        kind: ReplicaSet
        {META}
        spec:
          replicas: 3
          selector:
            matchLabels: {{b: c, app: web}}
            matchExpressions: [{{key: t, operator: In, values: [y, x]}}, {{key: z, operator: DoesNotExist}}]
          {TEMPLATE}
        status: {{replicas: 2, readyReplicas: 1}}
    """)
    assert table(REPLICA_SET, [replica_set], wide=True) == golden("""
        NAME   DESIRED   CURRENT   READY   AGE   CONTAINERS   IMAGES   SELECTOR
        web    3         2         1       5h    a,b          x:1      app=web,b=c,t in (x,y),!z
    """)
    controller = obj(f"""
        apiVersion: v1
        kind: ReplicationController
        {META}
        spec: {{replicas: 1, selector: {{app: web}}, {TEMPLATE}}}
        status: {{replicas: 1, readyReplicas: 1}}
    """)
    assert table(REPLICATION_CONTROLLER, [controller], wide=True) == golden("""
        NAME   DESIRED   CURRENT   READY   AGE   CONTAINERS   IMAGES   SELECTOR
        web    1         1         1       5h    a,b          x:1      app=web
    """)


def service(spec: str, status: str = "{}") -> Any:
    return obj(f"""
        apiVersion: v1
        kind: Service
        {META}
        spec: {spec}
        status: {status}
    """)


def test_services() -> None:
    ports = "ports: [{port: 80, protocol: TCP, nodePort: 30080}, {port: 53, protocol: UDP}]"
    found = [
        service(f"{{type: NodePort, selector: {{app: web}}, {ports}}}"),
        service("{clusterIP: 10.0.0.1, ports: [{port: 80}]}"),
        service("{type: LoadBalancer, clusterIP: 10.0.0.2}"),
        service("{type: LoadBalancer}", "{loadBalancer: {ingress: [{ip: 1.2.3.4}, {hostname: x.y}]}}"),
        service("{type: ExternalName, externalName: x.example}"),
        service("{type: ClusterIP, clusterIP: None, externalIPs: [9.9.9.9]}"),
    ]
    assert table(SERVICE, found, wide=True) == golden("""
        NAME   TYPE           CLUSTER-IP   EXTERNAL-IP   PORT(S)               AGE   SELECTOR
        web    NodePort       <none>       <none>        80:30080/TCP,53/UDP   5h    app=web
        web    ClusterIP      10.0.0.1     <none>        80/TCP                5h    <none>
        web    LoadBalancer   10.0.0.2     <pending>     <none>                5h    <none>
        web    LoadBalancer   <none>       1.2.3.4,x.y   <none>                5h    <none>
        web    ExternalName   <none>       x.example     <none>                5h    <none>
        web    ClusterIP      None         9.9.9.9       <none>                5h    <none>
    """)


def test_endpoint_slices() -> None:
    one = obj(f"""
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        {META}
        addressType: IPv4
        ports: [{{port: 1}}, {{port: 2}}]
        endpoints: [{{addresses: [a, b]}}, {{addresses: [c]}}, {{addresses: [d, e]}}]
    """)
    none = obj(f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{META}\naddressType: IPv4\n")
    assert table(ENDPOINT_SLICE, [one, none]) == golden("""
        NAME   ADDRESSTYPE   PORTS     ENDPOINTS           AGE
        web    IPv4          1,2       a,b,c + 2 more...   5h
        web    IPv4          <unset>   <unset>             5h
    """)


def node(spec: str, ready: str, labels: str = "{}") -> Any:
    return obj(f"""
        apiVersion: v1
        kind: Node
        metadata: {{name: n1, creationTimestamp: {ago(200)}, labels: {labels}}}
        spec: {spec}
        status:
          conditions: [{ready}]
          addresses: [{{type: InternalIP, address: 127.77.1.11}}]
          nodeInfo: {{kubeletVersion: v0.1.0, osImage: Debian, kernelVersion: '6.1', containerRuntimeVersion: host://1}}
    """)


def test_nodes() -> None:
    roles = "{node-role.kubernetes.io/edge: '', kubernetes.io/role: db}"
    found = [
        node("{}", "{type: Ready, status: 'True'}"),
        node("{unschedulable: true}", "{type: Ready, status: 'False'}", roles),
        node("{}", "{type: Ready, status: Unknown}"),
        node("{}", "{type: DiskPressure, status: 'False'}"),
    ]
    assert table(NODE, found) == golden("""
        NAME   STATUS                        ROLES     AGE     VERSION
        n1     Ready                         <none>    3m20s   v0.1.0
        n1     NotReady,SchedulingDisabled   db,edge   3m20s   v0.1.0
        n1     NotReady                      <none>    3m20s   v0.1.0
        n1     Unknown                       <none>    3m20s   v0.1.0
    """)
    wide = table(NODE, found[:1], wide=True).splitlines()
    assert wide[1].split()[5:] == ["127.77.1.11", "<none>", "Debian", "6.1", "host://1"]


def test_namespaces() -> None:
    made = obj(f"""
        apiVersion: v1
        kind: Namespace
        metadata: {{name: shop, creationTimestamp: {ago(5)}}}
        status: {{phase: Terminating}}
    """)
    assert table(NAMESPACE, [made]) == "NAME   STATUS        AGE\nshop   Terminating   5s\n"


def test_events() -> None:
    made = obj(f"""
        apiVersion: v1
        kind: Event
        metadata: {{name: web.1, namespace: default}}
        involvedObject: {{kind: Pod, name: web, fieldPath: 'spec.containers{{a}}'}}
        type: Warning
        reason: BackOff
        message: "restarting\\nagain"
        source: {{component: agent, host: n1}}
        firstTimestamp: {ago(300)}
        lastTimestamp: {ago(10)}
        count: 4
    """)
    assert table(EVENT, [made], wide=True) == golden("""
        LAST SEEN   TYPE      REASON    OBJECT    MESSAGE         SUBOBJECT            SOURCE      FIRST SEEN   COUNT   NAME
        10s         Warning   BackOff   pod/web   restarting...   spec.containers{a}   agent, n1   5m           4       web.1
    """)


def test_every_kind_has_a_table_whose_rows_fit() -> None:
    for kind in KINDS:
        made = TABLES[kind]
        assert len(made.row(kind.new(), NOW_NS)) == len(made.columns) + len(made.wide), kind.kind


def test_a_watch_keeps_its_columns() -> None:
    printer = TablePrinter(POD, TableOptions())
    long, short = pod("{phase: Running}"), pod("{phase: Running}")
    long.metadata.name = "a-much-longer-name"
    first, second = printer.text([long], NOW_NS), printer.text([short], NOW_NS)
    assert first.splitlines()[0].index("READY") == second.index("0/1")
    assert "NAME" not in second


def test_a_watch_may_say_what_happened() -> None:
    printer = TablePrinter(NAMESPACE, TableOptions())
    made = obj("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nstatus: {phase: Active}\n")
    assert printer.text([made], NOW_NS, first=("ADDED",)) == golden("""
        EVENT   NAME   STATUS   AGE
        ADDED   a      Active   <unknown>
    """)


def test_no_object_steers_the_terminal() -> None:
    made = pod("{phase: Running}")
    made.metadata.name = "a\x1b[31m\tb\nc"
    assert "\x1b" not in table(POD, [made])
    assert table(POD, [made]).count("\n") == 2


def test_wide_characters_keep_columns_aligned() -> None:
    text = plain_table(["A", "B"], [["日本", "x"], ["ab", "y"], ["é", "z"]])
    assert text == "A      B\n日本   x\nab     y\né      z\n"
