"""The log viewer, used by its keys on real logs of a real coordinator."""

from __future__ import annotations

from functools import partial

from rich.cells import cell_len

from protocol.plan import ServiceSpec
from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.plans import job, plan
from tests.support.views import SECTION_LOG
from tests.tui.driving import Dashboard, dashboard
from tui.presentation.formatting import clock
from tui.widgets.log_view import LogView


def submit(server: Server, worker: ScriptedWorker, log: bytes) -> None:
    """A job that has written a log and goes on."""
    server.submit(plan(job("compile", "build")))
    worker.begin("compile")
    worker.log("compile", log)


async def open_log(seen: Dashboard) -> LogView:
    """Goes to the job."""
    await seen.open_run()
    await seen.open_job("compile")
    return seen.app.screen.query_one(LogView)


NUMBERS = b"".join(b"line %d\n" % number for number in range(1000))


async def test_a_search_counts_and_goes_forwards_and_backwards(server: Server, worker: ScriptedWorker) -> None:
    submit(server, worker, NUMBERS)
    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("line 999")
        await seen.press("home", "slash", *"line", "space", *"12")
        await seen.sees("1/11 matches", "line 12 ")
        await seen.press("enter", "n")
        await seen.sees("2/11 matches", "line 120 ")
        await seen.press("N", "N")
        await seen.sees("11/11 matches", "line 129 ")
        worker.log("compile", b"another line 12\n")
        await seen.sees("11/12 matches")
        await seen.press("escape")
        await seen.sees_no("matches")
        await seen.press("escape")
        await seen.sees("0/1 job")


async def test_scrolling_up_pauses_and_going_to_the_end_follows(server: Server, worker: ScriptedWorker) -> None:
    submit(server, worker, NUMBERS)
    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("line 999", "following")
        await seen.press("pageup")
        await seen.sees("paused, f follows")
        top = seen.text.split("\n")[5]
        worker.log("compile", NUMBERS)
        await seen.sees("2,000 lines")
        assert seen.text.split("\n")[5] == top
        await seen.press("f")
        await seen.sees("following")
        worker.log("compile", b"the very last\n")
        await seen.sees("the very last")
        await seen.press("k", "k")
        await seen.sees("paused")
        await seen.press("G")
        await seen.sees("following", "the very last")


async def test_sections_fold_by_key_and_by_click(server: Server, worker: ScriptedWorker) -> None:
    submit(server, worker, SECTION_LOG)
    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("▾ Outer header  0:10", "▸ Inner header  0:02", "three")
        assert "two" not in seen.text
        await seen.press("Z")
        await seen.sees_no("three")
        await seen.press("Z")
        await seen.sees("two", "three")
        await seen.pilot.click("#log-view", offset=(3, 1))
        await seen.sees("▸ Outer header")
        await seen.press("z")
        await seen.sees("▾ Outer header")


async def test_long_lines_wrap_or_scroll_sideways(server: Server, worker: ScriptedWorker) -> None:
    submit(server, worker, b"begin " + b"x" * 300 + b" end\nnext\n")
    async with dashboard(server.address, (80, 24)) as seen:
        view = await open_log(seen)
        await seen.sees("begin")
        assert "end" not in seen.text.replace("begin", "")
        await seen.press("w")
        await seen.sees(" end", "wrapped")
        await seen.press("w")
        await seen.until(lambda: view.max_scroll_x > 0)
        for _ in range(8):
            await seen.press("l")
        await seen.sees(" end")


async def test_progress_that_overwrites_itself_is_one_line(server: Server, worker: ScriptedWorker) -> None:
    submit(server, worker, b"fetching 1%")
    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("fetching 1%")
        worker.log("compile", b"\rfetching 50%\rfetching 100%\nunpacked\n")
        await seen.sees("fetching 100%", "unpacked", "2 lines")
        assert "50%" not in seen.text


