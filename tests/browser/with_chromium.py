"""The HTML timeline in a real Chromium. For each page, the fixture checks that it requests nothing."""

import re
from datetime import datetime
from io import BytesIO
from itertools import pairwise
from statistics import median

import pytest
from pypdf import PdfReader

from . import made_up_reports as made
from .colors import contrast
from .made_up_reports import attempt, change, finding, hog, process, report

PLACES = """() => Object.fromEntries([...document.querySelectorAll("main .item")].map((item) => {
    const track = item.parentElement.getBoundingClientRect(), at = item.getBoundingClientRect();
    return [item.getAttribute("aria-label"),
        [(at.left - track.left) / track.width, (at.right - track.left) / track.width]];
}))"""
"""The left and right edge of each item as fractions of the time axis, by its label."""

TWO_FRAMES = """() => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"""
"""Wait until everything is on the screen; return the milliseconds since the page was requested."""

FRAMES = """async () => {
    const times = [];
    while (times.length < 120) {
        times.push(await new Promise(requestAnimationFrame));
        document.getElementById("chart").scrollBy(60, 80);
    }
    return times;
}"""
"""Scroll in 120 steps; return the time of each frame in milliseconds."""


def timestamp(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def rows_shown(page):
    """Return the names of the processes that pass the filter."""
    page.evaluate(TWO_FRAMES)  # Chromium returns no text for a row that is not drawn
    labels = page.locator(".process:visible .label").all_inner_texts()
    return [label.split()[0] for label in labels]


def runs_shown(page):
    return page.inner_text("#shown")


def unfold(page):
    for button in page.locator(".fold button").all():
        button.click()


def details(page):
    return page.inner_text("#details")


def focused(page):
    return page.evaluate("document.activeElement.id || document.activeElement.className")


# ------------------------------------------------------------------ a real run


def test_position_of_every_bar_matches_the_times_in_the_report(show, shop):
    document, path = shop
    page = show(path)
    unfold(page)
    places = page.evaluate(PLACES)
    start = timestamp(document["started_at"])
    span = timestamp(document["ended_at"]) - start
    pids = {name: re.search(r", pid (\d+): ", name) for name in places}
    bars = {int(pid[1]): places[name] for name, pid in pids.items() if pid}
    assert bars.keys() == {row["pid"] for row in document["processes"]}
    for row in document["processes"]:
        # Both use the clock of this machine, and no bar is narrower than 3 pixels.
        left, right = bars[row["pid"]]
        assert start + left * span == pytest.approx(timestamp(row["started_at"]), rel=0, abs=0.06)
        *_, last = [each for each in row["changes"] if each["state"] != "not listed"]
        assert last["state"] != "running"
        assert start + right * span == pytest.approx(timestamp(last["at"]), rel=0, abs=0.08)
    for test in document["tests"]:
        [place] = [place for name, place in places.items() if name.startswith(f"{test['id']}: ")]
        begun = timestamp(test["started_at"])
        assert start + place[0] * span == pytest.approx(begun, rel=0, abs=0.02)


def test_headline_and_first_card_and_first_row_and_details_show_the_worst_cause(show, shop):
    document, path = shop
    page = show(path)
    page.evaluate(TWO_FRAMES)
    assert "of 8 tests failed. OOM-killed" in page.inner_text("h1")
    card, first = page.locator(".cards > li").first, page.locator(".process").first
    title = r"OOM-killed( \d times)?, restarted( \d times)? web \(pids? ([\d, ]+)\)"
    title = re.fullmatch(title, card.locator("h2").inner_text().replace("\n", " "))
    assert "memory limit of the sandbox: 256 MiB" in card.inner_text()
    assert first.locator(".label bdi").first.inner_text() == "web"
    states = [(row["pid"], one["state"]) for row in document["processes"] for one in row["changes"]]
    killed = list(dict.fromkeys(pid for pid, state in states if state == "oom_killed"))
    assert title[3] == ", ".join(map(str, killed))
    assert first.locator(".mark.oom").count() == len(killed)
    assert details(page).startswith("tests/browser/shop.py::test_orders")
    assert "ProcessOOMKilled: OOM-killed" in page.inner_text(".panel")


def test_details_of_a_bar_show_its_state_and_output_and_command_and_history(show, shop):
    page = show(shop[1])
    page.locator("[aria-label*='exited 4']").click()
    shown = re.sub(r"\d+(\.\d+)?( ms| s)?(?! of)", "N", details(page))
    assert shown.startswith("stock.sh (pid N)")
    assert "state\nexited N after N\n" in shown
    assert "first seen in\ntests/browser/shop.py::test_stock\n" in shown
    assert page.inner_text(".panel") == "stderr\nstock.db: no such table"
    tabs = page.locator("[role=tab]")
    assert tabs.all_inner_texts() == ["Output", "Failure", "Command", "History"]
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    assert "UnexpectedExit: Exited 4, wanted 0: stock.sh" in page.inner_text(".panel")
    tabs.nth(2).click()
    assert page.inner_text(".panel").startswith("sh -c echo reading stock.db")
    tabs.nth(3).click()
    assert re.fullmatch(r"\+\S+ m?s  running\n\+\S+ m?s  exited 4", page.inner_text(".panel"))
    assert "tl_secret" not in shop[1].read_text()


def test_gaps_and_outages_are_marked_where_they_happened(show):
    gaps = [made.gap((6, 8), why="local answered 502")]
    page = show(report(10, [process(1, 0)], [], gaps=gaps, outages=[made.outage(2, 3, "503 x2")]))
    places = page.evaluate(PLACES)
    notes = page.locator(".title .item").all()
    names = [note.get_attribute("aria-label") for note in notes]
    assert names == ["Not monitored for 2 s: local answered 502", "No answer for 1 s: 503 x2"]
    assert [places[name][0] for name in names] == pytest.approx([0.6, 0.2], abs=0.005)
    notes[0].focus()
    assert details(page).startswith("Not monitored\nsandbox\nbox\nwhy\nlocal answered 502")
    assert page.locator(".band.outage").count() == page.locator(".band.gap").count() == 1
    # The hatch is above the bars, because nobody knows what happened then.
    layers = "[...document.querySelectorAll('.bands.above, .bar')].map((e) => +getComputedStyle(e).zIndex || 0)"
    assert set(page.evaluate(layers)) == {3, 0}


# ---------------------------------------------------------------- keys, filter, zoom


def test_every_bar_and_test_and_note_can_be_reached_with_the_keyboard(show, shop):
    page = show(shop[1])
    unfold(page)
    page.locator("#theme").focus()
    for _ in range(4):  # Chromium stops at what scrolls
        if focused(page) != "p0":
            page.keyboard.press("Tab")
    assert focused(page) == "p0"
    for _ in range(50):
        page.keyboard.press("ArrowUp")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Home")
        while (label := page.evaluate("document.activeElement.ariaLabel")) not in reached:
            reached.add(label)
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    assert reached == page.evaluate(PLACES).keys()


def test_focused_bar_is_fully_visible_and_escape_closes_the_details(show, shop):
    page = show(shop[1], viewport={"width": 1000, "height": 420})
    last = page.locator(".process .item").last
    last.focus()
    at, chart = last.bounding_box(), page.locator("#chart").bounding_box()
    assert chart["y"] < at["y"] < at["y"] + at["height"] <= chart["y"] + chart["height"]
    assert "began\n" in details(page)
    page.keyboard.press("Escape")
    assert details(page).startswith("Click a bar to keep its details. ")


def test_filter_by_text_or_status_shows_only_the_rows_that_match(show):
    killed = hog(2, 0, 2, test="test_memory.py::test_hog")
    jobs = [process(1, 0, change("exited", 1)), killed, process(3, 1)]
    page = show(report(5, jobs, [attempt("test_memory.py::test_hog", 0, 2, "failed")]))
    assert runs_shown(page) == "3 of 3 runs"
    page.keyboard.press("/")
    page.keyboard.type("JOB-1")
    assert (rows_shown(page), runs_shown(page)) == (["job-1.py"], "1 of 3 runs")
    page.keyboard.type("x")
    assert (rows_shown(page), runs_shown(page)) == ([], "0 of 3 runs: none matches")
    page.keyboard.press("Escape")
    page.fill("#filter", "test_hog")
    assert rows_shown(page) == ["job-2.py"]
    page.click("#everything")
    assert runs_shown(page) == "3 of 3 runs"
    choices = (
        "all (3), what went wrong (1), OOM-killed (1), Exited with 0 (1), Its end was not seen (1)"
    )
    assert ", ".join(page.locator("#status option").all_inner_texts()) == choices
    for status, name in {"wrong": "job-2.py", "running": "job-3.py"}.items():
        page.select_option("#status", status)
        assert rows_shown(page) == [name]


def test_uneventful_rows_are_folded_until_they_are_needed(show):
    quiet = [process(n, n, change("exited", n + 1)) for n in range(6)]
    page = show(report(9, [*quiet, hog(9, 1, 2)], []))
    assert rows_shown(page) == ["job-9.py"]
    fold = page.locator(".fold button")
    assert fold.inner_text() == "\u25b8 6 uneventful processes"
    for number in (7, 1):
        fold.click()
        assert len(rows_shown(page)) == number
    page.fill("#filter", "job-3")
    assert rows_shown(page) == ["job-3.py"]


def test_selected_test_fills_the_chart_with_its_own_processes(show):
    mine, killed = process(1, 50, change("exited", 51), test="test_a.py::test_b"), hog(2, 1, 50.5)
    more = {"cause": made.cause("oom", killed), "output_files": ["../my files/a?b.log"]}
    failed = attempt("test_a.py::test_b", 50, 52, "failed", **more)
    page = show(report(100, [mine, killed, process(3, 2)], [failed]))
    page.click("#t0")
    assert rows_shown(page) == ["job-2.py", "job-1.py"]
    assert runs_shown(page) == "2 of 3 runs"
    box, chart = page.locator("#t0").bounding_box(), page.locator("#chart").bounding_box()
    assert 0.3 < box["width"] / chart["width"] < 0.6
    assert "cause\njob-2.py (pid 1002): OOM-killed after 49.5 s" in details(page)
    link = page.locator("#details a >> text=my files")
    assert link.get_attribute("href") == "../my%20files/a%3Fb.log"
    page.keyboard.press("Escape")
    assert len(rows_shown(page)) == 3


def test_click_keeps_the_details_while_the_pointer_crosses_other_bars(show):
    page = show(report(5, [hog(1, 0, 4), hog(2, 0, 4)], []))

    def details_at(item):
        page.hover(item)
        return details(page).split()[0]

    assert (details_at("#p0"), details_at("#p1")) == ("job-1.py", "job-2.py")
    page.click("#p0")
    assert details_at("#p1") == "job-1.py"
    assert page.url.endswith("#p0")
    page.click("text=Close")
    assert details_at("#p1") == "job-2.py"


def test_details_can_be_copied_as_markdown_and_as_a_link(show):
    killed = hog(1, 0, 4, output={"stream": "stderr", "lines": ["loading"], "total": 9})
    page = show(report(5, [killed], []))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#p0")
    page.click("text=Copy as Markdown")
    page.locator("text=Copied").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith("### job-1.py (pid 1001)\n\n- state: OOM-killed after 4 s\n")
    assert "\n**Output**\n\n````\nstderr, last 1 of 9 lines\nloading\n````\n" in text
    page.click("text=Copy link")
    page.locator("text=Copied >> nth=1").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    page.goto("about:blank")
    page.goto(link)
    assert page.locator(".pinned").get_attribute("id") == "p0"


def test_ticks_differ_at_every_zoom_and_the_shortest_test_can_be_seen(show):
    page = show(report(1300, [], [attempt("test_short", 1201, 1201.003, "failed")]))
    page.click("#t0")
    for _ in range(12):
        page.keyboard.press("+")
    ticks = page.locator(".tick").all_inner_texts()
    assert len(ticks) == len(set(ticks)) >= 4
    assert page.inner_text(".axis .label") in ("after 20 min", "after 20 min 1 s")
    assert page.locator("#t0").bounding_box()["width"] > 50


def test_bar_stays_visible_when_zooming_with_keyboard_or_mouse(show):
    page = show(report(100, [process(1, 40, change("exited", 41))], []))
    bar = page.locator("#p0")
    start = bar.bounding_box()

    def factor():
        return bar.bounding_box()["width"] / start["width"]

    bar.focus()
    page.keyboard.press("+")
    assert factor() == pytest.approx(1.6, rel=0.05)
    page.click("#in")
    assert factor() == pytest.approx(1.6**2, rel=0.05)
    page.keyboard.press("0")
    assert factor() == pytest.approx(1, rel=0.01)
    page.mouse.move(start["x"] + 2, start["y"] + 5)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    page.evaluate(TWO_FRAMES)
    assert factor() > 5
    assert abs(bar.bounding_box()["x"] - start["x"]) < 20
    page.click("#fit")
    page.mouse.move(start["x"] - 20, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(start["x"] + 40, start["y"] + 5, steps=2)
    page.mouse.up()
    assert factor() > 10
    assert bar.is_visible()
    ticks = page.locator(".tick").all_inner_texts()
    assert len(ticks) > 4
    assert "40 s" in ticks


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1920, 1080), (1024, 768), (390, 844)])
def test_each_of_26_links_highlights_and_shows_the_item_to_which_it_points(show, width, height):
    """The pointer rests on the link, and the page moves under it: nothing else may be shown."""
    jobs = [hog(n, n, n + 2) for n in range(13)]
    causes = [made.cause("oom", job) for job in jobs]
    tests = [attempt(f"test_{n}", n, n + 1, "failed", cause=causes[n]) for n in range(13)]
    page = show(report(30, jobs, tests), viewport={"width": width, "height": height})
    page.click("summary")
    links = page.locator(".causes a")
    assert links.count() == 26
    for link in links.all():
        link.click()
        wanted = link.get_attribute("href")
        page.locator(f"{wanted}.pinned").wait_for()
        assert page.locator(".pinned").count() == 1
        assert page.url.endswith(wanted)
        box, chart = page.locator(wanted).bounding_box(), page.locator("#chart").bounding_box()
        assert chart["x"] <= box["x"] + box["width"] / 2 <= chart["x"] + chart["width"]
        assert chart["y"] <= box["y"] <= chart["y"] + chart["height"]
        assert box["width"] > 0.15 * chart["width"]
        name = wanted.replace("#t", "test_").replace("#p", "job-")
        assert details(page).startswith(name)


