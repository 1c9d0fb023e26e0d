"""The status page in a real browser: what a person sees, and may do, by hand and by keyboard."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from app.demo.embedded import EmbeddedRedis
from app.service import Service
from tests.process.ops.conftest import QUICK, TOKEN, become_dead
from tests.support.harness import eventually, running, settings_from
from tests.support.letters import raw_letter
from tests.support.receiver import Receiver
from tests.support.world import World

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium, where it is installed; CI installs it."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver) and os.environ.get("CI") != "true":
        pytest.skip("no chromium and chromedriver on PATH: Debian's packages chromium, chromium-driver")
    assert chromium
    assert driver
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


class Page:
    """The page, driven from a thread: the forwarder that it asks lives in this loop."""

    def __init__(self, browser: webdriver.Chrome, service: Service) -> None:
        self.browser = browser
        self.url = f"http://127.0.0.1:{service.parts.settings.ops_port}/"

    async def open(self) -> None:
        """Open it as somebody who has entered no token yet."""
        await asyncio.to_thread(self.browser.get, self.url)
        await self.run("sessionStorage.clear()")
        await asyncio.to_thread(self.browser.refresh)

    async def run(self, script: str, *arguments: str) -> Any:
        return await asyncio.to_thread(self.browser.execute_script, script, *arguments)

    async def enter(self, token: str = TOKEN) -> None:
        """Enter the token in its own place, by keyboard."""
        await eventually(partial(self.is_shown, "#enter"))
        await self.type_into("#enter", Keys.ENTER)
        await self.type_into("#token input", token, Keys.ENTER)

    async def is_shown(self, selector: str) -> bool:
        return bool(await self.run("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector))

    async def title(self) -> str:
        return str(await self.run("return document.title"))

    async def icon(self) -> str:
        return str(await self.run("return decodeURIComponent(document.querySelector('link[rel=icon]').href)"))

    async def level(self) -> str:
        """Return how bad the page as a whole says that it is."""
        return str(await self.run("return document.querySelector('header').dataset.level"))

    async def count(self, selector: str) -> int:
        return int(await self.run("return document.querySelectorAll(arguments[0]).length", selector))

    async def leave(self) -> None:
        """Ask nothing more of a service that is about to stop."""
        await asyncio.to_thread(self.browser.get, "about:blank")

    async def text(self, selector: str = "body") -> str:
        """Return what an element shows, read in one step: the page replaces its elements at each refresh."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(await asyncio.to_thread(self.browser.execute_script, script, selector))

    async def says(self, words: str, selector: str = "body") -> bool:
        return words in await self.text(selector)

    async def type_into(self, selector: str, *keys: str) -> None:
        await asyncio.to_thread(lambda: self.browser.find_element(By.CSS_SELECTOR, selector).send_keys(*keys))

    async def choose(self, name: str, value: str) -> None:
        await asyncio.to_thread(lambda: Select(self.browser.find_element(By.NAME, name)).select_by_visible_text(value))

    async def complaints(self) -> list[str]:
        """Return what the browser itself did not like: a violated policy, an error in the script."""
        entries = await asyncio.to_thread(self.browser.get_log, "browser")
        return [entry["message"] for entry in entries if " 401 " not in entry["message"]]


@pytest.fixture
async def page(browser: webdriver.Chrome, service: Service) -> AsyncIterator[Page]:
    page = Page(browser, service)
    await page.complaints()  # of a former test
    await page.open()
    yield page
    assert await page.complaints() == []
    await page.leave()


async def some_dead(client: Redis, receiver: Receiver, service: Service, source: str, number: int) -> None:
    """Let the endpoint reject so many CDRs, and take all others."""
    bodies = [b'poison {"number": "0825550142", "n": %d}' % each for each in range(number)]
    await become_dead(bodies, client, receiver, service, source)


async def test_it_says_at_one_glance_that_all_is_well(
    page: Page, client: Redis, receiver: Receiver, source: str
) -> None:
    """In the heading, the title and the icon; of each endpoint a sentence and three numbers."""
    await client.rpush(source, b"cdr")
    await eventually(partial(page.says, "Idle: all is delivered, waiting for CDRs.", "article .words"))
    await eventually(partial(page.says, "1", "[data-figure='delivered today']"))
    assert await page.text("#overall") == "All is well"
    assert await page.title() == "✓ All is well · cdr-forwarder"
    assert "✓" in await page.icon()
    assert (await page.text("[data-figure=waiting]"), await page.text("[data-figure=dead]")) == ("0", "0")
    assert await page.says("updated 0 s ago") or await page.says("updated 1 s ago") or await page.says("updated 2 s")


