"""`include` in all its forms, and `spec:inputs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import PipelineFileError
from tests.support.project import Project


def test_includes_come_first_and_the_file_itself_has_the_last_word(project: Project) -> None:
    project.write("a.yml", "variables: {X: a, Y: a}\njob: {script: [a], image: a, tags: [a]}\n")
    project.write("b.yml", "variables: {Y: b}\njob: {image: b, variables: {IN: b}}\n")
    job = project.job(
        """
        include: [a.yml, {local: /b.yml}]
        job:
          tags: [own]
          variables: {OWN: own}
        """
    )
    assert (job.script, job.image and job.image.name, job.tags) == (["a"], "b", ["own"])
    values = {variable.key: variable.value for variable in job.variables}
    assert (values["X"], values["Y"], values["IN"], values["OWN"]) == ("a", "b", "b", "own")


def test_wildcards_find_tracked_and_new_files_but_none_that_are_ignored(project: Project) -> None:
    project.write("ci/a.yml", "a: {script: [a]}\n")
    project.write("ci/deep/b.yml", "b: {script: [b]}\n")
    project.write(".gitignore", "ci/ignored.yml\n")
    project.commit()
    project.write("ci/new.yml", "new: {script: [new]}\n")
    project.write("ci/ignored.yml", "ignored: {script: [x]}\n")
    assert project.names("include: ci/*.yml\n") == ["a", "new"]
    assert project.names("include: ci/**.yml\n") == ["a", "b", "new"]


def test_a_wildcard_that_no_file_matches_includes_nothing_with_a_warning(project: Project) -> None:
    text = "include: {local: no*.yml}\njob: {script: [x]}\n"
    assert project.names(text) == ["job"]
    assert [str(warning) for warning in project.compile(text).warnings] == [
        ".gitlab-ci.yml:1: include.local: no file matches 'no*.yml'"
    ]


def test_variables_and_rules_decide_what_is_included(project: Project) -> None:
    project.write("ci/one.yml", "one: {script: [x]}\n")
    project.write("ci/two.yml", "two: {script: [x]}\n")
    text = """
        include:
          - local: ci/$WHICH.yml
          - local: ci/two.yml
            rules:
              - if: $WHICH == "one"
                exists: [ci/two.yml]
          - local: ci/gone.yml
            rules:
              - if: $WHICH == "one"
                when: never
              - when: always
        """
    assert project.names(text, variables={"WHICH": "one"}) == ["one", "two"]


def test_a_variable_may_hold_a_url_and_a_suffix_may_have_capitals(project: Project, tmp_path: Path) -> None:
    project.write("HERE.YML", "here: {script: [x]}\n")
    other = Project(tmp_path / "ci")
    other.write("there.Yaml", "there: {script: [x]}\n")
    text = "include: [HERE.YML, $SERVER/there.Yaml]\n"
    given = {"variables": {"SERVER": "https://a.test"}, "projects": {"https://a.test": other.root}}
    assert project.names(text, **given) == ["here", "there"]


def test_included_files_include_others_from_the_top_of_the_repository(project: Project) -> None:
    project.write("ci/a.yml", "include: ci/b.yml\n")
    project.write("ci/b.yml", "job: {script: [x]}\n")
    assert project.names("include: ci/a.yml\n") == ["job"]


def test_a_problem_in_an_included_file_names_the_chain(project: Project) -> None:
    project.write("ci/a.yml", "# second line:\ninclude: ci/b.yml\n")
    project.write("ci/b.yml", "job:\n  script: [x]\n  imagee: y\n")
    assert project.problems("include:\n  - ci/a.yml\n") == [
        "ci/b.yml:3: job.imagee: unknown keyword; did you mean 'image'? "
        "(included from .gitlab-ci.yml:2, then ci/a.yml:2)"
    ]


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("gone.yml", ".gitlab-ci.yml:1: include: there is no file 'gone.yml'"),
        ("here.yaml", "did you mean 'here.yml'?"),
        ("{local: ../x.yml}", "include.local: '../x.yml' is relative to the including file"),
        ("./here.yml", "is relative to the including file"),
        ("here.txt", "does not end in .yml or .yaml"),
        ("folder.yml", "folder.yml is a directory"),
        ("{loacl: here.yml}", "include.loacl: unknown keyword; did you mean 'local'?"),
        ("{inputs: {a: b}}", "names no file"),
        ("{local: here.yml, project: x}", "names local and project at once"),
        (
            "https://example.com/a/x.yml",
            "is not fetched here; map a directory that has it: --project https://example.com/a=DIR",
        ),
        (
            "https://example.com/g/p/-/raw/v1/x.yml",
            "map a directory that has it: --project https://example.com/g/p/-/raw/v1=DIR",
        ),
        (
            "{template: Jobs/Build.gitlab-ci.yml}",
            "has lib/gitlab/ci/templates/Jobs/Build.gitlab-ci.yml: --project gitlab-org/gitlab=DIR",
        ),
        ("{project: group/other}", "names a project and no file"),
        ("{project: group/other, file: x.yml}", "map its directory: --project group/other=DIR"),
        ("{component: gitlab.com/group/other/part@1.0}", "map its directory: --project group/other=DIR"),
        ("{component: part}", "write HOST/GROUP/PROJECT/NAME@REF"),
        ("[1]", "include[0]: must be a string or a mapping, not a number"),
    ],
)
def test_what_can_t_be_included_is_refused_with_the_reason(project: Project, include: str, message: str) -> None:
    project.write("here.yml", "job: {script: [x]}\n")
    (project.root / "folder.yml").mkdir()
    problems = project.problems(f"include: {include}\n")
    assert len(problems) == 1
    assert message in problems[0]


def test_all_missing_includes_are_told_together_with_what_else_is_wrong(project: Project) -> None:
    problems = project.problems("include: [gone.yml, lost.yml]\njob:\n  extends: .from_there\n  scrpt: [x]\n")
    assert [problem.split(": ", 1)[0] for problem in problems] == [
        ".gitlab-ci.yml:1",
        ".gitlab-ci.yml:1",
        ".gitlab-ci.yml:4",
    ]


def test_a_long_name_of_a_file_is_told_whole(project: Project) -> None:
    name = f"{'folder/' * 12}file.yml"
    (problem,) = project.problems(f"include: {name}\n")
    assert f"there is no file '{name}'" in problem


def test_what_a_missing_include_may_hold_is_not_said_to_lack(project: Project) -> None:
    jobs = """
