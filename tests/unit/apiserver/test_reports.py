"""Agents' reports: what of a status is the agent's to say."""

import pytest

from orchestra.apiserver.registration import node_of, refusal, update_node
from orchestra.apiserver.reports import merge_status
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.pb import core, meta

NOW = meta.Time(seconds=1000)


def condition(kind: str, status: str, seconds: int | None = None) -> core.PodCondition:
    made = core.PodCondition(type=kind, status=status)
    if seconds is not None:
        made.lastTransitionTime.seconds = seconds
    return made


def pod(**status: object) -> core.Pod:
    made = core.Pod(status=core.PodStatus(**status))  # type: ignore[arg-type]
    made.spec.nodeName = "n1"
    return made


def test_what_others_said_is_kept() -> None:
    held = pod(phase="Pending", qosClass="Burstable", conditions=[condition("PodScheduled", "True", 5)])
    held.status.startTime.seconds = 7
    said = core.PodStatus(phase="Running", podIP="10.0.0.1", conditions=[condition("Ready", "True", 900)])
    assert merge_status(held, said, "n1", NOW)
    status = held.status
    assert (status.phase, status.podIP, status.qosClass, status.startTime.seconds) == (
        "Running", "10.0.0.1", "Burstable", 7,
    )  # fmt: skip
    assert [(c.type, c.lastTransitionTime.seconds) for c in status.conditions] == [
        ("PodScheduled", 5), ("Ready", 900),
    ]  # fmt: skip


def test_saying_the_same_again_changes_nothing() -> None:
    held = pod(phase="Running", conditions=[condition("Ready", "True", 5)])
    said = core.PodStatus(phase="Running", conditions=[condition("Ready", "True", 900)])
    assert not merge_status(held, said, "n1", NOW)


@pytest.mark.parametrize(
    ("before", "said", "expected"),
    [
        (condition("Ready", "True", 5), condition("Ready", "True", 9), 5),
        (condition("Ready", "False", 5), condition("Ready", "True", 9), 9),
        (condition("Ready", "False", 50), condition("Ready", "True", 9), 1000),
        (condition("Ready", "False", 5), condition("Ready", "True"), 1000),
    ],
)
def test_transition_times(before: core.PodCondition, said: core.PodCondition, expected: int) -> None:
    held = pod(phase="Pending", conditions=[before])
    merge_status(held, core.PodStatus(phase="Running", conditions=[said]), "n1", NOW)
    assert held.status.conditions[0].lastTransitionTime.seconds == expected


def test_a_pod_that_has_ended_stays_ended() -> None:
    held = pod(phase="Failed", reason="Evicted")
    assert not merge_status(held, core.PodStatus(phase="Running"), "n1", NOW)
    assert held.status.phase == "Failed"


def test_another_nodes_pod_is_not_its_to_report() -> None:
    assert not merge_status(pod(phase="Pending"), core.PodStatus(phase="Running"), "n2", NOW)


def test_labels_that_an_agent_no_longer_says_go_and_others_stay() -> None:
    node = node_of(agent.Register(name="n1", instance="i", labels={"rack": "1", "disk": "ssd"}))
    node.metadata.labels["mine"] = "kept"
    assert update_node(node, agent.Register(name="n1", instance="i", labels={"disk": "hdd"}))
    labels = dict(node.metadata.labels)
    assert labels == {"disk": "hdd", "mine": "kept", "kubernetes.io/hostname": "n1"}
    assert not update_node(node, agent.Register(name="n1", instance="j", labels={"disk": "hdd"}))


@pytest.mark.parametrize(
    ("name", "instance", "refused"),
    [("n1", "i", False), ("node-1.lab", "i", False), ("", "i", True), ("N1", "i", True), ("n1", "", True),
     ("n" * 300, "i", True), ("n1", "i" * 200, True)],
)  # fmt: skip
def test_who_is_refused(name: str, instance: str, refused: bool) -> None:
    assert bool(refusal(agent.Register(name=name, instance=instance))) is refused
