"""Addresses: what is one, and that it never prints itself."""

import pytest

from mtaframe.address import Address, dns_name

GOOD = {
    "a@b.example": ("a", "b.example"),
    "A.b+c@B.Example.": ("A.b+c", "b.example"),
    '"a b"@b.example': ('"a b"', "b.example"),
    '"a\\"@x"@b.example': ('"a\\"@x"', "b.example"),
    "a@[192.0.2.1]": ("a", "[192.0.2.1]"),
    "a@[IPv6:2001:db8::1]": ("a", "[ipv6:2001:db8::1]"),
    "bøb@bücher.example": ("bøb", "bücher.example"),
    "a@localhost": ("a", "localhost"),
}

BAD = [
    "",
    "nobody",
    "@",
    "a@under_score.example",
    "a@",
    "@b",
    "a b@c",
    "a@b c",
    "a@b..c",
    ".a@b",
    "a.@b",
    "a..b@c",
    "a@-b",
    "a@b-",
    "a@[1.2.3]",
]
BAD += ['"a@b', 'a"b@c', "a@b\r\n", "a\0@b", "a<b@c", "<a@b>", "a@b>", "x" * 65 + "@b.example", "a@" + "b." * 128 + "c"]


@pytest.mark.parametrize(("text", "parts"), GOOD.items())
def test_an_address_has_a_local_part_and_a_domain_in_lower_case(text, parts):
    address = Address.parse(text)
    assert (address.local_part, address.domain) == parts
    assert address.mailbox == f"{parts[0]}@{parts[1]}"


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_without_being_repeated(text):
    with pytest.raises(ValueError, match=r".") as caught:
        Address.parse(text)
    assert len(text) < 2 or text not in str(caught.value)


def test_it_says_whether_it_is_ascii():
    assert Address.parse("a@b.example").is_ascii
    assert not Address.parse("a@bücher.example").is_ascii


def test_it_never_prints_itself():
    address = Address.parse("alice@example.com")
    assert f"{address} {address!r} {[address]}" == "Address() Address() [Address()]"


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("example.com", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example", "xn--bcher-kva.example"),
        ("u\u0308.example", "xn--tda.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("نامه\u200cای.example", "xn--mgba3gch31f060k.example"),
    ],
)
def test_the_dns_has_a_domain_by_the_name_that_is_its_own_today(domain, name):
    assert dns_name(domain) == name


@pytest.mark.parametrize("domain", ["ü..example", "ü" * 64, "ß" + "ü" * 64, "ü." * 128 + "example"])
def test_what_the_dns_cannot_have_is_none(domain):
    with pytest.raises(UnicodeError):
        dns_name(domain)
