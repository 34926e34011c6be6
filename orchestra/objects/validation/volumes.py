"""Rules of a pod's volumes."""

from orchestra.objects import names
from orchestra.objects.validation.findings import Findings
from orchestra.pb import core

_MODE_MAX = 0o777
# What each kind of source cannot do without.
_NEEDED: dict[str, tuple[str, ...]] = {
    "hostPath": ("path",),
    "secret": ("secretName",),
    "nfs": ("server", "path"),
    "iscsi": ("targetPortal", "iqn"),
    "persistentVolumeClaim": ("claimName",),
    "csi": ("driver",),
    "flexVolume": ("driver",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "cinder": ("volumeID",),
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "azureFile": ("secretName", "shareName"),
    "azureDisk": ("diskName", "diskURI"),
    "vsphereVolume": ("volumePath",),
}
_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")
_HOST_PATH_TYPES = (
    "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice",
)  # fmt: skip


def validate_volumes(found: Findings, spec: core.PodSpec, path: str) -> set[str]:
    """The names of the pod's volumes, for its containers' mounts."""
    seen = set[str]()
    for index, volume in enumerate(spec.volumes):
        place = f"{path}.volumes[{index}]"
        if found.check_required(f"{place}.name", volume.name, names.dns_label):
            found.unique(f"{place}.name", volume.name, seen)
        seen.add(volume.name)
        given = [(field.name, source) for field, source in volume.volumeSource.ListFields()]
        if not given:
            found.required(place, "must specify a volume type")
        for name, _ in given[1:]:
            found.forbidden(
                f"{place}.{name}", f"may not specify more than 1 volume type ({given[0][0]} is there)"
            )
        for name, source in given:
            for field in _NEEDED.get(name, ()):
                if not getattr(source, field):
                    found.required(f"{place}.{name}.{field}")
            if name in _WITH_MODE and not 0 <= source.defaultMode <= _MODE_MAX:
                found.invalid(
                    f"{place}.{name}.defaultMode",
                    source.defaultMode,
                    "must be a number between 0 and 0777 (octal), both inclusive",
                )
        _details(found, volume.volumeSource, place)
    return seen


def _details(found: Findings, source: core.VolumeSource, path: str) -> None:
    if source.hostPath.path and ".." in source.hostPath.path.split("/"):
        found.invalid(f"{path}.hostPath.path", source.hostPath.path, "must not contain '..'")
    found.one_of(f"{path}.hostPath.type", source.hostPath.type, _HOST_PATH_TYPES)
    if source.emptyDir.HasField("sizeLimit"):
        found.quantity(f"{path}.emptyDir.sizeLimit", source.emptyDir.sizeLimit.string)
    if source.HasField("configMap") and not source.configMap.localObjectReference.name:
        found.required(f"{path}.configMap.name")
    for field, items in (("secret", source.secret.items), ("configMap", source.configMap.items)):
        for index, item in enumerate(items):
            place = f"{path}.{field}.items[{index}]"
            if not item.key:
                found.required(f"{place}.key")
            _inner_path(found, item.path, f"{place}.path")
    for index, file in enumerate(source.downwardAPI.items):
        place = f"{path}.downwardAPI.items[{index}]"
        _inner_path(found, file.path, f"{place}.path")
        if file.HasField("fieldRef") == file.HasField("resourceFieldRef"):
            found.invalid(place, file.path, "must specify exactly one of fieldRef and resourceFieldRef")


def _inner_path(found: Findings, inner: str, path: str) -> None:
    if not inner:
        found.required(path)
    elif inner.startswith("/"):
        found.invalid(path, inner, "must be a relative path")
    elif ".." in inner.split("/"):
        found.invalid(path, inner, "must not contain '..'")
