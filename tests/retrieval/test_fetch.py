"""Fetching: what is sent and read when all is well, and pieces of the check that no server is needed for."""

import gzip
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websites import HTML, Names, Site, closed_port, plain, site

from phireside.errors import ToolError
from phireside.retrieval.fetch import Limits, addresses, fetch, in_time, is_public

ROUTES = {
    "/plain": (200, HTML, b"hello"),
    "/packed": (200, {"Content-Encoding": "gzip"}, gzip.compress(b"hello " * 1000)),
    "/refused": (403, HTML, b"go away"),
    "/moved": (301, {"Location": "plain?x=1#part"}, b"see there"),
    "/lost": (302, {}, b""),
    "/astray": (302, {"Location": "http://[::1"}, b""),
    "/chunks": lambda visit: iter(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"]
    ),
    "/exact": (200, {}, b"x" * 5000),
}


@pytest.fixture
def server(loopback: None) -> Iterator[Site]:
    with site(ROUTES) as here:
        yield here


def test_an_answer_has_its_address_status_headers_and_body(server: Site) -> None:
    answer = fetch(f" {server.url}/plain ", Limits(allow=server.allowed))
    assert (answer.url, answer.status, answer.body) == (f"{server.url}/plain", 200, b"hello")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_the_name_is_kept_for_host_and_the_addresses_are_tried_in_turn(server: Site) -> None:
    closed = closed_port()
    resolve = Names(page_invalid=[["127.0.0.3", "127.0.0.1"]])  # nobody listens at the first
    limits = Limits(allow=frozenset({("127.0.0.3", server.port), ("127.0.0.1", server.port), ("127.0.0.1", closed)}))
    assert fetch(f"http://PAGE.invalid:{server.port}/plain", limits, resolve).body == b"hello"
    assert server.hosts == [f"page.invalid:{server.port}"]
    assert resolve.asked == ["page.invalid"]


def test_a_packed_body_is_unpacked_and_one_in_chunks_is_put_together(server: Site) -> None:
    assert fetch(server.url + "/packed", Limits(allow=server.allowed)).body == b"hello " * 1000
    assert fetch(server.url + "/chunks", Limits(allow=server.allowed)).body == b"abcde"


def test_the_limit_of_bytes_is_exact_for_what_is_unpacked(server: Site) -> None:
    assert len(fetch(server.url + "/packed", Limits(max_bytes=6000, allow=server.allowed)).body) == 6000
    with pytest.raises(ToolError, match="more than 5,999 bytes"):
        fetch(server.url + "/packed", Limits(max_bytes=5999, allow=server.allowed))
    with pytest.raises(ToolError, match="more than 4,999 bytes"):
        fetch(server.url + "/exact", Limits(max_bytes=4999, allow=server.allowed))


def test_a_redirect_is_followed_and_counted(server: Site) -> None:
    assert fetch(server.url + "/moved", Limits(allow=server.allowed)).url == f"{server.url}/plain?x=1#part"
    assert server.hits == ["/moved", "/plain?x=1"]
    with pytest.raises(ToolError, match="leads on more than 0 times"):
        fetch(server.url + "/moved", Limits(redirects=0, allow=server.allowed))
    with pytest.raises(ToolError, match="which is no address"):
        fetch(server.url + "/astray", Limits(allow=server.allowed))


def test_other_answers_have_a_status_and_no_body(server: Site) -> None:
    for path, status in (("/refused", 403), ("/lost", 302), ("/none", 404)):
        answer = fetch(server.url + path, Limits(allow=server.allowed))
        assert (answer.status, answer.body) == (status, b"")


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(
    loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, asked = certified(tmp_path, "page.invalid"), []
    tls.sni_callback = lambda socket, name, context: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    resolve = Names(page_invalid=[["127.0.0.1"]], other_invalid=[["127.0.0.1"]])
    with site(ROUTES, tls=tls) as here:
        limits = Limits(allow=here.allowed)
        assert fetch(f"https://page.invalid:{here.port}/plain", limits, resolve).body == b"hello"
        here.server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        with pytest.raises(ToolError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(f"https://other.invalid:{here.port}/plain", limits, resolve)
    assert asked == ["page.invalid", "other.invalid"]


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    file = tmp_path / "cert.pem"
    if text:
        file.write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(ToolError, match="certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read"):
        fetch("https://page.invalid/", resolve=Names(page_invalid=[["93.184.216.34"]]))


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """TLS of a server with a certificate for a name, signed by itself and written to `folder`."""
    x509 = pytest.importorskip("cryptography.x509", reason="writes the certificate: pip install cryptography")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    cert = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    pkcs8, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, bare))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_cookies_of_one_answer_are_not_sent_with_the_next(loopback: None) -> None:
    seen = []

    def cookie(visit) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
        seen.append(visit.headers.get("Cookie"))
        return plain(200, {"Set-Cookie": "a=1"}, b"x")

    with site({"*": cookie}) as here:
        for _ in range(2):
            fetch(here.url, Limits(allow=here.allowed))
    assert seen == [None, None]


def test_a_number_is_never_looked_up() -> None:
    resolve = Names()
    for host in ("127.0.0.1", "127.1", "0x7f000001", "2130706433", "::ffff:127.0.0.1"):
        assert addresses(host, 80, resolve, 1) in (["127.0.0.1"], ["::ffff:7f00:1"])
    assert resolve.asked == []


@given(st.integers(0, 2**32 - 1))
def test_what_holds_for_an_ipv4_address_holds_for_it_inside_an_ipv6_one(number: int) -> None:
    plain = is_public(str(IPv4Address(number)))
    assert is_public(str(IPv6Address(0xFFFF << 32 | number))) == plain  # mapped
    assert is_public(str(IPv6Address((0x64FF9B << 96) | number))) == plain  # NAT64
    assert is_public(str(IPv6Address((0x2002 << 112) | (number << 80)))) == plain  # 6to4
    assert not is_public(str(IPv6Address(number)))  # "compatible", long dead


@given(st.text(max_size=30))
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public("x" + text)


@given(st.text(max_size=60))
def test_any_text_gives_a_tool_error_and_nothing_else(text: str) -> None:
    for url in (text, "http://" + text, "http://a.invalid:" + text, "http://[" + text + "]/"):
        # "9.9" is a public address too; none may be tried here
        with patch("phireside.retrieval.fetch.is_public", return_value=False), pytest.raises(ToolError):
            fetch(url, Limits(seconds=0.5), Names(a_invalid=[["127.0.0.1"]]))


def test_work_that_does_not_end_is_left_behind() -> None:
    hold = threading.Event()
    with pytest.raises(TimeoutError):
        in_time(lambda: hold.wait(20), 0.05)
    hold.set()
    assert in_time(lambda: 5, 60) == 5
    with pytest.raises(KeyError):
        in_time(lambda: {}["x"], 60)
