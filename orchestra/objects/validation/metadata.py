"""Rules of the metadata that every kind shares, and of label selectors."""

from collections.abc import Mapping

from orchestra.objects import names
from orchestra.objects.kinds import Kind
from orchestra.objects.validation.findings import Check, Findings
from orchestra.pb import meta

ANNOTATIONS_BYTES_MAX = 256 * 1024
LABELS_BYTES_MAX = 256 * 1024

STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def validate_metadata(found: Findings, metadata: meta.ObjectMeta, kind: Kind, name_check: Check) -> None:
    """The metadata of an object."""
    path = "metadata"
    if metadata.generateName:
        found.check(f"{path}.generateName", metadata.generateName, lambda text: name_check(_as_prefix(text)))
    if metadata.name:
        found.check(f"{path}.name", metadata.name, name_check)
    elif not metadata.generateName:
        found.required(f"{path}.name", "name or generateName is required")
    if not kind.namespaced:
        if metadata.namespace:
            found.forbidden(f"{path}.namespace", "not allowed on this type")
    else:
        found.check_required(f"{path}.namespace", metadata.namespace, names.dns_label)
    if metadata.generation < 0:
        found.at_least(f"{path}.generation", metadata.generation, 0)
    validate_labels(found, metadata.labels, f"{path}.labels")
    validate_annotations(found, metadata.annotations, f"{path}.annotations")
    _owner_references(found, metadata, f"{path}.ownerReferences")
    validate_finalizers(found, list(metadata.finalizers), f"{path}.finalizers")


def _as_prefix(text: str) -> str:
    """A generateName may end in what a name may not."""
    return text[:-1] + "a" if text.endswith(("-", ".")) else text


def validate_labels(found: Findings, labels: Mapping[str, str], path: str) -> None:
    """Keys and values of labels."""
    size = 0
    for key, value in sorted(labels.items()):
        size += len(key.encode()) + len(value.encode())
        place = f"{path}[{key}]" if _fits_path(key) else path
        found.check(place, key, names.qualified_name)
        found.check(place, value, names.label_value)
    if size > LABELS_BYTES_MAX:
        found.too_long(path, LABELS_BYTES_MAX)


def _fits_path(key: str) -> bool:
    return len(key) <= names.SUBDOMAIN_LENGTH_MAX and not any(sign in key for sign in "[]\n")


def validate_annotations(found: Findings, annotations: Mapping[str, str], path: str) -> None:
    """Keys of annotations, and how much there is of them."""
    size = 0
    for key, value in sorted(annotations.items()):
        size += len(key.encode()) + len(value.encode())
        found.check(
            f"{path}[{key}]" if _fits_path(key) else path,
            key,
            lambda text: names.qualified_name(text.lower()),
        )
    if size > ANNOTATIONS_BYTES_MAX:
        found.too_long(path, ANNOTATIONS_BYTES_MAX)


def _owner_references(found: Findings, metadata: meta.ObjectMeta, path: str) -> None:
    controllers: list[str] = []
    for index, owner in enumerate(metadata.ownerReferences):
        place = f"{path}[{index}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not getattr(owner, field):
                found.required(f"{place}.{field}", "must not be empty")
        if owner.apiVersion.count("/") > 1:
            found.invalid(f"{place}.apiVersion", owner.apiVersion, "must be <group>/<version>, or v1")
        if owner.controller:
            controllers.append(owner.name)
    if len(controllers) > 1:
        found.invalid(
            path,
            controllers,
            'only one reference can have controller set to true; found "true" in references for '
            + " and ".join(controllers[:8]),
        )


def validate_finalizers(found: Findings, finalizers: list[str], path: str) -> None:
    """Names of finalizers."""
    for index, finalizer in enumerate(finalizers):
        if not found.check(f"{path}[{index}]", finalizer, names.qualified_name):
            continue
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            found.invalid(
                f"{path}[{index}]",
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified (example.com/name)",
            )
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        found.invalid(path, finalizers, "finalizers orphan and foregroundDeletion cannot both be set")


def validate_metadata_update(found: Findings, new: meta.ObjectMeta, old: meta.ObjectMeta) -> None:
    """What of the metadata may not change."""
    for field in ("name", "namespace", "uid"):
        if getattr(new, field) != getattr(old, field):
            found.immutable(f"metadata.{field}", getattr(new, field))
    if new.creationTimestamp != old.creationTimestamp:
        found.immutable("metadata.creationTimestamp", new.creationTimestamp.seconds)
    if old.HasField("deletionTimestamp"):
        added = [name for name in new.finalizers if name not in old.finalizers]
        if added:
            said = ", ".join(f'"{name}"' for name in added)
            found.forbidden(
                "metadata.finalizers",
                f"no new finalizers can be added if the object is being deleted, found new finalizers {said}",
            )


def validate_label_selector(found: Findings, selector: meta.LabelSelector, path: str) -> None:
    """Syntax of a selector with matchLabels and matchExpressions."""
    validate_labels(found, selector.matchLabels, f"{path}.matchLabels")
    for index, requirement in enumerate(selector.matchExpressions):
        place = f"{path}.matchExpressions[{index}]"
        found.check_required(f"{place}.key", requirement.key, names.qualified_name)
        found.one_of(f"{place}.operator", requirement.operator, _SELECTOR_OPERATORS, optional=False)
        if requirement.operator in ("In", "NotIn") and not requirement.values:
            found.required(f"{place}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
            found.forbidden(
                f"{place}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            )
        for number, value in enumerate(requirement.values):
            found.check(f"{place}.values[{number}]", value, names.label_value)


def is_empty_selector(selector: meta.LabelSelector) -> bool:
    """Whether the selector selects everything."""
    return not selector.matchLabels and not selector.matchExpressions
