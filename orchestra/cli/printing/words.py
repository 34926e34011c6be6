"""Small values as words: labels, selectors, resource names."""

from collections.abc import Mapping

from orchestra.objects.kinds import ApiObject, Kind, kind_of
from orchestra.pb import meta


def labels_text(labels: Mapping[str, str]) -> str:
    """`a=b,c=d`, or `<none>`."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or "<none>"


def label_selector(selector: meta.LabelSelector) -> str:
    """`a=b,c in (d,e),!f`, or `<none>`."""
    parts = {key: f"{key}={value}" for key, value in selector.matchLabels.items()}
    said = [parts[key] for key in sorted(parts)]
    for wanted in selector.matchExpressions:
        values = ",".join(sorted(wanted.values))
        said.append(
            {
                "In": f"{wanted.key} in ({values})",
                "NotIn": f"{wanted.key} notin ({values})",
                "Exists": wanted.key,
                "DoesNotExist": f"!{wanted.key}",
            }.get(wanted.operator, f"{wanted.key} {wanted.operator} ({values})")
        )
    return ",".join(said) or "<none>"


def typed_name(kind: Kind, name: str) -> str:
    """`pod/web`, `deployment.apps/web`."""
    return f"{qualified(kind)}/{name}"


def qualified(kind: Kind) -> str:
    """`pod`, `deployment.apps`."""
    return f"{kind.singular}.{kind.group}" if kind.group else kind.singular


def object_name(obj: ApiObject) -> str:
    """`deployment.apps/web` for an object."""
    return typed_name(kind_of(obj), obj.metadata.name)
