"""The page in a real Chromium: it works from disk, says nothing on the console and asks nothing of a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ffprompt.cli.main import main
from ffprompt.report import data
from ffprompt.report import page as pages
from tests.conftest import only_run
from tests.support.browser import Page, opened
from tests.support.studies import study

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"><b>bold</b>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two elicitations, two lengths; one reply tries to be markup."""
    out = tmp_path_factory.mktemp("browser")
    words = [
        "run",
        "--backend",
        "scripted",
        "--model",
        "coin",
        "--elicitation",
        "forced",
        "list",
        "--length",
        "20",
        "60",
    ]
    assert main([*words, "--trials", "30", "--out", str(out), "--no-report"]) == 0
    run = only_run(out)
    log = run / "trials.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (victim, *_) = [line for line in lines if "reply" in line]
    victim["reply"] = HOSTILE
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["score", str(run)]) == 0
    pages.write(data.build([run]), run / "report.html")
    return run / "report.html"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with opened() as one:
        yield one


@pytest.fixture(autouse=True)
def silent(page: Page, report: Path) -> Iterator[None]:
    """Whatever a test does: no complaint, and no request but for the page itself."""
    page.complaints.clear()
    page.requests.clear()
    yield
    page.run("1")  # what happened before has been reported
    assert page.complaints == []
    assert {url for url in page.requests if not url.startswith(("data:", "blob:"))} <= {report.resolve().as_uri()}


def shown(page: Page) -> int:
    return int(page.run("document.querySelectorAll('#list > li').length"))


def test_it_opens_from_disk_and_draws_every_figure(page: Page, report: Path) -> None:
    page.open(report, part="figures")
    charts = page.run(
        "[...document.querySelectorAll('#figures .chart')]"
        ".map(c => [c.dataset.name, c.querySelectorAll('.trace, .bars .point').length])"
    )
    assert {name for name, _ in charts} >= {"accuracy", "length-forced", "gap-list", "reliability", "outcomes"}
    assert all(traces > 0 for _, traces in charts)


def test_trials_can_be_filtered_to_those_with_a_wrong_read(page: Page, report: Path) -> None:
    page.open(report)
    assert page.run("document.getElementById('found').textContent") == "120 of 120 trials"
    assert shown(page) == 25
    page.choose("by-outcome", "wrong")
    found = data.build([report.parent]).trials
    wrong = sum(1 in trial["outcomes"] for trial in found)
    assert page.run("document.getElementById('found').textContent") == f"{wrong} of 120 trials"
    assert page.run("[...document.querySelectorAll('#list > li')].every(li => li.querySelector('.read.o-wrong'))")
    page.choose("by-condition", "3")
    mine = sum(1 in trial["outcomes"] and trial["row"] == 3 for trial in found)
    while not page.run("document.getElementById('more').hidden"):
        page.run("document.getElementById('more').click()")
    assert shown(page) == mine
    page.choose("by-outcome", "refused")
    assert shown(page) == 0


def test_a_search_finds_strings_with_or_without_spaces(page: Page, report: Path) -> None:
    page.open(report)
    text = data.build([report.parent]).trials[7]["text"]
    for asked in (text, text.replace("i", " i "), text.upper()):
        page.choose("by-text", asked)
        assert shown(page) >= 1
        assert page.run("document.querySelector('#list .string').textContent.replace(/≠\\d|\\?|\\s/g, '')") == text


def test_every_read_is_coloured_by_its_outcome(page: Page, report: Path) -> None:
    page.open(report)
    colours = page.run(
        "['correct', 'wrong'].map(o => getComputedStyle(document.querySelector('#list .o-' + o)).borderBottomColor)"
    )
    assert colours == ["rgb(31, 158, 119)", "rgb(209, 73, 91)"]
    assert page.run(
        "[...document.querySelectorAll('#list .o-wrong')].every(c => /^r(\\d)≠(?!\\1)\\d$/.test(c.textContent))"
    )


def test_what_a_model_says_stays_text(page: Page, report: Path) -> None:
    page.open(report)
    page.choose("by-text", "onerror")
    assert shown(page) == 1
    assert page.run("document.querySelector('#list pre.said').textContent") == HOSTILE
    assert page.run("document.querySelectorAll('main img, #list b').length") == 0
    assert page.run("document.title") != "broken"


def seen(page: Page) -> list[str]:
    """The parts of a page that are seen."""
    found = page.run("[...document.querySelectorAll('section.tab')].filter(s => s.offsetParent).map(s => s.id)")
    return [str(name) for name in found]


