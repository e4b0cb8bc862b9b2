"""The HTML timeline in a real browser. Each page that is opened also proves that it asks for nothing."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import run_suite
from .made_up_reports import attempt, change, finding, large, process, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    Show = Callable[..., Page]

PLACES = """() => Object.fromEntries([...document.querySelectorAll("main .item")].map((item) => {
    const track = item.parentElement.getBoundingClientRect(), at = item.getBoundingClientRect();
    return [item.getAttribute("aria-label"),
        [(at.left - track.left) / track.width, (at.right - track.left) / track.width]];
}))"""
"""Where everything stands, as parts of the time axis, by what it is called."""

TWO_FRAMES = """() => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"""
"""Wait until all is on the screen; give the time since the page was asked for."""

FRAMES = """async ([across, down]) => {
    const chart = document.getElementById("chart"), times = [];
    let last = performance.now();
    await new Promise((done) => {
        const step = (now) => {
            times.push(now - last);
            last = now;
            chart.scrollTop += down;
            chart.scrollLeft += across;
            times.length < 120 ? requestAnimationFrame(step) : done();
        };
        requestAnimationFrame(step);
    });
    times.sort((a, b) => a - b);
    return [times[60], times[113]];
}"""
"""Scroll in 120 steps; give the median and the 95th percentile of the time a frame took."""


def seconds(time: str, since: str) -> float:
    start, end = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (since, time))
    return (end - start).total_seconds()


def drawn(page: Page) -> Page:
    """Wait until what is on the page is drawn: of a row that is not, Chromium gives no text."""
    page.evaluate("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    return page


def rows_shown(page: Page) -> list[str]:
    """Return the names of the processes that pass the filter."""
    labels = drawn(page).locator(".process:visible .label").all_inner_texts()
    return [label.split()[0] for label in labels]


def details(page: Page) -> str:
    return page.inner_text("#details")


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.className")


# ------------------------------------------------------------------ a real run


def test_of_a_real_run_every_bar_is_where_the_report_says(show, shop):
    document, path = shop
    places = show(path).evaluate(PLACES)
    start = document["started_at"]
    span = seconds(document["ended_at"], start)
    drawn = {
        int(match[1]): place
        for name, place in places.items()
        if (match := re.search(r", pid (\d+): ", name))
    }
    assert drawn.keys() == {row["pid"] for row in document["processes"]}
    checked = 0
    for row in document["processes"]:
        left, right = drawn[row["pid"]]
        # Both have the clock of this machine; and nothing is drawn narrower than 3 pixels.
        assert left * span == pytest.approx(seconds(row["started_at"], start), abs=0.06)
        ends = [
            one for one in row["changes"] if one["state"] in ("exited", "signaled", "oom_killed")
        ]
        if ends:
            checked += 1
            assert right * span == pytest.approx(seconds(ends[-1]["at"], start), abs=0.08)
    assert checked >= 8
    for test in document["tests"]:
        [place] = [place for name, place in places.items() if name.startswith(f"{test['id']}: ")]
        assert place[0] * span == pytest.approx(seconds(test["started_at"], start), abs=0.02)


def test_a_restart_loop_after_oom_kills_is_reported_in_the_first_line_and_first_of_all_rows(
    show, shop
):
    document, path = shop
    page = show(path)
    told = re.search(
        r"^(\d) of 8 tests failed\. web was OOM-killed (\d) times and was restarted(?: (\d) times)?\.$",
        page.inner_text("h1"),
    )
    assert told
    failed, kills, restarts = (int(number or 1) for number in told.groups())
    assert failed >= 3
    first = page.locator(".process").first
    drawn(page)
    assert first.locator(".label").inner_text() == (
        f"web OOM-killed {kills}x, \u21bb{f' {restarts}x' if restarts > 1 else ''}"
    )
    assert first.locator(".chip.oom").count() == kills >= 2
    assert first.locator(".chip.restart").count() == restarts
    kills_told = [one for one in document["findings"] if one["rule"] == "oom"]
    killed_in = dict.fromkeys(one["test"].split("::")[1] for one in kills_told)
    assert page.inner_text(".found .wrong >> nth=0") == (
        f"OOM-killed\nweb in tests/browser/shop.py: {', '.join(killed_in)}"
    )


def test_details_say_what_a_failed_test_would_with_the_output_that_was_read(show, shop):
    page = show(shop[1])
    page.locator("[aria-label*='exited 4']").hover()
    shown = re.sub(r"\d+(\.\d+)?( ms| s)?(?! of)", "N", details(page))
    assert shown.startswith("sh -c (pid N, handle N)\nstate\nexited N after N\n")
    assert "first seen in\ntests/browser/shop.py::test_stock\n" in shown
    assert shown.endswith("stderr\nstock.db: no such table")
    assert "tl_secret" not in shop[1].read_text()


def test_an_outage_and_a_time_without_a_watch_are_marked_where_they_happened(show, tmp_path):
    suite = tmp_path / "test_it.py"
    suite.write_text(
        """
