"""`extends`, `!reference`, `default` and `inherit`."""

from __future__ import annotations

import pytest

from pipeline import merge
from tests.support.project import Project, image_of


def test_extends_merges_mappings_and_replaces_everything_else(project: Project) -> None:
    text = """
        .a:
          image: a
          tags: [a, b]
          variables: {X: a, Y: a}
          artifacts: {paths: [a], name: a}
        .b:
          extends: .a
          variables: {Y: b}
        .c:
          tags: [c]
        job:
          extends: [.b, .c]
          script: [x]
          artifacts: {paths: [own]}
        """
    job = project.job(text)
    assert image_of(job) == "a"
    assert job.tags == ["c"]
    assert job.artifacts
    assert (job.artifacts.paths, job.artifacts.name) == (["own"], "a")
    assert project.variables(text)["X"] == "a"
    assert project.variables(text)["Y"] == "b"


def test_null_takes_an_inherited_keyword_away(project: Project) -> None:
    text = """
        default: {image: default}
        .a: {script: [x], tags: [a], image: a, before_script: [b]}
        job: {extends: .a, tags: null, image: ~, before_script: null}
        """
    job = project.job(text)
    assert (job.tags, job.before_script) == ([], [])
    assert image_of(job) == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job: {script: [x], extends: .gone}", "job.extends: unknown job '.gone' to extend"),
        ("job: {script: [x], extends: default}", "unknown job 'default' to extend"),
        (".basis: {}\njob: {script: [x], extends: .bases}", "did you mean '.basis'?"),
        ("a: {script: [x], extends: b}\nb: {extends: a}", "extends: is circular: "),
        ("job: {script: [x], extends: job}", "is circular: job -> job"),
        ("job: {script: [x], extends: {a: b}}", "must be a job's name or a list of them, not a mapping"),
    ],
)
def test_wrong_extends_are_refused(project: Project, text: str, message: str) -> None:
    assert any(message in problem for problem in project.problems(text + "\n"))


def test_what_extends_and_refers_to_nothing_is_told_with_what_else_is_wrong(project: Project) -> None:
    text = """
        a: {script: [x], extends: .gone}
        b: {script: !reference [.no, script]}
        c: {script: [x], tags: docker}
        d: {extends: c, whne: never}
        """
    assert [problem.split(": ", 1)[1] for problem in project.problems(text)] == [
        "a.extends: unknown job '.gone' to extend",
        "b.script: !reference [.no, script]: there is no '.no'",
        "c.tags: must be a list, not a string",
        "d.whne: unknown keyword; did you mean 'when'?",
    ]


def test_extends_through_more_levels_than_gitlab_takes_is_refused(project: Project) -> None:
    chain = "".join(f".l{i}: {{extends: .l{i + 1}}}\n" for i in range(12)) + ".l12: {tags: [x]}\n"
    problems = project.problems(chain + "job: {script: [x], extends: .l0}\n")
    assert any("goes through more than 11 levels" in problem for problem in problems)


def test_references_bring_in_parts_of_other_jobs(project: Project) -> None:
    text = """
        .setup:
          script: [a, b]
          rules: [{if: $CI_COMMIT_BRANCH}]
          variables: {URL: http://x}
        .more:
          script:
            - !reference [.setup, script]
            - c
        job:
          variables:
            OWN: !reference [.setup, variables, URL]
          rules:
            - !reference [.setup, rules]
            - when: manual
          script:
            - !reference [.more, script]
            - d
          after_script: !reference [.setup, script]
        """
    job = project.job(text)
    assert job.script == ["a", "b", "c", "d"]
    assert job.after_script == ["a", "b"]
    assert job.when == "on_success"
    assert project.variables(text)["OWN"] == "http://x"


def test_references_see_what_extends_has_merged(project: Project) -> None:
    text = """
        .a: {script: [from a]}
        .b: {extends: .a}
        job: {script: !reference [.b, script]}
        """
    assert project.job(text).script == ["from a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job: {script: !reference [.gone, script]}", "job.script: !reference [.gone, script]: there is no '.gone'"),
        (".a: {skript: x}\njob: {script: !reference [.a, script]}", "there is no '.a.script'; did you mean 'skript'?"),
        ("job: {script: !reference [job, script]}", "!reference [job, script] is circular"),
        ("a: {script: !reference [b, script]}\nb: {script: !reference [a, script]}", "is circular"),
        ("job: {script: [!reference [job, script]]}", "is circular"),
    ],
)
def test_wrong_references_are_refused(project: Project, text: str, message: str) -> None:
    assert any(message in problem for problem in project.problems(text + "\n"))


def test_references_through_more_than_ten_others_are_refused(project: Project) -> None:
    chain = "".join(f".r{i}: {{script: [!reference [.r{i + 1}, script]]}}\n" for i in range(9))
    assert project.job(chain + ".r9: {script: [x]}\njob: {script: !reference [.r0, script]}\n").script == ["x"]
    longer = chain + ".r9: {script: [!reference [.r10, script]]}\n.r10: {script: [x]}\n"
    problems = project.problems(longer + "job: {script: !reference [.r0, script]}\n")
    assert any("is reached through more than 10 others" in problem for problem in problems)


