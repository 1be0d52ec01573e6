"""What jobs publish, in real Docker: releases, with a description from a file and variables of the run."""

from __future__ import annotations

from pathlib import Path

from pipeline.git_repository import Repository
from protocol import messages as m
from protocol.admin import SetSecret
from protocol.client import Client
from tests.support.documents import check_document
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
    with Client(fleet.address or "") as client:
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
