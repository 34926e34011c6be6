"""Rules of Node."""

from orchestra.objects import names
from orchestra.objects.validation.findings import Findings
from orchestra.objects.validation.pods import TAINT_EFFECTS
from orchestra.objects.validation.services import cidr_problem
from orchestra.pb import core


def validate_node(found: Findings, node: core.Node) -> None:
    """A Node, its registered status included."""
    seen = set[tuple[str, str]]()
    for index, taint in enumerate(node.spec.taints):
        path = f"spec.taints[{index}]"
        found.check_required(f"{path}.key", taint.key, names.qualified_name)
        found.check(f"{path}.value", taint.value, names.label_value)
        found.one_of(f"{path}.effect", taint.effect, TAINT_EFFECTS, optional=False)
        key = (taint.key, taint.effect)
        if key in seen:
            found.duplicate(path, f"{taint.key}:{taint.effect}")
        seen.add(key)
    blocks = node.spec.podCIDRs
    if node.spec.podCIDR and blocks and blocks[0] != node.spec.podCIDR:
        found.invalid("spec.podCIDRs[0]", blocks[0], "must be the same as spec.podCIDR")
    for index, block in enumerate(node.spec.podCIDRs):
        found.check(f"spec.podCIDRs[{index}]", block, cidr_problem)
    validate_node_status(found, node)


def validate_node_status(found: Findings, node: core.Node) -> None:
    """What a node says of itself."""
    for field, amounts in (("capacity", node.status.capacity), ("allocatable", node.status.allocatable)):
        for name, quantity in sorted(amounts.items()):
            found.quantity(f"status.{field}[{name}]", quantity.string)
    seen = set[tuple[str, str]]()
    for index, address in enumerate(node.status.addresses):
        path = f"status.addresses[{index}]"
        if not address.type:
            found.required(f"{path}.type")
        if not address.address:
            found.required(f"{path}.address")
        if (address.type, address.address) in seen:
            found.duplicate(path, f"{address.type}:{address.address}")
        seen.add((address.type, address.address))


def validate_node_update(found: Findings, new: core.Node, old: core.Node) -> None:
    """What a node was given, and does not lose."""
    if old.spec.podCIDR and list(new.spec.podCIDRs) != list(old.spec.podCIDRs):
        found.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if old.spec.providerID and new.spec.providerID != old.spec.providerID:
        found.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
