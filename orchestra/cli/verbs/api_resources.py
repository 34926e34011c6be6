"""api-resources and api-versions."""

from orchestra.base.errors import UsageError
from orchestra.cli.command import Command
from orchestra.cli.flags import NO_HEADERS, Flag
from orchestra.cli.printing.tables import plain_table
from orchestra.cli.session import Session
from orchestra.objects.kinds import KINDS, Kind


def _chosen(session: Session) -> list[Kind]:
    options = session.options
    kinds = [
        kind
        for kind in KINDS
        if ("api-group" not in session.given or kind.group == options.api_group)
        and ("namespaced" not in session.given or kind.namespaced == options.namespaced)
        and set(options.verbs) <= set(kind.verbs)
        and set(options.categories) <= set(kind.categories)
    ]
    if options.sort_by not in ("", "name", "kind"):
        raise UsageError("--sort-by accepts only name or kind")
    if options.sort_by == "kind":
        return sorted(kinds, key=lambda kind: kind.kind)
    return sorted(kinds, key=lambda kind: (kind.group if not options.sort_by else "", kind.plural))


async def _api_resources(session: Session) -> int:
    options = session.options
    kinds = _chosen(session)
    if options.output not in ("", "wide", "name"):
        raise UsageError(f"--output {options.output} is not available: wide or name")
    if options.output == "name":
        session.write("".join(kind.resource + "\n" for kind in kinds))
        return 0
    wide = options.output == "wide"
    header = [
        "NAME",
        "SHORTNAMES",
        "APIVERSION",
        "NAMESPACED",
        "KIND",
        *(["VERBS", "CATEGORIES"] if wide else []),
    ]
    rows = [
        [
            kind.plural,
            ",".join(kind.short_names),
            kind.api_version,
            str(kind.namespaced).lower(),
            kind.kind,
            *([",".join(kind.verbs), ",".join(kind.categories)] if wide else []),
        ]
        for kind in kinds
    ]
    session.write(plain_table(header, rows, headers=not options.no_headers))
    return 0


async def _api_versions(session: Session) -> int:
    for version in sorted({kind.api_version for kind in KINDS}):
        session.say(version)
    return 0


COMMANDS = (
    Command(
        "api-resources",
        "Print the resources that the server knows.",
        "[options]",
        (
            Flag("api-group", "Only of this API group."),
            Flag("categories", "Only of these categories.", shape="list"),
            Flag("namespaced", "Only those in namespaces (or with =false, those in none).", shape="bool"),
            NO_HEADERS,
            Flag("output", "wide or name.", "o"),
            Flag("sort-by", "name or kind."),
            Flag("verbs", "Only those that take these verbs.", shape="list"),
        ),
        "orchestra api-resources -o wide\norchestra api-resources --namespaced=false",
        _api_resources,
    ),
    Command(
        "api-versions",
        "Print the API versions that the server knows.",
        examples="orchestra api-versions",
        run=_api_versions,
    ),
)
