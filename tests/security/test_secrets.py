"""A secret is given to the job that needs it and is found nowhere else: whole systems, real Docker."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from coordinator.security.vault import SHORTEST
from protocol import admin
from protocol import messages as m
from protocol.client import Client
from protocol.errors import UsageError
from tests.conftest import Images
from tests.security.joining import Wire, join
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan
from tests.support.system import LONGSHORE, System, repository

PASSWORD = "correct horse/battery+staple%9"
PEM = """-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw
ggSjAgEAAoIBAQC7VJTUt9Us8cKjMzEfYyjiWA4R
-----END PRIVATE KEY-----"""
FILE = """
default: {image: "longshore/busybox:test"}
leak:
  script:
    - echo "$PASSWORD"
    - printf '%s' "$PASSWORD" | base64
    - printf 'user:%s' "$PASSWORD" | base64
    - echo "$PEM"
    - echo "$PEM" | while read -r line; do echo "line $line"; done
    - echo "$PEM" | base64
    - part() { printf '%s' "$PASSWORD" | cut -c$1-$(($1 + 4)) | tr -d '\\n'; sleep 0.1; }
    - for at in 1 6 11 16 21 26; do part $at; done
    - echo "KEY=$PASSWORD" > out.env
    - echo "<testsuite><testcase name='$PASSWORD'><failure>$PASSWORD</failure></testcase></testsuite>" > out.xml
    - echo kept > kept
    - echo "{'$PASSWORD':[{'external_link':{'label':'$PASSWORD','url':'https://$PASSWORD'}}]}" | tr "'" '"' > links.json
    - echo "<coverage><class filename='$PASSWORD'><line number='1' hits='1'/></class></coverage>" > lines.xml
    - ps -o args
    - test "$(echo "$PASSWORD" | wc -c)" = 31
    - echo "$LATER"
    - sleep 1
    - exit 3
  artifacts:
    when: always
    name: "of $PASSWORD"
    paths: [kept]
    reports:
      dotenv: out.env
      junit: out.xml
      annotations: links.json
      coverage_report: {coverage_format: cobertura, path: lines.xml}

after: {needs: [leak], script: [echo never]}
"""


@pytest.fixture
def system(tmp_path: Path, images: Images) -> Iterator[System]:
    folder = tmp_path / "system"
    folder.mkdir()
    made = System(folder)
    made.start_coordinator()
    made.start_worker("w1", "--slots", "2", "--label", "safe")
    made.wait_for_workers(1)
    yield made
    made.stop()


def set_secret(system: System, name: str, value: str, *options: str) -> None:
    """`longshore secret set`, with the value on stdin."""
    command = [str(LONGSHORE), "secret", "set", name, *options]
    subprocess.run(command, input=value.encode(), env=system.environment(), check=True, capture_output=True)


class Watch(threading.Thread):
    """Takes all that the feed says, logs included, and all command lines on this host, until it is stopped."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.client = Client(address, timeout=DEADLINE)
        self.feed = self.client.feed()
        self.feed.subscribe(b"")
        self.heard = bytearray()
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.is_set():
            while self.feed._socket.poll(20):
                self.heard += b"\n".join(self.feed._socket.recv_multipart())
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.heard += path.read_bytes()
                except OSError:
                    continue

    def stop(self) -> bytes:
        self.done.set()
        self.join()
        self.feed.close()
        self.client.close()
        return bytes(self.heard)


def forms() -> list[bytes]:
    """What is hunted for."""
    lines = [line.encode() for line in PEM.splitlines()[1:3]]
    whole = base64.b64encode(PEM.encode())
    encoded = [base64.b64encode(PASSWORD.encode())[:-2], base64.b64encode(b"xy" + PASSWORD.encode())[4:-4]]
    return [PASSWORD.encode(), *lines, *encoded, whole[:60], quote(PASSWORD, safe="").encode()]


def test_a_secret_is_hunted_for_and_found_nowhere_but_in_its_job(system: System, tmp_path: Path) -> None:
    set_secret(system, "PASSWORD", PASSWORD)
    set_secret(system, "PEM", PEM + "\n")
    assert system.address
    watch = Watch(system.address)
    project = repository(tmp_path / "project", {".gitlab-ci.yml": FILE})
    done = system.run(project)
    assert done.status == 1, done.err
    shown = system.command("show", "1", "leak", "--json").out + system.command("show", "1", "--why").out
    secrets = system.command("secret", "list", "--json")
    assert [entry["name"] for entry in secrets.json] == ["PASSWORD", "PEM"]
    log = system.log(1, "leak")
    heard = watch.stop()
    assert log.count("[MASKED]") >= 8
    assert b"[MASKED]" in heard
    assert "dotenv: KEY contains a secret" in shown
    assert '"url": "https://[MASKED]"' in shown
    assert '"path": "[MASKED]"' in shown
    told = "\n".join([shown, done.out, done.err, secrets.out, log, system.command("audit", "--json").out])
    everything = {"told": told.encode(), "feed and command lines": heard}
    for path in system.folder.rglob("*"):
        if path.is_file():
            everything[str(path)] = path.read_bytes()
    blobs = [data for path, data in everything.items() if "/state/blobs/" in path]
    assert b"KEY=[MASKED]\n" in blobs
    assert any(b"<testcase name='[MASKED]'><failure>[MASKED]<" in data for data in blobs)
    for where, data in everything.items():
        for form in forms():
            assert form not in data, (where, form)


