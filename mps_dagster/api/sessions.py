"""Who looks at the pages: a browser signs in once with a key of the API, or by a link that holds a signature of one."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import Request
from starlette.responses import Response

from mps_dagster.api.keys import ApiKey

COOKIE = "mps_session"
COOKIE_S = 30 * 24 * 3600
LINK_S = 24 * 3600
"""How long a link can be used to sign in."""


@dataclass(frozen=True)
class Sessions:
    """Nothing is stored: what is signed with a key stops to be valid when the key is removed or changed."""

    keys: Mapping[str, ApiKey]

    def key_of(self, request: Request) -> ApiKey | None:
        """The key that the browser signed in with."""
        return self._verified("cookie", request.cookies.get(COOKIE, ""), COOKIE_S)

    def by_secret(self, secret_id: str, secret_key: str) -> ApiKey | None:
        key = self.keys.get(secret_id)
        is_right = key and hmac.compare_digest(key.secret_key.get_secret_value().encode(), secret_key.encode())
        return key if is_right else None

    def by_token(self, token: str) -> ApiKey | None:
        return self._verified("link", token, LINK_S)

    def sign_in(self, key: ApiKey, request: Request, response: Response) -> Response:
        response.set_cookie(
            COOKIE, _signed("cookie", key), max_age=COOKIE_S, path="/pages", httponly=True, samesite="lax",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    def _verified(self, purpose: str, text: str, max_age_s: int) -> ApiKey | None:
        key = self.keys.get(text.partition(".")[0])
        if key is None:
            return None
        try:
            _signer(purpose, key).unsign(text, max_age=max_age_s)
        except BadSignature:
            return None
        return key


def login_link(api_url: str, key: ApiKey) -> str:
    """An address that signs a browser in; whoever has it may do what the key may."""
    return f"{api_url}/pages/login?token={_signed('link', key)}"


def _signed(purpose: str, key: ApiKey) -> str:
    return _signer(purpose, key).sign(key.secret_id).decode()


def _signer(purpose: str, key: ApiKey) -> TimestampSigner:
    return TimestampSigner(key.secret_key.get_secret_value(), salt=f"mps-pages-{purpose}")
