"""What a pipeline file says of a job's surroundings holds for real: services, caches, artifacts, reports, limits."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

from protocol.client import Client
from tests.support.docker_jobs import unpacked
from tests.support.documents import check_document
from tests.support.eventually import DEADLINE
from tests.support.system import System, jobs_of, repository, statuses

HEAD = "default: {image: longshore/busybox:test}\n"


def project(tmp_path: Path, file: str, **others: str) -> Path:
    """A repository whose pipeline's jobs run in busybox; its name is its own, so that its caches are too."""
    return repository(tmp_path / f"p{uuid4().hex}", {".gitlab-ci.yml": HEAD + file, **others})


def test_a_job_talks_to_its_services_and_their_logs_are_kept(fleet: System, tmp_path: Path) -> None:
    file = """
job:
  variables: {GREETING: hello}
  services:
    - name: longshore/busybox:test
      alias: web
      variables: {TEXT: "$GREETING from the service"}
      command: [sh, -c, 'mkdir /www; echo "$TEXT" >/www/index.html; echo up; exec httpd -f -p 80 -h /www']
    - name: longshore/busybox:test
      alias: echo
      entrypoint: [nc]
      command: ["-ll", "-p", "7", "-e", cat]
  script:
    - wget -qO- http://web/
    - echo echoed | nc echo 7
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, done.err
    run = done.json["id"]
    assert "hello from the service\n" in fleet.log(run, "job")
    assert "echoed\n" in fleet.log(run, "job").replace("$ echo echoed", "")
    assert fleet.command("logs", str(run), "job", "--service", "web").out == "up\n"
    unknown = fleet.command("logs", str(run), "job", "--service", "db")
    assert unknown.status == 2
    assert "available: web" in unknown.err
    assert fleet.command("show", str(run), "job", "--json").json["services"] == ["web"]


def test_caches_go_from_job_to_job_as_their_keys_policies_and_conditions_say(fleet: System, tmp_path: Path) -> None:
    file = """
stages: [fill, use, again]
fill:
  stage: fill
  cache:
    - {key: {files: [lock], prefix: locked}, paths: [deps/]}
    - {key: "more-$CI_COMMIT_REF_SLUG", paths: ["more/*.txt"]}
    - {key: new, untracked: true}
  script: ['mkdir deps more', 'echo dep >deps/a', 'echo kept >more/a.txt', 'echo new >new']
fails:
  stage: fill
  allow_failure: true
  cache: {key: failed, when: on_failure, paths: [state]}
  script: ['echo of a failure >state', exit 1]
succeeds:
  stage: fill
  cache: {key: succeeded, when: on_failure, paths: [state]}
  script: ['echo of a success >state']
use:
  stage: use
  cache:
    - {key: {files: [lock], prefix: locked}, paths: [deps/], policy: pull}
    - {key: nowhere, fallback_keys: [nor-there, more-main], paths: [more/]}
    - {key: new, paths: [new]}
    - {key: failed, paths: [state], policy: $POLICY}
  variables: {POLICY: pull}
  script: ['cat deps/a more/a.txt new state', 'echo changed >deps/a']
no-cache-of-a-success:
  stage: use
  cache: {key: succeeded, paths: [state]}
  script: ['test ! -e state']
push-only:
  stage: use
  cache: {key: more-main, paths: [more/], policy: push}
  script: ['test ! -e more', 'mkdir more', 'echo pushed >more/a.txt']
pulled-again:
  stage: again
  cache:
    - {key: {files: [lock], prefix: locked}, paths: [deps/]}
    - {key: more-main, paths: [more/]}
  script: ['cat deps/a more/a.txt']
"""
    done = fleet.run(project(tmp_path, file, lock="1"))
    assert done.status == 0, (statuses(done.json), done.err)
    run = done.json["id"]
    assert "\ndep\nkept\nnew\nof a failure\n" in fleet.log(run, "use")
    assert "\ndep\npushed\n" in fleet.log(run, "pulled-again")


def test_artifacts_are_chosen_named_and_handed_on_as_the_job_says(fleet: System, tmp_path: Path) -> None:
    file = """
stages: [make, use]
make:
  stage: make
  script:
    - mkdir -p out/deep
    - touch out/keep out/drop.tmp out/deep/drop.tmp new
    - echo 'VERSION=1.2.3' >build.env
  artifacts:
    name: "$CI_JOB_NAME-$CI_COMMIT_REF_SLUG"
    paths: [out/]
    exclude: ["out/**/*.tmp"]
    untracked: true
    expire_in: 1 week
    reports: {dotenv: build.env}