def test_link_from_another_report_selects_the_test(show):
    tests = [attempt("test_a.py::test_a[x]", 0, 1), attempt("test_a.py::test_b", 1, 3, "failed")]
    page = show(report(5, [hog(2, 0, 2)], tests), "#test=test_a.py%3A%3Atest_a%5Bx%5D")
    assert focused(page) == page.locator(".pinned").get_attribute("id") == "t0"


def test_link_to_a_folded_process_unfolds_it(show):
    page = show(report(9, [process(n, n, change("exited", n + 1)) for n in range(6)], []), "#p3")
    assert details(page).startswith("job-3.py")


# ------------------------------------------------------------ hostile and large


HOSTILE = (
    "</script><script>document.title='taken'</script>", "<img src=x onerror=alert(1)>",
    "--><!--<script>", "&lt;b&gt; &amp;", "\u202egnp.exe \u2066\u2028\u2029\x00\x1b[31m",
    "\u05e9\u05dc\u05d5\u05dd", "'\"`${alert(1)}", "long " + "x" * 100_000,
)  # fmt: skip


def test_hostile_text_is_shown_as_plain_text(show):
    jobs = []
    for number, text in enumerate(HOSTILE):
        names = dict.fromkeys(["name", "test", "sandbox"], text[:200])
        output = {"stream": "stderr", "lines": [text] * 20, "total": 20}
        end = change("oom_killed", 2, text=text[:500])
        jobs += [process(number, 0.1 * number, end, command_line=text, output=output, **names)]
    tests = [attempt(text[:300], n, n + 1, "failed") for n, text in enumerate(HOSTILE)]
    found = [finding("oom", "OOM-killed", job, job["test"]) for job in jobs]
    names = [(text, text[:200]) for text in HOSTILE[:-1]]
    gaps = [made.gap((0, None), sandbox=box, why=text, from_test=text) for text, box in names]
    page = show(report(9, jobs, tests, findings=found, gaps=gaps))
    assert page.title().startswith("8 of 8 tests failed")
    assert page.evaluate("[document.scripts.length, document.images.length]") == [2, 0]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    for number, text in enumerate(HOSTILE):
        page.locator(f".item[aria-label*='pid {1000 + number}:']").first.click()
        page.click("[role=tab] >> text=Command")
        command = page.inner_text(".panel")
        if len(text) > 2000:
            assert command == text[:2000] + " ... and 98,005 characters more"
        elif text.isprintable():
            assert command == text
        else:  # a character that reverses the direction of writing or ends a line is escaped
            assert not re.search("[\u202e\u2066\u2028\u2029\x00\x1b]", command)
    assert page.evaluate("getComputedStyle(document.querySelector('.panel')).direction") == "ltr"