def test_who_can_write_to_the_database_can_neither_read_a_secret_nor_swap_two(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Running(state) as running, running.client() as client:
        for name in ("ONE", "TWO"):
            client.request(admin.SetSecret, m.Done, name=name, value=f"the value of {name}")
    with sqlite3.connect(state / "longshore.db") as database:
        rows = database.execute("SELECT name, sealed FROM secret ORDER BY name").fetchall()
        assert all(b"the value" not in base64.b64decode(sealed) for _, sealed in rows)
        database.execute("UPDATE secret SET sealed = ? WHERE name = 'ONE'", (rows[1][1],))
    with pytest.raises(UsageError, match="can't be opened"):
        Running(state)
    (state / "security" / "secrets.key").unlink()
    with pytest.raises(UsageError, match=r"their key .* is missing"):
        Running(state)


def test_a_secret_is_sent_only_where_its_scope_allows(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        scopes: dict[str, dict[str, object]] = {
            "EVERYWHERE": {},
            "THIS": {"project": "group/project"},
            "OTHER": {"project": "q"},
            "RELEASE": {"branches": ["main", "release/*"]},
            "SAFE": {"labels": ["safe"]},
            "VAULTED": {"labels": ["safe", "vault"]},
        }
        for name, scope in scopes.items():
            client.request(admin.SetSecret, m.Done, name=name, value="x" * SHORTEST, **scope)
        client.request(admin.SetSecret, m.Done, name="THIS", value="for all of them")
        worker = WireWorker(running.address, labels=["safe"])
        worker.hello()
        got = {}
        for ref in ("release/1", "feature"):
            client.submit_run(plan(job("a")), source=m.Source(ref=ref))
            assignment = worker.run()
            got[ref] = {secret.key: secret.value for secret in assignment.secrets}
        assert set(got["release/1"]) == {"EVERYWHERE", "THIS", "RELEASE", "SAFE"}
        assert set(got["feature"]) == {"EVERYWHERE", "THIS", "SAFE"}
        assert got["feature"]["THIS"] == "x" * SHORTEST  # the project's own wins
        worker.close()


def test_a_worker_can_not_get_a_label_s_secrets_by_stating_the_label(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        client.request(admin.SetSecret, m.Done, name="SAFE", value="x" * SHORTEST, labels=["safe"])
        for name, labels in (("mallory", []), ("alice", ["safe"])):
            worker = Wire(running, join(running, "worker", name, labels=labels), name)
            worker.hello(labels=["safe"])
            client.submit_run(plan(job("a", tags=["safe"])))
            assert [secret.key for secret in worker.run().secrets] == (["SAFE"] if labels else [])
            client.request(admin.RevokeKey, m.Done, key=name)
            worker.close()
        keys = client.request(admin.ListKeys, admin.KeyList).keys
        assert {key.name: key.labels for key in keys if key.role == "worker"} == {"mallory": [], "alice": ["safe"]}
        with pytest.raises(UsageError, match="labels are for workers"):
            client.request(admin.CreateToken, admin.TokenCreated, role="viewer", labels=["safe"])
    with Running(tmp_path / "state") as running, running.client() as client:
        tokens = client.request(admin.ListTokens, admin.TokenList).tokens
        assert {token.used_by: token.labels for token in tokens} == {"mallory": [], "alice": ["safe"]}


def test_an_attempt_that_is_found_after_a_restart_gets_its_secrets_again(tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        client.request(admin.SetSecret, m.Done, name="TOKEN", value="0123456789")
        worker = WireWorker(running.address)
        worker.hello()
        client.submit_run(plan(job("a")))
        attempt = worker.accept().attempt
        worker.send(m.GetJobExecution(id=7, attempt=attempt))
        assignment = worker.expect(m.JobExecution).assignment
        assert assignment is not None
        assert [secret.key for secret in assignment.secrets] == ["TOKEN"]
        assert client.request(admin.RemoveSecret, m.Done, name="TOKEN").count == 1
        worker.send(m.GetJobExecution(id=8, attempt=attempt))
        again = worker.expect(m.JobExecution).assignment
        assert again is not None
        assert again.secrets == []
        eventually(lambda: not running.coordinator.waiting)
        worker.close()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "SHORT", "value": "1234567"}, "at least 8"),
        ({"name": "9X", "value": "12345678"}, "bad variable name"),
        ({"name": "NUL", "value": "1234\0005678"}, "no NUL"),
        ({"name": "LONG", "value": "x" * 70_000}, "at most"),
    ],
)
def test_a_secret_that_can_not_be_kept_is_refused_without_its_value(
    tmp_path: Path, fields: dict[str, str], why: str
) -> None:
    with Running(tmp_path / "state") as running, running.client() as client:
        with pytest.raises(UsageError, match=why) as error:
            client.request(admin.SetSecret, m.Done, **fields)
        assert fields["value"] not in str(error.value)
