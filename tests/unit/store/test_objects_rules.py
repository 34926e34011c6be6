"""What holds between objects: namespaces, finalizers, node ports, bindings, scale, guards, races."""

import asyncio
import random

import pytest

from orchestra.base.clock import ManualClock
from orchestra.base.errors import (
    ApiError,
    BadRequest,
    Conflict,
    DeadlineExceeded,
    Expired,
    Forbidden,
    InternalError,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from orchestra.mvcc.errors import DuplicateKey, RequestTooLarge
from orchestra.mvcc.model import Compare, Put, Range, Result, Target, Txn
from orchestra.objects.kinds import DEPLOYMENT, EVENT, NAMESPACE, NODE, POD, REPLICA_SET, SERVICE
from orchestra.pb import autoscaling, core, meta
from orchestra.store.contract import Compacted, FutureRevision, LeaseNotFound, StoreUnavailable
from orchestra.store.failures import api_error
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore
from tests.unit.store.samples import deployment, namespace, pod, sample, service

# Namespaces


async def test_create_needs_a_namespace_that_lives(objects: ObjectStore) -> None:
    with pytest.raises(NotFound, match='namespaces "shop" not found'):
        await objects.create(pod("web", "shop"))
    await objects.create(namespace("shop"))
    await objects.create(pod("web", "shop"))
    await objects.delete(NAMESPACE, "", "shop")
    with pytest.raises(Forbidden, match="unable to create new content in namespace shop because it is being"):
        await objects.create(pod("late", "shop"))


async def test_a_namespace_seen_alive_long_ago_does_not_let_an_orphan_in(
    objects: ObjectStore, store: MemoryStore, clock: ManualClock
) -> None:
    other = ObjectStore(store, clock=clock)
    await objects.create(namespace("shop"))
    await objects.create(pod("first", "shop"))
    await other.delete(NAMESPACE, "", "shop")
    with pytest.raises(Forbidden):
        await objects.create(pod("late", "shop"))
    await other.mutate(
        NAMESPACE, "", "shop", lambda obj: obj.spec.ClearField("finalizers"), subresource="finalize"
    )
    with pytest.raises(NotFound, match="namespaces"):
        await objects.create(pod("later", "shop"))
    await other.create(namespace("shop"))
    await objects.create(pod("again", "shop"))


async def test_a_changed_namespace_costs_a_retry_only(
    objects: ObjectStore, store: MemoryStore, clock: ManualClock
) -> None:
    await objects.create(pod("a"))
    other = ObjectStore(store, clock=clock)
    await other.patch(NAMESPACE, "", "default", "merge", b'{"metadata":{"labels":{"a":"b"}}}')
    await objects.create(pod("b"))


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_kept_namespaces_are_not_deleted(objects: ObjectStore, name: str) -> None:
    await objects.ensure_namespaces()
    with pytest.raises(Forbidden, match="may not be deleted"):
        await objects.delete(NAMESPACE, "", name)


# Deleting


async def test_the_last_finalizer_removes(objects: ObjectStore) -> None:
    held = pod("web")
    held.metadata.finalizers.extend(["example.com/a", "example.com/b"])
    await objects.create(held)
    marked, removed = await objects.delete(POD, "default", "web")
    assert not removed
    assert marked.metadata.HasField("deletionTimestamp")
    again, removed = await objects.delete(POD, "default", "web")
    assert (again, removed) == (marked, False)
    left = await objects.mutate(
        POD, "default", "web", lambda obj: obj.metadata.finalizers.remove("example.com/a")
    )
    assert list(left.metadata.finalizers) == ["example.com/b"]
    with objects.watch(POD, revision=int(left.metadata.resourceVersion)) as watch:
        gone = await objects.mutate(
            POD, "default", "web", lambda obj: obj.metadata.finalizers.remove("example.com/b")
        )
        (event,) = (await anext(watch)).events
    assert event.type == "DELETED"
    assert event.obj.metadata.resourceVersion == gone.metadata.resourceVersion
    with pytest.raises(NotFound):
        await objects.get(POD, "default", "web")


async def test_a_bound_pod_has_its_grace(objects: ObjectStore) -> None:
    created = await objects.create(pod("web"))
    await objects.bind("default", "web", created.metadata.uid, "n1")
    marked, removed = await objects.delete(POD, "default", "web")
    assert not removed
    assert marked.metadata.deletionGracePeriodSeconds == 30
    now = meta.DeleteOptions(gracePeriodSeconds=0)
    now.preconditions.uid = created.metadata.uid
    _, removed = await objects.delete(POD, "default", "web", now)
    assert removed


async def test_delete_preconditions(objects: ObjectStore) -> None:
    created = await objects.create(pod("web"))
    wrong = meta.DeleteOptions(preconditions=meta.Preconditions(uid="another"))
    with pytest.raises(PreconditionFailed, match="another"):
        await objects.delete(POD, "default", "web", wrong)
    with pytest.raises(BadRequest, match="dryRun"):
        await objects.delete(POD, "default", "web", meta.DeleteOptions(dryRun=["Some"]))
    right = meta.DeleteOptions(preconditions=meta.Preconditions(uid=created.metadata.uid))
    assert (await objects.delete(POD, "default", "web", right))[1]


async def test_foreground_waits_for_the_collector(objects: ObjectStore) -> None:
    await objects.create(deployment("web"))
    marked, removed = await objects.delete(
        DEPLOYMENT, "default", "web", meta.DeleteOptions(propagationPolicy="Foreground")
    )
    assert not removed
    assert list(marked.metadata.finalizers) == ["foregroundDeletion"]


async def test_delete_collection_of_many(objects: ObjectStore) -> None:
    await asyncio.gather(*(objects.create(pod(f"p{number}")) for number in range(1200)))
    assert await objects.delete_collection(POD, "default") == 1200
    assert (await objects.list(POD)).items == []


# Node ports


async def _ports(store: MemoryStore) -> dict[int, str]:
    found = await store.range(Range(b"/registry/ranges/nodeports/", b"/registry/ranges/nodeports0"))
    return {int(kv.key.rpartition(b"/")[2]): kv.value.decode() for kv in found.kvs}


async def test_node_ports_are_claimed_and_released(objects: ObjectStore, store: MemoryStore) -> None:
    created = await objects.create(service("web", "NodePort"))
    port = created.spec.ports[0].nodePort
    assert 30_086 <= port <= 32_767
    assert await _ports(store) == {port: "default/web"}
    same = await objects.mutate(
        SERVICE, "default", "web", lambda obj: obj.spec.ports[0].ClearField("nodePort")
    )
    assert same == created, "an update that does not speak of the port keeps it"
    moved = await objects.mutate(SERVICE, "default", "web", lambda obj: _set_port(obj, 30_001))
    assert moved.spec.ports[0].nodePort == 30_001
    assert await _ports(store) == {30_001: "default/web"}
    plain = await objects.mutate(SERVICE, "default", "web", lambda obj: _set_type(obj, "ClusterIP"))
    assert not plain.spec.ports[0].nodePort
    assert await _ports(store) == {}
    await objects.mutate(SERVICE, "default", "web", lambda obj: _set_type(obj, "LoadBalancer"))
    assert len(await _ports(store)) == 1
    await objects.delete(SERVICE, "default", "web")
    assert await _ports(store) == {}


def _set_port(obj: core.Service, port: int) -> None:
    obj.spec.ports[0].nodePort = port


def _set_type(obj: core.Service, type_: str) -> None:
    obj.spec.type = type_


async def test_a_chosen_port_that_is_taken_is_named(objects: ObjectStore, store: MemoryStore) -> None:
    await objects.create(service("a", "NodePort", 30_080))
    refused = r"spec.ports\[0\].nodePort: Invalid value: 30080: provided port is already allocated"
    for dry_run in (True, False):
        with pytest.raises(Invalid, match=refused):
            await objects.create(service("b", "NodePort", 30_080), dry_run=dry_run)
    await objects.create(service("b", "NodePort", 30_081))
    with pytest.raises(Invalid, match=refused):
        await objects.mutate(SERVICE, "default", "b", lambda obj: _set_port(obj, 30_080))
    with pytest.raises(Invalid, match="30000-32767"):
        await objects.create(service("c", "NodePort", 80))
    assert await _ports(store) == {30_080: "default/a", 30_081: "default/b"}


async def test_many_services_at_once_get_distinct_ports(objects: ObjectStore, store: MemoryStore) -> None:
    created = await asyncio.gather(
        *(objects.create(service(f"s{number}", "NodePort")) for number in range(50))
    )
    ports = {obj.spec.ports[0].nodePort for obj in created}
    assert len(ports) == 50
    assert set(await _ports(store)) == ports


async def test_dry_run_of_a_service_claims_nothing(objects: ObjectStore, store: MemoryStore) -> None:
    tried = await objects.create(service("web", "NodePort"), dry_run=True)
    assert tried.spec.ports[0].nodePort
    assert await _ports(store) == {}


# Bind, scale


async def test_bind(objects: ObjectStore) -> None:
    created = await objects.create(pod("web"))
    with pytest.raises(Conflict, match="uid"):
        await objects.bind("default", "web", "another", "n1")
    await objects.bind("default", "web", created.metadata.uid, "n1")
    bound = await objects.get(POD, "default", "web")
    assert bound.spec.nodeName == "n1"
    assert [(c.type, c.status) for c in bound.status.conditions] == [("PodScheduled", "True")]
    with pytest.raises(Conflict, match='already assigned to node "n1"'):
        await objects.bind("default", "web", created.metadata.uid, "n2")
    with pytest.raises(NotFound):
        await objects.bind("default", "nobody", "", "n1")


async def test_only_one_of_many_binders_wins(objects: ObjectStore) -> None:
    created = await objects.create(pod("web"))
    results = await asyncio.gather(
        *(objects.bind("default", "web", created.metadata.uid, f"n{number}") for number in range(8)),
        return_exceptions=True,
    )
    assert [isinstance(result, Conflict) for result in results].count(False) == 1


async def test_scale(objects: ObjectStore) -> None:
    created = await objects.create(deployment("web", 3))
    scale = await objects.scale(DEPLOYMENT, "default", "web")
    assert (scale.spec.replicas, scale.status.selector) == (3, "app=web")
    wanted = autoscaling.Scale()
    wanted.metadata.name = "web"
    wanted.spec.replicas = 5
    with pytest.raises(PreconditionFailed, match="expected replicas to be 2, was 3"):
        await objects.update_scale(DEPLOYMENT, wanted, current_replicas=2)
    scale = await objects.update_scale(DEPLOYMENT, wanted, current_replicas=3)
    assert scale.spec.replicas == 5
    assert (await objects.get(DEPLOYMENT, "default", "web")).metadata.generation == 2
    wanted.metadata.resourceVersion = created.metadata.resourceVersion
    with pytest.raises(Conflict, match="has been modified"):
        await objects.update_scale(DEPLOYMENT, wanted)
    wanted.spec.replicas = -1
    with pytest.raises(Invalid, match="greater than or equal to 0"):
        await objects.update_scale(DEPLOYMENT, wanted)
    with pytest.raises(NotFound, match="scale"):
        await objects.scale(POD, "default", "web")


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET])
async def test_scale_dry_run(objects: ObjectStore, kind) -> None:
    await objects.create(sample(kind, "web"))
    wanted = await objects.scale(kind, "default", "web")
    wanted.spec.replicas = 9
    assert (await objects.update_scale(kind, wanted, dry_run=True)).spec.replicas == 9
    assert (await objects.scale(kind, "default", "web")).spec.replicas == 1


