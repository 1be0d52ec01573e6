"""What keywords become in a job's plan, and what a plan holds besides."""

from __future__ import annotations

import msgspec
import pytest

from protocol.plan import CacheSpec, Plan, RetrySpec, Variable
from protocol.variables import expand_all
from tests.support.project import Project


def test_scripts_are_lists_of_commands(project: Project) -> None:
    job = project.job(
        """
        .a: &a [b, c]
        job:
          before_script: [a]
          script:
            - *a
            - |
              if true; then
                echo
              fi
          after_script: z
        """
    )
    assert (job.before_script, job.script, job.after_script) == (
        ["a"],
        ["b", "c", "if true; then\n  echo\nfi\n"],
        ["z"],
    )


def test_images_and_services(project: Project) -> None:
    job = project.job(
        """
        job:
          script: [x]
          image:
            name: "$IMAGE:1"
            entrypoint: [""]
            pull_policy: [always, never]
            docker: {user: 1000, platform: linux/arm64}
          services:
            - redis:7
            - name: postgres
              alias: db, pg
              command: [postgres, -c, x=y]
              entrypoint: ["/e"]
              pull_policy: if-not-present
              variables: {POSTGRES_DB: x, N: 1}
        """
    )
    image = job.image
    assert image
    assert (image.name, image.entrypoint, image.user, image.platform) == ("$IMAGE:1", [""], "1000", "linux/arm64")
    assert image.pull_policy == ["always", "never"]
    redis, postgres = job.services
    assert (redis.name, redis.aliases, redis.command) == ("redis:7", [], None)
    assert (postgres.aliases, postgres.command, postgres.entrypoint) == (
        ["db", "pg"],
        ["postgres", "-c", "x=y"],
        ["/e"],
    )
    assert postgres.variables == [Variable(key="POSTGRES_DB", value="x"), Variable(key="N", value="1")]
    assert postgres.pull_policy == ["if-not-present"]


def test_artifacts_and_caches(project: Project) -> None:
    job = project.job(
        """
        job:
          script: [x]
          artifacts:
            paths: [out/, "*.log"]
            exclude: [out/tmp]
            when: always
            expire_in: 1 week
            name: $CI_JOB_NAME
            untracked: true
            reports:
              dotenv: build.env
              junit: [a.xml, b.xml]
              annotations: links.json
              codequality: [q.json]
              coverage_report: {coverage_format: cobertura, path: c.xml}
          cache:
            - key: {files: [a.lock, b.lock], prefix: $CI_JOB_NAME}
              paths: [.cache]
              policy: pull
              when: always
              fallback_keys: [old]
            - paths: [other]
            - key: nothing
        """
    )
    artifacts = job.artifacts
    assert artifacts
    assert (artifacts.paths, artifacts.exclude, artifacts.when) == (["out/", "*.log"], ["out/tmp"], "always")
    assert (artifacts.expire_in, artifacts.name, artifacts.untracked) == (604_800.0, "$CI_JOB_NAME", True)
    assert (artifacts.dotenv, artifacts.junit) == (["build.env"], ["a.xml", "b.xml"])
    assert (artifacts.annotations, artifacts.codequality) == (["links.json"], ["q.json"])
    assert (artifacts.cobertura, artifacts.jacoco) == (["c.xml"], [])
    assert job.caches == [
        CacheSpec(
            key_files=["a.lock", "b.lock"],
            key_prefix="$CI_JOB_NAME",
            paths=[".cache"],
            policy="pull",
            when="always",
            fallback_keys=["old"],
        ),
        CacheSpec(paths=["other"]),
    ]


def test_artifacts_may_be_exposed_as_a_link(project: Project) -> None:
    link = "_The 2nd-best docs"
    artifacts = project.job(f"job: {{script: [x], artifacts: {{paths: [a], expose_as: {link}}}}}\n").artifacts
    assert artifacts
    assert artifacts.expose_as == link


