"""Nothing leaves but to an endpoint that is named, at the address that was checked, within its time and size."""

from __future__ import annotations

import ast
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from mien.core import Context, MienError
from mien.models.language.egress import Egress
from mien.policy.egress import EgressRules, EgressTerms, check_address, endpoint
from mien.testing.chat_server import ChatServer, Turn, plain, say

PUBLIC = "93.184.216.34"


def terms(*allow: str, agreement: str = "", approver: str = "") -> EgressTerms:
    return EgressTerms(allow=allow, agreement=agreement, approver=approver)


def code(call) -> str:
    with pytest.raises(MienError) as caught:
        call()
    assert caught.value.hint or caught.value.code in ("egress.encoded",)
    return caught.value.code


# ---------------------------------------------------------------- the address as it is written


def test_only_what_is_named_passes():
    held = terms("llm.example.org:443", "127.0.0.1:8000", "[::1]:8000")
    assert endpoint("https://LLM.example.org/v1", held).named == "llm.example.org:443"
    assert endpoint("http://[::1]:8000/v1", held).host == "::1"
    for url in (
        "https://llm.example.org:8443/v1",
        "http://llm.example.org/v1",
        "https://example.org/v1",
        "https://llm.example.org.evil.test/v1",
        "https://evil-llm.example.org/v1",
        "https://llm.example.org./v1",
        "http://127.0.0.1:8001/v1",
    ):
        assert code(lambda u=url: endpoint(u, held)) in ("egress.refused", "egress.bad-url"), url
    assert code(lambda: endpoint("https://llm.example.org/v1", terms())) == "egress.refused"


@pytest.mark.parametrize(
    "url",
    [
        "http://0177.0.0.1:8000/v1",
        "http://0x7f.0.0.1:8000/v1",
        "http://2130706433:8000/v1",
        "http://127.1:8000/v1",
        "http://127.0.0.01:8000/v1",
        "http://user@127.0.0.1:8000/v1",
        "http://user:secret@127.0.0.1:8000/v1",
        "http://127.0.0.1:8000@169.254.169.254/v1",
        "http://127.0.0.1:8000\\@169.254.169.254/v1",
        "http://127.0.0.1:8000#@169.254.169.254/v1",
        "http://127.0.0.1:8000/v1?x=1",
        "http://127.0.0.1 :8000/v1",
        "http://127.0.0.1:8000/v1\r\nHost: evil",
        "http://１２７.0.0.1:8000/v1",
        "http://[fe80::1%25eth0]:8000/v1",
        "http://[0:0:0:0:0:0:0:1]:8000/v1",
        "http://[::ffff:7f00:1]:99999/v1",
        "http://127.0.0.1:0/v1",
        "ftp://127.0.0.1:8000/v1",
        "file:///etc/passwd",
        "127.0.0.1:8000/v1",
        "http:///v1",
        "",
    ],
)
def test_what_programs_read_differently_is_refused_though_the_place_is_named(url: str):
    held = terms("127.0.0.1:8000", "169.254.169.254:80", "[::1]:8000")
    with pytest.raises(MienError) as caught:
        endpoint(url, held)
    assert caught.value.code == "egress.bad-url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("entry", ["127.0.0.1", "host:0", ":80", "host:99999", "https://a.b:443", "0177.0.0.1:80"])
def test_an_entry_that_is_no_place_is_an_error(entry: str):
    assert code(lambda: endpoint("https://a.example.org/v1", terms(entry, "a.example.org:443"))) == "config.invalid"


# ---------------------------------------------------------------- the address behind it

