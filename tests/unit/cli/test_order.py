"""The order in which manifests are applied, by apply and by up alike."""

from orchestra.cli.files import in_order
from orchestra.pb import core


def test_namespaces_come_before_what_lives_in_them() -> None:
    pod, service, namespace = core.Pod(), core.Service(), core.Namespace()
    assert in_order([pod, service, namespace]) == [namespace, pod, service]