deploy:
  extends: .from_there
  environment: {url: https://example.test}
from_there:
  image: {entrypoint: [""]}
"""
    assert len(project.problems(f"include: gone.yml\n{jobs}")) == 1
    assert len(project.problems(jobs.replace("from_there:\n", "other:\n"))) == 1, "only the unknown job to extend"


def test_files_with_inputs_are_read_after_one_that_is_missing(project: Project) -> None:
    project.write("inputs.yml", "spec: {inputs: {name: {default: x}}}\n---\ninclude: $[[ inputs.name ]].yml\n")
    problems = project.problems("include: [gone.yml, inputs.yml, {local: inputs.yml, inputs: {nmae: y}}]\n")
    assert "there is no file 'gone.yml'" in problems[0]
    assert "there is no file 'x.yml'" in problems[1]
    assert len(problems) == 3
    assert "inputs.nmae: the included file declares no such input" in problems[2]


def test_a_file_that_includes_itself_is_refused(project: Project) -> None:
    project.write("a.yml", "include: b.yml\n")
    project.write("b.yml", "include: a.yml\n")
    (problem,) = project.problems("include: a.yml\n")
    assert problem == "b.yml:1: include: a.yml includes itself (included from .gitlab-ci.yml:1, then a.yml:1)"


def test_more_includes_than_gitlab_takes_are_refused(project: Project) -> None:
    project.write(
        "a.yml", "include: [b.yml, b.yml, b.yml, b.yml, b.yml, b.yml, b.yml, b.yml, b.yml, b.yml, b.yml, b.yml]\n"
    )
    project.write(
        "b.yml", "include: [c.yml, c.yml, c.yml, c.yml, c.yml, c.yml, c.yml, c.yml, c.yml, c.yml, c.yml, c.yml]\n"
    )
    project.write("c.yml", "job: {script: [x]}\n")
    assert "more than 150 files are included" in project.problems("include: a.yml\n")[0]


def test_a_project_is_read_from_the_directory_that_it_is_mapped_to(project: Project) -> None:
    other = Project(project.root.parent / "other")
    other.write("ci/jobs.yml", "include: ci/more.yml\njob: {script: [old]}\n")
    other.write("ci/more.yml", "more: {script: [old]}\n")
    other.commit()
    other.git("tag", "v1")
    other.write("ci/jobs.yml", "include: ci/more.yml\njob: {script: [new]}\n")
    projects = {"group/other": other.root}
    include = "include: {project: group/other, file: /ci/jobs.yml%s}\n"
    assert project.job(include % "", projects=projects).script == ["new"]
    assert project.job(include % ", ref: v1", projects=projects).script == ["old"]
    assert project.names(include % ", ref: v1", projects=projects) == ["more", "job"]
    assert "has no ref 'v2'" in project.problems(include % ", ref: v2", projects=projects)[0]


def test_a_project_is_found_in_the_directory_of_its_group_whatever_its_case(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "src" / "shared" / "ci")
    other.write("jobs.yml", "theirs: {script: [x]}\n")
    text = "include: {project: %s, file: jobs.yml}\n"
    projects = {"Group": tmp_path / "src"}
    assert project.names(text % "group/shared/ci", projects=projects) == ["theirs"]
    for outside in ("group/../../etc", "group//etc", "group/shared/../../ci"):
        with pytest.raises(PipelineFileError, match="is not known on this machine"):
            project.names(text % outside, projects=projects)


def test_a_copy_of_a_project_inside_another_is_taken_as_it_is_whatever_the_ref(project: Project) -> None:
    project.write("vendor/ci/templates/jobs.yml", "theirs: {script: [x]}\n")
    project.commit()
    text = "include: {project: group/ci, ref: v3, file: templates/*.yml}\n"
    assert project.names(text, projects={"group/ci": project.root / "vendor" / "ci"}) == ["theirs"]


def test_templates_are_those_of_gitlab_s_own_project(project: Project, tmp_path: Path) -> None:
    gitlab = Project(tmp_path / "gitlab")
    gitlab.write("lib/gitlab/ci/templates/Jobs/Build.gitlab-ci.yml", "build: {script: [x]}\n")
    text = "include: {template: Jobs/Build.gitlab-ci.yml}\n"
    assert project.names(text, projects={"gitlab-org/gitlab": gitlab.root}) == ["build"]
    with pytest.raises(PipelineFileError, match=r"there is no file .*Buidl.*did you mean .*Build.gitlab-ci.yml"):
        project.names(text.replace("Build", "Buidl"), projects={"gitlab-org/gitlab": gitlab.root})
    gitlab.write("lib/gitlab/ci/templates/Pages/Hugo.gitlab-ci.yml", "pages: {script: [x]}\n")
    assert project.names("include: {template: Hugo.gitlab-ci.yml}\n", projects={"gitlab-org/gitlab": gitlab.root}) == [
        "pages"
    ]
    with pytest.raises(PipelineFileError, match=r"'Hugo.yml' does not end in .gitlab-ci.yml"):
        project.names("include: {template: Hugo.yml}\n", projects={"gitlab-org/gitlab": gitlab.root})


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/ci/a/jobs.yml?x=1", "https://example.com/ci"),
        ("https://example.com/ci/a/jobs.yml", "https://example.com/ci/"),
        ("https://gitlab.example.com/group/sub/ci/-/raw/v1/a/jobs.yml", "group/sub/ci"),
    ],
)
def test_remote_files_are_taken_from_mapped_directories(project: Project, tmp_path: Path, url: str, name: str) -> None:
    other = Project(tmp_path / "ci")
    other.write("a/jobs.yml", "include: /a/more.yml\ntheirs: {script: [x]}\n")
    other.write("a/more.yml", "more: {script: [x], scrpt: y}\n" if "raw" not in url else "more: {script: [x]}\n")
    other.commit()
    other.git("tag", "v1")
    other.write("a/jobs.yml", "include: /a/more.yml\nnewer: {script: [x]}\n")
    if "raw" in url:
        assert project.names(f"include: '{url}'\n", projects={name: other.root}) == ["more", "theirs"]
    else:
        with pytest.raises(PipelineFileError) as raised:
            project.names(f"include: '{url}'\n", projects={name: other.root})
        assert str(raised.value).startswith("https://example.com/ci/a/more.yml:1: more.scrpt: unknown keyword")


def test_components_of_the_project_itself_and_of_mapped_ones(project: Project) -> None:
    project.write(
        "templates/part.yml",
        """
        spec: {inputs: {stage: {default: test}}}
        ---
        "$[[ component.name ]]-job":
          stage: $[[ inputs.stage ]]
          script: ["$[[ component.reference ]]"]
        """,
    )
    project.commit()
    own = "include: {component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/part@$CI_COMMIT_SHA, inputs: {stage: build}}\n"
    job = project.job(own, "part-job")
    assert (job.stage, job.script) == ("build", [project.git("rev-parse", "HEAD")])
    project.git("tag", "1.0")
    mapped = "include: {component: example.com/group/other/part@1.0}\n"
    assert project.job(mapped, "part-job", projects={"group/other": project.root}).script == ["1.0"]


HEADER = """
    spec:
      inputs:
        name: {default: dev, options: [dev, prod]}
        count: {type: number, default: 2}
        flag: {type: boolean, default: false}
        list: {type: array, default: [a, b]}
        version: {default: v1.0, regex: '^v\\d+\\.\\d+$'}
        given: {description: has to be given}
    ---
    """


def test_inputs_are_put_in_with_their_types(project: Project) -> None:
    project.write(
        "part.yml",
        HEADER
        + """
    "deploy-$[[ inputs.name ]]":
      parallel: $[[ inputs.count ]]
      allow_failure: $[[ inputs.flag ]]
      tags: $[[ inputs.list ]]
      script:
        - echo "$[[ inputs.name ]]/$[[inputs.count]]/$[[ inputs.flag ]]/$[[ inputs.version ]]"
        - echo $[[ inputs.list ]]
        - echo $[[ inputs.given ]] $[[ matrix.LATER ]]
        """,
    )
    plan = project.plan("include: {local: part.yml, inputs: {name: prod, flag: true, given: 'a: b'}}\n")
    assert [job.name for job in plan.jobs] == ["deploy-prod 1/2", "deploy-prod 2/2"]
    assert plan.jobs[0].tags == ["a", "b"]
    assert plan.jobs[0].allow_failure
    assert plan.jobs[0].script == [
        'echo "prod/2/true/v1.0"',
        'echo ["a", "b"]',
        "echo a: b $[[ matrix.LATER ]]",
    ]


def test_inputs_of_the_file_itself_come_from_the_caller(project: Project) -> None:
    text = "spec: {inputs: {n: {type: number}}}\n---\njob: {script: [x], parallel: $[[ inputs.n ]]}\n"
    assert project.names(text.replace("$[[ inputs.n ]]", "'$[[ inputs.n ]]'"), inputs={"n": "3"}) == [
        "job 1/3",
        "job 2/3",
        "job 3/3",
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("inputs.x | truncate(0,3)", "$A-"),
        ("inputs.x|truncate( 1 , 2 )", "A-"),
        ("inputs.x | expand_vars", "a-b c"),
        ("inputs.x | expand_vars | posix_escape", "a-b\\ c"),
        ("inputs.x | expand_vars | truncate(0,2) | posix_escape", "a-"),
    ],
)
def test_functions_in_interpolations(project: Project, expression: str, value: str) -> None:
    text = f"""
        spec: {{inputs: {{x: {{default: "$A-b c"}}}}}}
        ---
        job:
          script: ["$[[ {expression} ]]"]
        """
    assert project.job(text, variables={"A": "a"}).script == [value]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("{given: x, name: test}", "part.yml:3: inputs.name"),
        ("{given: x, count: many}", "inputs.count: the input takes a value of type number, not a string"),
        ("{given: x, flag: 'yes'}", "inputs.flag: the input takes a value of type boolean, not a string"),
        ("{given: x, list: a}", "inputs.list: the input takes a value of type array, not a string"),
        ("{given: 1}", "inputs.given: the input takes a value of type string, not a number"),
        ("{given: x, version: '1'}", "does not match the input's regular expression"),
        ("{given: x, nmae: dev}", "the included file declares no such input; did you mean 'name'?"),
        ("{}", "part.yml:8: spec.inputs.given: the input has no value and no default; pass it in `inputs`"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_refused(project: Project, inputs: str, message: str) -> None:
    project.write("part.yml", HEADER + "\n    job: {script: [x]}\n")
    (problem,) = project.problems(f"include:\n  local: part.yml\n  inputs: {inputs}\n")
    assert message.replace("part.yml:3: ", "") in problem


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("inputs.y", "`spec:inputs` of this file has no 'y'"),
        ("variables.x", "is unknown here"),
        ("inputs.x | shout", "unknown function 'shout'"),
        ("inputs.x | a | b | c | d", "has more than 3 functions"),
        ("component.name", "is only available in a file included as a component"),
    ],
)
def test_wrong_interpolations_are_refused_with_their_line(project: Project, block: str, message: str) -> None:
    text = f"spec:\n  inputs:\n    x: {{default: d}}\n---\njob:\n  script:\n    - $[[ {block} ]]\n"
    (problem,) = project.problems(text)
    assert problem.startswith(".gitlab-ci.yml:7: ")
    assert message in problem


RULES = """
    spec:
      inputs:
        size:
          rules:
            - if: $[[ inputs.where ]] == "prod" && $[[ inputs.twice ]] == true
              options: [l, xl]
              default: xl
            - if: $[[inputs.where]] == 'prod'
              default: l
            - if: $[[ inputs.where ]] == 'own'
              default: null
        where: {options: [dev, prod, own], default: dev}
        twice: {type: boolean, default: false}
        least:
          type: number
          rules:
            - if: $[[ inputs.size ]] == 'xl'
              default: 2
            - options: [1, 3]
              default: 1
    ---
    job: {script: ["$[[ inputs.size ]]-$[[ inputs.least ]]"]}
    """


@pytest.mark.parametrize(
    ("inputs", "value"),
    [
        ({}, "-1"),
        ({"where": "prod"}, "l-1"),
        ({"where": "prod", "twice": "true"}, "xl-2"),
        ({"where": "prod", "twice": "true", "size": "l", "least": "3"}, "l-3"),
        ({"where": "own", "size": "anything"}, "anything-1"),
    ],
)
def test_inputs_may_depend_on_other_inputs_by_rules(project: Project, inputs: dict[str, str], value: str) -> None:
    assert project.job(RULES, inputs=inputs).script == [value]


@pytest.mark.parametrize(
    ("rules", "inputs", "message"),
    [
        (
            "- {if: \"$[[ inputs.x ]] == 'a'\", options: [1]}\n      type: number",
            {},
            "spec.inputs.y: the input has no value and no default",
        ),
        ("- {options: [b, c], default: b}", {"y": "d"}, "inputs.y: 'd' is not among the input's options: 'b', 'c'"),
        (
            "- {if: '$[[ inputs.xx ]]', default: b}",
            {},
            "spec.inputs.y.rules[0].if: unknown input 'xx'",
        ),
        ("- {if: '$[[ inputs.x ]] ==', default: b}", {}, "is not a valid expression: a value is missing at its end"),
        ("- {if: '$[[ inputs.y ]]', default: b}", {}, "spec.inputs.y.rules: is circular: y -> y"),
        ("- {when: never, default: b}", {}, "spec.inputs.y.rules[0].when: unknown keyword"),
    ],
)
def test_wrong_rules_of_inputs_are_refused(project: Project, rules: str, inputs: dict[str, str], message: str) -> None:
    text = (
        f"spec:\n  inputs:\n    x: {{default: b}}\n    y:\n      rules:\n        {rules}\n---\njob: {{script: [x]}}\n"
    )
    with pytest.raises(PipelineFileError) as raised:
        project.compile(text, inputs=inputs)
    assert message in str(raised.value)


def test_a_text_for_which_no_rule_holds_is_empty_and_can_be_handed_on(project: Project) -> None:
    inner = "spec: {inputs: {tag: {type: string}}}\n---\njob: {script: ['tag=<$[[ inputs.tag ]]>']}\n"
    project.write("inner.yml", inner)
    file = """
        spec:
          inputs:
            kind: {options: [build, release], default: build}
            tag:
              rules: [{if: "$[[ inputs.kind ]] == 'release'", default: v1}]
        ---
        include: {local: inner.yml, inputs: {tag: "$[[ inputs.tag ]]"}}
        """
    assert project.job(file).script == ["tag=<>"]
    assert project.job(file, inputs={"kind": "release"}).script == ["tag=<v1>"]


def test_the_first_option_of_a_rule_is_the_default_where_it_names_none(project: Project) -> None:
    file = """
        spec:
          inputs:
            where: {options: [dev, prod], default: dev}
            size:
              rules:
                - {if: "$[[ inputs.where ]] == 'prod'", options: [large, huge], default: huge}
                - options: [small, medium]
        ---
        job: {script: ["$[[ inputs.size ]]"]}
        """
    assert project.job(file).script == ["small"]
    assert project.job(file, inputs={"where": "prod"}).script == ["huge"]
    assert project.job(file, inputs={"size": "medium"}).script == ["medium"]


def test_split_makes_a_list_of_a_text(project: Project) -> None:
    text = """
        spec: {inputs: {names: {default: "a, b,,c"}}}
        ---
        job:
          script: [x]
          tags: $[[ inputs.names | split(',') ]]
          variables: {ALL: "$[[ inputs.names | split(',') ]]!"}
        """
    job = project.job(text)
    assert job.tags == ["a", "b", "c"]
    assert [variable.value for variable in job.variables if variable.key == "ALL"] == ['["a", "b", "c"]!']


def test_a_header_without_a_pipeline_is_refused(project: Project) -> None:
    (problem,) = project.problems("spec: {inputs: {}}\n")
    assert "the file has a `spec` and no pipeline" in problem


def test_inputs_can_t_make_a_file_grow_without_bound(project: Project) -> None:
    project.write("part.yml", "spec: {inputs: {x: {}}}\n---\njob:\n  script:\n" + "    - a$[[ inputs.x ]]\n" * 200)
    text = f"include: {{local: part.yml, inputs: {{x: {'y' * 100_000}}}}}\n"
    assert "its inputs make the file larger than 10 MB" in project.problems(text)[0]


def test_an_include_sees_only_files_of_the_project_as_they_are_on_disk(project: Project) -> None:
    for name in ("ci/kept.yml", "ci/gone.yml", "tracked.yml"):
        project.write(name, f"{Path(name).stem}: {{script: [x]}}\n")
    project.commit()
    (project.root / "ci" / "gone.yml").unlink()
    project.write(".gitignore", "ci/secret.yml\ntracked.yml\n")
    project.write("ci/secret.yml", "secret: {script: [x]}\n")
    project.write("ci/new.yml", "new: {script: [x]}\n")
    assert project.names("include: ci/*.yml\n") == ["kept", "new"]
    assert project.names("include: [tracked.yml, /ci/new.yml]\n") == ["tracked", "new"]
    assert "there is no file 'ci/gone.yml'" in project.problems("include: ci/gone.yml\n")[0]
    (problem,) = project.problems("include: ci/secret.yml\n")
    assert "ci/secret.yml is not a file of the project: git ignores it" in problem


def test_an_include_does_not_leave_the_project_through_a_link(project: Project) -> None:
    outside = project.root.parent / "outside.yml"
    outside.write_text("outside: {script: [x]}\n")
    project.write("inside.yml", "inside: {script: [x]}\n")
    (project.root / "link.yml").symlink_to(outside)
    (project.root / "near.yml").symlink_to("inside.yml")
    project.commit()
    assert project.names("include: near.yml\n") == ["inside"]
    assert "a link leads outside" in project.problems("include: link.yml\n")[0]


@pytest.mark.parametrize(
    "name", ["lint/enabled", "tool.option", "a.b/c-d_e", "with blank", "ünï", "9", "@scope", "a:b", "list[x"]
)
def test_an_input_s_name_may_have_any_characters(project: Project, name: str) -> None:
    text = f"""
        spec:
          inputs:
            "{name}": {{default: none}}
            tool: {{default: another}}
            after:
              rules:
                - if: $[[ inputs.{name} ]] == "given"
                  default: follows
                - default: other
        ---
        job: {{script: ["$[[ inputs.{name} | truncate(0, 3) ]]/$[[inputs.{name}]]/$[[ inputs.after ]]"]}}
        """
    assert project.job(text).script == ["non/none/other"]
    assert project.job(text, inputs={name: "given"}).script == ["giv/given/follows"]


def test_an_unknown_input_with_a_slash_is_said_by_its_name(project: Project) -> None:
    text = "spec: {inputs: {lint/enabled: {default: x}}}\n---\njob: {script: ['$[[ inputs.lint/enable ]]']}\n"
    (problem,) = project.problems(text)
    assert "has no 'lint/enable'" in problem
    assert "did you mean 'lint/enabled'?" in problem
    (problem,) = project.problems(text, inputs={"lint/enable": "x"})
    assert "inputs.lint/enable" in problem


def test_an_item_of_an_input_is_named_by_its_number_and_key(project: Project) -> None:
    head = "spec: {inputs: {of/list: {type: array, default: [a, [b, c], {key: d}]}}}\n---\n"
    job = "job: {script: ['$[[ inputs.of/list[0] ]] $[[ inputs.of/list[1][1] ]] $[[ inputs.of/list[2].key ]]']}\n"
    assert project.job(head + job).script == ["a c d"]
    for wrong, message in {
        "of/list[3]": "there is no inputs.of/list[3]: inputs.of/list is a list of 3",
        "of/list[0][0]": "inputs.of/list[0] is a string",
        "of/list[2].other": "there is no inputs.of/list[2].other",
        "of/list[x]": "is not a path to an item of input 'of/list'",
    }.items():
        assert message in project.problems(f"{head}job: {{script: ['$[[ inputs.{wrong} ]]']}}\n")[0]


@pytest.mark.parametrize(
    ("kind", "given", "becomes"),
    [
        *[("string", text, text) for text in ("1.10", "true", "2024-01-01", "null", "~", "", "[a]", "0x10", "a: b")],
        ("number", "1.5", "1.5"),
        ("number", "10", "10"),
        ("boolean", "false", "false"),
        ("array", "[a, b c]", '["a", "b c"]'),
        ("array", '["a", {"k": 1}]', '["a", {"k": 1}]'),
        ("array", "[]", "[]"),
    ],
)
def test_an_input_on_the_command_line_is_what_its_type_makes_of_it(
    project: Project, kind: str, given: str, becomes: str
) -> None:
    text = f"spec: {{inputs: {{x: {{type: {kind}}}}}}}\n---\njob: {{script: ['>$[[ inputs.x ]]']}}\n"
    assert project.job(text, inputs={"x": given}).script == [f">{becomes}"]


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("number", "many", "takes a value of type number, not a string"),
        ("boolean", "1", "takes a value of type boolean, not a number"),
        ("array", "a", "takes a value of type array, not a string"),
        ("array", "", "takes a value of type array"),
        ("array", "[a", "--input x:2: invalid YAML"),
    ],
)
def test_an_input_of_another_type_is_refused(project: Project, kind: str, given: str, message: str) -> None:
    text = f"spec: {{inputs: {{x: {{type: {kind}}}}}}}\n---\njob: {{script: [x]}}\n"
    assert message in project.problems(text, inputs={"x": given})[0]


@pytest.mark.parametrize(
    "file",
    [
        "---\n# only a comment\n---\njob: {script: [x]}\n",
        "---\njob: {script: [x]}\n---\n---\n# the end\n",
        "spec: {inputs: {}}\n---\n---\njob: {script: [x]}\n",
    ],
)
def test_empty_yaml_documents_count_for_nothing(project: Project, file: str) -> None:
    assert project.warnings(file) == []
    assert project.job(file).script == ["x"]


def test_a_second_pipeline_in_a_file_has_no_effect_and_is_warned_of(project: Project) -> None:
    file = "a: {script: [x]}\n---\nb: {script: [x]}\n"
    assert [job.name for job in project.compile(file).plan.jobs] == ["a"]
    (warning,) = project.warnings(file)
    assert warning.startswith(".gitlab-ci.yml:3: the second YAML document has no effect")


OF_OTHER_FILES = """
spec:
  include: [{local: ci/inputs.yml}, ci/more.yml]
  inputs:
    environment: {default: production}
---
job:
  script: ["$[[ inputs.environment ]] $[[ inputs.version ]] $[[ inputs.replicas ]]"]
"""


def test_inputs_are_declared_in_other_files_too(project: Project) -> None:
    project.write(
        "ci/inputs.yml",
        "inputs:\n  environment: {default: staging, options: [staging]}\n  version: {default: 1.0.0}\n"
        "  replicas: {type: number, default: 3}\n",
    )
    project.write("ci/more.yml", "inputs: {version: {default: 2.0.0}}\n")
    assert project.job(OF_OTHER_FILES).script == ["production 2.0.0 3"]
    assert project.job(OF_OTHER_FILES, inputs={"replicas": "5"}).script == ["production 2.0.0 5"]
    assert project.problems(OF_OTHER_FILES, inputs={"replicas": "many"}) == [
        ".gitlab-ci.yml: inputs.replicas: the input takes a value of type number, not a string"
    ]


@pytest.mark.parametrize(
    ("include", "content", "said"),
    [
        ("ci/gone.yml", "", ".gitlab-ci.yml:2: spec.include: there is no file 'ci/gone.yml'"),
        ("{template: x.yml}", "", "spec.include.template: a file of inputs can't be included with `template`"),
        ("ci/f.yml", "inputs: {a: {}}\njob: {}", "ci/f.yml:1: a file that `spec:include` names has one key, `inputs`"),
        ("ci/f.yml", "inputs: {a: {typ: number}}", "ci/f.yml:1: inputs.a.typ: unknown keyword"),
        ("ci/f.yml", "inputs: {a: {}}", "ci/f.yml:1: spec.inputs.a: the input has no value and no default"),
    ],
)
def test_files_of_inputs_that_can_t_be_read_are_refused(
    project: Project, include: str, content: str, said: str
) -> None:
    project.write("ci/f.yml", content)
    problems = project.problems(f"spec:\n  include: {include}\n---\njob: {{script: [x]}}\n")
    assert len(problems) == 1, problems
    assert said in problems[0]
