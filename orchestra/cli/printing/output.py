"""-o: which form an answer takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.printing.words import object_name
from orchestra.objects.kinds import ApiObject

_FORMS = (
    "custom-columns",
    "custom-columns-file",
    "json",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "name",
    "wide",
    "yaml",
)


@dataclass(frozen=True, slots=True)
class Output:
    """A form, and its argument where it takes one. `""` and `wide` are tables, printed elsewhere."""

    form: str = ""
    argument: str = ""
    headers: bool = True
    managed_fields: bool = False

    @property
    def tabular(self) -> bool:
        """True for the forms that this module does not print."""
        return self.form in ("", "wide")

    def text(self, objects: Sequence[ApiObject], *, as_list: bool) -> str:
        """The objects in the form; several, or one that was asked for as a list, become a `kind: List`."""
        if self.form == "name":
            return "".join(object_name(obj) + "\n" for obj in objects)
        # Loaded when asked for: a table needs none of it, and should not wait for it.
        from orchestra.cli.printing.columns import CustomColumns
        from orchestra.cli.printing.jsonpath import Template
        from orchestra.cli.printing.structured import json_text, listed, manifest, yaml_text

        manifests = [manifest(obj, managed_fields=self.managed_fields) for obj in objects]
        if self.form == "custom-columns":
            return CustomColumns(self.argument, headers=self.headers).text(manifests)
        data: Any = listed(manifests) if as_list or len(manifests) != 1 else manifests[0]
        if self.form == "json":
            return json_text(data)
        if self.form == "yaml":
            return yaml_text(data)
        template = Template(self.argument)
        if self.form == "jsonpath-as-json":
            return json_text(template.values(data))
        return template.fill(data)


def output_of(
    text: str, *, headers: bool = True, managed_fields: bool = False, allowed: Sequence[str] = _FORMS
) -> Output:
    """The form that a value of -o names; templates are checked before anything is asked of the server.

    Raises: UsageError for a form that is none, OrchestraError for a file that cannot be read.
    """
    form, equals, argument = text.partition("=")
    if not text:
        return Output(headers=headers, managed_fields=managed_fields)
    if form not in allowed:
        raise UsageError(
            f'unable to match a printer suitable for the output format "{text}", '
            f"allowed formats are: {','.join(allowed)}"
        )
    if form.endswith("-file"):
        try:
            with open(argument, encoding="utf-8") as file:
                argument = file.read(1 << 20)
        except (OSError, UnicodeDecodeError) as error:
            raise OrchestraError(f"cannot read the template {argument}: {error}") from error
        form = form.removesuffix("-file")
        argument = _spec_in_file(argument) if form == "custom-columns" else argument
    if form.startswith("jsonpath") or form == "custom-columns":
        _check(form, argument)
    elif equals:
        raise UsageError(f'the output format "{form}" takes no argument')
    return Output(form, argument, headers, managed_fields)


def _spec_in_file(text: str) -> str:
    from orchestra.cli.printing.columns import from_file

    return from_file(text)


def _check(form: str, argument: str) -> None:
    """Reads a template for its mistakes."""
    from orchestra.cli.printing.columns import CustomColumns
    from orchestra.cli.printing.jsonpath import Template

    if form == "custom-columns":
        CustomColumns(argument)
        return
    if not argument:
        raise UsageError("template format specified but no template given")
    Template(argument)
