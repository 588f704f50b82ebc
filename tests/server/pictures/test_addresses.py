"""Which addresses a picture may be fetched from, judged without connecting anywhere."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from featsvc.server.pictures.addresses import Allowed, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "2002:7f00:1::", "2002:a9fe:a9fe::", "::127.0.0.1", "fec0::1", "feff::1", "3fff::1", "3fff:fff::1",
        "5f00::1", "100::1", "64:ff9b:1::1", "4000::1", "::8.8.8.8", "2001::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not Allowed().permits("example.com", ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "3ffe::1"],
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert is_public(ip_address(address))
    assert Allowed().permits("example.com", ip_address(address))


def test_the_allow_list_takes_hosts_addresses_and_networks() -> None:
    allowed = Allowed.of(("pictures.internal", "10.1.0.0/16", "127.0.0.1", "fd00::/8"))
    assert allowed.permits("Pictures.Internal.", ip_address("192.168.0.7"))
    assert allowed.permits("any.host", ip_address("10.1.2.3"))
    assert allowed.permits("any.host", ip_address("127.0.0.1"))
    assert allowed.permits("any.host", ip_address("fd12::1"))
    assert allowed.permits("any.host", ip_address("::ffff:10.1.2.3"))
    assert not allowed.permits("any.host", ip_address("::ffff:10.2.0.1"))
    assert not allowed.permits("any.host", ip_address("10.2.0.1"))
    assert not allowed.permits("other.internal", ip_address("192.168.0.7"))