import pytest
from pytest_tlsandbox.monitoring import monitored_sandbox
from tests.fault_proxy import FaultProxy, faults

monitored_sandbox.FIRST_PATIENCE = 0.3

@pytest.fixture(scope="session")
def proxy(tlsandbox_local, request):
    proxy = FaultProxy(tlsandbox_local).__enter__()
    request.config.add_cleanup(lambda: proxy.__exit__(None, None, None))
    return proxy

@pytest.fixture(scope="session")
def tlsandbox_target(proxy): return proxy

def test_rides_it_out(tlsandbox, proxy):
    job = tlsandbox.start_process("sleep", ["0.3"])
    proxy.fail(faults.SANDBOX_NOT_READY, times=2)
    tlsandbox.wait_for_exit(job)

def test_is_not_monitored(tlsandbox, proxy): proxy.fail(faults.BAD_GATEWAY_HTML)

def test_is_monitored_again(proxy): proxy.recover()
"""
    )
    document, path = run_suite(
        tmp_path, str(suite), "--tlsandbox-guard=oom", f"--rootdir={tmp_path}"
    )
    page = show(path)
    notes = page.locator(".title .item").all()
    names = [re.sub(r"[\d.]+ m?s", "N", note.get_attribute("aria-label") or "") for note in notes]
    assert names == [
        "Not monitored for N: local answered 502 with an HTML page (24 bytes)",
        "No answer for N: 503 SANDBOX_NOT_READY x2",
    ]
    places = page.evaluate(PLACES)
    span = seconds(document["ended_at"], document["started_at"])
    for number, kind in enumerate(("No answer", "Not monitored")):
        [place, *_] = [place for name, place in places.items() if name.startswith(kind)]
        within = document["tests"][number]
        begun = seconds(within["started_at"], document["started_at"])
        ended = seconds(within["ended_at"], document["started_at"])
        assert begun - 0.02 < place[0] * span < ended + 0.02
    notes[0].focus()
    assert details(page).startswith("Not monitored\nsandbox\nlocal\nwhy\n")
    assert page.locator(".band.outage").count() == 1
    assert page.locator(".band.gap").count() == 1


# ---------------------------------------------------------------- keys, filter, zoom


def test_the_keyboard_reaches_every_bar_every_test_and_every_note(show, shop):
    page = show(shop[1])
    page.locator("#theme").focus()
    page.keyboard.press("Tab")  # Chromium stops at what scrolls
    for _ in range(3):
        if not page.evaluate("document.activeElement.classList.contains('item')"):
            page.keyboard.press("Tab")
    assert focused(page) == "p0"
    for _ in range(50):
        page.keyboard.press("ArrowUp")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Home")
        before = None
        while before != (now := page.evaluate("document.activeElement.ariaLabel")):
            reached.add(now)
            before = now
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    assert reached == page.evaluate(PLACES).keys()


def test_what_has_the_focus_is_shown_in_full_view_and_escape_closes_its_details(show, shop):
    page = show(shop[1], viewport={"width": 900, "height": 420})
    last = page.locator(".process .item").last
    last.focus()
    at, chart = last.bounding_box(), page.locator("#chart").bounding_box()
    assert at is not None
    assert chart is not None
    assert chart["y"] < at["y"] < at["y"] + at["height"] <= chart["y"] + chart["height"]
    assert "began\n" in details(page)
    page.keyboard.press("Escape")
    assert details(page).startswith("Point at a bar, or go to it with the keys: ")


def test_a_filter_leaves_the_rows_that_fit_by_text_and_by_status(show):
    jobs = [
        process(1, 0, change("exited", 1)),
        process(2, 0, change("oom_killed", 2, signal=9), test="test_memory.py::test_hog"),
        process(3, 1),
    ]
    page = show(report(5, jobs, [attempt("test_memory.py::test_hog", 0, 2, "failed")]))
    assert page.inner_text("#shown") == "3 of 3 runs"
    page.keyboard.press("/")
    page.keyboard.type("JOB-1")
    assert rows_shown(page) == ["job-1.py"]
    assert page.inner_text("#shown") == "1 of 3 runs"
    page.keyboard.press("Escape")
    page.fill("#filter", "test_hog")
    assert rows_shown(page) == ["job-2.py"]
    page.fill("#filter", "")
    assert page.locator("#status option").all_inner_texts() == [
        "all (3)",
        "where something went wrong (1)",
        "OOM-killed (1)",
        "Exited with 0 (1)",
        "Its end was not seen (1)",
    ]
    page.select_option("#status", "wrong")
    assert rows_shown(page) == ["job-2.py"]
    page.select_option("#status", "running")
    assert rows_shown(page) == ["job-3.py"]


def test_zoom_by_keys_buttons_wheel_and_a_drag_keeps_what_is_looked_at_in_view(show):
    page = show(report(100, [process(1, 40, change("exited", 41))], []))
    bar = page.locator("#p0")

    def width() -> float:
        box = bar.bounding_box()
        assert box is not None
        return box["width"]

    first = width()
    bar.focus()
    page.keyboard.press("+")
    assert width() == pytest.approx(first * 1.6, rel=0.05)
    page.click("#in")
    assert width() == pytest.approx(first * 1.6**2, rel=0.05)
    page.keyboard.press("0")
    assert width() == pytest.approx(first, rel=0.01)
    box = bar.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 5)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    page.evaluate(TWO_FRAMES)
    assert width() > first * 5
    moved = bar.bounding_box()
    assert moved is not None
    assert abs(moved["x"] - box["x"]) < 20
    page.click("#fit")
    y = box["y"] + 5
    page.mouse.move(box["x"] - 20, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, y)
    page.mouse.move(box["x"] + 40, y)
    page.mouse.up()
    assert width() > first * 10
    assert page.locator("#p0").is_visible()
    ticks = page.locator(".tick").all_inner_texts()
    assert len(ticks) > 4
    assert "40 s" in ticks


def test_a_finding_links_to_its_bar_and_another_page_to_a_test_also_where_a_filter_hides_it(show):
    hog = process(2, 0, change("oom_killed", 2, signal=9))
    tests = [
        attempt("test_a.py::test_a[x]", 0, 1, "passed"),
        attempt("test_a.py::test_b", 1, 3, "failed"),
    ]
    found = [finding("oom", "OOM-killed", hog, "test_a.py::test_b")]
    document = report(5, [process(1, 0, change("exited", 1)), hog], tests, findings=found)
    page = show(document, "#test=test_a.py%3A%3Atest_a%5Bx%5D")
    assert focused(page) == "t0"
    page.fill("#filter", "job-1")
    page.click(".found >> text=job-2.py (pid 1002)")
    page.locator("#p0:focus").wait_for()
    assert (
        "OOM-killed: test_a.py::test_b (call): job-2.py (pid 1002): the sandbox says so"
        in details(page)
    )
    page.click(".found >> text=test_b >> nth=-1")
    page.locator("#t1:focus").wait_for()


# ------------------------------------------------------------ hostile and large


HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=alert(1)>",
    "--><!--<script>",
    "&lt;b&gt; &amp;",
    "\u202egnp.exe \u2066\u2028\u2029\x00\x1b[31m",
    "\u05e9\u05dc\u05d5\u05dd",
    "'\"`${alert(1)}",
    "long " + "x" * 100_000,
)


def test_hostile_text_is_shown_as_text_and_does_no_harm(show):
    jobs = [
        process(
            number,
            0.1 * number,
            change("oom_killed", 2, text=text[:500]),
            name=text[:200],
            command_line=text,
            test=text[:200],
            output={"stream": "stderr", "lines": [text] * 20, "total": 20},
            sandbox=text[:200],
        )
        for number, text in enumerate(HOSTILE)
    ]
    tests = [
        attempt(text[:300], number, number + 1, "failed") for number, text in enumerate(HOSTILE)
    ]
    found = [finding("oom", "OOM-killed", job, job["test"]) for job in jobs]
    gaps = [
        {"sandbox": job["sandbox"], "why": text, "from_test": text, "to_test": None, "tests": 1,
         "open": True, "guarded": True, "worker": None,
         "times": [{"worker": None, "from_at": jobs[0]["started_at"], "to_at": None}]}
        for job, text in zip(jobs, HOSTILE[:-1], strict=False)
    ]  # fmt: skip
    page = show(report(9, jobs, tests, findings=found, gaps=gaps))
    assert page.title().startswith("8 of 8 tests failed.")
    assert page.evaluate("document.scripts.length") == 2
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    for number, text in enumerate(HOSTILE):
        bar = page.locator(f".item[aria-label*='pid {1000 + number}:']").first
        bar.focus()
        shown = page.inner_text("#details .code")
        if len(text) > 2000:
            assert shown == text[:2000] + " ... and 98,005 characters more"
        elif text.isprintable() and text.isascii():
            assert shown == text
        else:  # what would turn the direction of writing, or end a line, is escaped
            assert not re.search("[\u202e\u2066\u2028\u2029\x00\x1b]", shown)


def test_without_its_script_the_page_still_says_what_was_found(show, shop):
    page = show(shop[1], java_script_enabled=False)
    assert "web was OOM-killed" in page.inner_text("h1")
    assert page.locator(".found a").count() > 5
    assert page.locator("main").is_hidden()


def test_a_thousand_processes_and_two_thousand_tests_are_small_quick_and_smooth(
    show, tmp_path, capsys
):
    page = show(large())
    size = (tmp_path / "page.html").stat().st_size
    drawn = []
    for _ in range(3):
        page.reload()
        drawn.append(page.evaluate(TWO_FRAMES))
    down = min(page.evaluate(FRAMES, [0, by]) for by in (80, -80))  # others may be at work too
    for _ in range(4):
        page.keyboard.press("+")
    across = min(page.evaluate(FRAMES, [by, 0]) for by in (60, -60))
    with capsys.disabled():
        print(
            f"\n1,000 processes, 2,000 tests: {size / 1e6:.2f} MB; "
            f"drawn in {', '.join(f'{time:.0f}' for time in drawn)} ms; a frame, median and 95 %: "
            f"{down[0]:.0f} and {down[1]:.0f} ms scrolling down or up, "
            f"{across[0]:.0f} and {across[1]:.0f} ms across"
        )
    assert page.locator(".bar").count() >= 1000
    assert page.locator(".lane .test").count() == 2000
    assert size < 2_000_000
    assert min(drawn) < 1000
    assert max(down[0], across[0]) < 34  # two frames of a screen, with no GPU
    page.fill("#filter", "job-77")
    assert page.inner_text("#shown") == "11 of 1,000 runs"


# ----------------------------------------------------------------- appearance


def every_kind() -> dict[str, Any]:
    """Return a report that has everything that a page can show."""
    managed = {"id": "web", "name": "web"}
    sick = {"status": "running", "restarts": 1, "health": "unhealthy", "last_exit": None}
    well = {**sick, "restarts": 0, "health": "healthy"}
    web = process(20, 0.2, name="web", managed=managed)
    web["changes"] = [change("running", 0.2, supervisor=well), change("exited", 2, supervisor=well)]
    again = process(21, 2.5, name="web", managed=managed)
    again["changes"] = [change("running", 2.5, supervisor=sick)]
    jobs = [
        process(1, 1, change("exited", 3)),
        process(2, 1, change("exited", 3, exit_code=2)),
        process(3, 1, change("signaled", 3, signal=15, text="signaled 15 (SIGTERM)")),
        process(4, 1, change("oom_killed", 3, signal=9)),
        process(5, 1, change("signaled", 3, signal=11, text="signaled 11 (SIGSEGV)")),
        process(6, 1, change("not listed", 4)),
        process(7, 1),
        process(8, -5, before_the_session=True),
        process(9, 1, change("signaled", 2, signal=6, text="signaled 6 (SIGABRT)")),
        web,
        again,
    ]
    outcomes = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "rerun", "crashed")
    tests = [
        attempt(f"test_a.py::test_{name}", n, n + 0.95, name) for n, name in enumerate(outcomes)
    ]
    times = [{"worker": None, "from_at": tests[5]["started_at"], "to_at": tests[5]["ended_at"]}]
    return report(
        9,
        jobs,
        tests,
        findings=[
            finding("oom", "OOM-killed", jobs[3], tests[1]["id"]),
            finding("leak", "Left running", jobs[6], tests[2]["id"]),
            finding("crash", "Crashed", jobs[8], tests[1]["id"], allowed="it is meant"),
        ],
        gaps=[
            {"sandbox": "box", "worker": None, "why": "refused", "from_test": tests[5]["id"],
             "to_test": None, "tests": 1, "open": False, "guarded": True, "times": times}
        ],
        outages=[
            {"sandbox": "box", "worker": None, "faults": "502 x3", "test": tests[6]["id"],
             "from_at": tests[6]["started_at"], "to_at": tests[6]["ended_at"]}
        ],
    )  # fmt: skip


COLOURS = """() => {
    const shown = (element) => element.getClientRects().length > 0;
    const colour = (text) => {
        const parts = text.match(/[\\d.]+/g).map(Number);
        return parts.length === 3 ? [...parts, 1] : parts;
    };
    const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
    const paper = colour(getComputedStyle(document.body).backgroundColor);
    const behind = (element) => {
        const layers = [];
        for (let part = element; part; part = part.parentElement) {
            const own = colour(getComputedStyle(part).backgroundColor);
            if (own[3]) layers.push(own);
            if (own[3] === 1) return [layers.reverse().reduce((under, top) => over(top, under))];
        }
        const bands = ["even", "bad"].map((kind) =>
            over(colour(getComputedStyle(document.querySelector(`.band.${kind}`)).backgroundColor), paper));
        return [paper, ...bands].map((under) => layers.reduceRight((low, top) => over(top, low), under));
    };
    const pairs = [];
    for (const element of document.querySelectorAll("body *")) {
        if (!shown(element) || element.closest(".dim, script")) continue;
        const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const style = getComputedStyle(element);
        const own = `${element.tagName} ${element.className}`;
        if (text) for (const under of behind(element)) pairs.push(["text", own, colour(style.color), under]);
    }
    for (const bar of document.querySelectorAll(".process .bar")) {
        const fill = colour(getComputedStyle(bar, "::before").backgroundColor);
        const image = getComputedStyle(bar, "::before").backgroundImage;
        const fills = image === "none" ? [fill] : image.match(/rgb\\([^)]*\\)/g).map(colour);
        for (const one of fills) for (const under of behind(bar.parentElement)) pairs.push(["graphic", bar.className, one, under]);
    }
    for (const edge of document.querySelectorAll("#chart .chip:not(.tail), #chart .test, .note, input, select, .buttons button, .tick")) {
        if (!shown(edge)) continue;
        const style = getComputedStyle(edge);
        const own = style.borderLeftStyle === "none" ? style.backgroundColor : style.borderLeftColor;
        const filled = colour(style.backgroundColor)[3] && edge.matches(".bad, .oom:not(.allowed), .crash:not(.allowed)");
        pairs.push(["graphic", edge.className || edge.id, colour(filled ? style.backgroundColor : own), behind(edge.parentElement)[0]]);
    }
    return pairs;
}"""
"""Every text and every mark with its colour, and the colours that are behind it."""


def contrast(one: list[float], other: list[float]) -> float:
    """Return the contrast of two colours as WCAG 2.2 defines it."""

    def luminance(colour: list[float]) -> float:
        parts = [part / 255 for part in colour[:3]]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_and_every_mark_has_the_contrast_of_wcag_aa(show, scheme):
    page = show(every_kind(), color_scheme=scheme)
    page.locator("#p0").focus()
    pairs = page.evaluate(COLOURS)
    least = {"text": 4.5, "graphic": 3.0}
    weak = {
        f"{kind} {name}: {contrast(colour, behind):.2f}"
        for kind, name, colour, behind in pairs
        if contrast(colour, behind) < least[kind]
    }
    assert weak == set()
    assert len(pairs) > 150


def test_the_button_changes_between_light_and_dark(show):
    page = show(every_kind(), color_scheme="light")
    shades = []
    for _ in range(3):
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.click("#theme")
    assert shades == ["rgb(255, 255, 255)", "rgb(20, 24, 30)", "rgb(255, 255, 255)"]


def test_every_kind_of_end_and_of_mark_differs_by_more_than_its_colour(show):
    page = show(every_kind())
    shapes = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".process .bar")].map((bar) => {
            const style = getComputedStyle(bar, "::before");
            const shape = [style.borderRightStyle, style.borderRightWidth, style.clipPath,
                style.backgroundImage.replace(/rgb\\([^)]*\\)/g, "")];
            return [bar.className, shape.join(" ")];
        }))"""
    )
    assert sorted(shapes) == [
        f"item bar {kind}"
        for kind in (
            "crash", "exited", "failed", "gone", "oom", "running open", "running open before", "signaled"
        )
    ]  # fmt: skip
    assert len(set(shapes.values())) == len(shapes)
    words = drawn(page).locator(".chip:visible").all_inner_texts()
    assert {"OOM-killed", "Crashed, SIGSEGV", "Restarted", "Unhealthy", "Left running"} <= {*words, *(
        {"U": "Unhealthy", "\u21bb": "Restarted", "L": "Left running"}.get(word, "") for word in words
    )}  # fmt: skip
    letters = page.locator("#chart .test").all_inner_texts()
    assert [text.split()[0] for text in letters[:8]] == [
        "test_passed", "F", "E", "s", "x", "X", "R", "!"
    ]  # fmt: skip