def test_references_that_multiply_are_refused(project: Project) -> None:
    levels = [".r0: {script: [" + ", ".join(["x"] * 50) + "]}"]
    levels += [f".r{i}: {{script: [{', '.join([f'!reference [.r{i - 1}, script]'] * 50)}]}}" for i in range(1, 6)]
    problems = project.problems("\n".join(levels) + "\njob: {script: [x]}\n")
    assert any("references insert more than" in problem for problem in problems)


def test_extends_that_multiplies_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert merge.MAX_VALUES == 1_000_000
    monkeypatch.setattr(merge, "MAX_VALUES", 10_000)  # the bound itself takes seconds to reach
    variables = "".join(f"    V{number}: x\n" for number in range(300))
    jobs = "".join(f"j{number}: {{extends: .base, script: [x], variables: {{A: b}}}}\n" for number in range(40))
    problems = project.problems(f".base:\n  variables:\n{variables}{jobs}")
    assert any("`extends` copies more than 10000 values" in problem for problem in problems)


def test_scripts_may_be_nested_ten_deep_and_no_deeper(project: Project) -> None:
    assert project.job("job: {script: " + "[" * 10 + "x" + "]" * 10 + "}\n").script == ["x"]
    assert any(
        "nested more than 10 deep" in p for p in project.problems("job: {script: " + "[" * 11 + "x" + "]" * 11 + "}\n")
    )


def test_default_gives_what_a_job_does_not_set(project: Project) -> None:
    text = """
        default:
          image: d
          before_script: [d]
          tags: [d]
          retry: 1
          timeout: 10m
          interruptible: true
        job: {script: [x], image: own}
        none: {script: [x], inherit: {default: false}}
        some: {script: [x], inherit: {default: [image, retry]}}
        """
    job, none, some = project.job(text), project.job(text, "none"), project.job(text, "some")
    assert image_of(job) == "own"
    assert (job.before_script, job.tags, job.retry.max, job.timeout, job.interruptible) == (
        ["d"],
        ["d"],
        1,
        600.0,
        True,
    )
    assert (none.image, none.tags, none.retry.max, none.timeout) == (None, [], 0, 3600.0)
    assert image_of(some) == "d"
    assert (some.tags, some.retry.max) == ([], 1)


def test_an_empty_script_keeps_the_default_one_away(project: Project) -> None:
    text = "default: {before_script: [d], after_script: [d]}\njob: {script: [x], before_script: '', after_script: []}\n"
    job = project.job(text)
    assert (job.before_script, job.after_script) == ([], [])


def test_hooks_of_a_job_replace_those_of_default_and_join_those_that_it_extends(project: Project) -> None:
    text = """
        default: {hooks: {pre_get_sources_script: [d, [e, f]]}}
        .base: {hooks: {pre_get_sources_script: base}}
        job: {script: [x]}
        own: {script: [x], hooks: {pre_get_sources_script: own}}
        below: {extends: .base, script: [x]}
        none: {script: [x], hooks: {pre_get_sources_script: ''}}
        bare: {script: [x], hooks: {}}
        apart: {script: [x], inherit: {default: [image]}}
        refers: {script: [x], hooks: {pre_get_sources_script: [!reference [own, hooks, pre_get_sources_script], y]}}
        """
    hooks = {job.name: job.pre_get_sources_script for job in project.compile(text).plan.jobs}
    assert hooks == {
        "job": ["d", "e", "f"],
        "own": ["own"],
        "below": ["base"],
        "none": [],
        "bare": [],
        "apart": [],
        "refers": ["own", "y"],
    }


@pytest.mark.parametrize(
    ("hooks", "key"), [("[x]", "job.hooks"), ("{post: x}", "job.hooks.post"), ("{pre_get_sources_script: {}}", "job.h")]
)
def test_hooks_that_gitlab_does_not_have_are_problems(project: Project, hooks: str, key: str) -> None:
    assert any(key in problem for problem in project.problems(f"job: {{script: [x], hooks: {hooks}}}\n"))


def test_the_older_global_keywords_are_defaults_too(project: Project) -> None:
    job = project.job("image: g\nbefore_script: [g]\nservices: [s]\njob: {script: [x]}\n")
    assert image_of(job) == "g"
    assert (job.before_script, [service.name for service in job.services]) == (["g"], ["s"])


def test_a_keyword_both_at_the_top_and_under_default_is_refused(project: Project) -> None:
    (problem,) = project.problems("image: a\ndefault: {image: b}\njob: {script: [x]}\n")
    assert problem == ".gitlab-ci.yml:1: image: is set both here and under `default`; keep the one under `default`"


def test_a_mistake_that_jobs_share_is_told_once(project: Project) -> None:
    text = ".base:\n  script: [x]\n  artifcts: {}\n" + "".join(f"job{i}: {{extends: .base}}\n" for i in range(5))
    assert project.problems(text) == [".gitlab-ci.yml:3: job0.artifcts: unknown keyword; did you mean 'artifacts'?"]
