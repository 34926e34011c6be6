"""Objects to begin with."""

from orchestra.objects import intstr
from orchestra.pb import apps, core, meta


def template(app: str, version: int = 1, **said: str) -> core.PodTemplateSpec:
    """A pod template. said: annotations for what its containers do (ready_ms="200")."""
    made = core.PodTemplateSpec()
    made.metadata.labels["app"] = app
    made.metadata.annotations["version"] = str(version)
    for name in sorted(said):
        made.metadata.annotations[f"sim/{name.replace('_', '-')}"] = said[name]
    container = made.spec.containers.add(name="main", command=["serve", str(version)])
    container.ports.add(name="http", containerPort=8080)
    container.resources.requests["cpu"].string = "200m"
    container.resources.requests["memory"].string = "100Mi"
    if "ready_ms" in said:
        container.readinessProbe.handler.tcpSocket.port.CopyFrom(intstr.of(8080))
    made.spec.terminationGracePeriodSeconds = 2
    return made


def deployment(
    name: str, replicas: int = 3, version: int = 1, namespace: str = "default", **said: str
) -> apps.Deployment:
    """A Deployment of pods labelled app=<name>."""
    made = apps.Deployment(metadata=meta.ObjectMeta(name=name, namespace=namespace))
    made.spec.replicas = replicas
    made.spec.selector.matchLabels["app"] = name
    made.spec.template.CopyFrom(template(name, version, **said))
    return made


def replica_set(name: str, replicas: int = 3, namespace: str = "default", **said: str) -> apps.ReplicaSet:
    """A ReplicaSet of its own."""
    made = apps.ReplicaSet(metadata=meta.ObjectMeta(name=name, namespace=namespace))
    made.spec.replicas = replicas
    made.spec.selector.matchLabels["app"] = name
    made.spec.template.CopyFrom(template(name, **said))
    return made


def replication_controller(
    name: str, replicas: int = 3, namespace: str = "default", **said: str
) -> core.ReplicationController:
    """A ReplicationController."""
    made = core.ReplicationController(metadata=meta.ObjectMeta(name=name, namespace=namespace))
    made.spec.replicas = replicas
    made.spec.selector["app"] = name
    made.spec.template.CopyFrom(template(name, **said))
    return made


def pod(name: str, namespace: str = "default", policy: str = "Always", **said: str) -> core.Pod:
    """A pod that nobody keeps."""
    from_template = template(name, **said)
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace=namespace))
    made.metadata.labels.update(from_template.metadata.labels)
    made.metadata.annotations.update(from_template.metadata.annotations)
    made.spec.CopyFrom(from_template.spec)
    made.spec.restartPolicy = policy
    return made


def service(app: str, namespace: str = "default", *, node_port: bool = False) -> core.Service:
    """A Service over the pods labelled app=<app>."""
    made = core.Service(metadata=meta.ObjectMeta(name=app, namespace=namespace))
    made.spec.selector["app"] = app
    made.spec.type = "NodePort" if node_port else "ClusterIP"
    port = made.spec.ports.add(name="http", port=80)
    port.targetPort.CopyFrom(intstr.of("http"))
    return made


def namespace(name: str) -> core.Namespace:
    return core.Namespace(metadata=meta.ObjectMeta(name=name))