def test_artifacts_that_never_expire(project: Project) -> None:
    artifacts = project.job("job: {script: [x], artifacts: {paths: [a], expire_in: never}}\n").artifacts
    assert artifacts
    assert artifacts.expire_in is None


@pytest.mark.parametrize(
    ("retry", "spec"),
    [
        ("{max: 2, when: [always], exit_codes: [42]}", RetrySpec(max=2)),
        ("2", RetrySpec(max=2)),
        ("{max: 1, when: script_failure}", RetrySpec(max=1, when=["script_failure"])),
        ("{max: 1, when: [always]}", RetrySpec(max=1)),
        ("{max: 2, when: [oom_killed], exit_codes: 137}", RetrySpec(max=2, when=["oom_killed"], exit_codes=[137])),
        ("{max: 2, exit_codes: [1, 2]}", RetrySpec(max=2, exit_codes=[1, 2])),
    ],
)
def test_retry(project: Project, retry: str, spec: RetrySpec) -> None:
    assert project.job(f"job: {{script: [x], retry: {retry}}}\n").retry == spec


def test_what_else_a_job_may_say(project: Project) -> None:
    job = project.job(
        r"""
        job:
          script: [x]
          variables: {WHERE: prod, RUNNER: big}
          tags: [docker, $RUNNER]
          timeout: 1h 30m
          resource_group: deploy-$WHERE
          interruptible: true
          coverage: '/total: (\d+)%/'
          allow_failure: {exit_codes: [3, 4]}
          manual_confirmation: sure?
          environment: {name: review/$WHERE, url: "https://$WHERE.$HOST_OF_DOTENV/", action: prepare}
          x-longshore: {cpus: 1.5, memory: 512m, log_limit: 1m}
        """
    )
    assert job.tags == ["docker", "big"]
    assert (job.timeout, job.resource_group, job.interruptible) == (5400.0, "deploy-prod", True)
    assert (job.coverage, job.manual_confirmation) == (r"/total: (\d+)%/", "sure?")
    assert (job.allow_failure, job.allow_failure_exit_codes) == (False, [3, 4])
    environment = job.environment
    assert environment
    assert (environment.name, environment.action) == ("review/prod", "prepare")
    assert environment.url == "https://$WHERE.$HOST_OF_DOTENV/"
    assert (job.resources.cpus, job.resources.memory, job.resources.log_limit) == (1.5, 512 << 20, 1 << 20)


def test_an_environment_gives_variables(project: Project) -> None:
    text = "job: {script: [x], variables: {W: Prod}, environment: {name: 'To $W', url: 'http://x'}}\n"
    variables = project.variables(text)
    assert variables["CI_ENVIRONMENT_NAME"] == "To Prod"
    assert variables["CI_ENVIRONMENT_SLUG"].startswith("to-prod-")
    assert variables["CI_ENVIRONMENT_URL"] == "http://x"
    assert variables["CI_ENVIRONMENT_TIER"] == "production"
    assert variables["CI_ENVIRONMENT_ACTION"] == "start"


def test_an_environment_s_address_is_left_to_who_knows_all_variables(project: Project) -> None:
    text = """
        job:
          script: [x]
          variables: {ADDRESS: "https://$CI_ENVIRONMENT_SLUG.example.com/$CI_JOB_ID"}
          environment: {name: prod, url: $ADDRESS}
          resource_group: $GROUP
          rules: [{variables: {GROUP: to-$CI_ENVIRONMENT_NAME}}]
        none: {script: [x], environment: prod}
        """
    job = project.job(text)
    assert job.environment
    assert job.environment.url == "$ADDRESS"
    late = [*project.plan().predefined, *job.variables, Variable(key="CI_JOB_ID", value="7")]
    assert expand_all(late)["CI_ENVIRONMENT_URL"] == "https://prod.example.com/7"
    assert job.resource_group == "to-prod"
    assert "CI_ENVIRONMENT_URL" not in project.variables(text, "none")