async def test_times_show_when_lines_were_read_and_how_long_nothing_came(
    server: Server, worker: ScriptedWorker
) -> None:
    """Of a log that is opened later too, and of one that goes on."""
    began = 1_700_000_000.0
    server.submit(plan(job("compile", "build")))
    worker.begin("compile")
    worker.log("compile", b"untimed\n")
    worker.log("compile", b"before\n" + NUMBERS, at=began)
    worker.log("compile", b"section_start:1700000090:own\r\x1b[0KOwn steps\n", at=began + 90)
    worker.log("compile", b"then ", at=began + 90.5)
    worker.log("compile", b"that\n", at=began + 91)

    def line_of(seen: Dashboard, text: str) -> list[str]:
        return next(line for line in seen.text.split("\n") if text in line).split(text)[0].split()

    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("then that", "following", "▾ Own steps  0:01 so far")
        await seen.press("t")
        await seen.sees("read by the worker", f"{clock(began + 90)} +1:30   ▾ Own steps")
        assert line_of(seen, "then that") == [clock(began + 90.5)]
        worker.log("compile", b"while\n", at=began + 100)
        await seen.sees(f"{clock(began + 100)} +0:09   while", "▾ Own steps  0:10 so far")
        await seen.press("home")
        await seen.sees("untimed", "before")
        assert line_of(seen, "untimed") == ["–"]
        assert line_of(seen, "before") == [clock(began)]
        assert line_of(seen, "line 0 ") == [clock(began)]
        worker.end("compile")
        await seen.press("end")
        await seen.sees("▾ Own steps  0:10", "complete")
        await seen.sees_no("so far")


async def test_a_services_log_has_a_tab_of_its_own(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build", services=[ServiceSpec(name="postgres:16", aliases=["db"])])))
    worker.begin("compile")
    worker.log("compile", b"from the job\n")
    worker.log("compile", b"from the database\n", stream="service-db")
    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("from the job", "db log")
        await seen.press("tab")
        await seen.sees("from the database")
        worker.log("compile", b"and more\n", stream="service-db")
        await seen.sees("and more")
        assert "from the job" not in seen.text


async def test_a_restart_of_the_coordinator_is_said_and_the_log_goes_on(server: Server, worker: ScriptedWorker) -> None:
    submit(server, worker, b"before the restart\n")
    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("before the restart")
        server.stop()
        await seen.sees("connection lost, reconnecting")
        server.start()
        await seen.sees("●")
        await seen.sees_no("connection lost")
        worker.log("compile", b"after the restart\n")
        await seen.sees("before the restart", "after the restart", "2 lines")
        await seen.press("3")
        await seen.sees("connected: the coordinator has restarted")


async def test_every_screen_fits_into_very_small_and_very_large_terminals(
    server: Server, worker: ScriptedWorker
) -> None:
    submit(server, worker, NUMBERS)
    async with dashboard(server.address, (100, 30)) as seen:
        await seen.sees("❯")
        for keys in ([], ["enter"], ["v"], ["v", "enter"], ["2"], ["3"], ["question_mark"]):
            await seen.press(*keys)
            for width, height in ((60, 20), (300, 100)):
                await seen.pilot.resize_terminal(width, height)
                await seen.until(partial(_fills, seen, (width, height)))
                assert "Help" in seen.text or "Keys of this screen" in seen.text


def _fills(seen: Dashboard, extent: tuple[int, int]) -> bool:
    return _extent(seen.text) == extent


def _extent(text: str) -> tuple[int, int]:
    lines = text.split("\n")
    widths = {cell_len(line) for line in lines}
    return (widths.pop() if len(widths) == 1 else 0), len(lines)


async def test_a_million_lines_are_opened_at_their_end_and_gone_through(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build")))
    worker.begin("compile")
    server.write_log(worker.assigned["compile"].attempt, b"".join(b"%07d output\n" % n for n in range(1_000_000)))
    async with dashboard(server.address) as seen:
        view = await open_log(seen)
        await seen.sees("0999999 output")
        assert sum(page.data is not None for page in view.document._pages) < 5
        await seen.press("g")
        await seen.sees("0000000 output", "paused")
        await seen.press("pagedown")
        await seen.sees("0000040 output")
        view.scroll_to(y=view.max_scroll_y // 2, animate=False)
        await seen.until(lambda: seen.text.count(" output") > 25)
        await seen.press("slash", *"0123456", "enter")
        await seen.sees("1/1 match", "0123456 output")
        await seen.sees("1,000,000 lines")


async def test_a_log_that_was_there_before_says_that_it_has_no_times(server: Server, worker: ScriptedWorker) -> None:
    submit(server, worker, b"before\n")
    worker.end("compile")
    async with dashboard(server.address) as seen:
        await open_log(seen)
        await seen.sees("complete")
        await seen.press("t")
        await seen.sees("this log has no times")
