"""A scrollbar takes its cells from what scrolls, and covers nothing of it."""

from __future__ import annotations

from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.plans import job, plan
from tests.tui.driving import dashboard


async def test_a_table_with_a_scrollbar_shows_its_last_column_whole(server: Server) -> None:
    for _ in range(30):
        server.submit(plan(job("compile", "build")))
    async with dashboard(server.address, size=(60, 20)) as seen:
        await seen.sees("   30  ")
        heading = seen.text.split("\n")[1]
        assert heading.rstrip().endswith("Time")
        assert "Progress" in heading


async def test_wrapped_lines_lose_no_letter_to_the_scrollbar(server: Server, worker: ScriptedWorker) -> None:
    line = "".join(chr(ord("a") + number % 26) for number in range(500))
    server.submit(plan(job("compile", "build")))
    worker.run("compile", f"{line}\n".encode() * 20)
    async with dashboard(server.address, size=(80, 24)) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.sees("complete")
        await seen.press("w")
        await seen.sees("wrapped")
        await seen.until(lambda: line in "".join(row[:79].rstrip() for row in seen.text.split("\n")))
