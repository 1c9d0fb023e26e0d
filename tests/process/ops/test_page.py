"""The status page in a real browser: what a person sees, and may do, by hand and by keyboard."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from app.service import Service
from tests.process.ops.conftest import TOKEN, become_dead
from tests.support.harness import eventually
from tests.support.receiver import Receiver

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
        await asyncio.to_thread(self.browser.get, self.url)

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
        return [entry["message"] for entry in entries if "401" not in entry["message"]]


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


async def test_it_says_that_all_is_well(page: Page, client: Redis, receiver: Receiver, source: str) -> None:
    """The name of the endpoint, its state in words, and what was delivered."""
    await client.rpush(source, b"cdr")
    await eventually(partial(page.says, "idle: all is delivered", "article"))
    assert "webhook" in await page.text("h3")
    assert await page.text("#alarm") == ""


async def test_it_says_what_is_wrong(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """Down since when, why, how many wait, and when it is tried again."""
    receiver.status = 503
    await client.rpush(source, *[b"cdr %d" % number for number in range(50)])
    await eventually(partial(page.says, "UTC (503), 50 CDRs wait in Redis, next probe", "article"))


async def test_dead_letters_are_replayed_by_keyboard(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """Token, button, a question that has to be answered; no mouse."""
    await some_dead(client, receiver, service, source, 3)
    await eventually(partial(page.says, "rejected", "#letters"))
    assert not await page.says("0825550142")
    receiver.judge = lambda _: 204
    await page.type_into("[name=token]", TOKEN, Keys.TAB, Keys.ENTER)
    await eventually(partial(page.says, "Replay 3 dead letters?", "#confirm"))
    await page.type_into("#confirm [value=yes]", Keys.ENTER)
    await eventually(partial(page.says, "3 replayed", "#done"))
    await eventually(lambda: receiver.bodies.total() == 3)


async def test_nothing_is_done_where_the_question_is_answered_with_no(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """Enter alone is no."""
    await some_dead(client, receiver, service, source, 2)
    await eventually(partial(page.says, "rejected", "#letters"))
    await page.choose("reason", "rejected")
    await page.type_into("[name=token]", TOKEN)
    await page.type_into("[data-action=drop]", Keys.ENTER)
    await eventually(partial(page.says, "Remove for good 2 dead letters?", "#confirm"))
    await page.type_into("#confirm [value=no]", Keys.ENTER)
    await eventually(partial(page.says, "Nothing was done.", "#done"))
    assert await client.llen(service.parts.topology.short.dead) == 2


async def test_a_cdr_is_shown_only_with_the_token(
    page: Page, client: Redis, receiver: Receiver, service: Service, source: str
) -> None:
    """It holds phone numbers."""
    await some_dead(client, receiver, service, source, 1)
    await eventually(partial(page.says, "rejected", "#letters"))
    await page.type_into("#letters button", Keys.ENTER)
    await eventually(partial(page.says, "needs CDR_OPS_TOKEN", "#done"))
    await page.type_into("[name=token]", TOKEN)
    await page.type_into("#letters button", Keys.ENTER)
    await eventually(partial(page.says, "0825550142", "#letter"))


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(
    width: int,
    scheme: str,
    page: Page,
    client: Redis,
    receiver: Receiver,
    service: Service,
    source: str,
    tmp_path: Path,
) -> None:
    """Nothing sticks out sideways, and the colours follow the system's. Leaves a screenshot."""
    await some_dead(client, receiver, service, source, 3)
    device = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}

    def look() -> tuple[int, str]:
        browser = page.browser
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        browser.save_screenshot(str(tmp_path / f"page-{width}-{scheme}.png"))
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return browser.execute_script("return document.documentElement.scrollWidth"), ground

    await eventually(partial(page.says, "rejected", "#letters"))
    scroll_width, ground = await asyncio.to_thread(look)
    assert scroll_width <= width
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(21, 24, 28)"}[scheme]
