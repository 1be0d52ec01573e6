"""What `$NAME` becomes, as GitLab and its runner have it."""

from __future__ import annotations

import pytest

from protocol.plan import Variable
from protocol.variables import VariableTooLong, expand, expand_all, expand_with, references


def variables(**values: str) -> list[Variable]:
    return [Variable(key=key, value=value) for key, value in values.items()]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("$X-${Y}-%X%", "1-2-1"),
        ("$UNKNOWN|${UNKNOWN}|", "||"),
        ("$$X and $$", "$X and $"),
        ("date +%H%M%S", "date +%H%M%S"),
        ("${X:-default}", ""),
        ("5% of $", "5% of $"),
        ("$X_Y", ""),
    ],
)
def test_references_are_replaced_as_the_runner_does(text: str, expanded: str) -> None:
    assert expand(text, {"X": "1", "Y": "2"}) == expanded


def test_what_a_value_brings_in_is_not_expanded_again() -> None:
    assert expand("$X", {"X": "$Y", "Y": "no"}) == "$Y"


def test_names_to_keep_are_left_as_they_are() -> None:
    assert expand("$X ${Y}", {"X": "1", "Y": "2"}, keep={"Y"}) == "1 ${Y}"


def test_references_names_each_variable_once() -> None:
    assert references("$A ${B} %C% $A $$D $1") == {"A", "B", "C"}


def test_variables_refer_to_each_other_in_any_order() -> None:
    assert expand_all(variables(A="$B!", B="<$C>", C="c")) == {"A": "<c>!", "B": "<c>", "C": "c"}


def test_a_later_variable_of_the_same_key_wins_and_may_build_on_the_earlier_one() -> None:
    path = [Variable(key="P", value="/bin"), Variable(key="P", value="$P:$D"), Variable(key="D", value="/opt")]
    assert expand_all(path)["P"] == "/bin:/opt"


def test_raw_values_stay_as_written_wherever_they_are_used() -> None:
    raw = [*variables(A="a", C="<$B>"), Variable(key="B", value="$A", raw=True)]
    assert expand_all(raw) == {"A": "a", "B": "$A", "C": "<$A>"}


def test_a_reference_that_closes_a_circle_is_left_as_it_is() -> None:
    assert expand_all(variables(A="$B", B="$A", C="$C:x", D="$A")) == {"A": "$A", "B": "$A", "C": "$C:x", "D": "$A"}


def test_a_chain_of_many_thousand_variables_is_resolved() -> None:
    chain = {f"V{i}": f"$V{i + 1}" for i in range(20_000)} | {"V20000": "end"}
    assert expand_all(variables(**chain))["V0"] == "end"


def test_an_expansion_that_doubles_again_and_again_is_refused() -> None:
    bomb = {f"V{i}": f"$V{i + 1}$V{i + 1}" for i in range(64)} | {"V64": "boom"}
    with pytest.raises(VariableTooLong, match="grows past"):
        expand_all(variables(**bomb))


def test_a_text_takes_what_its_references_come_to_and_keeps_unknown_ones() -> None:
    known = [*variables(A="<$B$LATE>", B="b$$", C="$C$A"), Variable(key="R", value="$B", raw=True)]
    assert expand_with("$A ${C} %R% $LATE ${LATE} %NONE%", known) == "<b$$LATE> $C<b$$LATE> $B $LATE ${LATE} %NONE%"
    assert expand_with("plain", known) == "plain"


def test_a_text_that_grows_without_bound_is_an_error() -> None:
    doubled = variables(A="x" * (1 << 19), B="$A$A$A")
    with pytest.raises(VariableTooLong):
        expand_with("$B", doubled)