# Writing against others


async def test_mutate_wins_in_the_end(objects: ObjectStore) -> None:
    await objects.create(pod("web"))

    def count(obj: core.Pod) -> None:
        obj.metadata.annotations["n"] = str(int(obj.metadata.annotations.get("n", "0")) + 1)

    await asyncio.gather(*(objects.mutate(POD, "default", "web", count) for _ in range(30)))
    assert (await objects.get(POD, "default", "web")).metadata.annotations["n"] == "30"


async def test_mutate_may_decline(objects: ObjectStore, store: MemoryStore) -> None:
    created = await objects.create(pod("web"))
    revision = store.revision
    assert await objects.mutate(POD, "default", "web", lambda _: False) == created
    assert store.revision == revision
    with pytest.raises(Conflict, match="uid"):
        await objects.mutate(POD, "default", "web", lambda _: None, uid="another")


async def test_a_thousand_creates_at_once(objects: ObjectStore) -> None:
    await asyncio.gather(*(objects.create(pod(f"p{number}")) for number in range(1000)))
    assert len((await objects.list(POD)).items) == 1000


async def test_generate_name_meets_taken_names(store: MemoryStore, clock: ManualClock) -> None:
    class Narrow(random.Random):
        """Suffixes from two letters' worth of luck."""

        def choices(self, population, *_, k=1, **__):
            return super().choices(population[:2], k=1) * k

    objects = ObjectStore(store, clock=clock, rng=Narrow(1))
    await objects.ensure_namespaces()
    given = pod()
    given.metadata.ClearField("name")
    given.metadata.generateName = "web-"
    names = {(await objects.create(given)).metadata.name for _ in range(2)}
    assert names == {"web-bbbbb", "web-ccccc"}
    with pytest.raises(ApiError, match="not able to generate a unique name"):
        await objects.create(given)