INSIDE = [
    "127.0.0.1", "127.8.8.8", "::1", "10.1.2.3", "172.16.0.1", "192.168.1.5", "100.64.0.1", "100.100.100.200",
    "169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fec0::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::ffff:10.0.0.1", "192.0.2.1", "198.18.0.1",
]  # fmt: skip
NOBODYS = [
    "0.0.0." + "0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "::7f00:1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2002:a00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_does_not_vouch_for_an_address_within(address: str):
    held = terms("llm.example.org:443")
    to = endpoint("https://llm.example.org/v1", held)
    assert code(lambda: check_address(to, address, held, "studio")) == "egress.private-address"


@pytest.mark.parametrize("address", NOBODYS)
def test_an_address_that_is_nobodys_is_refused_even_where_it_is_named(address: str):
    listed = f"[{address}]:443" if ":" in address and "ffff" not in address else "llm.example.org:443"
    held = terms("llm.example.org:443", listed)
    to = endpoint("https://llm.example.org/v1", held)
    assert code(lambda: check_address(to, address, held, "studio")) == "egress.refused"


def test_private_addresses_that_are_named_exactly_pass():
    held = terms("gpu.lan:8000", "192.168.1.5:8000", "localhost:8000", "[fd12::1]:8000")
    check_address(endpoint("http://gpu.lan:8000/v1", held), "192.168.1.5", held, "studio")
    check_address(endpoint("http://localhost:8000/v1", held), "127.0.0.1", held, "care")
    check_address(endpoint("http://localhost:8000/v1", held), "::1", held, "care")
    check_address(endpoint("http://[fd12::1]:8000/v1", held), "fd12::1", held, "studio")
    gpu = endpoint("http://gpu.lan:8000/v1", held)
    assert code(lambda: check_address(gpu, "192.168.1.6", held, "studio")) == "egress.private-address"
    assert code(lambda: check_address(gpu, "127.0.0.1", held, "studio")) == "egress.private-address"
    local = endpoint("http://localhost:8000/v1", held)
    assert code(lambda: check_address(local, "192.168.1.6", held, "studio")) == "egress.private-address"


def test_http_is_for_what_is_near():
    held = terms("llm.example.org:80")
    to = endpoint("http://llm.example.org/v1", held)
    assert code(lambda: check_address(to, PUBLIC, held, "studio")) == "egress.plain-http"


def test_in_care_nothing_leaves_this_machine_without_an_agreement():
    allow = ("llm.example.org:443", "192.168.1.5:8000", "127.0.0.1:8000")
    held = terms(*allow)
    far, near = endpoint("https://llm.example.org/v1", held), endpoint("http://127.0.0.1:8000/v1", held)
    check_address(near, "127.0.0.1", held, "care")
    check_address(far, PUBLIC, held, "research")
    assert code(lambda: check_address(far, PUBLIC, held, "care")) == "egress.care-refused"
    lan = endpoint("http://192.168.1.5:8000/v1", held)
    assert code(lambda: check_address(lan, "192.168.1.5", held, "care")) == "egress.care-refused"
    half = terms(*allow, agreement="DPA 2026-3", approver=" ")
    assert code(lambda: check_address(far, PUBLIC, half, "care")) == "egress.care-refused"
    check_address(far, PUBLIC, terms(*allow, agreement="DPA 2026-3", approver="A. Person"), "care")


# ---------------------------------------------------------------- the connection


def rules(context: Context, *allow: str) -> EgressRules:
    return EgressRules(terms(*allow), context)


def client(server: ChatServer, **options) -> Egress:
    return Egress(rules("care", server.address), **options)


def post(egress: Egress, url: str):
    return egress.post(f"{url}/chat/completions", b"{}", {"Content-Type": "application/json"})


def test_it_answers_and_ignores_proxies_of_the_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ChatServer([say("hello")]) as server:
        answer = post(client(server), server.url)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert server.headers[0]["host"] == server.address
        assert server.headers[0]["accept-encoding"] == "identity"


def test_a_redirect_is_not_followed_not_even_to_a_named_place():
    with ChatServer([say("secret of the metadata service")]) as inner:
        for target in (f"http://{inner.address}/v1", "http://169.254.169.254/latest/meta-data/"):
            with ChatServer([Turn(307, {"Location": target})]) as server:
                held = Egress(rules("studio", server.address, inner.address, "169.254.169.254:80"))
                assert code(lambda h=held, s=server: post(h, s.url)) == "egress.redirect"
        assert inner.asked == []


def test_the_connection_goes_to_the_address_that_was_checked():
    """A resolver that changes its mind after the check finds that nobody asks it again."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    with ChatServer([say("hello")]) as server:
        port = server.address.rpartition(":")[2]
        held = Egress(rules("care", f"model.example.org:{port}", server.address), resolve=rebinding)
        assert post(held, f"http://model.example.org:{port}/v1").status == 200
        assert asked == ["model.example.org"]
        assert server.headers[0]["host"] == f"model.example.org:{port}"
        assert code(lambda: post(held, f"http://model.example.org:{port}/v1")) == "egress.private-address"
        assert len(server.asked) == 1


def test_one_bad_address_among_good_ones_is_enough():
    with ChatServer([say("hello")]) as server:
        port = server.address.rpartition(":")[2]
        held = Egress(
            rules("care", f"model.example.org:{port}", server.address), resolve=lambda *_: ["127.0.0.1", "10.0.0.1"]
        )
        assert code(lambda: post(held, f"http://model.example.org:{port}/v1")) == "egress.private-address"
        assert server.asked == []


def test_the_next_checked_address_is_tried_where_one_refuses():
    with ChatServer([say("hello")]) as server:
        port = server.address.rpartition(":")[2]
        held = Egress(rules("care", f"localhost:{port}"), resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
        assert post(held, f"http://localhost:{port}/v1").status == 200


@pytest.mark.parametrize("claimed", [True, False])
def test_an_answer_that_is_too_large_is_left(claimed: bool):
    body = "x" * 5000
    turn = plain(body) if claimed else Turn(200, {"Transfer-Encoding": "chunked"}, _chunked(body))
    with ChatServer([turn]) as server:
        assert code(lambda: post(client(server, max_bytes=1024), server.url)) == "egress.too-large"


def _chunked(body: str) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body.encode())


@pytest.mark.parametrize("turn", [Turn(wait_s=5), Turn(body=b"{" * 200, drip_s=0.05)], ids=["silent", "dripping"])
def test_one_deadline_covers_the_whole_call(turn: Turn):
    with ChatServer([turn]) as server:
        started = time.monotonic()
        with pytest.raises(MienError) as caught:
            post(client(server, timeout_s=0.4), server.url)
        assert (caught.value.code, caught.value.retryable) == ("egress.timeout", True)
        assert time.monotonic() - started < 2


def test_headers_that_drip_are_cut_off_too():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"

        def drip() -> None:
            peer, _ = listening.accept()
            with peer:
                for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
                    try:
                        peer.send(bytes([byte]))
                    except OSError:
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        held = Egress(rules("care", address), timeout_s=0.4)
        assert code(lambda: post(held, f"http://{address}/v1")) == "egress.timeout"
        assert time.monotonic() - started < 2
        thread.join()


def test_a_look_up_that_hangs_counts_too():
    held = Egress(rules("studio", "slow.example.org:443"), timeout_s=0.2, resolve=lambda *_: time.sleep(1) or [])
    assert code(lambda: post(held, "https://slow.example.org/v1")) == "egress.timeout"


def test_nobody_there_a_cut_answer_and_something_that_is_not_http():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    held = Egress(rules("care", address), timeout_s=5)
    assert code(lambda: post(held, f"http://{address}/v1")) == "egress.unreachable"
    unknown = Egress(rules("studio", "no.example.org:443"), resolve=_nobody)
    assert code(lambda: post(unknown, "https://no.example.org/v1")) == "egress.unreachable"
    with ChatServer([Turn(200, {}, b'{"a"', length=500)]) as server:
        assert code(lambda: post(client(server), server.url)) == "egress.bad-answer"
    with ChatServer([Turn(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")]) as server:
        assert code(lambda: post(client(server), server.url)) == "egress.encoded"


def _nobody(host: str, port: int) -> list[str]:
    raise socket.gaierror(-2, "Name or service not known")


def test_tls_is_checked_against_the_name_although_the_address_is_connected_to(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=model.example.org"]
    made += ["-addext", "subjectAltName=DNS:model.example.org", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the openssl command to make a certificate")
    with ChatServer([say("hello")]) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        port = server.address.rpartition(":")[2]
        places = [f"{name}:{port}" for name in ("model.example.org", "other.example.org", "127.0.0.1")]
        held = Egress(rules("care", *places), ca_file=str(cert), resolve=lambda *_: ["127.0.0.1"], timeout_s=10)
        assert post(held, f"https://model.example.org:{port}/v1").status == 200
        assert code(lambda: post(held, f"https://other.example.org:{port}/v1")) == "egress.unreachable"
        strange = Egress(rules("care", *places), resolve=lambda *_: ["127.0.0.1"], timeout_s=10)
        assert code(lambda: post(strange, f"https://model.example.org:{port}/v1")) == "egress.unreachable"


LOCAL = {"socketpair", "gethostname", "send_fds", "recv_fds"}  # between processes of this machine


def connecting(tree: ast.Module) -> bool:
    """Whether a module imports what could open a connection; `socket` for no more than `LOCAL` and inherited ends."""
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    parts = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += parts
    if any(n in ("urllib.request", "http.client", "ftplib") for n in names) or any(
        n.split(".")[0] in ("requests", "urllib3", "httpx", "aiohttp", "websockets") for n in names
    ):
        return True
    if "socket" in parts:
        return True
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    return any(
        isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "socket"
        and call.func.attr not in LOCAL
        and [k.arg for k in call.keywords] != ["fileno"]
        for call in calls
    )


def test_this_is_the_only_way_out():
    """No other module of the package opens a connection; `weights` fetches from registries, `testing` only listens.

    The Ray crew looks up the address of its cluster and has it checked by the same rules before Ray connects. A loader
    reads the list of revocations at the address that a release names, only where it is called with `fetch=True`. Ray's
    workers fetch media from `run.media_url`, which is checked by the same rules.
    """
    import mien

    root = Path(mien.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if connecting(ast.parse(path.read_text(encoding="utf-8")))
    }
    allowed = {
        "models/language/egress.py",
        "pipeline/engine/raying.py",
        "pipeline/engine/elsewhere.py",
        "store/revocation.py",
    }
    assert {f for f in found if not f.startswith("models/weights/")} == allowed


@pytest.mark.parametrize(
    ("code_of", "connects"),
    [
        ("import socket\na, b = socket.socketpair()", False),
        ("import socket\ns = socket.socket(fileno=3)", False),
        ("import socket\ns = socket.socket()", True),
        ("import socket\ns = socket.create_connection(('x', 1))", True),
        ("from socket import create_connection", True),
        ("import httpx", True),
        ("from urllib.request import urlopen", True),
        ("import json", False),
    ],
)
def test_the_look_for_ways_out_sees_them(code_of, connects):
    assert connecting(ast.parse(code_of)) == connects
