"""Statuses as the CLI and the dashboard show them."""

from __future__ import annotations

from rich.cells import cell_len

from protocol.statuses import SHAPES, ExecutionStatus


def test_every_status_has_a_shape_of_its_own_one_cell_wide() -> None:
    assert set(SHAPES) == set(ExecutionStatus)
    assert len(set(SHAPES.values())) == len(SHAPES)
    assert {cell_len(shape) for shape in SHAPES.values()} == {1}