def test_a_tag_that_expands_to_nothing_is_none(project: Project) -> None:
    text = """
        variables: {EMPTY: "", BLANK: " ", LIST: "docker, linux,,docker", ONE: " big "}
        job:
          script: [x]
          parallel: {matrix: [{ARCH: ["", arm]}]}
          tags: [$RUNNER_TAG, $EMPTY, "$BLANK", "${ARCH}", $LIST, $ONE, "$EMPTY$RUNNER_TAG"]
        none: {script: [x], tags: [$RUNNER_TAG]}
        """
    assert project.job(text, "job: []").tags == ["docker", "linux", "big"]
    assert project.job(text, "job: [arm]").tags == ["arm", "docker", "linux", "big"]
    assert project.job(text, "none").tags == []
    assert project.job(text, "none", variables={"RUNNER_TAG": "gpu"}).tags == ["gpu"]


def test_jobs_of_a_group_know_its_name(project: Project) -> None:
    text = """
        a:b: {script: [x], parallel: {matrix: [{M: [x y]}]}}
        many: {script: [x], parallel: 2}
        build 1/3: {script: [x]}
        2/3: {script: [x]}
        """
    names = ["a:b: [x y]", "many 2/2", "build 1/3", "2/3"]
    groups = [project.variables(text, name)["CI_JOB_GROUP_NAME"] for name in names]
    assert groups == ["a:b", "many", "build", "2/3"]


def test_a_manual_job_and_a_pipeline_with_a_name_know_it(project: Project) -> None:
    text = """
        workflow: {name: "for $CI_COMMIT_BRANCH"}
        job: {script: [x], rules: [{when: manual}]}
        other: {script: [x]}
        """
    assert project.variables(text)["CI_JOB_MANUAL"] == "true"
    assert "CI_JOB_MANUAL" not in project.variables(text, "other")
    assert project.variables(text)["CI_PIPELINE_NAME"] == "for main"
    late = text.replace("for $CI", "$CI_PIPELINE_IID for $CI")
    assert project.plan(late).name == "$CI_PIPELINE_IID for main"
    named = next(each for each in project.plan(late).predefined if each.key == "CI_PIPELINE_NAME")
    assert not named.raw


def test_variables_win_in_gitlab_s_order(project: Project) -> None:
    text = """
        variables: {A: global, B: global, C: global, D: global, E: global, CI_COMMIT_BRANCH: global}
        job:
          script: [x]
          variables: {B: job, C: job, D: job, E: job}
          parallel: {matrix: [{C: [matrix], D: [matrix], E: [matrix]}]}
          rules: [{if: $CI, variables: {D: rule, E: rule}}]
        """
    variables = project.variables(text, "job: [matrix, matrix, matrix]", variables={"E": "user"})
    assert [variables[key] for key in "ABCDE"] == ["global", "job", "matrix", "rule", "user"]
    assert variables["CI_COMMIT_BRANCH"] == "global"


def test_variables_may_have_a_description_and_be_kept_from_expansion(project: Project) -> None:
    text = """
        variables:
          A: {value: a, description: what, options: [a, b]}
          B: {value: "$A", expand: false}
          C: "$A-$B"
          D:
          N: 1.50
          T: yes
        job: {script: [x]}
        """
    variables = project.variables(text)
    assert [variables[key] for key in "ABCDNT"] == ["a", "$A", "a-$A", "", "1.5", "true"]


def test_a_variable_may_build_on_the_one_it_replaces(project: Project) -> None:
    text = "variables: {FLAGS: -a}\njob: {script: [x], variables: {FLAGS: '$FLAGS -b'}}\n"
    assert project.variables(text)["FLAGS"] == "-a -b"


def test_inherit_chooses_global_variables(project: Project) -> None:
    text = """
        variables: {A: a, B: b}
        all: {script: [x]}
        none: {script: [x], inherit: {variables: false}, variables: {C: c}}
        some: {script: [x], inherit: {variables: [B]}}
        """
    kept = {name: project.variables(text, name).keys() & {"A", "B", "C"} for name in ("all", "none", "some")}
    assert kept == {"all": {"A", "B"}, "none": {"C"}, "some": {"B"}}


