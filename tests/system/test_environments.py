"""Environments as a user sees them: listed, stopped by a job when their time is up, and on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.documents import check_document
from tests.support.eventually import eventually
from tests.support.system import System, repository, statuses

FILE = """
default: {image: longshore/busybox:test}
deploy:
  script: [echo PORT=8042 > port.env]
  artifacts: {reports: {dotenv: port.env}}
  environment:
    name: review/$CI_COMMIT_REF_SLUG
    url: https://$CI_ENVIRONMENT_SLUG.example.com:$PORT
    on_stop: stop
    auto_stop_in: $STAY
stop:
  stage: deploy
  needs: [deploy]
  when: manual
  script: ['echo "$CI_ENVIRONMENT_ACTION $CI_ENVIRONMENT_NAME at $PORT"']
  environment: {name: review/$CI_COMMIT_REF_SLUG, action: stop}
"""


def test_an_environment_is_stopped_by_its_job_when_due_and_on_request(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "environments", {".gitlab-ci.yml": FILE})

    def environment() -> dict[str, Any]:
        (found,) = fleet.command("environments", "--project", name, "--json").json
        return dict(found)

    done = fleet.run(project, "--var", "STAY=never")
    first, name = done.json["id"], done.json["project"]
    document = environment()
    check_document("environments", [document])
    assert document["url"].endswith(".example.com:8042")
    assert (document["status"], document["deployment"]["run"]) == ("available", first)
    assert "review/main" in fleet.command("environments").out
    shown = fleet.command("show", str(first), "deploy").out
    assert f":8042, available; last deployed by run {first}: deploy" in shown
    check_document("job", fleet.command("show", str(first), "deploy", "--json").json)
    stopped = fleet.command("environments", "stop", "review/main", "--project", name)
    assert (stopped.status, stopped.out) == (0, "1 job will stop review/main\n")
    eventually(lambda: environment()["status"], so=lambda status: status == "stopped")
    assert "stop review/main at 8042" in fleet.log(first, "stop")
    again = fleet.command("environments", "stop", "review/main", "--project", name)
    assert (again.status, "no environment 'review/main'" in again.err) == (2, True)

    second = fleet.submit(project, "--var", "STAY=1 second")
    eventually(environment, so=lambda it: (it["deployment"]["run"], it["status"]) == (second, "stopped"))
    eventually(lambda: fleet.view(second).status, so=lambda status: status == "success")
    assert statuses(fleet.show(second)) == {"deploy": "success", "stop": "success"}
    assert statuses(fleet.show(first)) == {"deploy": "success", "stop": "success"}
