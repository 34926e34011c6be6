"""All controllers of a master, put together."""

from collections.abc import Callable, Hashable
from typing import Any

from orchestra.aio.supervisor import Supervisor
from orchestra.base.clock import Clock
from orchestra.controllers.deployments import DeploymentReconciler
from orchestra.controllers.endpoints import EndpointsReconciler
from orchestra.controllers.garbage import OwnersReconciler, PodsReconciler
from orchestra.controllers.liveness import Liveness
from orchestra.controllers.namespaces import NamespacesReconciler
from orchestra.controllers.nodes import NodesReconciler
from orchestra.controllers.replicas import ReplicasReconciler
from orchestra.controllers.runner import Controller
from orchestra.controllers.settings import ControllerSettings
from orchestra.objects.kinds import REPLICA_SET, REPLICATION_CONTROLLER
from orchestra.store.events import Recorder
from orchestra.store.informer import Informers
from orchestra.store.objects import ObjectStore

__all__ = ["ControllerGroup", "ControllerSettings"]


class ControllerGroup:
    """Every controller, each its own supervised actor.

    recorder: makes the EventRecorder of a component, by its name (`deployment-controller`). Who makes the
    group runs the informers and the recorders.
    """

    def __init__(
        self,
        objects: ObjectStore,
        informers: Informers,
        liveness: Liveness,
        recorder: Recorder | Callable[[str], Recorder],
        clock: Clock,
        settings: ControllerSettings | None = None,
    ) -> None:
        settings = settings or ControllerSettings()

        def recorder_of(component: str) -> Recorder:
            return recorder(component) if callable(recorder) else recorder

        workers = settings.workers
        sets = ReplicasReconciler(
            REPLICA_SET, objects, informers, recorder_of("replicaset-controller"), clock
        )
        replication = ReplicasReconciler(
            REPLICATION_CONTROLLER, objects, informers, recorder_of("replication-controller"), clock
        )
        deployments = DeploymentReconciler(objects, informers, recorder_of("deployment-controller"), clock)
        nodes = NodesReconciler(objects, informers, liveness, recorder_of("node-controller"), clock, settings)
        endpoints = EndpointsReconciler(objects, informers, clock)
        owners = OwnersReconciler(objects, informers)
        pods = PodsReconciler(objects, informers)
        namespaces = NamespacesReconciler(objects, informers, clock)
        self.nodes = nodes
        self.controllers: tuple[Controller[Any], ...] = (
            # Nodes have one worker: how much of the cluster is lost is judged over all of them.
            _controller("node-lifecycle", nodes, 1),
            _controller("endpointslice", endpoints, workers),
            _controller("replicaset", sets, workers),
            _controller("replicationcontroller", replication, workers),
            _controller("deployment", deployments, workers),
            _controller("garbage-collector", owners, workers),
            _controller("pod-garbage-collector", pods, workers),
            _controller("namespace", namespaces, 2),
        )

    def start(self, supervisor: Supervisor) -> None:
        """Starts every controller; a crash of one is the supervisor's to answer and no other's concern."""
        for controller in self.controllers:
            queue = controller.queue
            supervisor.start(f"controller/{controller.name}", controller.run, queue_length=queue.__len__)


def _controller(name: str, reconciler: Any, workers: int) -> Controller[Hashable]:
    """Any: each reconciler has keys of its own type, and its own queue of them."""
    return Controller(
        name,
        reconciler,
        reconciler.queue,
        workers=workers,
        all_keys=reconciler.all_keys,
        synced=reconciler.informers,
    )
