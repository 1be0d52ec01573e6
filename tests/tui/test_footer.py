"""The bar of keys, which is all that somebody may have read: it shows what can be done now, and nothing covers it."""

from __future__ import annotations

import pytest
from textual import events

from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.plans import job, plan
from tests.tui.driving import Dashboard, dashboard
from tui.app import LongshoreApp
from tui.widgets.key_bar import KeyBar, keys_of
from tui.widgets.log_pane import LogPane
from tui.widgets.table import Table


def lit(seen: Dashboard) -> set[str]:
    """What the keys do that are of use now."""
    return {entry.does for entry in keys_of(seen.app.screen) if entry.applies}


async def test_keys_light_up_when_they_can_do_something(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build"), job("deploy", "deploy", when="manual")))
    worker.begin("compile")
    async with dashboard(server.address) as seen:
        await seen.sees("running")
        assert {"Cancel"} == lit(seen) & {"Cancel", "Retry", "Retry failed"}
        await seen.open_run()
        await seen.open_job("compile")
        await seen.until(lambda: {"Cancel"} == lit(seen) & {"Cancel", "Retry", "Play"})
        worker.end("compile", exit_code=1)
        await seen.until(lambda: {"Retry"} == lit(seen) & {"Cancel", "Retry", "Play"})
        bar = seen.app.screen.query_one(KeyBar)
        await seen.until(lambda: {entry.does for entry in bar._shown if entry.applies} == lit(seen))
        await seen.press("escape")
        await seen.until(lambda: {"Retry", "Retry failed", "Next failed"} <= lit(seen))
        await seen.press("right")
        await seen.until(lambda: "Play" not in lit(seen))  # deploy was skipped


async def test_a_dim_key_tells_why_it_does_nothing(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build")))
    worker.begin("compile")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.press("r")
        await seen.sees("compile is running: it can be retried once it has ended")
        await seen.press("p")
        await seen.sees("compile is running: only a manual or delayed job can be played")


async def test_a_message_does_not_cover_the_keys(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build")))
    worker.run("compile")
    async with dashboard(server.address, size=(60, 20)) as seen:
        await seen.open_run()
        await seen.press("e")
        await seen.sees("no job has failed")
        assert "q Quit" in seen.text.split("\n")[-1]
        assert "C Cancel run" in seen.text


async def test_l_shows_the_log_at_its_first_press_where_there_was_no_room(
    server: Server, worker: ScriptedWorker
) -> None:
    server.submit(plan(job("compile", "build")))
    worker.run("compile", b"a line of the log\n")
    async with dashboard(server.address, size=(80, 24)) as seen:
        await seen.open_run()
        assert not seen.app.screen.query_one(LogPane).display
        await seen.press("L")
        await seen.sees("a line of the log")
        await seen.press("L")
        await seen.sees_no("a line of the log")


async def test_a_log_that_has_nothing_in_it_says_so(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build"), job("deploy", "deploy", when="manual")))
    worker.begin("compile")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.sees("Nothing written yet.")
        worker.log("compile", b"now it has\n")
        await seen.sees_no("Nothing written yet.")
        await seen.press("escape")
        await seen.open_job("deploy")
        await seen.sees("Not begun")


async def test_the_feed_says_a_thing_once(server: Server, worker: ScriptedWorker) -> None:
    async with dashboard(server.address) as seen:
        await seen.press("3")
        await seen.sees("connected to")
        server.submit(plan(job("compile", "build"), job("assets", "build"), name="shop"))
        worker.begin("compile")
        await seen.sees("run 1 running  shop")
        worker.begin("assets")
        await seen.sees("running  assets")
        worker.end("compile")
        await seen.sees("success  compile")
        worker.end("assets")
        await seen.sees("success  stage build", "run 1 success  shop")
        lines = seen.text.split("\n")
        assert sum("run 1 running  shop" in line for line in lines) == 1
        assert sum("running  stage build" in line for line in lines) == 1


async def test_a_page_in_a_browser_has_the_keys_at_first(
    server: Server, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LongshoreApp, "is_web", property(lambda _self: True))
    async with dashboard(server.address) as seen:
        await seen.sees("No runs yet")
        for still_there in (True, False):  # the first time Textual's driver says it, then the page does
            seen.app.post_message(events.AppBlur())
            await seen.pilot.pause()
            assert isinstance(seen.app.focused, Table) is still_there
