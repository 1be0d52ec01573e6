"""Files by HTTP: the client against real servers on loopback, well-behaved and not."""

from __future__ import annotations

import base64
import datetime
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.includes.web import Limits, WebClient
from protocol.errors import LongshoreError
from tests.support.certificates import Authority
from tests.support.web_server import GIGABYTE, Proxy, WebServer

JOB = b"job: {script: [x]}\n"
BRIEF = Limits(seconds=0.5, connect_seconds=0.5, size=1 << 20)


def client(environment: dict[str, str], limits: Limits | None = None, *, allow_local: bool = True) -> WebClient:
    return WebClient(allow_local, limits or Limits(size=1 << 20), environment)


def refusal(web: WebClient, url: str) -> str:
    with pytest.raises(LongshoreError) as raised:
        web.get(url)
    return str(raised.value)


def test_a_file_is_fetched_over_tls_with_the_servers_name_and_no_more_than_is_needed(
    server: WebServer, trust: dict[str, str]
) -> None:
    server.files["/ci/jobs.yml"] = JOB
    assert client(trust).get(server.url("/ci/jobs.yml?token=1#part", "localhost")) == JOB
    [(path, headers)] = server.requests
    assert (path, headers["Host"]) == ("/ci/jobs.yml?token=1", f"localhost:{server.port}")
    assert "Authorization" not in headers
    assert client(trust).get(server.url("/chunked")) == JOB


def test_plain_http_is_fetched_too(trust: dict[str, str]) -> None:
    with closing(WebServer(files={"/a.yml": JOB})) as plain:
        assert client({}).get(plain.url("/a.yml")) == JOB


def test_credentials_of_a_url_reach_its_server_and_no_other(server: WebServer, trust: dict[str, str]) -> None:
    server.files["/a.yml"] = JOB
    server.redirects["/moved.yml"] = server.url("/a.yml", "localhost")
    url = server.url("/moved.yml").replace("://", "://user:s%40cret@")
    assert client(trust).get(url) == JOB
    first, second = (headers for _, headers in server.requests)
    assert first["Authorization"] == "Basic " + base64.b64encode(b"user:s@cret").decode()
    assert "Authorization" not in second


@pytest.mark.parametrize("path", ["/silent", "/drip", "/drip-headers"])
def test_a_slow_server_is_left_in_time(server: WebServer, trust: dict[str, str], path: str) -> None:
    assert refusal(client(trust, BRIEF), server.url(path)) == "can't be fetched: it takes longer than 0.5 s"


def test_a_server_that_never_shakes_hands_is_left_in_time(trust: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/a.yml"
        assert "can't be fetched" in refusal(client(trust, BRIEF), url)


@pytest.mark.parametrize("path", ["/cut", "/cut-chunked"])
def test_half_a_file_is_no_file(server: WebServer, trust: dict[str, str], path: str) -> None:
    assert refusal(client(trust), server.url(path)) == "can't be fetched: the connection broke off after 18 bytes"


@pytest.mark.parametrize("path", ["/hang-up", "/nonsense"])
def test_a_server_that_does_not_answer_in_http_is_reported(server: WebServer, trust: dict[str, str], path: str) -> None:
    assert refusal(client(trust), server.url(path)) == "can't be fetched: the connection broke off before the answer"


@pytest.mark.parametrize("path", ["/big", "/big-silent", "/big-chunked"])
def test_a_gigabyte_is_refused_without_reading_it(server: WebServer, trust: dict[str, str], path: str) -> None:
    assert refusal(client(trust), server.url(path)) == "is larger than 1 MB"
    assert server.sent < GIGABYTE // 10


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/404", "HTTP 404, there is no such file"),
        ("/401", "HTTP 401, it asks for a login"),
        ("/500", "HTTP 500, the server could not answer"),
        ("/204", "HTTP 204"),
        ("/gzip", "the server compresses it, although it was asked not to"),
    ],
)
def test_any_other_answer_than_the_file_is_an_error(
    server: WebServer, trust: dict[str, str], path: str, reason: str
) -> None:
    assert refusal(client(trust), server.url(path)) == f"can't be fetched: {reason}"


def test_redirects_are_followed_a_few_times(server: WebServer, trust: dict[str, str]) -> None:
    server.files["/5"] = JOB
    server.redirects = {f"/{number}": f"{number + 1}" for number in range(5)} | {"/loop": "/loop"}
    assert client(trust).get(server.url("/0")) == JOB
    assert refusal(client(trust), server.url("/loop")) == "redirects more than 5 times"
    server.redirects["/-1"] = "/0"
    assert refusal(client(trust), server.url("/-1")) == "redirects more than 5 times"


