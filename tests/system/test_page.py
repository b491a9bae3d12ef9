"""The page for a browser, in a real one: it shows what /metrics tells, and loads nothing else."""

import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import Chromium, chromium
from tests.support.envelopes import dump, make
from tests.support.networks import free_port
from tests.support.patience import PATIENCE, until
from tests.support.processes import Server, run
from tests.support.scraped import Scraped
from wakumail.cli.options import parse_time
from wakumail.ops.monitoring.overview import MIN_DAYS_SHOWN

DAY = 86400

LIVELY = (
    "process_resident_memory_bytes",
    "process_open_fds",
    "wakumail_archive_daily_growth_bytes",
    "wakumail_archive_disk_free_bytes",
)
"""Metrics that rise and fall by themselves."""

CELLS = """
[...document.querySelectorAll('[data-metric]')].map(cell =>
  [cell.dataset.metric, Number(cell.dataset.value), cell.textContent])
"""

QUANTILES = """
[...document.querySelectorAll('[data-buckets]')].map(row => [
  row.querySelector('td').dataset.histogram, JSON.parse(row.dataset.buckets),
  [row, row.nextElementSibling].map(each => each.querySelector('td').dataset.value)])
"""

OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(each =>
  each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
  && !each.closest('.scroll, details, svg')).map(each => each.outerHTML.slice(0, 100))
"""

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
UNITS |= {"ms": 1e-3, "s": 1, "min": 60, "h": 3600, "days": DAY}


class Watched:
    """A server of two workers with three days of history, and a browser."""

    def __init__(self, server: Server, port: int, browser: Chromium) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{port}/"
        self.browser = browser

    def scrape(self) -> Scraped:
        with urllib.request.urlopen(f"{self.url}metrics", timeout=PATIENCE) as page:
            return Scraped(page.read().decode())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    directory = tmp_path_factory.mktemp("page")
    port = free_port()
    with chromium(directory) as browser:
        datadir = directory / "data"
        envelopes = make(900, [b"abcd", b"efgh"], spread=3 * DAY)
        run("archive", "import", "--datadir", datadir, stdin=dump(envelopes))
        flags = ("--workers", 2, "--metrics", "--metrics.port", port)
        with Server(datadir, *flags) as server:
            yield Watched(server, port, browser)


def total(scraped: Scraped, name: str) -> float:
    """The sum of the samples of a name."""
    return sum(scraped.rows(name).values())


def told(text: str) -> float:
    """The number that a text of the page tells."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z", text):
        return parse_time(text)
    if text in ("none", "ever", "nothing"):
        return 0.0
    match = re.fullmatch(r"([\d,.]+)(?: (\w+))?", text)
    assert match is not None, text
    return float(match[1].replace(",", "")) * UNITS[match[2] or "B"]


def shown(watched: Watched) -> dict[str, tuple[float, str]]:
    """The numbers of the page; nothing if counts do not lie between those of the scrapes around it.

    They do at any time but that in which the reports of two workers cross.
    """
    browser = watched.browser
    before = watched.scrape()
    browser.open(watched.url, scripts=False)
    cells = browser.run(CELLS)
    histograms = browser.run(QUANTILES)
    after = watched.scrape()
    for name, value, _ in cells:
        first, last = total(before, name), total(after, name)
        if name in LIVELY:
            assert value == pytest.approx(first, rel=0.2)
        elif not first <= value <= last:
            return {}
    for name, buckets, _ in histograms:
        for bound, count in buckets:
            le = "+Inf" if bound == "inf" else str(float(bound))
            first, last = (each.value(f"{name}_bucket", le=le) for each in (before, after))
            if not first <= count <= last:
                return {}
    for _, buckets, quantiles in histograms:
        for part, quantile in zip((0.5, 0.99), quantiles, strict=True):
            assert_quantile(buckets, part, quantile)
    return {name: (value, text) for name, value, text in cells}


def assert_quantile(buckets: list[list[Any]], part: float, quantile: str) -> None:
    """It lies in the bucket in which that part of the values ends."""
    counts = [count for _, count in buckets]
    if not counts[-1]:
        assert quantile == ""
        return
    place = next(i for i, count in enumerate(counts) if count >= part * counts[-1])
    lower = float(buckets[place - 1][0]) if place else 0.0
    assert lower <= float(quantile) <= float(buckets[place][0])


def test_the_page_shows_what_the_metrics_tell(watched: Watched) -> None:
    """Without scripts, as tables. What changes meanwhile is looked at again."""
    cells = until(lambda: shown(watched))
    assert cells["wakumail_workers"] == (2.0, "2")
    assert cells["wakumail_archive_envelopes"] == (900.0, "900")
    assert len(cells) > 25
    started, age = cells.pop("process_start_time_seconds")
    assert 0 < told(age) <= 1.06 * (time.time() - started)
    for name, (value, text) in cells.items():
        assert told(text) == pytest.approx(value, rel=0.06, abs=1e-4), name
    page = watched.browser.run("document.body.innerText")
    assert watched.server.enode in page
    assert re.search(r"enr:[\w-]{100,}", page.replace("\n", ""))
    ask = watched.browser.run
    assert ask("document.querySelectorAll('.days rect').length") == MIN_DAYS_SHOWN
    assert ask("getComputedStyle(document.querySelector('.plot')).display") == "none"


def test_nothing_overflows_on_a_phone(watched: Watched) -> None:
    browser = watched.browser
    for scripts, dark in ((False, False), (False, True), (True, False), (True, True)):
        browser.open(watched.url, width=390, dark=dark, scripts=scripts)
        if scripts:
            browser.wait("document.querySelectorAll('.plot.live svg').length == 8")
        assert browser.run("innerWidth") == 390
        assert browser.run("document.documentElement.scrollWidth") == 390
        assert browser.run(OVERFLOWING) == []
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper))) < 200) is dark


def test_the_plots_go_on_and_nothing_else_is_asked(watched: Watched) -> None:
    browser = watched.browser
    browser.complaints.clear()
    browser.open(watched.url)
    seen = browser.run("document.querySelector('.facts').textContent")
    assert until(lambda: browser.run("document.querySelector('.facts').textContent") != seen)
    assert "L" in browser.run("document.querySelector('#disk path.s0').getAttribute('d')")
    free = browser.run("document.querySelector('#disk figcaption b').textContent")
    assert told(free) == pytest.approx(
        total(watched.scrape(), "wakumail_archive_disk_free_bytes"), rel=0.06
    )
    browser.run("document.querySelector('[data-copy] + button').click()")
    browser.wait("document.querySelector('[data-copy] + button').textContent != 'Copy'")
    assert browser.complaints == []
    assert set(browser.requests) == {watched.url + name for name in ("", "page.css", "page.js")}


def test_a_server_that_is_gone_is_told(watched: Watched) -> None:
    browser = watched.browser
    browser.open(watched.url)
    silence = "document.getElementById('silence')"
    assert browser.run(f"{silence}.hidden")
    browser.go_offline()
    try:
        said = browser.wait(f"{silence}.hidden ? '' : {silence}.textContent")
        assert re.fullmatch(r"■ The server has not answered for \d+ s", said)
    finally:
        browser.go_offline(False)
    browser.wait(f"{silence}.hidden")