def test_one_part_is_seen_at_a_time_and_its_figures_are_drawn_then(page: Page, report: Path) -> None:
    page.open(report)
    assert seen(page) == ["summary"]
    drawn = (
        "[...document.querySelectorAll('.chart')].filter(c => c.querySelector('.main-svg')).map(c => c.dataset.name)"
    )
    assert page.run(drawn) == ["overview"]
    page.run("document.querySelector('nav a[href=\"#figures\"]').click()")
    page.wait("document.querySelector('#chart-outcomes .main-svg')")
    assert seen(page) == ["figures"]
    assert page.run("document.querySelector('nav a[aria-current]').textContent") == "Figures"


def test_what_is_printed_has_every_part_at_the_width_of_a_sheet(page: Page, report: Path) -> None:
    page.open(report)
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert seen(page) == page.run("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    page.wait("[...document.querySelectorAll('.chart')].every(c => c.querySelector('.main-svg'))")
    assert page.run(
        "[...document.querySelectorAll('.chart .main-svg')].every(s => s.getBoundingClientRect().right <= 690)"
    )
    page.run("dispatchEvent(new Event('afterprint'))")
    assert seen(page) == ["summary"]


def test_bars_of_one_length_stand_beside_each_other_and_their_numbers_stay(page: Page, report: Path) -> None:
    page.open(report)
    lines = "document.getElementById('chart-overview').data.filter(t => t.mode === 'lines+markers')"
    shifted = page.run(f"{lines}.map(t => t.x[0])")
    assert len(set(shifted)) == len(shifted) == 2 and all(19 < x < 21 for x in shifted)
    kept = page.run("JSON.parse(document.getElementById('chart-data').textContent).overview.data.map(t => t.x[0])")
    assert kept[:2] == [20, 20]
    assert page.run(f"{lines}.every(t => t.hovertext[0].includes('T = 20'))")


@pytest.mark.parametrize("dark", [False, True])
def test_the_theme_is_the_systems_until_the_switch_is_pressed(page: Page, report: Path, dark: bool) -> None:
    page.open(report, dark=dark)
    page.run("localStorage.clear(); delete document.documentElement.dataset.theme")
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.run(colour)
    assert before == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    page.run("document.getElementById('theme').click()")
    after = page.run(colour)
    assert after == ("rgb(255, 255, 255)" if dark else "rgb(20, 23, 27)")
    ink = page.run("document.querySelector('.chart .xtick text').style.fill")
    assert ink == ("rgb(27, 31, 36)" if dark else "rgb(228, 231, 235)")
    page.run("localStorage.clear()")


def test_nothing_is_cut_off_on_a_phone(page: Page, report: Path) -> None:
    page.open(report, width=400, height=800)
    assert page.run("document.documentElement.scrollWidth") == 400
    assert page.run(
        "[...document.querySelectorAll('.chart .main-svg')].every(s => s.getBoundingClientRect().right <= 400)"
    )
    # The number that matters is in view without scrolling to the side.
    assert page.run("document.querySelector('td.strong').getBoundingClientRect().right <= 400")


@pytest.fixture
def of_study(page: Page, report: Path, tmp_path: Path) -> Iterator[Path]:
    """A page of trainings alone, with its cells and one that diverged."""
    path = tmp_path / "study.html"
    pages.write(data.build([study(tmp_path / "dropout", replicates=4)]), path)
    yield path
    page.open(report)  # what follows looks at its requests
    page.requests[:] = [url for url in page.requests if url != path.resolve().as_uri()]


@pytest.mark.parametrize("width", [1280, 400])
def test_a_page_of_trainings_draws_its_figures_with_every_zero_in_sight(page: Page, of_study: Path, width: int) -> None:
    page.open(of_study, width=width, part="figures")
    drawn = page.run(
        "[...document.querySelectorAll('.chart')].map(c => [c.dataset.name, c.querySelectorAll('.trace').length])"
    )
    assert {name for name, _ in drawn} >= {"training-loss", "training-tails", "replicates-ffl-64-0.98"}
    assert all(traces > 0 for _, traces in drawn)
    # Points that an axis cannot show are left out by the library without a word.
    hidden = (
        "[...document.querySelectorAll('.chart')].filter(c => /^(training-tails|replicates)/.test(c.dataset.name))"
        ".map(c => { const r = c.querySelector('.nsewdrag').getBoundingClientRect();"
        " return [...c.querySelectorAll('.points path')].filter(p => { const b = p.getBoundingClientRect();"
        " const x = (b.left + b.right) / 2; return x < r.left || x > r.right; }).length; })"
    )
    assert page.run(hidden) == [0, 0, 0, 0]
    counted = "document.querySelectorAll('#chart-training-tails .points path').length"
    assert page.run(counted) == 8
    assert page.run("document.documentElement.scrollWidth") == width
    zeros = page.run("[...document.querySelectorAll('.xtick text')].filter(t => t.textContent === '0').length")
    assert zeros >= 1