def test_what_a_commit_says_is_not_expanded(project: Project) -> None:
    project.write("x", "")
    project.commit("costs $5 and $CI_JOB_NAME\n\nbody")
    variables = project.variables("job: {script: [x]}\n")
    assert variables["CI_COMMIT_TITLE"] == "costs $5 and $CI_JOB_NAME"
    assert variables["CI_COMMIT_DESCRIPTION"] == "body"


def test_a_plan_can_be_sent(project: Project) -> None:
    plan = project.plan("stages: [test]\njob: {script: [x], needs: [], retry: 1, cache: {paths: [a]}}\n")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plan), type=Plan) == plan
    assert (plan.project, plan.project_dir) == ("local/project", "/builds/local/project")


def test_keywords_without_effect_are_warned_of_once(project: Project) -> None:
    text = """
        a: {script: [x], id_tokens: {T: {aud: x}}, identity: google_cloud}
        b: {script: [x], id_tokens: {T: {aud: x}}}
        """
    assert project.warnings(text) == [
        ".gitlab-ci.yml:1: a.id_tokens: has no effect here: others trust only tokens that a GitLab server has signed; "
        "keep credentials as `longshore secret`",
        ".gitlab-ci.yml:1: a.identity: has no effect here: Google Cloud trusts a GitLab server's tokens; keep "
        "credentials as `longshore secret`",
    ]


