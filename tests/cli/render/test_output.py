"""One result, two forms: tables and lines for people, one document and nothing else for programs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from cli.render.output import JsonOutput, Output, TextOutput
from protocol.messages import JobDetail
from protocol.plan import JobInput
from protocol.statuses import ExecutionStatus as S
from protocol.views import AttemptView
from tests.support import plans
from tests.support.views import job_view, run_summary, run_view, stage_view, worker_view

RUN = run_view(7, stage_view("build", job_view("compile", S.SUCCESS), status=S.SUCCESS), status=S.SUCCESS)
RESULTS: dict[str, tuple[Callable[[Output], None], str, object]] = {
    "runs": (lambda out: out.runs([run_summary(7)]), "Run ", 7),
    "run": (lambda out: out.run(RUN, {}), "compile", 7),
    "workers": (lambda out: out.workers([worker_view("w1")]), "w1", "w1"),
    "submitted": (lambda out: out.submitted(7, lambda: RUN), "7\n", 7),
    "rows": (lambda out: out.rows([{"id": 7, "labels": ["a", "b"]}]), "a b", 7),
    "document": (lambda out: out.document({"id": 7, "token": "secret"}, "secret"), "secret\n", 7),
}


@pytest.mark.parametrize("result", RESULTS)
def test_people_get_words(capsys: pytest.CaptureFixture[str], result: str) -> None:
    show, words, _ = RESULTS[result]
    show(TextOutput())
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("result", RESULTS)
def test_programs_get_one_document(capsys: pytest.CaptureFixture[str], result: str) -> None:
    show, _, key = RESULTS[result]
    show(JsonOutput())
    told = capsys.readouterr()
    document = json.loads(told.out)
    first = document[0] if isinstance(document, list) else document
    assert key in (first.get("id"), first.get("name"))
    assert told.err == ""


def test_a_job_is_shown_with_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    job = job_view("deploy", S.SUCCESS)
    inputs = {
        "to": JobInput(default="here", options=["here", "there"], description="Where to"),
        "copies": JobInput(type="number", default=1),
    }
    attempts = [AttemptView(id="1.1", number=1, status=S.SUCCESS, inputs={"to": "there", "copies": 2})]
    plan = plans.job("deploy", inputs=inputs)
    detail = JobDetail(id=1, job=plan, attempts=attempts, story=[], inputs={"to": "there", "copies": 2})
    run = run_view(7, stage_view("test", job))
    TextOutput().job(run, job, detail)
    told = capsys.readouterr().out
    assert "Inputs" in told
    assert "to=there copies=2" in told
    assert "input to = there (string, one of here, there): Where to\ninput copies = 2 (number)\n" in told
    JsonOutput().job(run, job, detail)
    document = json.loads(capsys.readouterr().out)
    assert {name: given["value"] for name, given in document["inputs"].items()} == {"to": "there", "copies": 2}
    assert document["attempts"][0]["inputs"] == {"to": "there", "copies": 2}


def test_nothing_is_an_empty_list_for_programs_and_a_remark_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    JsonOutput().runs([])
    JsonOutput().note("for people")
    assert capsys.readouterr() == ("[]\n", "")
    TextOutput().runs([])
    assert capsys.readouterr() == ("", "no runs yet; `longshore run` starts one\n")
    TextOutput().runs([], "none of these")
    assert capsys.readouterr() == ("", "none of these\n")


def test_the_end_of_a_run_that_was_followed_is_a_document_only(capsys: pytest.CaptureFixture[str]) -> None:
    TextOutput().ended(RUN, dict)
    assert capsys.readouterr().out == ""
    JsonOutput().ended(RUN, lambda: {"failures": []})
    document = json.loads(capsys.readouterr().out)
    assert document["stages"][0]["jobs"][0]["name"] == "compile"
    assert document["failures"] == []
