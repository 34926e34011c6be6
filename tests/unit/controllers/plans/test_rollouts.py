"""Deployments rolled by the plan alone, over model ReplicaSets that lag, fail and recover.

At every step: no available pod is taken while that would leave fewer than allowed, never more pods than the
surge allows, and in the end everything is of the newest template.
"""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.controllers.plans import deployments as plans
from orchestra.controllers.plans import revisions, rolling, rollout_status
from orchestra.controllers.plans.deployments import DeploymentObserved
from orchestra.objects import intstr
from orchestra.objects.times import NS_PER_SECOND
from orchestra.pb import apps

S = NS_PER_SECOND


def make(replicas: int, surge: int | str = "25%", unavailable: int | str = "25%") -> apps.Deployment:
    made = apps.Deployment()
    made.metadata.name = "web"
    made.metadata.namespace = "default"
    made.metadata.uid = "d-uid"
    made.metadata.generation = 1
    made.spec.replicas = replicas
    made.spec.selector.matchLabels["app"] = "web"
    made.spec.template.metadata.labels["app"] = "web"
    made.spec.template.spec.containers.add(name="main", image="v1")
    made.spec.strategy.type = "RollingUpdate"
    made.spec.strategy.rollingUpdate.maxSurge.CopyFrom(intstr.of(surge))
    made.spec.strategy.rollingUpdate.maxUnavailable.CopyFrom(intstr.of(unavailable))
    made.spec.progressDeadlineSeconds = 600
    made.spec.revisionHistoryLimit = 10
    return made


class Model:
    """A Deployment, its ReplicaSets, and the pods behind them: counted, not made.

    pods: by set name, one entry a pod: whether it is available. Statuses are told late and in any order.
    """

    def __init__(self, deployment: apps.Deployment, rng: random.Random) -> None:
        self.deployment = deployment
        self.sets: dict[str, apps.ReplicaSet] = {}
        self.pods: dict[str, list[bool]] = {}
        self.terminating: dict[str, int] = {}
        self.rng = rng
        self.now_s = 1000
        self.fails: set[str] = set()
        self.checks = True

    def edit(self, image: str) -> None:
        self.deployment.spec.template.spec.containers[0].image = image
        self.deployment.metadata.generation += 1

    def scale(self, replicas: int) -> None:
        self.deployment.spec.replicas = replicas
        self.deployment.metadata.generation += 1

    def available(self) -> int:
        return sum(sum(pods) for pods in self.pods.values())

    def total(self) -> int:
        return sum(len(pods) for pods in self.pods.values())

    def plan(self) -> plans.DeploymentPlan:
        plan = plans.plan(DeploymentObserved(self.deployment, list(self.sets.values()), ()), self.now_s * S)
        if plan.create is not None:
            made = apps.ReplicaSet()
            made.CopyFrom(plan.create)
            made.metadata.uid = f"{made.metadata.name}-uid"
            made.metadata.generation = 1
            made.metadata.creationTimestamp.seconds = self.now_s
            assert made.metadata.name not in self.sets
            self.sets[made.metadata.name] = made
            self.pods[made.metadata.name] = []
        for change in plan.changes:
            live = self.sets[change.original.metadata.name]
            if live.spec.replicas != change.changed.spec.replicas:
                change.changed.metadata.generation += 1
            self.sets[change.original.metadata.name] = change.changed
        for found in plan.delete:
            assert not self.pods.pop(found.metadata.name)
            del self.sets[found.metadata.name]
        if plan.revision is not None:
            self.deployment.metadata.annotations[revisions.REVISION] = plan.revision
        if plan.status is not None:
            self.deployment.status.CopyFrom(plan.status)
        return plan

    def step_set(self, name: str) -> None:
        """What the ReplicaSet controller does: reach the size, unavailable pods first to go."""
        found, pods = self.sets[name], self.pods[name]
        minimum = rolling.wanted(self.deployment) - rolling.max_unavailable(self.deployment)
        while len(pods) < found.spec.replicas:
            pods.append(False)
            if self.checks:
                surge = rolling.max_surge(self.deployment)
                assert self.total() <= rolling.wanted(self.deployment) + surge, "too many pods"
        pods.sort()
        while len(pods) > found.spec.replicas:
            gone = pods.pop(0)
            if gone and self.checks:
                assert self.available() >= minimum, "an available pod was taken too many"

    def step_pods(self, name: str) -> None:
        if self.sets[name].spec.template.spec.containers[0].image not in self.fails:
            pods = self.pods[name]
            if False in pods:
                pods[pods.index(False)] = True

    def tell(self, name: str) -> None:
        """The ReplicaSet's status catches up."""
        found = self.sets[name]
        made = apps.ReplicaSet()
        made.CopyFrom(found)
        pods = self.pods[name]
        made.status.Clear()
        made.status.replicas = len(pods)
        made.status.readyReplicas = made.status.availableReplicas = sum(pods)
        made.status.observedGeneration = made.metadata.generation
        self.sets[name] = made

    def run(self, steps: int) -> None:
        """Everything in any order."""
        for _ in range(steps):
            names = sorted(self.sets)
            act = self.rng.randrange(5)
            if act == 0 or not names:
                self.plan()
            elif act == 1:
                self.step_set(self.rng.choice(names))
            elif act in (2, 3):
                self.tell(self.rng.choice(names))
            else:
                self.step_pods(self.rng.choice(names))

    def finish(self) -> None:
        """Everything in turn until nothing changes. Bound: 2,000 rounds."""
        for _ in range(2000):
            before = [s.SerializeToString(deterministic=True) for s in self.sets.values()]
            plan = self.plan()
            for name in list(self.sets):
                self.step_set(name)
                self.step_pods(name)
                self.tell(name)
            after = [s.SerializeToString(deterministic=True) for s in self.sets.values()]
            if before == after and plan.status is None and plan.create is None:
                return
        raise AssertionError("the rollout does not end")

    def new(self) -> apps.ReplicaSet:
        found = revisions.find_new(self.deployment, self.sets.values())
        assert found is not None
        return found

    def assert_done(self) -> None:
        replicas = self.deployment.spec.replicas
        assert {name: len(p) for name, p in self.pods.items() if p} == (
            {self.new().metadata.name: replicas} if replicas else {}
        )
        assert rollout_status.is_complete(self.deployment, self.deployment.status)
        progressing = rollout_status.condition(self.deployment.status, "Progressing")
        assert progressing is not None
        assert progressing.reason == "NewReplicaSetAvailable"


