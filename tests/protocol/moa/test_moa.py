"""Moa expressions, as GitLab's reference describes them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.moa.evaluation import render
from protocol.moa.syntax import BadExpression, Name, nodes, parse
from protocol.moa.values import Budget, Value, plain

INPUTS: dict[str, Value] = {
    "env": "staging",
    "replicas": 3.0,
    "debug": True,
    "quiet": False,
    "tags": ["smoke", "all"],
    "my-name": "x",
    "empty": "",
}


def rendered(text: str, budget: int = 10_000) -> str:
    return render(text, {"job": {"inputs": INPUTS}}, Budget(budget))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("no expression, \\n and $VARIABLE", "no expression, \\n and $VARIABLE"),
        ("to ${{ job.inputs.env }}, ${{job.inputs.replicas}}x", "to staging, 3x"),
        ('${{ job.inputs["my-name"] }}', "x"),
        ('${{ job["inputs"].env }}', "staging"),
        ("${{ job.inputs.tags }}", '["smoke","all"]'),
        ("${{ job.inputs.tags[1] }}", "all"),
        ("${{\n  job.inputs.debug\n}}", "true"),
        ("\\${{ job.inputs.env }} ${{ job.inputs.env }}", "${{ job.inputs.env }} staging"),
        # literals
        ("${{ null }} ${{ true }} ${{ false }}", "<null> true false"),
        ("${{ 42 }} ${{ 3.14 }} ${{ 1.5e3 }} ${{ 2E-4 }} ${{ 1e21 }} ${{ 1e-7 }}", "42 3.14 1500 0.0002 1e+21 1e-7"),
        (r"""${{ "a\n\"\u00e9\/" }}""", 'a\n"é/'),
        (r"""${{ 'It\'s \n raw' }}""", "It's \\n raw"),
        ("${{ 'Literal ${{ not evaluated }}' }}", "Literal ${{ not evaluated }}"),
        ('${{ "to ${{ job.inputs.env }}, \\${{" }}', "to staging, ${{"),
        ('${{ [1, "a", true, null,] }}', '[1,"a",true,null]'),
        ('${{ {name: "r", "a b": 1, (job.inputs.env): {n: [],},} }}', '{"name":"r","a b":1,"staging":{"n":[]}}'),
        ("${{ {a: {b: 1}}}}", '{"a":{"b":1}}'),
        # operators
        ("${{ 2 + 3 * 4 - 10 / 4 }} ${{ (2 + 3) * 4 }} ${{ 10 - 4 - 3 }}", "11.5 20 3"),
        ("${{ 10 % 3 }} ${{ -5 % 3 }} ${{ 5 % -3 }}", "1 -2 2"),
        ("${{ +5 }} ${{ --5 }} ${{ !true }} ${{ !0 }}", "5 5 false true"),
        ('${{ "a" + "b" + str(1) }}', "ab1"),
        ("${{ 10 / 3 }}", "3.3333333333333335"),
        ('${{ 1 == 1 }} ${{ 1 == "1" }} ${{ 1 != 2 }} ${{ true == 1 }}', "true false true false"),
        ('${{ "b" > "a" }} ${{ "Z" < "a" }} ${{ false < true }} ${{ 3 >= 3 }}', "true true true true"),
        ("${{ [1, 2] < [1, 3] }} ${{ [1] < [1, 0] }} ${{ [] == [] }} ${{ null == null }}", "true true true true"),
        ("${{ {a: 1, b: 2} == {b: 2, a: 1} }} ${{ {b: 0} < {a: 0, c: 0} }}", "true true"),
        ('${{ job.inputs.empty || "default" }} ${{ job.inputs.env || "default" }}', "default staging"),
        ('run ${{ job.inputs.debug && "-v" || "" }}${{ job.inputs.quiet && "-q" || "" }}', "run -v"),
        ('${{ job.inputs.env == "production" && "a:b" || "c:d" }}', "c:d"),
        ("${{ true || job.inputs.nothing }} ${{ false && 1 / 0 }}", "true false"),
        ("${{ 1 < 2 == true }}", "true"),
        # functions
        ('${{ str(42) }} ${{ str(true) }} ${{ str(null) }} ${{ num("3.140") * 2 }}', "42 true <null> 6.28"),
        ('${{ bool("hello") }} ${{ bool("") }} ${{ bool([]) }} ${{ bool({}) }}', "true false false false"),
    ],
)
def test_expressions_have_their_value(text: str, result: str) -> None:
    assert rendered(text) == result


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${{ job.inputs.env", "${{ job.inputs.env: it does not end with `}}`"),
        ("${{ }}", "unexpected '}}'"),
        ("${{ 1 2 }}", "unexpected '2'"),
        ("${{ (1 }}", "unexpected '}}', where ')' is missing"),
        ("${{ 'abc }}", 'unexpected "\'abc"'),
        ('${{ "abc }}', 'a string lacks its closing `"`'),
        (r'${{ "\q" }}', r"unknown escape sequence \q"),
        (r'${{ "\ud83d" }}', "half of a surrogate pair"),
        ("${{ for }}", "'for' is a reserved word"),
        ("${{ env.HOME }}", "${{ env.HOME }}: unknown name 'env'"),
        ("${{ job.inputs.nope }}", "there is no 'nope' among env, replicas"),
        ("${{ job.inputs.tags[2] }}", "the array has no item 2: it has 2, counted from 0"),
        ("${{ job.inputs.tags[0.5] }}", "the array has no item 0.5"),
        ("${{ job.inputs.env.length }}", "a string has no part 'length'"),
        ('${{ "hello" + 42 }}', "'+' can't be used with a string and a number; str() makes a string of a value"),
        ("${{ -true }}", "'-' can't be used with a boolean"),
        ("${{ 1 / 0 }}", "it divides by zero"),
        ("${{ 1 % 0 }}", "it divides by zero"),
        ("${{ 1e308 * 10 }}", "a number is too large"),
        ("${{ 1e400 }}", "a number is too large"),
        ("${{ upper('a') }}", "unknown function 'upper'; there are str, num, bool"),
        ("${{ str(1, 2) }}", "str() takes one value, not 2"),
        ('${{ num("1_000") }}', "num(): '1_000' is not a number"),
        ("${{ num([]) }}", "num() takes a string, not an array"),
        ("${{ {(1): 2} }}", "an object's key must be a string, not a number"),
        ("${{ " + "(" * 1000, "it is nested more than 30 levels deep"),
        ("${{ " + "!" * 1000, "it is nested more than 30 levels deep"),
        ("${{ 1" + " + 1" * 1000 + " }}", "it is nested more than 150 levels deep"),
    ],
)
def test_a_bad_expression_is_named_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(BadExpression) as raised:
        rendered(text)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "${{ job.inputs.long }}" * 20,
        "${{ " + " + ".join(["job.inputs.long"] * 20) + " == '' }}",
        "${{ str([" + "job.inputs.long," * 20 + "]) == '' }}",
        "${{ bool([" + "job.inputs.many == job.inputs.many," * 20 + "]) }}",
        "${{ bool([" + "job.inputs.long == job.inputs.long," * 400 + "]) }}",
        "no value, but a text of its own: ${{ 1 }}" + "x" * 20_000,
    ],
)
def test_size_and_time_are_bounded(text: str) -> None:
    names: dict[str, Value] = {"job": {"inputs": {"long": "x" * 1000, "many": [1.0] * 1000}}}
    assert render(text, names, Budget(1_000_000))
    both = Budget(1_000_000)
    for budget in (Budget(20_000), Budget(1_000_000, Budget(20_000)), Budget(20_000, both)):
        with pytest.raises(BadExpression, match="the values in them have more than 20,000 characters together"):
            render(text, names, budget)
    assert render("${{ 'x' }}", names, both) == "x"


def test_all_names_of_a_template_are_found_also_unevaluated_ones() -> None:
    template = parse('${{ a && [b, {(c): d}][-e] || str("${{ f }}") }} g ${{ h }}')
    assert sorted(node.name for node in nodes(template) if isinstance(node, Name)) == list("abcdefh")


@given(st.recursive(st.text() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False), st.lists))
def test_a_value_equals_itself_and_is_kept_by_plain(value: Value) -> None:
    kept = plain(value, Budget(10_000))
    assert render("${{ v == w && v <= w && !(v < w) }}", {"v": value, "w": kept}, Budget(10_000)) == "true"


@given(st.text(alphabet="${}ab.[]()\"'\\|&!=<>+-*/%,:1e ", max_size=40))
def test_any_text_is_rendered_or_refused(text: str) -> None:
    with suppress(BadExpression):
        render(f"${{{{{text}}}}}", {"a": 1.0, "b": "x"}, Budget(10_000))