def test_a_script_of_what_is_no_command_is_told_once_and_quotes_are_named_only_where_they_help(
    project: Project,
) -> None:
    assert project.problems("job: {script: [1]}\n") == [
        ".gitlab-ci.yml:1: job.script[0]: must be a string, not a number"
    ]


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("scrpit: [x]", "job.scrpit: unknown keyword; did you mean 'script'?"),
        ("image: alpine", "job: has no script; add `script`"),
        ("script: []", "job: has no script"),
        ("script: ''", "job: has an empty script"),
        ("script: [{echo a: b}]", "must be a string, not a mapping; quote a command that contains `: `"),
        ("script: [x], variables: [a]", "job.variables: must be a mapping, not a list"),
        ("script: [x], variables: {A: [b]}", "job.variables.A: must be a string or a mapping, not a list"),
        ("script: [x], image: {entrypoint: [a]}", "job.image: lacks 'name'"),
        ("script: [x], image: {name: a, pull_policy: sometimes}", "job.image.pull_policy: must be one of always"),
        ("script: [x], services: {name: a}", "job.services: must be a list, not a mapping"),
        ("script: [x], artifacts: {paths: a}", "job.artifacts.paths: must be a list, not a string"),
        ("script: [x], artifacts: {expire_in: soon}", "job.artifacts.expire_in: 'soon' is not a duration"),
        ("script: [x], artifacts: {expose_as: docs}", "job.artifacts.expose_as: needs `paths` to lead to"),
        ("script: [x], artifacts: {expose_as: '', paths: [a]}", "job.artifacts.expose_as: is empty"),
        (
            "script: [x], artifacts: {expose_as: 'a/b', paths: [a]}",
            "job.artifacts.expose_as: 'a/b' is not a valid link",
        ),
        ("script: [x], artifacts: {expose_as: é, paths: [a]}", "job.artifacts.expose_as: 'é' is not a valid link text"),
        (
            "script: [x], artifacts: {expose_as: -a, paths: [a]}",
            "job.artifacts.expose_as: '-a' is not a valid link text",
        ),
        (f"script: [x], artifacts: {{expose_as: {'a' * 101}, paths: [a]}}", "expose_as: is longer than 100 characters"),
        ("script: [x], artifacts: {expose_as: a, paths: ['*.x']}", "job.artifacts.paths: can't contain '*'"),
        (
            "script: [x], artifacts: {reports: {coverage_report: {path: a}}}",
            "job.artifacts.reports.coverage_report: lacks 'coverage_format'",
        ),
        (
            "script: [x], artifacts: {reports: {coverage_report: {path: a, coverage_format: lcov}}}",
            "job.artifacts.reports.coverage_report.coverage_format: must be one of cobertura, jacoco",
        ),
        ("script: [x], cache: {paths: a}", "job.cache.paths: must be a list, not a string"),
        (
            "script: [x], cache: {key: {files: [a, b, c]}, paths: [x]}",
            "job.cache.key.files: takes one or two files, not 3",
        ),
        ("script: [x], cache: {policy: push-pull}", "job.cache.policy: must be one of pull-push, pull, push"),
        ("script: [x], retry: 3", "job.retry: must be at least 0 and at most 2, not '3'"),
        ("script: [x], retry: {when: boredom}", "job.retry.when: must be one of always"),
        ("script: [x], timeout: soon", "job.timeout: 'soon' is not a duration"),
        ("script: [x], coverage: 5%", "job.coverage: '5%' is not a pattern of the form /regex/"),
        ("script: [x], allow_failure: maybe", "job.allow_failure: must be true or false or a mapping, not a string"),
        ("script: [x], interruptible: 1", "job.interruptible: must be true or false, not a number"),
        ("script: [x], x-longshore: {memory: lots}", "job.x-longshore.memory: 'lots' is not a size"),
        ("script: [x], x-longshore: {cpus: 0}", "job.x-longshore.cpus: must be at least 0.01"),
        ("script: [x], inherit: {default: [imgae]}", "job.inherit.default[0]: must be one of"),
        ("script: [x], environment: {url: x}", "job.environment: lacks 'name'"),
    ],
)
def test_wrong_jobs_are_refused(project: Project, job: str, message: str) -> None:
    problems = project.problems(f"job: {{{job}}}\n")
    assert problems[0].startswith(".gitlab-ci.yml:1: ")
    assert any(message in problem for problem in problems)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stage: [build]",
            "stage: is neither a keyword nor a job: a job is a mapping, not a list; did you mean 'stages'?",
        ),
        ("stages: build", "stages: must be a list, not a string"),
        ("stages: [{a: b}]", "stages[0]: must be a string, not a mapping"),
        ("variables: [A]", "variables: must be a mapping, not a list"),
        ("workflow: {ruels: []}", "workflow.ruels: unknown keyword; did you mean 'rules'?"),
        ("default: {script: [x]}", "default.script: unknown keyword"),
        ("default: {imagee: x}", "default.imagee: unknown keyword; did you mean 'image'?"),
        ("cache: 3", "default.cache: must be a mapping or a list, not a number"),
        ("? ''\n: {script: [x]}", "a job's name must have 1 to 255 characters"),
        (f"{'x' * 256}: {{script: [x]}}", "a job's name must have 1 to 255 characters"),
    ],
)
def test_wrong_globals_are_refused(project: Project, text: str, message: str) -> None:
    assert any(message in problem for problem in project.problems(f"{text}\njob: {{script: [x], stage: .pre}}\n"))


def test_everything_that_is_wrong_is_told_at_once(project: Project) -> None:
    problems = project.problems(
        """
        stages: [build]
        a:
          stage: tset
          script: [x]
        b:
          stage: build
          script: [x]
          needs: [c]
          timeout: soon
        d:
          stage: build
          scrip: [x]
        """
    )
    assert [problem.split(": ")[1] for problem in problems] == ["a.stage", "b.timeout", "d.scrip", "d", "b.needs[0]"]


def test_a_file_without_a_job_is_valid_and_odd(project: Project) -> None:
    assert project.names(".hidden: {script: [x]}\n") == []
    assert project.warnings(".hidden: {script: [x]}\n") == [
        ".gitlab-ci.yml: the file has no job; write at least one job with a `script`"
    ]
