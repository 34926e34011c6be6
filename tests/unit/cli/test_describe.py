"""Descriptions against golden texts."""

from orchestra.cli.describe.nodes import describe_namespace, describe_node
from orchestra.cli.describe.pods import describe_pod
from orchestra.cli.describe.services import describe_service, describe_slice
from orchestra.cli.describe.workloads import describe_deployment, describe_replicas
from orchestra.cli.describe.writer import in_order
from tests.unit.cli.written import NOW_NS, ago, golden, obj

POD = obj("""
    apiVersion: v1
    kind: Pod
    metadata:
      name: web-1
      namespace: default
      labels: {app: web, b: c}
      annotations: {note: short, kubectl.kubernetes.io/last-applied-configuration: '{}'}
      ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: u, controller: true}]
    spec:
      nodeName: n1
      nodeSelector: {disk: ssd}
      tolerations:
      - {key: b, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
      - {key: a, operator: Equal, value: x}
      volumes: [{name: data, emptyDir: {}}]
      containers:
      - name: web
        command: [sh, -c, "echo a\\necho b"]
        ports: [{name: http, containerPort: 8080, protocol: TCP}]
        env:
        - {name: A, value: "1"}
        - {name: NODE, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}}}
        resources: {requests: {cpu: 50m}, limits: {memory: 64Mi}}
        readinessProbe: {httpGet: {path: /ok, port: http}, periodSeconds: 1, timeoutSeconds: 1,
                          successThreshold: 1, failureThreshold: 3}
        volumeMounts: [{name: data, mountPath: /data}]
    status:
      phase: Running
      hostIP: 127.77.1.11
      podIP: 127.77.1.11
      podIPs: [{ip: 127.77.1.11}]
      startTime: "2026-01-01T11:59:00Z"
      conditions: [{type: Ready, status: 'True'}]
      containerStatuses:
      - name: web
        containerID: orchestra://u/web/2
        image: ''
        imageID: ''
        ready: true
        restartCount: 1
        ports: [{containerPort: 8080, hostPort: 10001}]
        state: {running: {startedAt: "2026-01-01T11:59:30Z"}}
        lastState: {terminated: {exitCode: 137, signal: 9, reason: Error, startedAt: "2026-01-01T11:59:00Z",
                                   finishedAt: "2026-01-01T11:59:20Z"}}
""")

EVENT = obj(f"""
    apiVersion: v1
    kind: Event
    metadata: {{name: e, namespace: default}}
    involvedObject: {{kind: Pod, name: web-1}}
    type: Normal
    reason: Started
    message: Started container web
    source: {{component: agent}}
    firstTimestamp: {ago(60)}
    lastTimestamp: {ago(5)}
    count: 2
""")


def test_a_pod() -> None:
    assert describe_pod(POD, [EVENT], NOW_NS) == golden("""
        Name:         web-1
        Namespace:    default
        Node:         n1/127.77.1.11
        Start Time:   Thu, 01 Jan 2026 11:59:00 +0000
        Labels:       app=web
                      b=c
        Annotations:  note: short
        Status:       Running
        IP:           127.77.1.11
        IPs:
          IP:           127.77.1.11
        Controlled By:  ReplicaSet/web
        Containers:
          web:
            Container ID:  orchestra://u/web/2
            Image:         |
            Image ID:      |
            Port:          8080/TCP (http)
            Host Port:     10001/TCP (http)
            Command:
              sh
              -c
              echo a
              echo b
            State:          Running
              Started:      Thu, 01 Jan 2026 11:59:30 +0000
            Last State:     Terminated
              Reason:       Error
              Exit Code:    137
              Signal:       9
              Started:      Thu, 01 Jan 2026 11:59:00 +0000
              Finished:     Thu, 01 Jan 2026 11:59:20 +0000
            Ready:          True
            Restart Count:  1
            Limits:
              memory:  64Mi
            Requests:
              cpu:      50m
            Readiness:  http-get http://:http/ok delay=0s timeout=1s period=1s #success=1 #failure=3
            Environment:
              A:     1
              NODE:  n1 (v1:spec.nodeName)
            Mounts:
              /data from data (rw)
        Conditions:
          Type    Status
          Ready   True |
        Volumes:
          data:
            Type:        EmptyDir (a temporary directory that shares a pod's lifetime)
            Medium:      |
            SizeLimit:   <unset>
        QoS Class:       Burstable
        Node-Selectors:  disk=ssd
        Tolerations:     a=x
                         b:NoExecute op=Exists for 300s
        Events:
          Type    Reason   Age               From   Message
          ----    ------   ----              ----   -------
          Normal  Started  5s (x2 over 60s)  agent  Started container web
    """)


