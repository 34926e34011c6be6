"""Rules of what a node reports about a pod."""

from orchestra.objects import names
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.ports import validate_port_number
from orchestra.objects.validation.services import ip_problem
from orchestra.pb import core

PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
_CONDITION_STATUSES = ("True", "False", "Unknown")


def validate_pod_status_update(found: Findings, new: core.Pod, old: core.Pod) -> None:
    """Words that are known, addresses and ports that others can be sent to, each container once, and no
    return from a container's end that is final.
    """
    status = new.status
    found.one_of("status.phase", status.phase, PHASES)
    if status.nominatedNodeName:
        found.check("status.nominatedNodeName", status.nominatedNodeName, names.dns_subdomain)
    if status.podIP:
        found.check("status.podIP", status.podIP, ip_problem)
    seen = set[str]()
    for index, condition in enumerate(status.conditions):
        path = f"status.conditions[{index}]"
        if found.check_required(f"{path}.type", condition.type, names.qualified_name):
            found.unique(f"{path}.type", condition.type, seen)
        found.one_of(f"{path}.status", condition.status, _CONDITION_STATUSES, optional=False)
    reported = set[str]()
    for index, container in enumerate(status.containerStatuses):
        path = f"status.containerStatuses[{index}]"
        if not container.name:
            found.required(f"{path}.name")
        found.unique(f"{path}.name", container.name, reported)
        found.at_least(f"{path}.restartCount", container.restartCount, 0)
        for number, port in enumerate(container.ports):
            if port.hostPort:
                validate_port_number(found, f"{path}.ports[{number}].hostPort", port.hostPort)
    if old.spec.restartPolicy != "Never":
        return
    ended = {known.name for known in old.status.containerStatuses if known.state.HasField("terminated")}
    for index, container in enumerate(status.containerStatuses):
        if container.name in ended and not container.state.HasField("terminated"):
            found.forbidden(
                f"status.containerStatuses[{index}].state",
                "may not be transitioned to non-terminated state: the pod's restartPolicy is Never",
            )