async def test_a_failing_guard_refuses_every_write(objects: ObjectStore, store: MemoryStore) -> None:
    await objects.create(deployment("web"))
    created = await objects.create(pod("web"))
    await store.txn(Txn(success=[Put(b"/leader", b"me")]))
    guarded = objects.guarded([Compare(b"/leader", Target.VALUE, Result.EQUAL, b"me")])
    await guarded.create(pod("mine"))
    await store.txn(Txn(success=[Put(b"/leader", b"another")]))
    revision = store.revision
    scale = await guarded.scale(DEPLOYMENT, "default", "web")
    scale.spec.replicas = 7
    writes = [
        guarded.create(pod("late")),
        guarded.create(pod("web")),
        guarded.mutate(POD, "default", "web", lambda obj: obj.metadata.labels.update(a="b")),
        guarded.patch(POD, "default", "web", "merge", b'{"metadata":{"labels":{"a":"b"}}}'),
        guarded.apply(pod("late")),
        guarded.delete(POD, "default", "web"),
        guarded.bind("default", "web", created.metadata.uid, "n1"),
        guarded.update_scale(DEPLOYMENT, scale),
        guarded.put_events("default", [sample(EVENT, "late")]),
    ]
    for write in writes:
        with pytest.raises(Unavailable, match="no longer the leader"):
            await write
    assert store.revision == revision


