"""Which addresses may be connected to, by whatever name they come."""

import threading
import time

import pytest

from mdtool.errors import InputError
from mdtool.network.reach import PrivateAddress, Reach, is_private_name, is_public, resolve

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "169.253.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "nas", "localhost", "nas.local", "Cam.LAN.", "a.home.arpa", "2130706433"]
)
def test_hosts_that_can_only_be_near_by(host: str) -> None:
    assert is_private_name(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "example.org", "local.example.org", "notlocal.com"])
def test_hosts_of_the_internet(host: str) -> None:
    assert not is_private_name(host)


def names(**hosts: list[str]) -> dict[str, list[str]]:
    return {name.replace("_", "."): found for name, found in hosts.items()}


def reach(host: str, *, private: bool | None = None, **hosts: list[str]) -> Reach:
    known = names(**hosts)
    return Reach(host, private, resolver=lambda name, _: known[name])


def test_a_public_host_leads_to_public_ones_only() -> None:
    one = reach("example.org", example_org=["8.8.8.8"], evil_org=["127.0.0.1"], mixed_org=["10.0.0.1", "9.9.9.9"])
    assert one.addresses("example.org", 80) == ["8.8.8.8"]
    for host in ("evil.org", "169.254.169.254", "127.0.0.1", "::1"):
        with pytest.raises(PrivateAddress, match="--allow-private"):
            one.addresses(host, 80)
    assert one.addresses("mixed.org", 80) == ["9.9.9.9"]


def test_a_name_of_the_public_dns_that_is_at_a_private_address() -> None:
    """As typed too: whoever owns the name chooses where it leads, today and at the next request."""
    with pytest.raises(PrivateAddress, match=r"rebind.example.org is at 192.168.1.1, in a private network"):
        reach("rebind.example.org", rebind_example_org=["192.168.1.1"]).addresses("rebind.example.org", 80)


def test_what_is_named_is_reached_and_nothing_beside_it() -> None:
    one = reach("nas.local", nas_local=["192.168.1.5"], other_example=["192.168.1.5"])
    assert one.addresses("nas.local", 80) == ["192.168.1.5"]
    assert one.addresses("other.example", 80) == ["192.168.1.5"]
    with pytest.raises(PrivateAddress):
        one.addresses("192.168.1.6", 80)


def test_it_can_be_allowed() -> None:
    assert reach("example.org", private=True).addresses("10.0.0.1", 80) == ["10.0.0.1"]


def test_an_address_in_another_spelling() -> None:
    """The system's resolver takes 127.1 and 0x7f000001 for what they are."""
    one = Reach("example.org", resolver=resolve)
    for host in ("127.1", "0x7f000001", "2130706433", "localhost"):
        with pytest.raises((PrivateAddress, OSError)):
            one.addresses(host, 80)


def test_an_interruption_is_heard_while_a_name_is_resolved() -> None:
    release, interrupted = threading.Event(), threading.Event()

    def slow(host: str, port: int) -> list[str]:
        release.wait(60)
        return []

    def check() -> None:
        if interrupted.is_set():
            raise InputError("interrupted")

    threading.Timer(0.15, interrupted.set).start()
    begin = time.monotonic()
    with pytest.raises(InputError, match="interrupted"):
        Reach("example.org", resolver=slow, check=check).addresses("example.org", 80)
    assert time.monotonic() - begin < 30
    release.set()