fails:
  stage: make
  allow_failure: true
  script: [touch log, exit 1]
  artifacts: {when: on_failure, paths: [log]}
succeeds:
  stage: make
  script: [touch log]
  artifacts: {when: on_failure, paths: [log]}
all: {stage: use, script: ['find out new log -type f | sort | tr "\\n" " "', 'echo "version $VERSION"']}
one: {stage: use, dependencies: [fails], script: ['test -e log -a ! -e out', 'echo "version <$VERSION>"']}
none: {stage: use, dependencies: [], script: ['test ! -e log -a ! -e out']}
unwanted: {stage: use, needs: [{job: make, artifacts: false}], script: ['test ! -e out', 'test -z "$VERSION"']}
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, (statuses(done.json), done.err)
    run, jobs = done.json["id"], jobs_of(done.json)
    assert "log new out/keep " in fleet.log(run, "all")
    assert "version 1.2.3\n" in fleet.log(run, "all")
    assert "version <>\n" in fleet.log(run, "one")
    archive = next(each for each in jobs["make"]["artifacts"] if each["kind"] == "archive")
    assert archive["name"] == "make-main"
    assert archive["expires_at"] is not None
    assert jobs["succeeds"]["artifacts"] == []
    assert fleet.address is not None
    with Client(fleet.address, timeout=DEADLINE) as client:
        views = {job.name: job for stage in client.get_run(run).stages for job in stage.jobs}
        digest = next(ref.digest for ref in views["make"].artifacts if ref.kind == "archive")
        client.download(digest, tmp_path / "make.tar.zst")
    with unpacked(tmp_path / "make.tar.zst") as tar:
        assert {member.name for member in tar if member.isfile()} == {"out/keep", "new", "build.env"}


def test_reports_of_tests_coverage_and_environments_are_shown(fleet: System, tmp_path: Path) -> None:
    report = """<testsuite>
<testcase classname="math" name="adds" time="0.5"/>
<testcase classname="math" name="divides" time="0.25"><failure>by zero</failure></testcase>
<testcase classname="math" name="roots"><skipped/></testcase>
</testsuite>
"""
    file = """
test:
  script:
    - 'echo "covered: 87.5%"'
    - echo "WHERE=one" >env
    - mkdir out; echo x >out/index.html
    - sed "s|DIRECTORY|$CI_PROJECT_DIR|" coverage.in >coverage.xml
    - exit 1
  allow_failure: true
  coverage: '/covered: (\\d+\\.\\d+)%/'
  environment: {name: "review/$CI_COMMIT_REF_SLUG", url: "https://$WHERE.$CI_COMMIT_REF_SLUG.example.com"}
  variables: {OUT: out}
  artifacts:
    when: always
    expose_as: The site
    paths: [$CI_PROJECT_DIR/$OUT/index.html]
    reports:
      junit: "r*.xml"
      dotenv: env
      annotations: [links.json, odd.json]
      codequality: quality.json
      coverage_report: {coverage_format: cobertura, path: coverage.xml}
"""
    coverage = """<coverage><sources><source>DIRECTORY/src</source></sources>
<package><class filename="app.py"><line number="1" hits="2"/><line number="2" hits="0"/></class></package></coverage>
"""
    place = {"path": "src/app.py", "lines": {"begin": 3}}
    issue = {"description": "too long", "fingerprint": "1", "severity": "major", "location": place}
    files = {
        "report.xml": report,
        "src/app.py": "x = 1",
        "coverage.in": coverage,
        "quality.json": json.dumps([issue]),
        "links.json": json.dumps({"docs": [{"external_link": {"label": "API", "url": "https://docs.example"}}]}),
        "odd.json": "[]",
    }
    done = fleet.run(project(tmp_path, file, **files))
    assert done.status == 0, done.err
    job = jobs_of(done.json)["test"]
    assert job["tests"] == {
        "total": 3,
        "failed": 1,
        "errors": 0,
        "skipped": 1,
        "seconds": 0.75,
        "failures": ["math.divides"],
    }
    assert job["coverage"] == 87.5
    assert (job["environment"], job["environment_url"]) == ("review/main", "https://one.main.example.com")
    assert job["line_coverage"]["total"] == 2
    assert job["code_quality"]["counts"] == {"major": 1}
    assert [link["title"] for link in job["links"]] == ["The site", "API"]
    assert job["links"][0]["paths"] == ["out/index.html"]
    command = f"artifacts {done.json['id']} test out/index.html -o"
    assert f"longshore {command} DIR" in fleet.command("show", str(done.json["id"])).out
    assert fleet.command(*command.split(), "-").out == "x\n"
    assert "bad annotations report: odd.json: " in job["message"]
    shown = fleet.command("show", str(done.json["id"]), "test").out
    for text in (
        "3 tests, 1 failed, 1 skipped",
        "failed test: math.divides: by zero",
        "coverage: 87.5 %",
        "review/main",
    ):
        assert text in shown
    check_document("tests", fleet.command("tests", "--slowest", "--json").json)
    failing = fleet.command("tests", "--project", done.json["project"], "--json").json
    assert [(test["name"], test["failing_since"]["run"]) for test in failing] == [("math.divides", done.json["id"])]
    for text in ("50 %", "1/2    src/app.py", "src/app.py:3", "too long", "docs: API", "https://docs.example"):
        assert text in shown


