"""Secrets are masked in all printed text."""

import copy
import pickle
import re
from functools import partial

import pytest

from pytest_tlsandbox.redact import Secret, mask_args, mask_text, set_masks
from tests.support import failure

VALUE = "hunter2"


# Secret


@pytest.mark.parametrize("show", [repr, str, ascii, format, "{!r}".format, "%s".__mod__])
def test_secret_object_is_printed_as_a_mask(show):
    assert show(Secret(VALUE)) == "***"
    assert show([Secret(VALUE)]) == "[***]"


PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize(
    "write", [copy.copy, copy.deepcopy, *(partial(pickle.dumps, protocol=n) for n in PROTOCOLS)]
)
def test_secret_cannot_be_pickled_or_copied(write):
    assert str(failure(lambda: write(Secret(VALUE)), TypeError)) == (
        "a Secret must not be written to a file or sent to another process"
    )


def test_secret_objects_with_equal_text_are_equal():
    assert Secret("a") != "a"
    assert {Secret("a"), Secret("a"), Secret("b")} == {Secret("a"), Secret("b")}


# Text. In these tables, « and » enclose the parts that must be masked.


def split(marked):
    """Return a text without its marks, and with ``***`` in place of each marked part."""
    return marked.replace("«", "").replace("»", ""), re.sub("«.*?»", "***", marked, flags=re.DOTALL)


TEXTS = [
    # Not a secret.
    "--max-tokens=5", "--max_tokens=5", "--author=x", "--authors=x,y", "--keyboard=us",
    "--keyword=blue", "--keywords=blue,red", "--keys=1,2", "--keystrokes=12", "--tokenizer=bpe",
    "--tokenize=yes", "tokens: 5", "--lr=0.1", "--port=8080", "PATH=/usr/bin",
    "http.server 8080", "git@github.com:org/repo.git", "https://github.com/org/repo@v1.2",
    "https://x.example/a?b=c", "me@x.example", "a basic example", "COMPASS=north", "BYPASS=1",
    "PATTERN=x.*", "PATH: /usr/bin", "--path=/usr/bin", "--path /usr/bin", "--compass north",
    "--pass-rate=0.9", "PASS_RATE=0.9", "PASS: test_shard (0.1 s)",
    "--- PASS: TestShard (0.10s)", '{"pass": 12, "fail": 0}', "the option --token is required",
    "--no-auth -v --port 80", "--use-token --verbose x", "['--use-token', '--verbose', 'x']",
    "train.py --lr 0.1", "",
    # A secret.
    "--token=«hunter2»", "-token=«hunter2»", "--api-key=«hunter2»", "--apikey=«hunter2»",
    "--hf-token=«hunter2»", "API_KEY=«hunter2»", "OPENAI_API_KEY=«hunter2»",
    "AWS_SECRET_ACCESS_KEY=«a/b+c==»", "KEY=«hunter2»", "PGPASSWORD=«hunter2» psql",
    "passwd=«hunter2»", "passphrase=«hunter2»", "DB_PWD=«hunter2»", "client_secret=«hunter2»",
    "credentials=«hunter2»", "oauth=«hunter2»", "password: «hunter2»", "X-Api-Key: «hunter2»",
    "token = «hunter2»", "token='«hunter2»'", "token='«hunter2 hunter2»'",
    '{"token": "«hunter2»"}', "{'api_key': '«hunter2»'}", "a?token=«hunter2»&b=1",
    "token=«hunter2»; key=«hunter2»", "Bearer «hunter2»", "Authorization: «Bearer hunter2.x-y»",
    "Authorization: «Basic aHVudGVyMg==»", "Authorization: «hunter2»", "authorization=«hunter2»",
    "postgres://«me:hunter2»@db/x", "https://«hunter2»@x.example",
    "postgres://«me:hun@ter2»@db/x", "used «tl_apiKey_ab-12_x», no", "used «tl_pat_ab12»",
    "DB_PASS=«hunter2»", "db.pass: «hunter2»", "PASS=«hunter2»", '{"pass": "«hunter2»"}',
    "SSHPASS=«hunter2» ssh x", "GH_PAT=«hunter2»", "a?pat=«hunter2»&b=1",
    "login --token «hunter2» x", "login --db-pass «hunter2»", "login -pat\t«hunter2»",
    "login --token «-abc»", "login --token «--Xq9-z»", "login --token '«hunter2 x»' y",
    'login --token "«hunter2 x»" y', "login --token «hunter2»; x", "$(login --token «hunter2»)",
    "login --token «hun\\ ter2» x", "login --token \\\n  «hunter2»",
    "login --auth «Bearer hunter2» x", "login --token = «hunter2»",
    "password: «--token» «hunter2»", "--auth --token «hunter2»",
    "['login', '--token', '«hunter2»', 'x']", '["--token","«hunter2»"]', "['--token', '«-abc»']",
    '"login --token \\"«hunter2 x»\\" y"', '"{\\"token\\": \\"«hunter2 x»\\"}"',
]  # fmt: skip


@pytest.mark.parametrize("marked", TEXTS)
def test_only_text_that_looks_like_a_secret_is_masked(marked):
    text, masked = split(marked)

    assert mask_text(text) == masked
    assert mask_text(masked) == masked


@pytest.mark.parametrize(
    "text", ['--token "hunter2', 'token="hunter2', "token='hunter2", '{"token": "hunter2']
)
def test_secret_after_an_unclosed_quote_is_masked(text):
    assert "hunter2" not in mask_text(text)
    assert "hunter2" not in mask_args(["run", text])[1]


# Arguments

ARGUMENTS = [
    [], ["--token", "«hunter2»", "x"], ["-password", "«hunter2»"], ["--api-key", "«two words»"],
    ["--token=«hunter2»", "x"], ["--token", "--verbose"], ["--no-auth", "-v"],
    ["--auth", "--port=80"], ["--token", "«-abc»", "x"], ["--token", "«-1»"],
    ["--token", "«-a'b»"], ["--token", "«--Xq9-z»"], ["-auth", "«-token»", "«hunter2»"],
    ["--db-pass", "«hunter2»"], ["--pat", "«hunter2»"], ["--path", "/usr"],
    ["--compass", "north"], ["DB_PASS=«two words»"],
    ["-c", "login --token «hunter2» && run --token '«hunter2»'"], ["--token"],
    ["token", "hunter2"], ["--max-tokens", "5"], ["--author", "x"], ["--tokenizer", "bpe"],
    ["-e", "API_KEY=«hunter2»"], ["-c", "export TOKEN=«hunter2»; ./run"],
    ["-H", "Authorization:« Bearer hunter2»"], ["--password=«hun,ter;2&x»"],
    ["--password=«two words»"],
]  # fmt: skip


@pytest.mark.parametrize("marked", ARGUMENTS, ids=" ".join)
def test_secrets_in_arguments_are_masked(marked):
    args = [split(arg)[0] for arg in marked]

    assert mask_args(args) == [split(arg)[1] for arg in marked]
    assert args == [split(arg)[0] for arg in marked], "the list was changed"


def test_text_that_matches_a_custom_pattern_is_masked_until_the_pattern_is_removed():
    set_masks([re.compile("acme-[0-9]+")])
    try:
        assert mask_text("job acme-42 of acme-x") == "job *** of acme-x"
        assert mask_args(["acme-1", "--id", "xacme-2"]) == ["***", "--id", "x***"]
    finally:
        set_masks([])
    assert mask_text("acme-42") == "acme-42"