async def test_a_name_cannot_reach_into_another_namespace(objects: ObjectStore) -> None:
    for wanted in (pod("a/b"), pod("..", "default"), pod("b", "default/a")):
        with pytest.raises(Invalid):
            await objects.create(wanted)


async def test_apply_with_a_resource_version_is_optimistic(objects: ObjectStore) -> None:
    created, _ = await objects.apply(deployment("web", 1))
    await objects.mutate(DEPLOYMENT, "default", "web", lambda obj: obj.metadata.labels.update(a="b"))
    stale = deployment("web", 2)
    stale.metadata.resourceVersion = created.metadata.resourceVersion
    with pytest.raises(Conflict, match="has been modified"):
        await objects.apply(stale)


async def test_apply_takes_away_what_it_no_longer_says(objects: ObjectStore) -> None:
    wanted = deployment("web", 3)
    wanted.spec.template.spec.containers[0].env.add(name="A", value="1")
    wanted.spec.template.spec.containers[0].env.add(name="B", value="2")
    await objects.apply(wanted)
    scale = await objects.scale(DEPLOYMENT, "default", "web")
    scale.spec.replicas = 7
    await objects.update_scale(DEPLOYMENT, scale)
    del wanted.spec.template.spec.containers[0].env[0]
    wanted.spec.ClearField("replicas")
    applied, outcome = await objects.apply(wanted)
    assert outcome == "configured"
    assert [env.name for env in applied.spec.template.spec.containers[0].env] == ["B"]
    assert applied.spec.replicas == 1, "no longer said, so the default again"
    assert applied.metadata.generation == 3
    mistaken = deployment("web", -1)
    with pytest.raises(Invalid, match=r"spec\.replicas"):
        await objects.apply(mistaken)


async def test_apply_by_many_at_once(objects: ObjectStore) -> None:
    results = await asyncio.gather(*(objects.apply(deployment("web", 2)) for _ in range(10)))
    outcomes = sorted(outcome for _, outcome in results)
    assert outcomes.count("created") == 1
    assert outcomes.count("unchanged") == 9


async def test_names_that_are_none(objects: ObjectStore) -> None:
    for kind, place, name in ((POD, "default", ""), (POD, "", "web"), (NODE, "", "a/b")):
        with pytest.raises(BadRequest):
            await objects.get(kind, place, name)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (Compacted(7), Expired),
        (FutureRevision(9, 7), BadRequest),
        (LeaseNotFound(7), Unavailable),
        (StoreUnavailable("starting"), Unavailable),
        (RequestTooLarge("17 MB"), BadRequest),
        (DuplicateKey(b"k"), InternalError),
        (TimeoutError(), DeadlineExceeded),
    ],
)
def test_the_stores_errors_in_the_apis_words(raised: Exception, told: type[ApiError]) -> None:
    error = api_error(raised)
    assert type(error) is told
    assert error.message


async def test_a_closed_store_is_unavailable(objects: ObjectStore, store: MemoryStore) -> None:
    await store.close()
    with pytest.raises(Unavailable, match="the store is closed"):
        await objects.create(pod("web"))
    with pytest.raises(Unavailable):
        await objects.list(POD)
