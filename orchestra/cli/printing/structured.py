"""Objects as yaml, json and names."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from orchestra.objects.codec import to_manifest
from orchestra.objects.kinds import ApiObject


def manifest(obj: ApiObject, *, managed_fields: bool = False) -> dict[str, Any]:
    """The object as a manifest, without the bookkeeping of who set which field unless asked for."""
    data = to_manifest(obj)
    if not managed_fields:
        data.get("metadata", {}).pop("managedFields", None)
    return data


def listed(manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several manifests as one `kind: List`."""
    return {"apiVersion": "v1", "items": list(manifests), "kind": "List", "metadata": {"resourceVersion": ""}}


def json_text(data: Any) -> str:
    """JSON as kubectl indents it."""
    return json.dumps(data, indent=4, sort_keys=True, ensure_ascii=False) + "\n"


def yaml_text(data: Any) -> str:
    """YAML as kubectl writes it: sorted keys, lists not indented, long lines whole, text blocks as blocks."""
    import yaml

    text: str = yaml.dump(
        data, Dumper=_dumper(), default_flow_style=False, sort_keys=True, allow_unicode=True, width=1 << 30
    )
    return text


def _dumper() -> Any:
    import yaml

    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    resolver: Any = yaml.resolver.Resolver()

    class Dumper(base):  # type: ignore[misc, valid-type]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = None
        if "\n" in value and not any(line.endswith(" ") for line in value.split("\n")) and "\t" not in value:
            style = "|"
        elif resolver.resolve(yaml.ScalarNode, value, (True, False)) != "tag:yaml.org,2002:str":
            style = '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


STRUCTURED: dict[str, Callable[[Any], str]] = {"json": json_text, "yaml": yaml_text}
