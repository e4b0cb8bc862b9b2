"""What must not be printed."""

import copy
import json
import pickle
import re

import pytest

from pytest_tlsandbox.redact import Secret, also_mask, mask_args, mask_text

VALUE = "hunter2"


# Secret


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(VALUE)),
        str(Secret(VALUE)),
        f"{Secret(VALUE)}",
        f"{Secret(VALUE)!s}",
        f"{Secret(VALUE)!r}",
        f"{Secret(VALUE)!a}",
        "%s" % Secret(VALUE),  # noqa: UP031
        "{}".format(Secret(VALUE)),  # noqa: UP032
        ascii(Secret(VALUE)),
    ],
    ids=["repr", "str", "f", "f-s", "f-r", "f-a", "percent", "format", "ascii"],
)
def test_a_secret_shows_as_a_mask(shown):
    assert shown == "***"


def test_a_secret_shows_as_a_mask_inside_of_others():
    secret = Secret(VALUE)

    assert f"{[secret]} {{'key': {secret!r}}} {(secret,)}" == "[***] {'key': ***} (***,)"


def test_a_secret_is_revealed_on_request_only():
    secret = Secret(VALUE)

    assert secret.reveal() == VALUE
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize(
    "write", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test_a_secret_is_not_pickled_or_copied(write):
    with pytest.raises(TypeError) as raised:
        write(Secret(VALUE))

    assert str(raised.value) == "a Secret is not written to files or sent to other processes"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_protocol_pickles_a_secret(protocol):
    with pytest.raises(TypeError):
        pickle.dumps([Secret(VALUE)], protocol)


def test_a_secret_is_no_json():
    with pytest.raises(TypeError) as raised:
        json.dumps({"key": Secret(VALUE)})

    assert VALUE not in str(raised.value)


def test_secrets_are_equal_when_their_texts_are():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_an_empty_secret_is_false():
    assert not Secret("")
    assert Secret("a")


# Text

KEPT = [
    "--max-tokens=5",
    "--max_tokens=5",
    "--author=x",
    "--authors=x,y",
    "--keyboard=us",
    "--keyword=blue",
    "--keywords=blue,red",
    "--keys=1,2",
    "--keystrokes=12",
    "--tokenizer=bpe",
    "--tokenize=yes",
    "tokens: 5",
    "--lr=0.1",
    "--port=8080",
    "PATH=/usr/bin",
    "http.server 8080",
    "git@github.com:org/repo.git",
    "https://github.com/org/repo@v1.2",
    "https://x.example/a?b=c",
    "me@x.example",
    "a basic example",
    "COMPASS=north",
    "BYPASS=1",
    "PATTERN=x.*",
    "PATH: /usr/bin",
    "--path=/usr/bin",
    "--path /usr/bin",
    "--compass north",
    "--pass-rate=0.9",
    "PASS_RATE=0.9",
    "PASS: test_shard (0.1 s)",
    "--- PASS: TestShard (0.10s)",
    '{"pass": 12, "fail": 0}',
    "the option --token is required",
    "--no-auth -v --port 80",
    "--use-token --verbose x",
    "['--use-token', '--verbose', 'x']",
    "train.py --lr 0.1",
    "",
]


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays_readable(text):
    assert mask_text(text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param("--token=hunter2", "--token=***", id="flag"),
        pytest.param("-token=hunter2", "-token=***", id="short flag"),
        pytest.param("--api-key=hunter2", "--api-key=***", id="api-key"),
        pytest.param("--apikey=hunter2", "--apikey=***", id="apikey"),
        pytest.param("--hf-token=hunter2", "--hf-token=***", id="hf-token"),
        pytest.param("API_KEY=hunter2", "API_KEY=***", id="environment"),
        pytest.param("OPENAI_API_KEY=hunter2", "OPENAI_API_KEY=***", id="environment, longer"),
        pytest.param("AWS_SECRET_ACCESS_KEY=a/b+c==", "AWS_SECRET_ACCESS_KEY=***", id="aws"),
        pytest.param("KEY=hunter2", "KEY=***", id="KEY"),
        pytest.param("PGPASSWORD=hunter2 psql", "PGPASSWORD=*** psql", id="pgpassword"),
        pytest.param("passwd=hunter2", "passwd=***", id="passwd"),
        pytest.param("passphrase=hunter2", "passphrase=***", id="passphrase"),
        pytest.param("DB_PWD=hunter2", "DB_PWD=***", id="pwd"),
        pytest.param("client_secret=hunter2", "client_secret=***", id="secret"),
        pytest.param("credentials=hunter2", "credentials=***", id="credentials"),
        pytest.param("oauth=hunter2", "oauth=***", id="oauth"),
        pytest.param("password: hunter2", "password: ***", id="colon"),
        pytest.param("X-Api-Key: hunter2", "X-Api-Key: ***", id="header"),
        pytest.param("token = hunter2", "token = ***", id="spaces"),
        pytest.param("token='hunter2'", "token='***'", id="quotes"),
        pytest.param("token='hunter2 hunter2'", "token='***'", id="quotes around words"),
        pytest.param('{"token": "hunter2"}', '{"token": "***"}', id="JSON"),
        pytest.param("{'api_key': 'hunter2'}", "{'api_key': '***'}", id="repr of a dict"),
        pytest.param("a?token=hunter2&b=1", "a?token=***&b=1", id="query"),
        pytest.param("token=hunter2; key=hunter2", "token=***; key=***", id="two"),
        pytest.param("Bearer hunter2", "Bearer ***", id="bearer"),
        pytest.param("Authorization: Bearer hunter2.x-y", "Authorization: ***", id="bearer header"),
        pytest.param("Authorization: Basic aHVudGVyMg==", "Authorization: ***", id="basic header"),
        pytest.param("Authorization: hunter2", "Authorization: ***", id="header without a scheme"),
        pytest.param("authorization=hunter2", "authorization=***", id="authorization"),
        pytest.param("postgres://me:hunter2@db/x", "postgres://***@db/x", id="url"),
        pytest.param("https://hunter2@x.example", "https://***@x.example", id="url, user alone"),
        pytest.param("postgres://me:hun@ter2@db/x", "postgres://***@db/x", id="url, @ in it"),
        pytest.param("used tl_apiKey_ab-12_x, no", "used ***, no", id="own key"),
        pytest.param("used tl_pat_ab12", "used ***", id="own token"),
        pytest.param("DB_PASS=hunter2", "DB_PASS=***", id="pass"),
        pytest.param("db.pass: hunter2", "db.pass: ***", id="pass, colon"),
        pytest.param("PASS=hunter2", "PASS=***", id="pass alone"),
        pytest.param('{"pass": "hunter2"}', '{"pass": "***"}', id="pass, JSON"),
        pytest.param("SSHPASS=hunter2 ssh x", "SSHPASS=*** ssh x", id="sshpass"),
        pytest.param("GH_PAT=hunter2", "GH_PAT=***", id="pat"),
        pytest.param("a?pat=hunter2&b=1", "a?pat=***&b=1", id="pat, query"),
        pytest.param("login --token hunter2 x", "login --token *** x", id="flag, space"),
        pytest.param("login --db-pass hunter2", "login --db-pass ***", id="flag, pass"),
        pytest.param("login -pat\thunter2", "login -pat\t***", id="flag, tab"),
        pytest.param("login --token -abc", "login --token ***", id="flag, dash"),
        pytest.param("login --token --Xq9-z", "login --token ***", id="flag, two dashes"),
        pytest.param("login --token 'hunter2 x' y", "login --token '***' y", id="flag, quotes"),
        pytest.param('login --token "hunter2 x" y', 'login --token "***" y', id="flag, quotes 2"),
        pytest.param("login --token hunter2; x", "login --token ***; x", id="flag, semicolon"),
        pytest.param("$(login --token hunter2)", "$(login --token ***)", id="flag, parenthesis"),
        pytest.param("login --token hun\\ ter2 x", "login --token *** x", id="flag, escaped space"),
        pytest.param(
            "login --token \\\n  hunter2", "login --token \\\n  ***", id="flag, line goes on"
        ),
        pytest.param("login --auth Bearer hunter2 x", "login --auth *** x", id="flag, scheme"),
        pytest.param("login --token = hunter2", "login --token = ***", id="flag, = in spaces"),
        pytest.param("password: --token hunter2", "password: *** ***", id="flag as a value"),
        pytest.param("--auth --token hunter2", "--auth --token ***", id="two flags"),
        pytest.param(
            "['login', '--token', 'hunter2', 'x']", "['login', '--token', '***', 'x']", id="list"
        ),
        pytest.param('["--token","hunter2"]', '["--token","***"]', id="list, JSON"),
        pytest.param("['--token', '-abc']", "['--token', '***']", id="list, dash"),
        pytest.param(
            '"login --token \\"hunter2 x\\" y"',
            '"login --token \\"***\\" y"',
            id="flag, escaped quotes",
        ),
        pytest.param(
            '"{\\"token\\": \\"hunter2 x\\"}"', '"{\\"token\\": \\"***\\"}"', id="JSON in JSON"
        ),
    ],
)
def test_what_looks_like_a_secret_is_masked(text, masked):
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text", ['--token "hunter2', 'token="hunter2', "token='hunter2", '{"token": "hunter2']
)
def test_a_quote_that_was_cut_off_does_not_show_the_secret(text):
    assert "hunter2" not in mask_text(text)
    assert "hunter2" not in mask_args(["run", text])[1]