def test_a_print_is_light_and_has_every_row(show):
    page = show(large(), color_scheme="dark")
    page.keyboard.press("+")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    chart = "document.getElementById('chart')"
    assert page.evaluate(f"{chart}.scrollHeight - {chart}.clientHeight") == 0
    assert page.evaluate(f"{chart}.scrollWidth - {chart}.clientWidth") == 0
    assert page.locator(".toolbar").is_hidden()
    assert page.pdf().count(b"/Type /Page\n") > 10


@pytest.mark.parametrize("width", [400, 700, 1280])
def test_the_page_itself_never_scrolls_sideways(show, shop, width):
    page = show(shop[1], viewport={"width": width, "height": 800})
    page.locator("#p0").focus()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_several_sandboxes_and_workers_stand_under_each_other(show):
    jobs = [
        process(1, 1, change("exited", 3), sandbox="local@gw0"),
        process(2, 2, change("oom_killed", 3, signal=9), sandbox="local@gw1"),
    ]
    tests = [
        attempt(f"test_a.py::test_{n}", n, n + 0.9, ["passed", "failed"][n], worker=f"gw{n}")
        for n in range(2)
    ]
    workers = [{"id": "gw0", "lost": False}, {"id": "gw1", "lost": False}]
    boxes = [{"name": f"local@gw{n}", "label": "local", "shared": False} for n in range(2)]
    page = show(report(5, jobs, tests, workers=workers, sandboxes=boxes))
    assert [
        text.split("\n")[0] for text in drawn(page).locator("main .row .label").all_inner_texts()
    ] == [
        "time since the start",
        "tests of gw0",
        "tests of gw1",
        "local@gw1",
        "job-2.py OOM-killed",
        "local@gw0",
        "job-1.py python job-1.py --shard 1 of many --token=***",
    ]
    # The tests of a worker are behind the bars of its sandbox.
    assert [box.locator(".band.bad").count() for box in page.locator(".sandbox").all()] == [1, 0]
