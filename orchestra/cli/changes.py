"""How verbs that change objects say what they did: `deployment.apps/web scaled`, or the object with -o."""

from orchestra.base.errors import UsageError
from orchestra.cli.printing.output import Output, output_of
from orchestra.cli.printing.words import object_name
from orchestra.cli.session import Session
from orchestra.objects.kinds import ApiObject

_FORMS = ("json", "yaml", "name", "jsonpath", "jsonpath-as-json", "jsonpath-file")


class Changes:
    """Prints each change as it is done; objects asked for with -o are printed together at the end."""

    def __init__(self, session: Session) -> None:
        self._session = session
        options = session.options
        self._dry_run: str = getattr(options, "dry_run", "none")
        self._output: Output = output_of(
            getattr(options, "output", ""),
            managed_fields=getattr(options, "show_managed_fields", False),
            allowed=_FORMS,
        )
        self._objects: list[ApiObject] = []
        if self._dry_run not in ("none", "client", "server"):
            raise UsageError(
                f'invalid dry-run value ({self._dry_run}): must be "none", "server", or "client"'
            )

    @property
    def client_only(self) -> bool:
        """--dry-run=client: nothing is sent."""
        return self._dry_run == "client"

    @property
    def server_only(self) -> bool:
        """--dry-run=server: what is sent is not kept."""
        return self._dry_run == "server"

    def tell(self, obj: ApiObject, what: str) -> None:
        """One object and what became of it."""
        if self._output.form == "name":
            self._session.say(object_name(obj))
        elif self._output.form:
            self._objects.append(obj)
        else:
            self.line(f"{object_name(obj)} {what}")

    def line(self, text: str) -> None:
        """A line of a verb's own words, marked when nothing was really done."""
        suffix = {"client": " (dry run)", "server": " (server dry run)"}.get(self._dry_run, "")
        self._session.say(text + suffix)

    def finish(self) -> None:
        """Prints what -o asked for."""
        if self._objects:
            self._session.write(self._output.text(self._objects, as_list=len(self._objects) > 1))
