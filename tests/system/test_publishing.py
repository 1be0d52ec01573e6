"""What jobs publish, in real Docker: releases, with a description from a file and variables of the run."""

from __future__ import annotations

from pathlib import Path

from pipeline.git_repository import Repository
from protocol import messages as m
from protocol.admin import SetSecret
from protocol.client import Client
from tests.support.documents import check_document
from tests.support.eventually import DEADLINE
from tests.support.system import System, jobs_of, repository

RELEASES = """
default: {image: longshore/busybox:test}
version:
  stage: build
  script: ["echo VERSION=1.2 > version.env"]
  artifacts: {reports: {dotenv: version.env}}
release:
  script: ['printf "# What is new\\n\\nThe password is %s.\\n" $PASSWORD > notes.md']
  release:
    tag_name: v$VERSION
    description: ./notes.md
    assets: {links: [{name: site, url: "https://example.com/$VERSION"}]}
text:
  script: [echo x]
  release: {tag_name: v$VERSION-text, description: notes.md}
bad:
  script: [echo x]
  allow_failure: true
  release: {tag_name: "v $VERSION", description: d}
"""


def test_a_release_has_its_variables_and_the_text_of_its_file(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "releases", {".gitlab-ci.yml": RELEASES})
    name = Repository(project).remote.path
    with Client(fleet.address or "", timeout=DEADLINE) as client:
        client.request(SetSecret, m.Done, project=name, name="PASSWORD", value="hunter2-hunter2")
    done = fleet.run(project)
    assert done.status == 0, done.err
    jobs = jobs_of(done.json)
    release = jobs["release"]["release"]
    assert (release["tag_name"], release["name"], release["ref"]) == ("v1.2", "v1.2", done.json["sha"])
    assert release["description"] == "# What is new\n\nThe password is [MASKED].\n"
    assert release["links"] == [
        {"name": "site", "url": "https://example.com/1.2", "filepath": None, "link_type": "other"}
    ]
    assert jobs["text"]["release"]["description"] == "notes.md"
    assert (jobs["bad"]["status"], jobs["bad"]["failure_reason"]) == ("failed", "script_failure")
    assert jobs["bad"]["message"] == "bad release: tag_name: 'v 1.2' is not a name of a tag"
    check_document("run", done.json)
    listed = fleet.command("releases", "--project", done.json["project"], "--json").json
    check_document("releases", listed)
    assert sorted(each["tag_name"] for each in listed) == ["v1.2", "v1.2-text"]
    assert "What is new" in fleet.command("releases", "--project", done.json["project"]).out
    assert "release: v1.2: # What is new" in fleet.command("show", str(done.json["id"]), "release").out


PAGES = """
default: {image: longshore/busybox:test}
variables: {OUT: site}
pages:
  script:
    - mkdir -p public/css
    - echo hello > public/index.html
    - echo red > public/css/style.css
    - ln -s index.html public/home.html
    - ln -s /etc/passwd public/passwd
review:
  script: [mkdir site, echo review > site/index.html]
  pages: {publish: $OUT, path_prefix: MR 1, expire_in: 1 week}
  parallel: {matrix: [{X: [a]}]}
none: {script: [echo x], pages: true}
use: {stage: deploy, needs: [pages], script: [cat public/index.html]}
"""


def test_pages_are_kept_with_their_run_and_can_be_downloaded(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "pages", {".gitlab-ci.yml": PAGES})
    done = fleet.run(project)
    assert done.status == 0, done.err
    run, jobs = str(done.json["id"]), jobs_of(done.json)
    check_document("run", done.json)
    assert jobs["pages"]["pages"] == {
        "publish": "public",
        "path_prefix": "",
        "files": 4,
        "size": len("hello\n") + len("red\n"),
        "expires_at": None,
    }
    assert jobs["review: [a]"]["pages"]["path_prefix"] == "mr-1"
    assert jobs["review: [a]"]["pages"]["expires_at"] is not None
    assert jobs["none"]["pages"] is None
    assert "no pages: there are no files in public" in jobs["none"]["message"]
    check_document("pages", fleet.command("pages", run, "--json").json)
    target = tmp_path / "site"
    got = fleet.command("pages", run, "-o", str(target))
    assert got.status == 0, got.err
    assert (target / "index.html").read_text() == (target / "home.html").read_text() == "hello\n"
    assert (target / "css" / "style.css").read_text() == "red\n"
    assert (target / "mr-1" / "index.html").read_text() == "review\n"
    assert not (target / "passwd").is_symlink()
    assert "1 link left out that lead out of the pages: passwd" in got.err
    assert fleet.command("artifacts", run, "pages", "-o", str(tmp_path / "all")).status == 0
    assert (tmp_path / "all" / "public" / "index.html").read_text() == "hello\n"
    nothing = fleet.command("pages", run, "--job", "use", "-o", str(tmp_path / "no"))
    assert (nothing.status, "has published no pages; these jobs have: pages, " in nothing.err) == (2, True)