def test_a_pod_that_is_nowhere_yet_and_one_that_goes() -> None:
    waiting = obj("""
        apiVersion: v1
        kind: Pod
        metadata: {name: a, namespace: default}
        spec: {containers: [{name: a}]}
        status: {phase: Pending}
    """)
    text = describe_pod(waiting, [], NOW_NS)
    assert "Node:         <none>\n" in text
    assert "IPs:          <none>\n" in text
    assert text.endswith("Tolerations:      <none>\nEvents:           <none>\n")
    assert "Events" not in describe_pod(waiting, None, NOW_NS)
    going = obj(f"""
        apiVersion: v1
        kind: Pod
        metadata: {{name: a, namespace: default, deletionTimestamp: {ago(7)}, deletionGracePeriodSeconds: 30}}
        spec: {{containers: [{{name: a}}]}}
        status: {{phase: Running}}
    """)
    assert "Terminating (lasts 7s)\nTermination Grace Period:  30s\n" in describe_pod(going, None, NOW_NS)


def test_an_object_cannot_steer_the_terminal() -> None:
    made = obj("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    made.metadata.annotations["x"] = "\x1b[2J"
    assert "\x1b" not in describe_namespace(made, None, NOW_NS)


TEMPLATE = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: x}]}}"


def test_a_deployment() -> None:
    deployment = obj(f"""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: web, namespace: default, uid: u, creationTimestamp: "2026-01-01T11:00:00Z"}}
        spec:
          replicas: 3
          selector: {{matchLabels: {{app: web}}}}
          strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: 25%, maxUnavailable: 0}}}}
          {TEMPLATE}
        status:
          {{replicas: 4, updatedReplicas: 1, availableReplicas: 3, unavailableReplicas: 1,
            conditions: [{{type: Available, status: 'True', reason: MinimumReplicasAvailable}}]}}
    """)
    old, new = (
        obj(f"""
            apiVersion: apps/v1
            kind: ReplicaSet
            metadata: {{name: {name}, namespace: default}}
            spec: {{replicas: {count}, selector: {{matchLabels: {{app: web}}}}, {TEMPLATE}}}
            status: {{replicas: {count}}}
        """)
        for name, count in (("web-old", 3), ("web-new", 1))
    )
    assert describe_deployment(deployment, [old], new, [], NOW_NS) == golden("""
        Name:                   web
        Namespace:              default
        CreationTimestamp:      Thu, 01 Jan 2026 11:00:00 +0000
        Labels:                 <none>
        Annotations:            <none>
        Selector:               app=web
        Replicas:               3 desired | 1 updated | 4 total | 3 available | 1 unavailable
        StrategyType:           RollingUpdate
        MinReadySeconds:        0
        RollingUpdateStrategy:  0 max unavailable, 25% max surge
        Pod Template:
          Labels:  app=web
          Containers:
           web:
            Image:         x
            Port:          <none>
            Host Port:     <none>
            Environment:   <none>
            Mounts:        <none>
          Volumes:         <none>
          Node-Selectors:  <none>
          Tolerations:     <none>
        Conditions:
          Type           Status  Reason
          ----           ------  ------
          Available      True    MinimumReplicasAvailable
        OldReplicaSets:  web-old (3/3 replicas created)
        NewReplicaSet:   web-new (1/1 replicas created)
        Events:          <none>
    """)


