"""The page for a browser as the server makes it: complete, escaped, made once for all who look."""

import asyncio
import math
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.patience import asynchronous
from tests.support.puppet import mailserver
from wakumail.archive.gaps import Gap
from wakumail.archive.outlook import Look, Outlook
from wakumail.archive.results import Day, Stat
from wakumail.base.histograms import SECONDS, Histogram
from wakumail.ops.monitoring import pages as pages_module
from wakumail.ops.monitoring.exposition import gauge, histogram, labelled
from wakumail.ops.monitoring.numbers import Numbers
from wakumail.ops.monitoring.overview import (
    MAX_DAYS_SHOWN,
    MAX_GAPS_SHOWN,
    MIN_DAYS_SHOWN,
    Overview,
    render,
    static,
)
from wakumail.ops.monitoring.pages import Pages
from wakumail.ops.monitoring.report import Family, Problem, Report
from wakumail.ops.monitoring.reporter import Reporter

DAY = 86400
NOW = 20_000 * DAY
NOTHING = Overview(NOW, Numbers(Report([], [])), [], [], [], None, "", "")
HOSTILE = "<script>alert(1)</script>&\"'"


def numbers(*metrics: Family) -> Numbers:
    return Numbers(Report(list(metrics), []))


@given(st.lists(st.floats(0.0001, 20), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_its_value(values: list[float], part: float) -> None:
    measured = Histogram(SECONDS)
    for value in values:
        measured.add(value)
    told = numbers(Family.of(histogram("t", "", measured))).quantile("t", part)
    assert told is not None
    true = sorted(values)[math.ceil(part * len(values)) - 1]
    bounds = [0.0, *measured.bounds]
    lower = max(bound for bound in bounds if bound < true)
    upper = min((bound for bound in bounds if bound >= true), default=lower)
    assert lower <= told <= upper


def test_a_histogram_without_values_has_no_quantile() -> None:
    empty = numbers(Family.of(histogram("t", "", Histogram(SECONDS))))
    assert empty.quantile("t", 0.5) is None
    assert empty.quantile("unheard_of", 0.5) is None


def test_samples_of_one_name_are_summed() -> None:
    rows = labelled("n", "", ("a", "b"), [(("x", "y"), 2), (("x", "z"), 3)])
    both = numbers(Family.of(rows), Family.of(gauge("m", "", 7)))
    assert (both.value("n"), both.value("m"), both.value("o")) == (5, 7, None)
    assert both.rows("n") == {("x", "y"): 2, ("x", "z"): 3}


@pytest.mark.parametrize(
    ("change", "shape", "word"),
    [
        ({}, "●", "Healthy"),
        ({"gaps": [Gap(n, n, "did not run") for n in range(10)]}, "●", "Healthy"),
        ({"warnings": [Problem("disk", "low", 0)]}, "▲", "Needs attention"),
        (
            {"warnings": [Problem("disk", "low", 0)], "problems": [Problem("archive", "full", 3)]},
            "■",
            "Failing",
        ),
    ],
)
def test_the_state_is_a_word_and_a_shape(change: dict[str, Any], shape: str, word: str) -> None:
    page = render(NOTHING._replace(**change))
    assert f"<title>{word} · wakumail</title>" in page
    assert f"{shape}</span> {word}</h1>" in page
    items = re.findall(r"<li class=\"\w+\"><b>(.+?)</b> <strong>(.+?)</strong> <span>(.+?)<", page)
    told = {name for reasons in change.values() for name, *_ in reasons if isinstance(name, str)}
    assert told <= {name for _, name, _ in items}
    assert len(items) == sum(map(len, change.values()))


def test_of_many_gaps_the_latest_are_told() -> None:
    page = render(NOTHING._replace(gaps=[Gap(n * DAY, n * DAY, "off") for n in range(200)]))
    assert page.count("○ lacks") == MAX_GAPS_SHOWN + 1
    assert "1970-07-19T00:00:00Z to" in page
    assert "190 ranges more" in page


def test_what_others_have_chosen_is_escaped() -> None:
    kinds = labelled("p2p_peers_count", "", ("type", "version", "platform"), [((HOSTILE,) * 3, 1)])
    partner = labelled("wakumail_sync_connected", "", ("peer",), [((HOSTILE,), 1)])
    page = render(
        NOTHING._replace(
            numbers=numbers(Family.of(kinds), Family.of(partner)),
            problems=[Problem(HOSTILE, HOSTILE, 1.0)],
            warnings=[Problem(HOSTILE, HOSTILE, 1.0)],
            gaps=[Gap(0, 9, HOSTILE)],
            enode=HOSTILE,
            record=HOSTILE,
        )
    )
    assert page.count("alert(1)") == 11
    assert page.count("<script") == 1
    assert "&\"'" not in page


def test_the_days_are_the_latest_and_have_no_hole() -> None:
    days = [Day((n + n % 2) * DAY, n, n, 1, n) for n in range(0, 200, 4)]
    stat = Stat(1, 1, 1, 0, 0, days[-1].start, 0, 0, 0, 0)
    look = Look(stat, days, Outlook(1, 1, None, None))

    def shown(now: float) -> list[tuple[str, str]]:
        page = render(NOTHING._replace(look=look, now=now))
        return re.findall(r"<title>(\S+): ([\d,]+) envelopes</title>", page)

    names = shown(days[-1].start)
    assert len(names) == MAX_DAYS_SHOWN
    assert names[-1] == ("1970-07-16", "196")
    assert sum(count != "0" for _, count in names) == MAX_DAYS_SHOWN // 4
    silent = shown(days[-1].start + 2.5 * DAY)
    assert silent[-3:] == [("1970-07-16", "196"), ("1970-07-17", "0"), ("1970-07-18", "0")]
    assert {count for _, count in shown(NOW)} == {"0"}
    look = look._replace(days=[Day(NOW, 7, 7, 1, 7)])
    assert len(shown(NOW)) == MIN_DAYS_SHOWN


def test_a_server_without_an_archive_has_no_card_of_it() -> None:
    page = render(NOTHING._replace(numbers=numbers(Family.of(gauge("p2p_peers_absolute", "", 3)))))
    assert re.findall(r"<h2>(.+?)[ <]", page) == ["Peers", "Peers"]
    assert '<section class="card" id="room" data-part></section>' in page


@asynchronous
async def test_it_is_made_once_for_all_who_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Overview] = []

    def count(overview: Overview) -> str:
        made.append(overview)
        return render(overview)

    monkeypatch.setattr(pages_module, "render", count)
    monkeypatch.setattr(pages_module, "OVERVIEW_AGE", 1e9)
    async with mailserver(tmp_path) as (server, _):
        reporter = Reporter(server)
        pages = Pages(reporter)
        host, port = await pages.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://{host}:{port}") as http:

                async def get(path: str) -> tuple[str, str, str]:
                    async with http.get(path) as answer:
                        assert answer.status == 200
                        policy = answer.headers["Content-Security-Policy"]
                        return await answer.text(), answer.content_type, policy

                answers = await asyncio.gather(*(get("/") for _ in range(20)))
                enode = str(server.enode)
                files = [await get(f"/{name}") for name in ("page.css", "page.js")]
        finally:
            await pages.close()
    assert len(made) == 1
    assert {page for page, *_ in answers} == {render(made[0])}
    assert enode in answers[0][0]
    assert [kind for _, kind, _ in files] == ["text/css", "text/javascript"]
    for _, _, policy in (*answers, *files):
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy


def test_the_files_name_no_other_place() -> None:
    for name in ("page.html", "page.css", "page.js"):
        urls = set(re.findall(r"\w+://[\w./]+", static(name).decode()))
        assert urls <= {"http://www.w3.org/2000/svg"}, name