def test_masking_twice_is_masking_once():
    text = "API_KEY=hunter2 run --token=hunter2 https://a:b@c Bearer hunter2"

    assert mask_text(mask_text(text)) == mask_text(text)


def test_a_long_text_is_masked_in_no_time():
    text = "a-" * 20_000 + " token=hunter2"

    assert "hunter2" not in mask_text(text)


# Arguments


@pytest.mark.parametrize(
    ("args", "masked"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["--token", "hunter2", "x"], ["--token", "***", "x"], id="next"),
        pytest.param(["-password", "hunter2"], ["-password", "***"], id="short"),
        pytest.param(["--api-key", "two words"], ["--api-key", "***"], id="next, of two words"),
        pytest.param(["--token=hunter2", "x"], ["--token=***", "x"], id="same"),
        pytest.param(["--token", "--verbose"], ["--token", "--verbose"], id="flag follows"),
        pytest.param(["--no-auth", "-v"], ["--no-auth", "-v"], id="short flag follows"),
        pytest.param(["--auth", "--port=80"], ["--auth", "--port=80"], id="flag with = follows"),
        pytest.param(["--token", "-abc", "x"], ["--token", "***", "x"], id="dash"),
        pytest.param(["--token", "-1"], ["--token", "***"], id="dash, number"),
        pytest.param(["--token", "-a'b"], ["--token", "***"], id="dash, quote"),
        pytest.param(["--token", "--Xq9-z"], ["--token", "***"], id="two dashes"),
        pytest.param(["-auth", "-token", "hunter2"], ["-auth", "***", "***"], id="two flags"),
        pytest.param(["--db-pass", "hunter2"], ["--db-pass", "***"], id="pass"),
        pytest.param(["--pat", "hunter2"], ["--pat", "***"], id="pat"),
        pytest.param(["--path", "/usr"], ["--path", "/usr"], id="look-alike, path"),
        pytest.param(["--compass", "north"], ["--compass", "north"], id="look-alike, compass"),
        pytest.param(["DB_PASS=two words"], ["DB_PASS=***"], id="pass, environment"),
        pytest.param(
            ["-c", "login --token hunter2 && run --token 'hunter2'"],
            ["-c", "login --token *** && run --token '***'"],
            id="command line in an argument",
        ),
        pytest.param(["--token"], ["--token"], id="last"),
        pytest.param(["token", "hunter2"], ["token", "hunter2"], id="no flag"),
        pytest.param(["--max-tokens", "5"], ["--max-tokens", "5"], id="look-alike"),
        pytest.param(["--author", "x"], ["--author", "x"], id="look-alike, author"),
        pytest.param(["--tokenizer", "bpe"], ["--tokenizer", "bpe"], id="look-alike, tokenizer"),
        pytest.param(["-e", "API_KEY=hunter2"], ["-e", "API_KEY=***"], id="environment"),
        pytest.param(
            ["-c", "export TOKEN=hunter2; ./run"], ["-c", "export TOKEN=***; ./run"], id="shell"
        ),
        pytest.param(
            ["-H", "Authorization: Bearer hunter2"], ["-H", "Authorization:***"], id="header"
        ),
        pytest.param(["--password=hun,ter;2&x"], ["--password=***"], id="marks in a value"),
        pytest.param(["--password=two words"], ["--password=***"], id="space in a value"),
    ],
)
def test_arguments_are_masked(args, masked):
    assert mask_args(args) == masked


def test_arguments_themselves_are_left_alone():
    args = ["--token", "hunter2"]

    mask_args(args)

    assert args == ["--token", "hunter2"]


def test_what_fits_a_pattern_of_ones_own_is_masked_until_it_is_taken_back():
    also_mask([re.compile("acme-[0-9]+")])
    try:
        assert mask_text("job acme-42 of acme-x") == "job *** of acme-x"
        assert mask_args(["acme-1", "--id", "xacme-2"]) == ["***", "--id", "x***"]
    finally:
        also_mask([])
    assert mask_text("acme-42") == "acme-42"