shares = st.one_of(st.integers(0, 6), st.sampled_from(["0%", "10%", "25%", "34%", "50%", "100%"]))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), shares, shares, st.integers(0, 2**32), st.integers(0, 120), st.integers(0, 2))
def test_every_rollout_keeps_its_bounds_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, seed: int, steps: int, rollovers: int
) -> None:
    model = Model(make(replicas, surge, unavailable), random.Random(seed))
    model.finish()
    model.assert_done()
    for turn in range(rollovers + 1):
        model.edit(f"v{turn + 2}")
        model.run(steps)
    model.finish()
    model.assert_done()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10), shares, shares, st.integers(0, 2**32), st.integers(0, 150))
def test_a_bad_version_never_takes_the_good_pods_and_can_be_undone(
    replicas: int, surge: int | str, unavailable: int | str, seed: int, steps: int
) -> None:
    model = Model(make(replicas, surge, unavailable), random.Random(seed))
    model.finish()
    first = model.new().metadata.name
    model.fails.add("bad")
    model.edit("bad")
    model.run(steps)
    model.edit("v1")
    model.run(steps)
    model.finish()
    model.assert_done()
    assert model.new().metadata.name == first


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10), st.lists(st.integers(0, 15), max_size=3), shares, shares, st.integers(0, 2**32),
    st.integers(0, 60),
)  # fmt: skip
def test_scaling_in_the_middle_ends_too(
    replicas: int, sizes: list[int], surge: int | str, unavailable: int | str, seed: int, steps: int
) -> None:
    model = Model(make(replicas, surge, unavailable), random.Random(seed))
    model.checks = False
    model.finish()
    model.edit("v2")
    for size in sizes:
        model.run(steps)
        model.scale(size)
    model.run(steps)
    model.finish()
    model.assert_done()