def test_a_redirect_to_plain_http_or_to_no_web_address_is_refused(server: WebServer, trust: dict[str, str]) -> None:
    server.redirects = {
        "/plain": "http://user:secret@127.0.0.1/a.yml?token=secret",
        "/file": "file:///etc/passwd",
        "/odd": "https://[::1/",
    }
    assert refusal(client(trust), server.url("/plain")) == (
        "redirects from https to http://127.0.0.1/a.yml?..., which is not encrypted"
    )
    assert "the URL does not begin with https://" in refusal(client(trust), server.url("/file"))
    assert refusal(client(trust), server.url("/odd")) == "redirects to a malformed URL"


LOCAL = ["127.0.0.1", "localhost", "127.1", "2130706433", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"]


@pytest.mark.parametrize("host", [*LOCAL, "[fe80::1]", "[64:ff9b::7f00:1]"])
def test_this_machine_and_its_link_are_out_of_reach_by_any_name(
    server: WebServer, trust: dict[str, str], host: str
) -> None:
    url = server.url("/ok.yml", host)
    assert "--allow-local-includes permits it" in refusal(client(trust, allow_local=False), url)
    assert server.requests == []


@pytest.mark.parametrize("host", LOCAL)
def test_a_redirect_or_a_proxy_does_not_lead_to_this_machine(
    server: WebServer, trust: dict[str, str], host: str
) -> None:
    server.files["/ok.yml"] = JOB
    server.redirects["/moved.yml"] = server.url("/ok.yml", host)
    with closing(Proxy(server.port)) as proxy:
        proxied = trust | {"https_proxy": proxy.address}
        assert client(proxied, allow_local=False).get(server.url("/ok.yml", "public.test")) == JOB
        del server.requests[:]
        for environment in (proxied, proxied | {"no_proxy": host.strip("[]")}):
            web = client(environment, allow_local=False)
            assert "permits it" in refusal(web, server.url("/moved.yml", "public.test"))
            assert [path for path, _ in server.requests] == ["/moved.yml"]
            del server.requests[:]


def test_a_certificate_has_to_be_valid(server: WebServer, authority: Authority, tmp_path: Path) -> None:
    server.files["/a.yml"] = JOB
    trust = {"SSL_CERT_FILE": str(authority.file)}
    other = {"SSL_CERT_FILE": str(Authority(tmp_path / "other").file)}
    said = refusal(client(other), server.url("/a.yml"))
    assert "the certificate is not trusted: unable to get local issuer" in said
    assert "(SSL_CERT_FILE names the authorities to trust)" in said
    bundle = {"CURL_CA_BUNDLE": other["SSL_CERT_FILE"], **trust}
    assert "(CURL_CA_BUNDLE names the authorities to trust)" in refusal(client(bundle), server.url("/a.yml"))
    with closing(WebServer(authority.context("other.test"), server.files)) as wrong:
        assert "IP address mismatch" in refusal(client(trust), wrong.url("/a.yml"))
        assert "Hostname mismatch" in refusal(client(trust), wrong.url("/a.yml", "localhost"))
        assert wrong.requests == []
    ended = authority.context("127.0.0.1", valid_for=datetime.timedelta(hours=-1))
    with closing(WebServer(ended, server.files)) as expired:
        assert "the certificate is not trusted: certificate has expired" in refusal(
            client(trust), expired.url("/a.yml")
        )


def test_authorities_are_those_that_curl_would_trust(server: WebServer, authority: Authority, tmp_path: Path) -> None:
    server.files["/a.yml"] = JOB
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate\n")
    bundle = {"CURL_CA_BUNDLE": str(authority.file), "SSL_CERT_FILE": str(nonsense)}
    assert client(bundle).get(server.url("/a.yml")) == JOB
    said = refusal(client({"SSL_CERT_FILE": str(nonsense)}), server.url("/a.yml"))
    assert said == f"can't be fetched: SSL_CERT_FILE names {nonsense}, which has no certificate in PEM"
    said = refusal(client({"CURL_CA_BUNDLE": "/nowhere.pem"}), server.url("/a.yml"))
    assert said == "can't be fetched: CURL_CA_BUNDLE names /nowhere.pem: No such file or directory"


def test_plain_http_to_a_tls_port_and_back_is_reported(server: WebServer, trust: dict[str, str]) -> None:
    with closing(WebServer()) as plain:
        assert refusal(client(trust), plain.url("/404").replace("http:", "https:")).startswith("can't be fetched: TLS")


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_as_curl_uses_it(server: WebServer, trust: dict[str, str], name: str) -> None:
    server.files["/a.yml"] = JOB
    with closing(Proxy(server.port)) as proxy:
        url = server.url("/a.yml", "localhost")
        for exempt in ("", "example.com", "host", "127.0.0.1"):
            assert client(trust | {name: f"http://{proxy.address}", "NO_PROXY": exempt}).get(url) == JOB
            assert proxy.requests.pop() == f"CONNECT localhost:{server.port}"
        for exempt in ("localhost", ".localhost", "example.com, localhost", "*"):
            assert client(trust | {name: proxy.address, "NO_PROXY": exempt}).get(url) == JOB
            assert proxy.requests == []
        web = client(trust | {name: proxy.address, "no_proxy": "127.0.0.0/8"})
        assert web.get(server.url("/a.yml")) == JOB
        assert proxy.requests == []


def test_plain_http_goes_through_http_proxy_in_lower_case_only() -> None:
    with closing(WebServer(files={"/a.yml": JOB})) as plain, closing(Proxy(plain.port)) as proxy:
        assert client({"http_proxy": proxy.address}).get("http://public.test/a.yml") == JOB
        assert proxy.requests == ["GET http://public.test/a.yml"]
        assert client({"HTTP_PROXY": proxy.address}).get(plain.url("/a.yml", "localhost")) == JOB
        assert len(proxy.requests) == 1


def test_a_proxy_gets_its_login_and_its_refusal_is_told_without_it(server: WebServer, trust: dict[str, str]) -> None:
    server.files["/a.yml"] = JOB
    login = "Basic " + base64.b64encode(b"ann:pass word").decode()
    with closing(Proxy(server.port, login)) as proxy:
        right = trust | {"https_proxy": f"http://ann:pass%20word@{proxy.address}"}
        assert client(right).get(server.url("/a.yml", "public.test")) == JOB
        wrong = trust | {"https_proxy": f"http://ann:wrong@{proxy.address}"}
        said = refusal(client(wrong), server.url("/a.yml", "public.test"))
        assert "the proxy" in said
        assert "407" in said
        assert "wrong" not in said
    assert (
        refusal(client(right), server.url("/a.yml", "public.test")) == "can't be fetched: the proxy: Connection refused"
    )
    socks = trust | {"https_proxy": "socks5://127.0.0.1:1"}
    assert "https_proxy is not the URL of a proxy" in refusal(client(socks), server.url("/a.yml", "public.test"))


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@127.0.0.1:1/a.yml?token=secret",
        "https://user:secret@/a.yml?token=secret",
        "ftp://user:secret@example.com/a.yml",
        "https://user:secret@127.0.0.1:port/a.yml",
        "https://user:secret@127.0.0.1/a b.yml",
        "https://user:secret@" + "a" * 3000,
        "https://user:secret@" + "x" * 70 + ".invalid/",
        "https://user:secret@[::1/a.yml",
        "https://user:secret@127.0.0.1:0/a.yml",
    ],
)
def test_a_url_that_leads_nowhere_is_an_error_that_shows_no_secret(url: str) -> None:
    assert "secret" not in refusal(client({}, BRIEF), url)


IN_AUTHORITY = st.text(st.characters(exclude_characters="/\\?#@[]"), max_size=8)


@given(IN_AUTHORITY, st.sampled_from(["1", "0", "99999", "-1", "1%2f", "x"]), st.text(max_size=12))
@settings(deadline=None)
def test_any_url_of_a_closed_port_is_an_error_and_no_crash(user: str, port: str, rest: str) -> None:
    refusal(client({}), f"http://{user}@127.0.0.1:{port}/{rest}")


def test_credentials_may_have_any_characters(server: WebServer, trust: dict[str, str]) -> None:
    server.files["/a.yml"] = JOB
    client(trust).get(server.url("/a.yml").replace("://", "://Änn%20€:p%3Aw@"))
    [(_, headers)] = server.requests
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "Änn €:p:w"


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "fetch":
            thread.join(10)
            assert not thread.is_alive()
