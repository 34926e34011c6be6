"""The syntax of names, with Kubernetes' words for what is wrong."""

from collections.abc import Callable

import pytest

from orchestra.objects import names

RIGHT = [
    (names.dns_label, ["a", "web-1", "0", "a" * 63]),
    (names.dns_1035_label, ["a", "web-1", "a" * 63]),
    (names.dns_subdomain, ["a", "web.example.com", "0.a-b", "a" * 253]),
    (names.qualified_name, ["a", "A_b.c-d", "example.com/A", "a" * 63]),
    (names.label_value, ["", "a", "A_b.c-d", "5", "a" * 63]),
    (names.env_var_name, ["A", "a.b-c", "_", "A B", "1A"]),
    (names.port_name, ["http", "a", "https-alt", "1a"]),
]
WRONG = [
    (names.dns_label, ["", "A", "-a", "a-", "a.b", "a_b", "a" * 64, "a\n", "ä"], "label|63"),
    (names.dns_1035_label, ["", "1a", "A", "-a", "a" * 64], "DNS-1035|63"),
    (names.dns_subdomain, ["", "A", ".a", "a.", "a..b", "a_b", "a" * 254, "a\n"], "subdomain|253"),
    (names.qualified_name, ["", "-a", "a/", "/a", "a/b/c", "A/b", "a" * 64, "a b", "é"], "part|qualified"),
    (names.label_value, ["-", "a b", "a/b", "a" * 64, "a\n", "ü"], "a valid label|63"),
    (names.env_var_name, ["", "A=B", "A\n", "Ä"], "environment variable"),
    (names.port_name, ["", "80", "-a", "a-", "a--b", "A", "a" * 16, "a_b"], "must"),
]


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in RIGHT for text in texts])
def test_right(check: Callable[[str], str | None], text: str) -> None:
    assert check(text) is None


@pytest.mark.parametrize(
    ("check", "text", "words"), [(check, text, words) for check, texts, words in WRONG for text in texts]
)
def test_wrong(check: Callable[[str], str | None], text: str, words: str) -> None:
    said = check(text)
    assert said is not None
    assert any(word in said for word in words.split("|"))


def test_port_number() -> None:
    assert names.port_number(1) is names.port_number(65535) is None
    assert names.port_number(0) == names.port_number(65536) == "must be between 1 and 65535, inclusive"


def test_words_are_kubernetes_own() -> None:
    assert names.dns_subdomain("Web") == (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
    assert names.label_value("a b") == (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
        "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    )
