"""The code in the README and the pages of ``docs`` runs as shown, and their links work."""

import itertools
import os
import re
import shlex

import pytest

from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.support import sample_of
from tools.pages import ROOT, without_numbers

PATTERNS = ("*.md", "*/*.md", "docs/*/*.md")
PATHS = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]
ALL = [path.relative_to(ROOT).as_posix() for path in PATHS]
PAGES = [page for page in ALL if re.match("README|docs/(?!contributing/)", page)]
"""The pages whose code and commands are run here."""
BLOCK = re.compile(r"(?:<!-- (.+?) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
FAILING = ("fails", "readme: test")
"""Marks of tests that must fail; tools/readme.py checks the one in the README."""
ELSEWHERE = "run by "
"""Mark of a block that needs a package that is not installed here; it names the test."""
COMMAND = re.compile(r"^(?:\$ |.*python -m )pytest (.+)$", re.MULTILINE)
"""A command in a terminal, in a job of GitLab or in a pipeline of Jenkins."""
FOLDERS = "separate folders"
"""Mark of a command whose workers run in folders of their own."""
GUARDED = "docs/how-to/expect-failures.md"
"""The page that shows the options with which its tests run."""
CREATES_A_SANDBOX = [f"docs/how-to/{name}.md" for name in ("async", "sdk", "share-sandboxes")]
SHARED = "docs/how-to/share-sandboxes.md"
"""The page with the conftest that the examples on the page about the SDK use."""
SETTINGS = "[pytest]\ntlsandbox = local\ntlsandbox_memory = 256M\n"
TEST = "def test_it(tlsandbox): tlsandbox.assert_no_incidents()"
MADE_UP_SERVICE = """
from pytest_tlsandbox import start_local_sandbox
from tensorlake.sandbox import AsyncSandbox, Sandbox

def pytest_configure(config):
    local = start_local_sandbox(identifier="my-sandbox")
    config.add_cleanup(local.close)
    where = {"identifier": "my-sandbox", "proxy_url": local.url, "api_key": local.api_key.reveal()}
    async def create(**_): return AsyncSandbox(**where)
    Sandbox.create, AsyncSandbox.create = lambda **_: Sandbox(**where), create
"""


def blocks(page):
    """Return the mark, the language and the text of each block of code on a page."""
    return BLOCK.findall((ROOT / page).read_text("utf-8"))


def on_pages_with(*kinds, sample):
    """Run a test on all pages with blocks of these languages or marks; `make test` samples them."""
    pages = {page: page for page in PAGES if any({*block} & {*kinds} for block in blocks(page))}
    return pytest.mark.parametrize("page", sample_of(pages, *sample))


@pytest.fixture
def run(fork_pytest, tmp_path):
    """Return a function that runs pytest on what the test has written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}

    def run(*options, **environment):
        options = [*options, "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        return fork_pytest(options, tmp_path, {**kept, "COLUMNS": "100", **environment})

    return run


def stable(text):
    """Remove text that differs from run to run, and the marks of pytest."""
    return without_numbers(re.sub(r"^E  ?", "", text, flags=re.MULTILINE)).strip()


@pytest.fixture(scope="module")
def my_sandbox():
    """Return the environment variables with which a run reaches a sandbox."""
    with start_local_sandbox(identifier="my-sandbox") as sandbox:
        address = {"TLSANDBOX": "my-sandbox", "TENSORLAKE_SANDBOX_PROXY_URL": sandbox.url}
        yield {**address, "TENSORLAKE_API_KEY": sandbox.api_key.reveal()}


@on_pages_with("python", sample=["docs/tutorial.md"])
def test_example_tests_on_a_page_of_the_docs_pass(page, tmp_path, run):
    (tmp_path / "pytest.ini").write_text("[pytest]\n" if page == GUARDED else SETTINGS)
    (tmp_path / "made_up_service.py").write_text(MADE_UP_SERVICE)
    shown = ""
    for number, (mark, language, code) in enumerate(blocks(page)):
        if mark.startswith(ELSEWHERE):
            assert mark in (ROOT / mark.removeprefix(ELSEWHERE)).read_text("utf-8")
        elif language == "python" and mark not in FAILING:
            name = mark.removeprefix("file: ")
            name = name if name.endswith(".py") else f"test_{number:02}.py"
            (tmp_path / name).write_text(code)
            shown += code

    if page == "docs/how-to/sdk.md":
        [conftest] = [code for mark, _, code in blocks(SHARED) if mark == "file: conftest.py"]
        (tmp_path / "conftest.py").write_text(conftest)
    text = (ROOT / page).read_text("utf-8")
    guarded = shlex.split(*COMMAND.findall(text)) if page == GUARDED else []
    service = ["-p", "made_up_service"] if page in CREATES_A_SANDBOX else []
    done = run(*guarded, *service)

    collected = "def test_" in shown
    assert done.ret == (0 if collected else pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout.str()
    for reason in re.findall(r'reason="(.+?)"', shown) if guarded else ():
        assert f"allowed: {reason}" in done.stdout.str()


@on_pages_with("fails", sample=["docs/tutorial.md"])
def test_failure_on_a_page_of_the_docs_matches_the_real_output(page, tmp_path, run):
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    for (mark, _, code), (_, language, output) in itertools.pairwise(blocks(page)):
        if mark == "fails":
            (tmp_path / "test_it.py").write_text(code)
            done = run()
            assert (done.ret, language) == (1, "text")
            assert stable(output) in stable(done.stdout.str()), done.stdout.str()


@on_pages_with("console", "yaml", "groovy", sample=["README.md"])
def test_commands_on_a_page_of_the_docs_succeed(page, tmp_path, run, my_sandbox):
    (tmp_path / "test_it.py").write_text(TEST)
    for mark, language, text in blocks(page):
        if language not in ("console", "yaml", "groovy") or mark == FOLDERS:
            continue
        for command in COMMAND.findall(text.replace("\\\n", " ")):
            if language == "groovy":  # the command is the content of a string
                command = command.rstrip("'")
            # The conftest of this repository removes the key.
            done = run(*shlex.split(command, comments=True), "--noconftest", **my_sandbox)
            assert done.ret == 0, f"{command}\n{done.stdout.str()}{done.stderr.str()}"


@pytest.mark.slow
def test_command_with_workers_in_separate_folders_writes_one_report(tmp_path, run):
    [text] = [text for mark, _, text in blocks(SHARED) if mark == FOLDERS]
    command = text.removeprefix("$ pytest ").replace("\\\n", " ")
    for shown in ("/tmp", "$PWD"):
        command = command.replace(shown, str(tmp_path))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(TEST)

    assert run(*shlex.split(command)).ret == 0
    assert (tmp_path / "one" / "tests").is_dir()
    assert (tmp_path / "out.html").stat().st_size


@on_pages_with("toml", sample=["docs/reference/options.md"])
def test_settings_on_a_page_of_the_docs_take_effect(page, tmp_path, run):
    [settings] = [text for _, language, text in blocks(page) if language == "toml"]
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "pyproject.toml").write_text(settings)

    done = run()

    assert "\ntlsandbox: local\n" in done.stdout.str()
    assert done.ret == 0, done.stdout.str() + done.stderr.str()


def test_page_of_the_doctor_in_the_docs_matches_the_real_output(run):
    found = blocks("docs/reference/options.md")
    [shown] = [text for mark, _, text in found if mark == "doctor"]
    [command] = [text for _, language, text in found if language == "console"]

    done = run(*shlex.split(*COMMAND.findall(command)))

    printed = re.sub("by (cgroup v2|watchdog)", "by cgroup v1", done.stdout.str())
    assert stable(shown) in stable(printed)


def anchors(page):
    """Return the anchors of a page as GitHub creates them from headings that differ."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL)
def test_target_of_each_link_in_the_docs_exists(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), link
        assert ROOT.resolve() in target.resolve().parents, link
        assert not anchor or anchor in anchors(target), link


def test_two_links_lead_from_the_readme_to_each_page_of_the_docs():
    def linked_from(page):
        links = re.findall(r"\]\(([^)\s#:]+\.md)", page.read_text("utf-8"))
        return {(page.parent / link).resolve() for link in links}

    first = linked_from(ROOT / "README.md")
    second = {page for each in first for page in linked_from(each)}

    assert {*(ROOT / "docs").rglob("*.md")} <= first | second


def test_navigation_of_the_site_contains_each_page_of_the_docs():
    navigation = re.findall(r'= "(.+\.md)"', (ROOT / "zensical.toml").read_text("utf-8"))
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]

    assert sorted(navigation) == sorted(["index.md", *pages])
