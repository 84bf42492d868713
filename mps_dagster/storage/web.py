"""HTTP to addresses that users name: only to public ones, unless the settings allow more.

A name is looked up once and the connection goes to the very address that was checked, so that a name which changes its
mind (DNS rebinding) gains nothing. Each hop of a redirect is checked like the first. A session ends at its deadline;
only looking a name up and connecting, which have limits of their own, may still be under way then.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

from mps_dagster.settings import WebSettings
from mps_dagster.storage.deadline import Deadline, DeadlineAdapter

__all__ = ["HINT", "GuardedSession", "InvalidIPAddress", "without_userinfo"]

HINT = "it is no public address; if it is yours, name its host or network in MPS_WEB__ALLOW"
MAX_REDIRECTS = 5
SESSION_S = 30.0
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out to the public. Outside it are site-local addresses and forms that embed an IPv4 one."""


class GuardedSession(requests.Session):
    """Raises `InvalidIPAddress` (a RequestException) where it will not go. Looks at no proxy variables, no .netrc."""

    def __init__(self, settings: WebSettings, seconds: float = SESSION_S) -> None:
        super().__init__()
        self._settings = settings
        self._deadline = Deadline(seconds)
        self._open = DeadlineAdapter(self._deadline)
        self.trust_env = False
        self.max_redirects = MAX_REDIRECTS
        if settings.proxy:
            self.proxies = {"http": settings.proxy, "https": settings.proxy}
        self.mount("http://", _PublicAdapter(self._deadline, is_https_proto=False))
        self.mount("https://", _PublicAdapter(self._deadline, is_https_proto=True))

    @property
    def is_over(self) -> bool:
        """At its deadline a session's answers break off, or seem to be complete."""
        return self._deadline.passed

    def close(self) -> None:
        super().close()
        self._open.close()
        self._deadline.close()

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target:
            # `requests` would read what else it says, into memory and without a limit.
            resp.close()
        return target

    def get_adapter(self, url: str | bytes) -> BaseAdapter:
        url = url.decode() if isinstance(url, bytes) else url
        host = (urlsplit(url).hostname or "").rstrip(".")
        if _is_allowed(host, self._settings.allow):
            return self._open
        if self._settings.proxy and _literal(host) is None:
            # The proxy looks the name up, and decides where its own network may be entered.
            return self._open
        return super().get_adapter(url)


class _PublicAdapter(DeadlineAdapter, IPFilterAdapter):  # type: ignore[misc]  # no type information is published
    """IPFilterAdapter looks the name up and refuses what is private; here goes what it lets pass."""

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        host, pool = super().build_connection_pool_key_attributes(*args, **options)
        address = ipaddress.ip_address(host["host"].strip("[]"))
        if address.version == 6 and address not in GLOBAL_UNICAST:
            raise InvalidIPAddress(address)
        return host, pool


def without_userinfo(text: str) -> str:
    """A URL, or a text with some, without `user:password@`."""
    return re.sub(r"//[^/?#\s]*@", "//", text)


def _is_allowed(host: str, allow: tuple[str, ...]) -> bool:
    """By name, or as an address written out: what a name leads to is not known until it is looked up."""
    address = _literal(host)
    if address is None:
        return host in allow
    networks = [ipaddress.ip_network(item, strict=False) for item in allow if _literal(item.partition("/")[0])]
    return any(address in network for network in networks)


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