def test_page_shows_the_causes_even_without_javascript(show, shop):
    page = show(shop[1], java_script_enabled=False)
    assert "OOM-killed" in page.inner_text("h1")
    assert page.locator(".cards a").count() > 4
    assert page.locator("main").is_hidden()


def test_page_of_an_empty_session_says_so(show):
    assert show(report(9, [], [])).inner_text("h1") == "No test ran. No process was seen."


def test_screen_reader_finds_a_list_of_causes_and_a_table(show):
    page = show(report(9, [hog(1, 0, 2)], [attempt("test_a", 0, 1, "failed")]))
    causes = page.get_by_role("region", name="Causes of failures")
    assert causes.get_by_role("listitem").count() >= 1
    table = page.get_by_role("table")
    names = table.get_by_role("rowheader").all_inner_texts()
    assert [name.split()[0] for name in names] == ["time", "tests", "box", "job-1.py"]
    assert table.get_by_role("cell").count() == 4


def test_phone_shows_the_causes_first_and_the_bars_are_large_enough_for_a_finger(show, shop):
    page = show(shop[1], viewport={"width": 390, "height": 844})
    places = [".cards > li", "#chart"]
    card, chart = (page.locator(place).first.bounding_box() for place in places)
    assert card["y"] < 250 < chart["y"]
    assert min(bar.bounding_box()["height"] for bar in page.locator("#chart .bar").all()) >= 24