def test_a_jobs_limits_hold(fleet: System, tmp_path: Path) -> None:
    file = """
memory:
  x-longshore: {memory: 32m}
  script: ['head -c 100m /dev/zero | tail']
  allow_failure: true
log:
  x-longshore: {log_limit: 100k}
  script: ['i=0; while [ $i -lt 30000 ]; do echo "line $i"; i=$((i+1)); done']
cpus:
  x-longshore: {cpus: 0.5}
  script: ['cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us']
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, (statuses(done.json), done.err)
    run, jobs = done.json["id"], jobs_of(done.json)
    assert jobs["memory"]["failure_reason"] == "oom_killed"
    assert "\n50000" in fleet.log(run, "cpus")
    log = fleet.log(run, "log")
    assert len(log) < 110_000
    assert "line 0\n" in log
    assert log.endswith("line 29999\n")


def test_an_image_that_may_not_be_pulled_has_to_be_there(fleet: System, tmp_path: Path) -> None:
    file = """
there: {image: {name: longshore/busybox:test, pull_policy: never}, script: [echo there]}
not-there: {image: {name: "longshore/nowhere:1", pull_policy: never}, script: [echo there], allow_failure: true}
falls-back:
  image: {name: longshore/busybox:test, pull_policy: [always, if-not-present]}
  script: [echo there]
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, (statuses(done.json), done.err)
    job = jobs_of(done.json)["not-there"]
    assert job["failure_reason"] == "image_pull_failure"
    assert "pull_policy: never" in job["message"]


def test_variables_of_the_project_and_inputs_and_other_projects_reach_the_jobs(fleet: System, tmp_path: Path) -> None:
    shared = repository(tmp_path / "shared", {"jobs.yml": "shared: {script: ['echo \"shared, $TOKEN\"']}\n"})
    folder = project(tmp_path, "")
    (folder / ".gitlab-ci.yml").write_text(
        """
spec: {inputs: {who: {}}}
---
default: {image: longshore/busybox:test}
include: {project: group/shared, file: jobs.yml}
variables: {TOKEN: from the file}
own: {script: ['echo "hello $[[ inputs.who ]]"', 'cat "$CERTIFICATE"']}
"""
    )
    (folder / ".gitlab-ci-local-variables.yml").write_text(
        "TOKEN: from the project\nCERTIFICATE: {type: file, values: {'*': \"-- begin --\\n\"}}\n"
    )
    done = fleet.run(folder, "--project", f"group/shared={shared}", "--input", "who=world")
    assert done.status == 0, done.err
    run = done.json["id"]
    assert "shared, from the project\n" in fleet.log(run, "shared")
    assert "hello world\n" in fleet.log(run, "own")
    assert "-- begin --\n" in fleet.log(run, "own")


def test_a_default_image_is_for_jobs_that_name_none(fleet: System, tmp_path: Path) -> None:
    file = "plain: {script: ['echo \"<${BASH_VERSION:+bash}>\"']}\n"
    folder = repository(tmp_path / "plain", {".gitlab-ci.yml": file})
    without = fleet.run(folder)
    assert without.status == 1
    assert "has no image" in jobs_of(without.json)["plain"]["message"]
    done = fleet.run(folder, "--default-image", "longshore/debian:test")
    assert done.status == 0, done.err
    assert "<bash>\n" in fleet.log(done.json["id"], "plain")


def test_a_key_of_files_gives_another_cache_when_they_change(fleet: System, tmp_path: Path) -> None:
    file = """
job:
  cache: {key: {files: [lock]}, paths: [deps]}
  script: ['cat deps || echo none', 'echo filled >deps']
"""
    folder = project(tmp_path, file, lock="1")
    printed = []
    for content in ("1", "1", "2"):
        (folder / "lock").write_text(content)
        run = fleet.submit(folder)
        fleet.finished(run)
        printed.append(fleet.logged(run, "job").splitlines()[-2])
    assert printed == ["none", "filled", "none"]
