"""Which hosts are local, which are exempt from a proxy, and what URLs look like in print."""

from __future__ import annotations

import pytest

from pipeline.includes.network import is_local, is_local_name, proxy_of, refuse_local
from pipeline.includes.urls import parse_url, printable_url, url_name
from protocol.errors import LongshoreError


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1%eth0",
        ),
        *("::ffff:127.0.0.1", "::ffff:169.254.1.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("ff02::1", "fe80::1%eth0"),
    ],
)
def test_addresses_of_this_machine_and_its_link_are_local(address: str) -> None:
    assert is_local(address)
    assert is_local_name(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1", "64:ff9b::808:808", "fd00::1"]
)
def test_other_addresses_are_not_local(address: str) -> None:
    assert not is_local(address)


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST", "a.localhost", "127.1", "0x7f000001", "2130706433", "017700000001"]
)
def test_names_that_can_only_be_this_machine_are_local(name: str) -> None:
    assert is_local_name(name)
    assert not is_local_name("localhost.example.com")


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.b.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "a.example.com", True),
        ("other.com , EXAMPLE.com.", "a.example.COM", True),
        ("ample.com", "example.com", False),
        ("example.com", "example.com.evil.net", False),
        ("*", "anything", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "example.com", False),
        ("2001:db8::/32", "[2001:db8::7]", True),
        ("[2001:db8::7]", "[2001:db8::7]", True),
        ("1.1", "10.1.1.1", False),
        ("", "example.com", False),
    ],
)
def test_no_proxy_exempts_hosts_as_curl_does(no_proxy: str, host: str, exempt: bool) -> None:
    address = parse_url(f"https://{host}/a.yml")
    proxy = proxy_of(address, {"https_proxy": "http://proxy:3128", "NO_PROXY": no_proxy})
    assert proxy == (None if exempt else "http://proxy:3128")


def test_behind_a_proxy_only_what_is_local_in_itself_is_refused() -> None:
    for host in ("localhost", "127.0.0.1:8443", "[::1]"):
        for environment in ({}, {"https_proxy": "http://proxy:3128"}):
            with pytest.raises(LongshoreError, match="an address of this machine or its network link"):
                refuse_local(host, environment)
    refuse_local("10.0.0.1:8443", {})
    refuse_local("nowhere.invalid", {"https_proxy": "http://proxy:3128"})


def test_the_lower_case_variable_of_the_scheme_comes_first() -> None:
    secure, plain = parse_url("https://example.com/"), parse_url("http://example.com/")
    both = {"https_proxy": "lower:1", "HTTPS_PROXY": "upper:1", "all_proxy": "all:1", "HTTP_PROXY": "never:1"}
    assert proxy_of(secure, both) == "http://lower:1"
    assert proxy_of(plain, both) == "http://all:1"
    assert proxy_of(plain, {"HTTP_PROXY": "never:1"}) is None
    for bad in ("socks5://a:1", "http://", "http://a:x", "http://[::1"):
        with pytest.raises(LongshoreError, match="https_proxy is not the URL of a proxy"):
            proxy_of(secure, {"https_proxy": bad})


def test_a_url_is_printed_and_named_without_its_secrets() -> None:
    url = "https://user:secret@example.com:8443/ci/a.yml?token=secret#part"
    assert printable_url(url) == "https://example.com:8443/ci/a.yml?..."
    assert url_name(url).startswith("https://example.com:8443/ci/a.yml?sha256=")
    assert "secret" not in url_name(url)
    assert url_name(url) != url_name(url.replace("token=secret", "token=other"))
    assert url_name(url) == url_name(url.replace("user:secret@", "").replace("#part", ""))
    assert url_name("https://example.com/a.yml") == "https://example.com/a.yml"
    assert printable_url("https://user:secret@[::1/a.yml") == "https://::1/a.yml"


def test_a_url_has_parts_and_a_host_header() -> None:
    address = parse_url("https://us%40er:pass@Bücher.example:443/a?b#c")
    assert (address.host, address.port, address.target) == ("xn--bcher-kva.example", 443, "/a?b")
    assert (address.credentials, address.netloc) == ("us@er:pass", "xn--bcher-kva.example")
    assert parse_url("http://[2001:db8::1]:8080").netloc == "[2001:db8::1]:8080"
    assert parse_url("http://example.com.").url == "http://example.com/"
