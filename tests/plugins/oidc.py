"""An OpenID Connect provider on 127.0.0.1 for tests: a page on which one clicks who one is, and signed tokens.

Knows the authorization code flow with PKCE and nothing else. Whoever clicks is believed.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "phireside", "the-client-secret-of-the-tests"
PEOPLE = {
    "ana-1": {"name": "Ana Adler", "email": "ana@example.org", "email_verified": True},
    "ben-2": {"name": "Ben <b>Bold</b>", "email": "ben@example.org", "email_verified": True},
}
_KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


class Provider(ThreadingHTTPServer):
    """The provider; `issuer` is its address. `codes` are what it has handed out, by the code."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}"
        self.codes: dict[str, dict[str, str]] = {}

    def secrets(self, more: str = "") -> str:
        """A secrets file that names it."""
        return (
            '[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\n'
            f'cookie_secret = "{"k" * 40}"\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
            f'server_metadata_url = "{self.issuer}/.well-known/openid-configuration"\n{more}'
        )


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/.well-known/openid-configuration":
            self._json(self._metadata())
        elif address.path == "/jwks":
            self._json({"keys": [_KEY.as_dict(private=False)]})
        elif address.path == "/authorize":
            assert asked["client_id"] == CLIENT
            assert asked["response_type"] == "code"
            self._page("".join(self._link(subject, asked) for subject in PEOPLE))
        elif address.path == "/logout":
            self._redirect(asked["post_logout_redirect_uri"])
        else:
            self._send(204, "text/plain", b"")  # the browser asks for an icon

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        basic = base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()
        given = self.server.codes.pop(asked["code"][0], None)
        proof = hashlib.sha256(asked["code_verifier"][0].encode()).digest()
        if given is None or basic != f"{CLIENT}:{SECRET}" or _base64(proof) != given["code_challenge"]:
            self._json({"error": "invalid_grant"}, 400)
            return
        now = int(time.time())
        claims = {"iss": self.server.issuer, "sub": given["sub"], "aud": CLIENT, "iat": now, "exp": now + 600}
        claims |= {"nonce": given["nonce"], **PEOPLE[given["sub"]]}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, _KEY)
        self._json({"access_token": token_urlsafe(), "token_type": "Bearer", "expires_in": 600, "id_token": token})

    def _metadata(self) -> dict[str, Any]:
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        ends["end_session_endpoint"] = "logout"
        return {
            "issuer": self.server.issuer,
            **{name: f"{self.server.issuer}/{path}" for name, path in ends.items()},
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _link(self, subject: str, asked: dict[str, str]) -> str:
        code = token_urlsafe()
        self.server.codes[code] = {"sub": subject, **asked}
        back = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        return f'<p><a id="{subject}" href="{escape(back)}">{escape(subject)}</a></p>'

    def _page(self, body: str) -> None:
        self._send(200, "text/html", f"<!doctype html><title>Provider</title><h1>Who are you?</h1>{body}".encode())

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _redirect(self, address: str) -> None:
        self.send_response(302)
        self.send_header("location", address)
        self.end_headers()

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that answers, until the end."""
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