async def test_it_says_what_is_wrong_and_tries_again_when_asked(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """Down since when, why and how many wait; "Try now" asks for the token, tries, and says what came of it."""
    receiver.status = 503
    await client.rpush(source, *[b"cdr %d" % number for number in range(50)])
    await eventually(partial(page.says, "(503), 50 CDRs wait in Redis, next probe", "article"))
    assert await page.title() == "✕ webhook is down · cdr-forwarder"
    assert "✕" in await page.icon()
    lane = service.parts.lanes[0].lane
    breaker = lane.gate.breaker
    await eventually(lambda: breaker.state.value == "open" and not lane.in_flight.number)
    breaker.probe_at = time.monotonic() + 3600
    receiver.status = 204
    await page.type_into("article button", Keys.ENTER)
    await page.type_into("#token input", TOKEN, Keys.ENTER)
    await eventually(partial(page.says, "Webhook has answered 204: it is back.", "article .tried"))
    await eventually(partial(page.says, "All is well", "#overall"))


async def test_it_is_not_green_while_redis_is_down(
    browser: webdriver.Chrome, own_redis: EmbeddedRedis, receiver: Receiver, watched: dict[str, str]
) -> None:
    """It says so, greys what is no longer fresh, and claims nothing about endpoints; until Redis is back."""
    async with running(settings_from(watched | {"CDR_REDIS_URL": own_redis.url}), QUICK) as service:
        page = Page(browser, service)
        await page.open()
        await eventually(partial(page.says, "All is well", "#overall"))
        await asyncio.to_thread(own_redis.kill)
        await eventually(partial(page.says, "Redis does not answer", "#overall"))
        assert await page.level() == "bad"
        await eventually(partial(page.says, "Nothing is known: Redis does not answer.", "article"))
        assert await page.run("return document.querySelector('article').dataset.level") == "bad"
        await eventually(lambda: page.run("return document.body.dataset.stale === 'true'"))
        assert not await page.says("Nothing waits")
        await asyncio.to_thread(own_redis.start)
        await eventually(partial(page.says, "All is well", "#overall"))
        await page.leave()


async def test_a_process_that_ends_is_told(
    browser: webdriver.Chrome, receiver: Receiver, watched: dict[str, str]
) -> None:
    """Its last numbers stay, grey."""
    async with running(settings_from(watched), QUICK) as service:
        page = Page(browser, service)
        await page.open()
        await eventually(partial(page.says, "All is well", "#overall"))
    await eventually(partial(page.says, "This process does not answer", "#overall"))
    assert await page.run("return document.body.dataset.stale") == "true"
    assert await page.level() == "unknown"
    await page.leave()
    await page.complaints()  # of a connection that was refused


async def test_a_wrong_token_says_so(page: Page, service: Service) -> None:
    """In its own place, which then takes the right one; the rest of the page goes on."""
    await page.enter("wrong-token-of-sixteen")
    await eventually(partial(page.says, "This token is wrong.", "#token-wrong"))
    assert not await page.says("does not answer")
    await page.type_into("#token input", TOKEN, Keys.ENTER)
    await eventually(partial(page.is_shown, "#forget"))
    assert not await page.is_shown("#enter")


async def test_a_token_that_is_no_longer_right_is_forgotten(page: Page) -> None:
    """What a neighbour may see goes on; and it can be entered again."""
    await page.run("sessionStorage.setItem('cdr-forwarder token', 'of-another-process')")
    await eventually(partial(page.is_shown, "#enter"))
    await eventually(partial(page.says, "All is well", "#overall"))


async def test_what_is_hidden_is_not_shown(page: Page) -> None:
    """A style must not undo it: without dead letters and without a token there is nothing to act upon."""
    await eventually(partial(page.says, "All is well", "#overall"))
    assert await page.run("return [...document.querySelectorAll('[hidden]')].every((one) => !one.checkVisibility())")
    assert not await page.is_shown("#filter")
    assert not await page.is_shown("article button")


async def test_selected_dead_letters_are_replayed_by_keyboard_and_followed(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """Token, one row, button, a question that says of what, and the end of it; no mouse."""
    await some_dead(client, receiver, service, source, 3)
    await eventually(partial(page.says, "3 dead letters. Enter the token", "#dead-number"))
    assert await page.count("#letters tbody tr") == 0
    receiver.judge = lambda _: 204
    await page.enter()
    await eventually(partial(page.says, "rejected 400", "#letters"))
    assert not await page.says("0825550142")
    await page.type_into("#letters tbody tr:nth-child(2) input", Keys.SPACE)
    await page.type_into("#replay", Keys.ENTER)
    await eventually(partial(page.says, "Replay 1 dead letter?\n\n1 of webhook: rejected 400", "#confirm"))
    await page.type_into("#confirm [value=yes]", Keys.ENTER)
    await eventually(partial(page.says, "Replayed 1: 1 delivered.", "#outcome"))
    assert receiver.bodies.total() == 1
    await eventually(partial(page.says, "2", "[data-figure=dead]"))


async def test_a_replay_that_fails_again_is_followed_to_its_end(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """What is tried again is not called delivered; what dies again is told."""
    await some_dead(client, receiver, service, source, 2)
    await page.enter()
    await eventually(partial(page.says, "Replay all that match", "#replay"))
    receiver.judge = lambda _: 503
    await page.type_into("#replay", Keys.ENTER)
    await eventually(partial(page.says, "Replay 2 dead letters?", "#confirm"))
    await page.type_into("#confirm [value=yes]", Keys.ENTER)
    await eventually(partial(page.says, "Replayed 2: 0 delivered, 2 still to be tried.", "#outcome"))
    receiver.judge = lambda _: 204
    await eventually(partial(page.says, "Replayed 2: 2 delivered.", "#outcome"))


async def test_a_selection_outlives_what_happens_meanwhile(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """Others die, the page is refreshed, and what was unfolded and selected stays so."""
    await some_dead(client, receiver, service, source, 2)
    await page.enter()
    await eventually(partial(page.says, "rejected 400", "#letters"))
    await page.type_into("#letters tbody input", Keys.SPACE)
    await page.run("document.querySelector('article details').open = true")
    await client.rpush(service.parts.sources[0].topology.short.dead, b"what is no letter")
    await eventually(partial(page.says, "3", "[data-figure=dead]"))
    assert await page.count("#letters tbody input:checked") == 1
    assert await page.count("article details[open]") == 1
    assert await page.text("#replay") == "Replay 1 selected one…"


async def test_nothing_is_dropped_where_the_question_is_answered_with_no(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """Enter alone is no. Drop is in a place of its own, red, and says how many of what."""
    await some_dead(client, receiver, service, source, 2)
    await page.enter()
    await eventually(partial(page.says, "rejected 400", "#letters"))
    assert not await page.is_shown("#drop")
    await page.type_into("#danger summary", Keys.ENTER)
    await page.choose("reason", "rejected")
    await page.type_into("#drop", Keys.ENTER)
    await eventually(partial(page.says, "Drop 2 dead letters for good?\n\n2 of webhook: rejected 400", "#confirm"))
    await asyncio.to_thread(lambda: page.browser.switch_to.active_element.send_keys(Keys.ENTER))
    await eventually(partial(page.says, "Nothing was done.", "#outcome"))
    assert await client.llen(service.parts.sources[0].topology.short.dead) == 2


async def test_what_was_confirmed_is_dropped(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """For good."""
    await some_dead(client, receiver, service, source, 1)
    await page.enter()
    await eventually(partial(page.says, "rejected 400", "#letters"))
    await page.run("document.querySelector('#drop').click()")
    await eventually(partial(page.says, "Drop 1 dead letter for good?", "#confirm"))
    await page.type_into("#confirm [value=yes]", Keys.ENTER)
    await eventually(partial(page.says, "Dropped 1.", "#outcome"))
    assert await client.llen(service.parts.sources[0].topology.short.dead) == 0


async def test_a_dead_letter_is_searched_and_shown(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """By text in its CDR; with the CDR pretty-printed and the last answer."""
    await become_dead([b'{"number": "0825550142"}', b'{"number": "0825550143"}'], client, receiver, service, source)
    await page.enter()
    await eventually(partial(page.says, "rejected 400", "#letters"))
    await page.type_into("#filter [name=text]", "0825550143", Keys.ENTER)
    await eventually(partial(page.says, "1 letter here, of 2 in all", "#found"))
    await page.type_into("#letters tbody button", Keys.ENTER)
    await eventually(partial(page.says, '{\n  "number": "0825550143"\n}', "#cdr"))
    assert await page.text("#answer")
    assert await page.is_shown("#copy")
    assert await page.is_shown("#replay-one")


async def test_a_cdr_that_a_browser_would_change_is_shown_as_it_is(page: Page, client: Redis, service: Service) -> None:
    """A number of twenty digits: what is on the page may be typed into an invoice."""
    await client.rpush(service.parts.sources[0].topology.short.dead, raw_letter(b'{"ref": 12345678901234567890}'))
    await page.enter()
    await eventually(partial(page.says, "rejected 400", "#letters"))
    await page.type_into("#letters tbody button", Keys.ENTER)
    await eventually(partial(page.says, '{"ref": 12345678901234567890}', "#cdr"))


async def test_many_dead_letters_are_paged(page: Page, client: Redis, service: Service) -> None:
    """The newest first."""
    letters = [raw_letter(b"cdr %d" % number) for number in range(45)]
    await client.rpush(service.parts.sources[0].topology.short.dead, *letters)
    await page.enter()
    await eventually(partial(page.says, "20 letters here, of 45 in all", "#found"))
    await page.type_into("#older", Keys.ENTER)
    await eventually(lambda: page.run("return !document.querySelector('#newer').disabled"))
    await page.type_into("#older", Keys.ENTER)
    await eventually(partial(page.says, "5 letters here, of 45 in all", "#found"))
    assert await page.run("return document.querySelector('#older').disabled")
    await page.type_into("#newer", Keys.ENTER)
    await eventually(partial(page.says, "20 letters here", "#found"))


async def test_the_chart_tells_an_hour_and_a_day(page: Page, client: Redis, service: Service) -> None:
    """What was delivered, what failed, and the outage between; each moment by keyboard too."""
    now = int(time.time() // 60)
    old = {now - 200 + each: "7 0 0" for each in range(50)}
    out = {now - 30 + each: f"0 1 {each}" for each in range(10)}
    await client.hset(
        service.parts.sources[0].topology.short.minutes, mapping={str(at): value for at, value in (old | out).items()}
    )
    await page.run("document.querySelector('[name=hours][value=\"24\"]').click()")
    await eventually(partial(page.says, "350 delivered, 10 attempts failed, 1 outage", "#reading"))
    await eventually(lambda: page.count("#chart rect.outage"))
    assert await page.count("#chart rect.gap")
    await page.run("document.querySelector('#chart svg').focus()")
    for _ in range(4):
        await page.type_into("#chart svg", Keys.ARROW_LEFT)
    await eventually(partial(page.says, "nothing delivered to webhook", "#reading"))


async def test_times_are_those_of_the_reader(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """In words, too; and the page says which clock that is."""

    def travel(zone: str) -> None:
        page.browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})

    await asyncio.to_thread(travel, "Asia/Kathmandu")
    receiver.status = 503
    await client.rpush(source, *[b"cdr %d" % number for number in range(50)])
    local = (datetime.now(UTC) + timedelta(hours=5, minutes=45)).strftime("Down since %H:")
    await eventually(partial(page.says, local, "article"))
    assert not await page.says("UTC (503)", "article")
    assert await page.says("times are UTC+05:45")
    await asyncio.to_thread(travel, "")


async def test_a_neighbour_sees_numbers_and_states_only(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """No id, no address, no host name, and nothing of the log."""
    await some_dead(client, receiver, service, source, 1)
    await eventually(partial(page.says, "1 dead letter. Enter the token", "#dead-number"))
    await page.run("for (const one of document.querySelectorAll('details')) one.open = true")
    said = await page.text()
    assert not [secret for secret in ("127.0.0.1", socket.gethostname(), "cdr_", source) if secret in said]
    assert not await page.is_shown("#events-part")


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(
    width: int, scheme: str, page: Page, world: World, service: Service, tmp_path: Path
) -> None:
    """Nothing sticks out sideways, no button either, and the colours follow the system's. Leaves a screenshot."""
    await some_dead(world.redis, world.receiver, service, world.source, 3)
    device = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    right = (
        "return Math.max(...[...document.querySelectorAll('button')].map((one) => one.getBoundingClientRect().right))"
    )

    def look() -> tuple[int, float, str]:
        browser = page.browser
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        browser.save_screenshot(str(tmp_path / f"page-{width}-{scheme}.png"))
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        scroll_width = browser.execute_script("return document.documentElement.scrollWidth")
        return scroll_width, browser.execute_script(right), ground

    await page.enter()
    await eventually(partial(page.says, "rejected 400", "#letters"))
    scroll_width, rightmost, ground = await asyncio.to_thread(look)
    assert scroll_width <= width
    assert 0 < rightmost <= width
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(21, 24, 28)"}[scheme]


async def test_several_sources_are_told_apart(
    browser: webdriver.Chrome, watched: dict[str, str], client: Redis, integrator: str
) -> None:
    """By the cards, the processes and the dead letters, which are chosen by source; with one, none of that is shown."""
    del watched["CDR_SOURCE_KEY"]
    watched |= {f"CDR_SOURCES__{name}__KEY": f"{integrator}-{name}" for name in ("CALLS", "INBOUND")}
    await client.rpush(f"{integrator}:dead:calls", raw_letter(b"1"), raw_letter(b"2"))
    await client.rpush(f"{integrator}:dead:inbound", raw_letter(b"3"))
    async with running(settings_from(watched), QUICK) as service:
        page = Page(browser, service)
        await page.open()
        await eventually(partial(page.says, "webhook, from inbound", "#lanes"))
        await page.enter()
        await eventually(partial(page.says, "3 letters here", "#found"))
        await page.choose("source", "inbound")
        await page.type_into("#filter [name=text]", Keys.ENTER)
        await eventually(partial(page.says, "1 letter here", "#found"))
        assert await page.says("webhook, from inbound", "#letters")
        assert not await page.says("from calls", "#letters")
        assert await page.complaints() == []
        await page.leave()
