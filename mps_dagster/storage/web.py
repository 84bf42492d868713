"""HTTP to addresses that users name: only to public ones, unless the settings allow more.

A name is looked up once and the connection goes to the very address that was checked, so that a name which changes its
mind (DNS rebinding) gains nothing. Each hop of a redirect is checked like the first.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

from mps_dagster.settings import WebSettings

__all__ = ["HINT", "GuardedSession", "InvalidIPAddress"]

HINT = "it is no public address; if it is yours, name its host or network in MPS_WEB__ALLOW"
MAX_REDIRECTS = 5


class GuardedSession(requests.Session):
    """Raises `InvalidIPAddress` (a RequestException) where it will not go. Looks at no proxy variables, no .netrc."""

    def __init__(self, settings: WebSettings) -> None:
        super().__init__()
        self._settings = settings
        self._open = HTTPAdapter()
        self.trust_env = False
        self.max_redirects = MAX_REDIRECTS
        if settings.proxy:
            self.proxies = {"http": settings.proxy, "https": settings.proxy}
        self.mount("http://", IPFilterAdapter(is_https_proto=False))
        self.mount("https://", IPFilterAdapter(is_https_proto=True))

    def get_adapter(self, url: str | bytes) -> BaseAdapter:
        url = url.decode() if isinstance(url, bytes) else url
        host = (urlsplit(url).hostname or "").rstrip(".")
        if _is_allowed(host, self._settings.allow):
            return self._open
        if self._settings.proxy and _literal(host) is None:
            # The proxy looks the name up, and decides where its own network may be entered.
            return self._open
        return super().get_adapter(url)


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