def test_page_with_a_thousand_processes_is_small_and_fast(show, tmp_path):
    page = show(made.large())
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    times = []
    for _ in range(2):
        page.reload()
        times.append(page.evaluate(TWO_FRAMES))
    assert min(times) < 1000  # the machine may be busy
    unfold(page)
    assert page.locator(".process .bar").count() == 1000
    assert page.locator(".lane .test").count() == 2000
    for _ in range(4):
        page.keyboard.press("+")
    pauses = [[b - a for a, b in pairwise(page.evaluate(FRAMES))] for _ in range(2)]
    assert min(map(median, pauses)) < 34  # two frames of a screen, without a GPU
    page.fill("#filter", "job-77")
    assert runs_shown(page) == "11 of 1,000 runs"


# ----------------------------------------------------------------- appearance


def every_kind():
    """Return a report that has everything that a page can show."""
    healthy = made.supervisor(0, health="healthy")
    unhealthy = made.supervisor(1, health="unhealthy")
    jobs = [
        process(1, 1, change("exited", 3)),
        process(2, 1, change("exited", 3, exit_code=2)),
        process(3, 1, change("signaled", 3, signal=15)),
        hog(4, 1, 3),
        process(5, 1, change("signaled", 3, signal=11)),
        process(6, 1, change("not listed", 4)),
        process(7, 1),
        process(8, -5, before_the_session=True),
        process(9, 1, change("signaled", 2, signal=6)),
        made.service(20, 0.2, change("exited", 2, supervisor=healthy)),
        made.service(21, 2.5, change("running", 3, supervisor=unhealthy)),
    ]
    outcomes = ["passed", "failed", "error", "skipped", "xfailed", "xpassed", "rerun", "crashed"]
    numbered = enumerate(outcomes)
    tests = [attempt(f"test_a.py::test_{name}", n, n + 0.95, name) for n, name in numbered]
    findings = [
        finding("oom", "OOM-killed", jobs[3], tests[1]["id"]),
        finding("leak", "Left running", jobs[6], tests[2]["id"]),
        finding("crash", "Crashed", jobs[8], tests[1]["id"], allowed="on purpose"),
        finding("restart", "Restarted", jobs[9], None, run=0),
        finding("unhealthy", "Unhealthy", jobs[10], None, run=1, at=jobs[10]["changes"][1]["at"]),
    ]
    gaps, outages = [made.gap((5, 5.95))], [made.outage(6, 6.95, "502 x3", tests[6]["id"])]
    return report(9, jobs, tests, findings=findings, gaps=gaps, outages=outages)


