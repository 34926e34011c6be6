"""Rules of port numbers, and of ports told by number or by name."""

from orchestra.objects import intstr, names
from orchestra.objects.validation.findings import Findings
from orchestra.pb import meta

PROTOCOLS = ("TCP", "UDP", "SCTP")


def validate_port_number(found: Findings, path: str, number: int) -> None:
    """A port from 1 to 65535."""
    problem = names.port_number(number)
    if problem is not None:
        found.invalid(path, number, problem)


def validate_port_reference(found: Findings, port: meta.IntOrString, path: str) -> None:
    """A container's port, by number or by name."""
    value = intstr.value_of(port)
    if isinstance(value, str):
        found.check_required(path, value, names.port_name)
    else:
        validate_port_number(found, path, value)
