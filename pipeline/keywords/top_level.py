"""Keywords outside of jobs: at the top of a file, under `include`, in the header."""

from __future__ import annotations

from pipeline.keywords.kinds import ignored, refused, works
from pipeline.keywords.shapes import (
    CHANGES,
    DEFAULT_KEYS,
    DURATION,
    EXISTS,
    FLAG,
    GLOBAL_DEFAULTS,
    INPUT_TYPE,
    TEXT,
    VARIABLES,
    WORD,
    WORDS,
)
from pipeline.schema import Anything, Choice, Fields, ListOf, MapOf, Text, any_of, one_or_more

GLOBAL = [
    works("global.default", Fields("job", DEFAULT_KEYS)),
    works("global.include", one_or_more(any_of(TEXT, Fields("include")))),
    works("global.stages", ListOf(WORD), "`.pre` and `.post` always exist"),
    works("global.variables", VARIABLES),
    works("global.workflow", Fields("workflow")),
    *(works(f"global.{key}", Anything(), f"an older way to write `default:{key}`") for key in GLOBAL_DEFAULTS),
    works("global.$schema", TEXT, "for editors"),
    works("variable.value", WORD),
    works("variable.description", TEXT),
    works("variable.options", WORDS),
    works("variable.expand", FLAG),
    works("workflow.name", Text(longest=255)),
    works("workflow.rules", ListOf(Fields("workflow.rule"))),
    works("workflow.auto_cancel", Fields("auto_cancel")),
    works("workflow.rule.if", TEXT),
    works("workflow.rule.changes", CHANGES, "as `rules:changes`"),
    works("workflow.rule.exists", EXISTS),
    works("workflow.rule.when", Choice(("always", "never"))),
    works("workflow.rule.variables", VARIABLES),
    works("workflow.rule.auto_cancel", Fields("auto_cancel")),
    ignored("workflow.rule.start_in", "it applies to jobs only, in GitLab too"),
    ignored("workflow.rule.allow_failure", "it applies to jobs only, in GitLab too"),
    ignored("workflow.rule.needs", "it applies to jobs only, in GitLab too"),
    works("auto_cancel.on_new_commit", Choice(("conservative", "interruptible", "none"))),
    works("auto_cancel.on_job_failure", Choice(("all", "none"))),
]

INCLUDE = [
    works(
        "include.local",
        TEXT,
        "files of the project as they are on disk, except those that git ignores; a wildcard may match none",
    ),
    works(
        "include.project",
        TEXT,
        "fetched with git from the server of `origin`, or read from a directory: `--project NAME=DIR`",
    ),
    works("include.file", one_or_more(TEXT), "with `project`"),
    works("include.ref", TEXT, "with `project`: a branch, a tag or a full SHA"),
    works(
        "include.component",
        TEXT,
        "fetched as `project`, from the server that it names; its released versions are its semantic version tags",
    ),
    works("include.inputs", MapOf(Anything())),
    works("include.rules", ListOf(Fields("include.rule"))),
    works("include.rule.if", TEXT),
    works("include.rule.changes", CHANGES, "as `rules:changes`"),
    works("include.rule.exists", EXISTS),
    works("include.rule.when", Choice(("always", "never"))),
    works(
        "include.remote",
        TEXT,
        "fetched by HTTPS or HTTP, unless `--project` maps the beginning of the URL or, if it is the address of a raw "
        "file on a GitLab server, its project; addresses of this machine only with `--allow-local-includes`",
    ),
    works(
        "include.template",
        TEXT,
        "of GitLab's own project at a fixed release, fetched with git; `--templates` chooses another",
    ),
    refused("include.artifact", "it belongs under `trigger:include`, in GitLab too"),
    refused("include.job", "it belongs under `trigger:include`, in GitLab too"),
    works("include.integrity", TEXT, "of a fetched `remote`"),
    works("include.cache", any_of(FLAG, DURATION), "of a fetched `remote`; `true` is an hour"),
]

SPEC = [
    works("header.spec", Fields("spec")),
    works("spec.inputs", MapOf(Fields("spec.input")), "names may contain any characters, such as a slash"),
    works("spec.component", ListOf(TEXT)),
    works("spec.description", TEXT, "documentation only"),
    works(
        "spec.include",
        one_or_more(any_of(TEXT, Fields("include"))),
        "with `local`, `project` or `remote`; the file's own `spec:inputs` take precedence, then those of later files",
    ),
    works("spec.input.default", Anything()),
    works("spec.input.description", TEXT),
    works("spec.input.options", ListOf(Anything())),
    works("spec.input.regex", TEXT, "in RE2's syntax, as in GitLab"),
    works("spec.input.type", INPUT_TYPE),
    works("spec.input.rules", ListOf(Fields("spec.input.rule"), least=1)),
    works("spec.input.rule.if", TEXT),
    works("spec.input.rule.options", ListOf(Anything())),
    works("spec.input.rule.default", Anything()),
]