COLORS = """() => {
    const color = (text) => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
    const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
    const fill = (element, part) => color(getComputedStyle(element, part).backgroundColor);
    const paper = fill(document.body);
    const bands = ["even", "bad"].map((kind) => over(fill(document.querySelector(`.band.${kind}`)), paper));
    const behind = (element) => {
        if (element === document.body) return [paper, ...bands];
        const own = fill(element);
        return own[3] === 1 ? [own] : behind(element.parentElement).map((under) => over(own, under));
    };
    const pairs = [];
    const add = (kind, element, top, unders) =>
        unders.forEach((under) => pairs.push([kind, `${element.tagName} ${element.className}`, top, under]));
    const all = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.getClientRects().length);
    for (const element of all("body *:not(script, .dim, .dim *)"))
        if ([...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
            add("text", element, color(getComputedStyle(element).color), behind(element));
    for (const bar of all(".process .bar")) {
        const image = getComputedStyle(bar, "::before").backgroundImage;
        const fills = image === "none" ? [fill(bar, "::before")] : image.match(/rgb\\([^)]*\\)/g).map(color);
        for (const one of fills) add("graphic", bar, one, behind(bar.parentElement));
    }
    for (const edge of all("#chart .mark:not(.allowed), #chart .test, .note, input, select, .buttons button, .tick")) {
        const style = getComputedStyle(edge);
        const filled = fill(edge)[3] && edge.matches(".bad, .oom, .crash, .unhealthy");
        const own = filled || style.borderLeftStyle === "none" ? style.backgroundColor : style.borderLeftColor;
        add("graphic", edge, color(own), behind(edge.parentElement).slice(0, 1));
    }
    return pairs;
}"""
"""The color of each text and each mark, with the colors behind it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_and_marks_have_the_contrast_that_wcag_aa_requires(show, scheme):
    page = show(every_kind(), color_scheme=scheme)
    page.locator("#p0").focus()
    pairs = page.evaluate(COLORS)
    assert len(pairs) > 150
    for kind, name, color, behind in pairs:
        assert contrast(color, behind) >= (4.5 if kind == "text" else 3.0), name


def test_button_switches_between_light_and_dark(show):
    page = show(every_kind(), color_scheme="light")
    shades = []
    for _ in range(3):
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.click("#theme")
    assert shades == ["rgb(255, 255, 255)", "rgb(20, 24, 30)", "rgb(255, 255, 255)"]


SHAPES = """([selector, part, names]) =>
    Object.fromEntries([...document.querySelectorAll(selector)].map((element) => {
        const style = getComputedStyle(element, part);
        const shape = names.map((name) => style[name].replace(/rgb\\([^)]*\\)/g, ""));
        return [element.className, shape.join(" ")];
    }))"""
"""These properties of the elements that match a selector, without colours, by their classes."""
BARS = [".process .bar", "::before", ["borderRight", "clipPath", "backgroundImage"]]
MARKS = ["#canvas .mark", None, ["clipPath", "borderRadius", "borderWidth"]]


def test_bars_and_marks_of_different_kinds_differ_by_more_than_colour(show):
    page = show(every_kind())
    bars, marks = page.evaluate(SHAPES, BARS), page.evaluate(SHAPES, MARKS)
    kinds = "crash, crash allowed, exited, failed, gone, oom, running open, running open before, signaled"
    assert sorted(bars) == [f"item bar {kind}" for kind in kinds.split(", ")]
    assert len(set(bars.values())) == len(bars) - 1  # an allowed crash differs by its colour
    kinds = "crash, crash allowed, leak, oom, restart, unhealthy"
    assert sorted(marks) == [f"mark {kind}" for kind in kinds.split(", ")]
    assert len(set(marks.values())) == len(marks) - 1
    texts = set(page.locator(".text").all_text_contents())  # some have no room
    assert {"OOM-killed", "Crashed", "Restarted", "Left running"} <= texts
    outcomes = [text.split()[0] for text in page.locator("#chart .test").all_inner_texts()]
    assert outcomes == ["test_passed", "F", "E", "s", "x", "X", "R", "!"]


def test_printed_page_uses_light_colours_and_contains_every_row(show):
    jobs = [process(n, n, change("exited", n + 2, exit_code=1)) for n in range(300)]
    page = show(report(310, jobs, []), color_scheme="dark")
    page.keyboard.press("+")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = "[chart.scrollHeight - chart.clientHeight, chart.scrollWidth - chart.clientWidth]"
    assert page.evaluate(hidden) == [0, 0]
    assert page.locator(".toolbar").is_hidden()
    unfold(page)
    pages = [sheet.extract_text() for sheet in PdfReader(BytesIO(page.pdf())).pages]
    assert len(pages) > 4
    first = next(n for n, text in enumerate(pages) if "time since" in text)
    assert all("time since" in text for text in pages[first:])
    assert len({*re.findall(r"job-\d+", "".join(pages))}) == 300


@pytest.mark.parametrize("width", [400, 700, 1280])
def test_page_never_scrolls_sideways(show, shop, width):
    page = show(shop[1], viewport={"width": width, "height": 800})
    page.locator("#p0").focus()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_tests_of_a_worker_are_behind_the_bars_of_its_sandbox(show):
    end = change("exited", 3)
    jobs = [process(1, 1, end, sandbox="local@gw0"), hog(2, 2, 3, sandbox="local@gw1")]
    passed = attempt("test_a.py::test_0", 0, 0.9, worker="gw0")
    failed = attempt("test_a.py::test_1", 1, 1.9, "failed", worker="gw1")
    workers = [{"id": f"gw{n}", "lost": False} for n in range(2)]
    page = show(report(5, jobs, [passed, failed], workers=workers))
    assert [box.locator(".band.bad").count() for box in page.locator(".sandbox").all()] == [1, 0]