def test_a_replica_set() -> None:
    made = obj(f"""
        apiVersion: apps/v1
        kind: ReplicaSet
        metadata: {{name: web, namespace: default}}
        spec: {{replicas: 2, selector: {{matchLabels: {{app: web}}}}, {TEMPLATE}}}
        status: {{replicas: 1}}
    """)
    text = describe_replicas(made, [POD], None, NOW_NS)
    assert "Replicas:     1 current / 2 desired\n" in text
    assert "Pods Status:  1 Running / 0 Waiting / 0 Succeeded / 0 Failed\n" in text


def test_a_service() -> None:
    service = obj("""
        apiVersion: v1
        kind: Service
        metadata: {name: web, namespace: default}
        spec:
          type: NodePort
          selector: {app: web}
          ports: [{name: http, port: 80, targetPort: http, nodePort: 30080, protocol: TCP}]
          sessionAffinity: None
          externalTrafficPolicy: Cluster
    """)
    slices = [
        obj(f"""
            apiVersion: discovery.k8s.io/v1
            kind: EndpointSlice
            metadata: {{name: web-{number}, namespace: default}}
            addressType: IPv4
            ports: [{{name: http, port: {10000 + number}, protocol: TCP}}]
            endpoints: [{{addresses: [127.77.1.11], conditions: {{ready: {ready}}}}}]
        """)
        for number, ready in ((1, "true"), (2, "false"), (3, "true"))
    ]
    assert describe_service(service, slices, [], NOW_NS) == golden("""
        Name:                     web
        Namespace:                default
        Labels:                   <none>
        Annotations:              <none>
        Selector:                 app=web
        Type:                     NodePort
        IP Families:              <none>
        IP:                       |
        IPs:                      <none>
        Port:                     http  80/TCP
        TargetPort:               http/TCP
        NodePort:                 http  30080/TCP
        Endpoints:                127.77.1.11:10001,127.77.1.11:10003
        Session Affinity:         None
        External Traffic Policy:  Cluster
        Events:                   <none>
    """)
    assert "- Addresses:  127.77.1.11\n    Conditions:\n      Ready:   true\n" in describe_slice(
        slices[0], None, NOW_NS
    )


def test_a_node() -> None:
    node = obj("""
        apiVersion: v1
        kind: Node
        metadata: {name: n1, creationTimestamp: "2026-01-01T11:00:00Z", labels: {a: b}}
        spec: {unschedulable: true, taints: [{key: k, value: v, effect: NoSchedule}]}
        status:
          capacity: {cpu: "2", memory: 1Gi}
          allocatable: {cpu: "2", memory: 1Gi}
          addresses: [{type: InternalIP, address: 127.77.1.11}]
          conditions: [{type: Ready, status: 'True', reason: AgentReady, message: fine,
                        lastHeartbeatTime: "2026-01-01T11:00:00Z", lastTransitionTime: "2026-01-01T11:00:00Z"}]
          nodeInfo: {kernelVersion: "6.1", architecture: arm64}
    """)
    text = describe_node(node, [POD], [], NOW_NS)
    for line in (
        "Taints:             k=v:NoSchedule\n",
        "Unschedulable:      true\n",
        "  Ready   True    Thu, 01 Jan 2026 11:00:00 +0000   Thu, 01 Jan 2026 11:00:00 +0000   AgentReady   fine\n",
        "  Architecture:               arm64\n",
        "Non-terminated Pods:          (1 in total)\n",
        "  cpu                50m (2%)  0 (0%)\n",
        "  memory             0 (0%)    64Mi (6%)\n",
    ):
        assert line in text, text


def test_events_of_one_second_are_in_the_order_they_were_written() -> None:
    second, first, older = type(EVENT)(), type(EVENT)(), type(EVENT)()
    for event, revision, seconds in ((second, "10", 7), (first, "9", 7), (older, "11", 6)):
        event.lastTimestamp.seconds = seconds
        event.metadata.resourceVersion = revision
    assert in_order([second, first, older]) == [older, first, second]
