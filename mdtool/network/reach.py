"""Which addresses may be connected to: public ones, and those of private networks only where the user named them.

A redirect or a playlist of a stranger must not lead to what only this machine can reach: its own services, a router, or
the metadata of a cloud (169.254.169.254). What counts is the address that is connected to, whatever name leads there.
"""

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mdtool.errors import InputError
from mdtool.interruption import raise_if_interrupted

Resolver = Callable[[str, int], Sequence[str]]
POLL_SECONDS = 0.1
RESOLVING_SECONDS = 10.0
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
# Names outside the public DNS (RFC 6761, RFC 6762, RFC 8375, and what ICANN keeps free): they mean a host near by.
PRIVATE_NAMES = (".local", ".localhost", ".lan", ".home", ".corp", ".internal", ".home.arpa")

_allowed: list[bool] = [False]


def allow_private(allowed: bool) -> None:
    """Set whether private addresses are reached wherever they are named."""
    _allowed[0] = allowed


def private_allowed() -> bool:
    """Return whether private addresses are reached wherever they are named."""
    return _allowed[0]


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host in the order in which to try them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the internet, also if IPv6 only wraps one of IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(parsed.packed[12:]) if parsed in NAT64 else None
        parsed = parsed.ipv4_mapped or parsed.sixtofour or nat64 or parsed
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved)


def is_private_name(host: str) -> bool:
    """Return whether a host, as typed, can only be near by: a private address, a name without a dot, or "nas.local"."""
    try:
        return not is_public(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return "." not in name or name.endswith(PRIVATE_NAMES)


class PrivateAddress(InputError):
    """A host in a private network that the user did not name."""


@dataclass
class Reach:
    """What may be connected to on behalf of one address that the user typed.

    Attributes:
        host: Its host.
        private: Whether private addresses may be reached whoever names them; None: as `allow_private` was told.
        resolver: From a host and a port to addresses.
        public: Whether an address is one of the internet.
        check: Called several times a second while waiting; what it raises ends the wait.
    """

    host: str
    private: bool | None = None
    resolver: Resolver = resolve
    public: Callable[[str], bool] = is_public
    check: Callable[[], object] = raise_if_interrupted
    _named: set[str] = field(default_factory=set)

    def addresses(self, host: str, port: int) -> list[str]:
        """Return those addresses of a host that may be connected to.

        Raises:
            InputError: None may be.
            OSError: The host is unknown, or is not found in time.
        """
        found = self._resolved(host, port)
        if host == self.host and is_private_name(host):
            self._named.update(found)
        allowed = [one for one in found if self._permits(one)]
        if not allowed:
            raise PrivateAddress(
                f"{host} is at {found[0]}, in a private network, and is not what was named; --allow-private allows it"
            )
        return allowed

    def check_proxied(self, host: str, port: int) -> None:
        """Check a host that a proxy connects to, which may know names that this machine doesn't. Raises InputError."""
        try:
            self.addresses(host, port)
        except OSError:
            return

    def _permits(self, address: str) -> bool:
        anywhere = _allowed[0] if self.private is None else self.private
        return anywhere or address in self._named or self.public(address)

    def _resolved(self, host: str, port: int) -> Sequence[str]:
        """Resolve in a thread of its own: the system's resolver can't be interrupted."""
        with suppress(ValueError):
            ipaddress.ip_address(host)
            return [host]
        answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self.resolver(host, port) or OSError("the host has no address"))
            except (OSError, ValueError) as error:
                answers.put(error if isinstance(error, OSError) else OSError(str(error)))

        threading.Thread(target=ask, name="resolver", daemon=True).start()
        for _ in range(round(RESOLVING_SECONDS / POLL_SECONDS)):
            self.check()
            try:
                answer = answers.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(answer, OSError):
                raise answer
            return answer
        raise TimeoutError(f"the name of the host was not resolved within {RESOLVING_SECONDS:g} s")
