"""The syntax of names. Every check returns an error sentence in Kubernetes' words, or None.

Source: Kubernetes, apimachinery/pkg/util/validation and api/validate/content.
"""

import re

LABEL_LENGTH_MAX = 63
SUBDOMAIN_LENGTH_MAX = 253
PORT_NAME_LENGTH_MAX = 15

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_1035_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ENV_VAR_NAME = re.compile(r"[ -<>-~]+")
_SYSCTL_PART = r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = re.compile(rf"({_SYSCTL_PART}[./])*{_SYSCTL_PART}")
_PORT_NAME_CHARACTERS = re.compile(r"[-a-z0-9]+")


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def _syntax(rule: str, pattern: re.Pattern[str], *examples: str) -> str:
    said = ",  or ".join(f"'{example}'" for example in examples)
    return f"{rule} (e.g. {said}, regex used for validation is '{pattern.pattern}')"


_DNS_LABEL_ERROR = _syntax(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _DNS_LABEL,
    "my-name",
    "123-abc",
)
_DNS_1035_LABEL_ERROR = _syntax(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character",
    _DNS_1035_LABEL,
    "my-name",
    "abc-123",
)
_DNS_SUBDOMAIN_ERROR = _syntax(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _DNS_SUBDOMAIN,
    "example.com",
)
_NAME_PART_ERROR = _syntax(
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
_LABEL_VALUE_ERROR = _syntax(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _LABEL_VALUE,
    "MyValue",
    "my_value",
    "12345",
)


def dns_label(text: str) -> str | None:
    """Namespaces, containers, volumes: `my-name`."""
    if len(text) > LABEL_LENGTH_MAX:
        return _too_long(LABEL_LENGTH_MAX)
    return None if _DNS_LABEL.fullmatch(text) else _DNS_LABEL_ERROR


def dns_1035_label(text: str) -> str | None:
    """Services: a DNS label that begins with a letter."""
    if len(text) > LABEL_LENGTH_MAX:
        return _too_long(LABEL_LENGTH_MAX)
    return None if _DNS_1035_LABEL.fullmatch(text) else _DNS_1035_LABEL_ERROR


def dns_subdomain(text: str) -> str | None:
    """Most objects: `my-name` or `example.com`."""
    if len(text) > SUBDOMAIN_LENGTH_MAX:
        return _too_long(SUBDOMAIN_LENGTH_MAX)
    return None if _DNS_SUBDOMAIN.fullmatch(text) else _DNS_SUBDOMAIN_ERROR


def qualified_name(text: str) -> str | None:
    """Keys of labels, annotations, taints: `name` or `example.com/name`."""
    prefix, slash, name = text.rpartition("/")
    if slash:
        if "/" in prefix:
            return (
                f"a qualified name {_NAME_PART_ERROR} with an optional DNS subdomain prefix and '/' "
                "(e.g. 'example.com/MyName')"
            )
        if not prefix:
            return "prefix part must be non-empty"
        problem = dns_subdomain(prefix)
        if problem:
            return f"prefix part {problem}"
    if not name:
        return "name part must be non-empty"
    if len(name) > LABEL_LENGTH_MAX:
        return f"name part {_too_long(LABEL_LENGTH_MAX)}"
    return None if _QUALIFIED.fullmatch(name) else f"name part {_NAME_PART_ERROR}"


def label_value(text: str) -> str | None:
    """The value of a label: may be empty."""
    if len(text) > LABEL_LENGTH_MAX:
        return _too_long(LABEL_LENGTH_MAX)
    return None if _LABEL_VALUE.fullmatch(text) else _LABEL_VALUE_ERROR


def env_var_name(text: str) -> str | None:
    """The name of an environment variable."""
    if not text:
        return "environment variable name must not be empty"
    if _ENV_VAR_NAME.fullmatch(text):
        return None
    return "a valid environment variable name must consist only of printable ASCII characters other than '='"


def sysctl_name(text: str) -> str | None:
    """A kernel parameter: `kernel.shm_rmid_forced` or `kernel/shm_rmid_forced`."""
    if len(text) > SUBDOMAIN_LENGTH_MAX:
        return _too_long(SUBDOMAIN_LENGTH_MAX)
    return None if _SYSCTL.fullmatch(text) else f"must match the regex {_SYSCTL.pattern}"


def port_name(text: str) -> str | None:
    """The name of a container's port: `http`, `https-alt`."""
    if len(text) > PORT_NAME_LENGTH_MAX:
        return _too_long(PORT_NAME_LENGTH_MAX)
    if not _PORT_NAME_CHARACTERS.fullmatch(text):
        return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not any("a" <= character <= "z" for character in text):
        return "must contain at least one letter (a-z)"
    if "--" in text:
        return "must not contain consecutive hyphens"
    if text.startswith("-") or text.endswith("-"):
        return "must not begin or end with a hyphen"
    return None


def port_number(number: int) -> str | None:
    """A TCP or UDP port."""
    return None if 1 <= number <= 65535 else "must be between 1 and 65535, inclusive"
