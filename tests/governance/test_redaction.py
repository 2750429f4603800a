"""Redaction: registered values, shapes, keys; stable, total, and quick on clean texts.

No secret in this file is one: each is put together from a prefix and letters of a counter, and none is written out
whole, so that scanners of the repository stay silent.
"""

import base64
import html
import itertools
import json
import time
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ooda.errors import ConfigError
from ooda.governance.redaction import OVERLAP, Hit, Redacted, Redactor, has_marker, marker
from ooda.governance.redaction_shapes import SHAPES

ALNUM = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zC"
HEX = "9f86d081884c7d659a2feaa0c55ad015"
UPPER = "A2BC3DE4FG5HJ6KL7MNPQRSTUVWXYZ23"


def some(count: int, letters: str = ALNUM) -> str:
    """`count` characters that look generated."""
    return (letters * (count // len(letters) + 1))[:count]


def jwt() -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890"}))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "." + some(43)


SECRETS = {
    "anthropic-key": "sk-ant-api03-" + some(80),
    "openrouter-key": "sk-or-v1-" + some(64, HEX),
    "openai-key": "sk-proj-" + some(60),
    "secret-key": "sk-" + some(32, HEX),
    "google-api-key": "AIza" + some(35),
    "huggingface-token": "hf_" + some(34),
    "groq-key": "gsk_" + some(52),
    "replicate-token": "r8_" + some(37),
    "fireworks-key": "fw_" + some(24),
    "together-key": "tgp_v1_" + some(43),
    "xai-key": "xai-" + some(80),
    "perplexity-key": "pplx-" + some(48),
    "nvidia-key": "nvapi-" + some(64),
    "cerebras-key": "csk-" + some(48, HEX),
    "langsmith-key": "lsv2_pt_" + some(32, HEX) + "_" + some(10, HEX),
    "pinecone-key": "pcsk_" + some(60),
    "wandb-key": "wandb_v1_" + some(60),
    "github-token": "ghp_" + some(36),
    "github-fine-grained-token": "github_pat_" + some(22) + "_" + some(59),
    "gitlab-token": "glpat-" + some(20),
    "npm-token": "npm_" + some(36),
    "pypi-token": "pypi-AgEIcHlwaS5vcmc" + some(60),
    "rubygems-key": "rubygems_" + some(48, HEX),
    "dockerhub-token": "dckr_pat_" + some(27),
    "circleci-token": "CCIPAT_" + some(22) + "_" + some(40, HEX),
    "buildkite-token": "bkua_" + some(40, HEX),
    "sourcegraph-token": "sgp_" + some(40, HEX),
    "atlassian-token": "ATATT3xFfGF0" + some(180),
    "aws-access-key": "AKIA" + some(16, UPPER),
    "google-oauth-token": "ya29." + some(60),
    "google-oauth-secret": "GOCSPX-" + some(28),
    "azure-client-secret": "abc8Q~" + some(34),
    "digitalocean-token": "dop_v1_" + some(64, HEX),
    "cloudflare-token": "cfut_" + some(48),
    "vercel-token": "vcp_" + some(56),
    "vercel-blob-token": "vercel_blob_rw_" + some(48),
    "netlify-token": "nfp_" + some(36),
    "heroku-key": "HRKU-" + some(60),
    "flyio-token": "fm2_" + some(160),
    "render-key": "rnd_" + some(28),
    "databricks-token": "dapi" + some(32, HEX),
    "vault-token": "hvs." + some(90),
    "terraform-token": some(14) + ".atlasv1." + some(67),
    "doppler-token": "dp.pt." + some(43),
    "pulumi-token": "pul-" + some(40, HEX),
    "tailscale-key": "tskey-auth-" + some(17) + "-" + some(32),
    "planetscale-token": "pscale_tkn_" + some(43),
    "supabase-token": "sbp_" + some(40, HEX),
    "neon-key": "napi_" + some(64, HEX),
    "prefect-key": "pnu_" + some(36),
    "slack-token": "xoxb-" + some(12, "1234567890") + "-" + some(24),
    "webhook-url": "hooks.slack.com/services/T" + some(8, UPPER) + "/B" + some(8, UPPER) + "/" + some(24),
    "telegram-token": some(10, "1234567890") + ":AA" + some(33),
    "sendgrid-key": "SG." + some(22) + "." + some(43),
    "mailgun-key": "key-" + some(32, HEX),
    "brevo-key": "xkeysib-" + some(64, HEX) + "-" + some(16),
    "sentry-token": "sntrys_" + some(60),
    "grafana-token": "glsa_" + some(32) + "_" + some(8, HEX),
    "newrelic-key": "NRAK-" + some(27, UPPER),
    "dynatrace-token": "dt0c01." + some(24, UPPER) + "." + some(64, UPPER),
    "postman-key": "PMAK-" + some(24, HEX) + "-" + some(34, HEX),
    "linear-key": "lin_api_" + some(40),
    "notion-token": "ntn_" + some(46),
    "figma-token": "figd_" + some(43),
    "contentful-token": "CFPAT-" + some(43),
    "stripe-key": "sk_live_" + some(24),
    "webhook-secret": "whsec_" + some(32),
    "square-token": "sq0atp-" + some(22),
    "shopify-token": "shpat_" + some(32, HEX),
    "jwt": jwt(),
    "age-key": "AGE-SECRET-KEY-1" + some(58, UPPER),
}
"""One secret of each shape that stands alone in a text."""

PEM = "\n".join(
    ["-----BEGIN RSA " + "PRIVATE KEY-----", some(64), some(64), some(20) + "==", "-----END RSA " + "PRIVATE KEY-----"]
)

IN_CONTEXT = {
    "private-key": (PEM, PEM),
    "private-key without its end": ("-----BEGIN " + "PRIVATE KEY-----\n" + some(64) + "\n" + some(40), some(40)),
    "private-key of putty": ("Private-" + f"Lines: 2\n{some(64)}\n{some(30)}\n", some(30)),
    "private-key of a kubeconfig": (f"    client-key-data: {some(64)}\n", some(64)),
    "bearer": (f"curl -H 'X-Forward: Bearer {some(32)}'", some(32)),
    "basic": (
        "proxy says Basic " + base64.b64encode(b"deploy:hunter2hunter2").decode(),
        "ZGVwbG95Omh1bnRlcjJodW50ZXIy",
    ),
    "authorization header": (f"Authorization: Token {some(40, HEX)}", some(40, HEX)),
    "authorization, signed": (f"Authorization: AWS4-HMAC-SHA256 Credential=x/y, Signature={HEX}", HEX),
    "cookie": (f"Cookie: theme=dark; session={some(20)}", some(20)),
    "set-cookie in JSON": (json.dumps({"set-cookie": f"sid={some(20)}; Path=/; HttpOnly"}), some(20)),
    "url with user and password": (f"git clone https://deploy:{some(16)}@git.test/x.git", some(16)),
    "url with a token as user": (f"https://{some(20)}@git.test/x.git", some(20)),
    "connection string, url": ("postgresql+asyncpg://app:s3cr-et!@db:5432/app", "s3cr-et!"),
    "connection string, redis without user": ("redis://:hunter22@cache:6379/0", "hunter22"),
    "connection string, ado": ("Server=db;User Id=app;Password=swordfish;Encrypt=yes", "swordfish"),
    "connection string, azure": (f"DefaultEndpointsProtocol=https;AccountKey={some(40)}==;", some(40)),
    "connection string, libpq": ("host=db user=app password=sw0rdfish99 dbname=app", "sw0rdfish99"),
    "env file": ("DB_PASSWORD=p@ss(w0rd)&more", "p@ss(w0rd)&more"),
    "env file, word": ("export SMTP_PASSWORD=swordfish\n", "swordfish"),
    "env of docker": ("docker run -e API_TOKEN=abcdef123456 app", "abcdef123456"),
    "aws secret": (f"aws_secret_access_key = {some(40)}", some(40)),
    "yaml": ("db:\n  password: swordfish\n  user: app\n", "swordfish"),
    "yaml, quoted": ('password: "correct horse battery"', "correct horse battery"),
    "json": (json.dumps({"password": "swordfish", "user": "app"}), "swordfish"),
    "json, escaped quote in the value": (json.dumps({"password": 'sword"fish99'}), "fish99"),
    "json in json": (json.dumps(json.dumps({"clientSecret": "abcDEF12345"})), "abcDEF12345"),
    "json, camel case": (json.dumps({"apiKey": some(24)}), some(24)),
    "python": (f'client = Client(api_key="{some(24)}")', some(24)),
    "python dict": ("{'db_password': 'swordfish'}", "swordfish"),
    "toml": (f'token = "{some(20)}"', some(20)),
    "header without a name we know": (f"X-Vault-Token: {some(24)}", some(24)),
    "header in a list": (f'-H "X-Api-Key: {some(24)}"', some(24)),
    "query": (f"GET /v1/items?page=2&access_token={some(16)}&x=1", some(16)),
    "query, signature": ("https://blob.test/x?sv=2024&sig=" + "aB3%2FdE5gH7%3D", "aB3%2FdE5gH7%3D"),
    "flag with space": ("vault login --token abcdefg123", "abcdefg123"),
    "flag with equals": ("psql --password=swordfish", "swordfish"),
    "flag, quoted": ("tool --api-key 'abcdefg123'", "abcdefg123"),
    "curl user": ("curl -sS -u deploy:swordfish https://x.test", "swordfish"),
    "curl cookie": ("curl --cookie sid=swordfish99 https://x.test", "swordfish99"),
    "mysql": ("mysql -h db -u root -pswordfish app", "swordfish"),
    "sshpass": ("sshpass -p swordfish ssh host", "swordfish"),
    "xml": ("<server><password>swordfish</password></server>", "swordfish"),
    "docker config": (json.dumps({"auths": {"r.test": {"auth": base64.b64encode(b"u:pw").decode()}}}), "dTpwdw=="),
    "npmrc": (f"//registry.npmjs.org/:_authToken={some(36)}", some(36)),
    "kubernetes env, yaml": ("env:\n- name: DB_PASSWORD\n  value: swordfish\n", "swordfish"),
    "kubernetes env, json": (json.dumps([{"name": "API_TOKEN", "value": "swordfish99"}]), "swordfish99"),
    "kubernetes secret, yaml": (
        "kind: Secret\nmetadata:\n  name: x\ndata:\n  anything: c3dvcmRmaXNo\n  other: c3dvcmQ=\n",
        "c3dvcmRmaXNo",
    ),
    "kubernetes secret, json": (json.dumps({"kind": "Secret", "data": {"anything": "c3dvcmRmaXNo"}}), "c3dvcmRmaXNo"),
}
"""What is caught because of what stands around it: text, and the part that must go."""

LOOK_ALIKES = {
    "sha-256": "sha256:" + some(64, HEX),
    "sha-1 commit": "commit " + some(40, HEX),
    "short commit": "Merge 9f86d08 into main",
    "md5": f'{{"md5": "{HEX}"}}',
    "uuid": "request_id=6f9619ff-8b86-d011-b42d-00c04fc964ff",
    "run id": "run-7df3273c1c9c49cf9fb3",
    "base64 image": "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 3).decode(),
    "lockfile integrity": "sha512-" + base64.b64encode(bytes(range(64))).decode(),
    "ssh public key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + some(43) + " me@host",
    "certificate": f"-----BEGIN CERTIFICATE-----\n{some(64)}\n-----END CERTIFICATE-----",
    "token counts": '{"input_tokens": 5120, "max_tokens": 8192, "token_count": 17, "token": 4096}',
    "token type": '{"token_type": "bearer", "token_url": "https://x.test/oauth/token"}',
    "reference to a kubernetes secret": "secretKeyRef:\n  name: db-credentials\n  key: password\nsecretName: db-tls",
    "environment reference": 'api_key=os.environ["OPENAI_API_KEY"], password=$DB_PASSWORD, token: ${TOKEN}',
    "placeholder": 'password: "<your password>", token=***, api_key: "your-api-key", secret: {{ secret }}',
    "type annotation": "def login(user: str, password: str, token: str | None = None) -> Session:",
    "call": "token = next(tokens)\nsecret = hmac.new(key, msg).hexdigest()\npassword = getpass.getpass()",
    "variable of that name": "connect(password=password, token=self.token, api_key=api_key)",
    "lexer": 'Token("identifier"), token: "comma", Token: "#d8dee9"',
    "prose": "The token is refreshed daily. Password: see the vault. Use --token to log in, --password is required.",
    "css and packages": "task-list sk-loading-indicator sk-circle-fade-dot ask-me-anything-2024-edition",
    "bearer in prose": "uses bearer authentication-tokens as described; basic authentication is off",
    "url with a port": "http://localhost:8080/path?email=me@host.test https://x.test:443/@scope/pkg",
    "ssh remote": "git@github.com:acme/app.git ssh://git@github.com/acme/app.git",
    "pwd": "PWD=/work/main OLDPWD=/work",
    "csrf cookie code": "cookie: str = ''; cookies = {}",
    "paths": "private_key: /etc/ssl/private/app.key\npassword_file: /run/secrets/db\ntoken: ./token.txt",
    "pem words in code": 'BEGIN = "-----BEGIN " + "PRIVATE KEY-----"\nEND = "-----END PRIVATE KEY-----"',
    "snake and kebab": "sk_buff_allocation_failed request_pat_match hf_dataset npm_run_build key-value-store",
    "version and time": "v1.2.3-rc.4+build.5 2026-11-21T10:00:00.000Z 12:AA:BB:CC:DD:EE",
}
"""What looks like a secret and is none: nothing of it may go."""


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


def test_at_least_forty_shapes_are_tried_and_each_shape_is() -> None:
    """The table above keeps up with the shapes."""
    in_context = {"private-key", "bearer", "basic", "authorization", "cookie", "url-password", "password"}
    assert {shape.name for shape in SHAPES} == set(SECRETS) | in_context
    assert len(SECRETS) >= 40


CONTEXTS = [
    "{}",
    "see {} here",
    "key={}",
    '{{"v":"{}"}}',
    "['{}']",
    "({}),",
    "line one\n{}\nline three",
    "escaped \\n{}\\n end",
    "colour \x1b[32m{}\x1b[0m",
    "q=1&k={}&z=2",
    "%3D{}%26",
    "%3A{}%0A",
    "%7B{}%7D",
    "\\t{}\\r\\n",
    "https://x.test/{}",
    "<b>{}</b>",
    "`{}`",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_shape_is_found_in_every_surrounding(redactor: Redactor, name: str) -> None:
    """Quotes, escapes, colours and percent signs around a secret hide nothing."""
    secret = SECRETS[name]
    core = secret.split("/services/")[-1]
    for context in CONTEXTS:
        text = context.format(secret)
        redacted = redactor.redact(text)
        assert core not in redacted.text, context
        assert core[len(core) // 2 :] not in redacted.text, context
        assert sum(hit.count for hit in redacted.hits) >= 1


@pytest.mark.parametrize("name", SECRETS)
def test_a_shape_alone_is_named(redactor: Redactor, name: str) -> None:
    """The marker says which kind of secret stood there."""
    redacted = redactor.redact(f"use {SECRETS[name]} now")
    rest = "hooks.slack.com/services/" if name == "webhook-url" else ""
    assert redacted == Redacted(f"use {rest}{marker(name)} now", (Hit(name, 1),))


@pytest.mark.parametrize("case", IN_CONTEXT)
def test_a_secret_is_known_by_what_stands_around_it(redactor: Redactor, case: str) -> None:
    """Headers, settings, URLs, flags, connection strings and manifests."""
    text, secret = IN_CONTEXT[case]
    redacted = redactor.redact(text)
    assert secret not in redacted.text
    assert has_marker(redacted.text)


@pytest.mark.parametrize("case", LOOK_ALIKES)
def test_a_look_alike_is_kept(redactor: Redactor, case: str) -> None:
    """A redactor that eats hashes and source code makes agents blind."""
    text = LOOK_ALIKES[case]
    assert redactor.redact(text) == Redacted(text)


def test_what_surrounds_a_secret_stays(redactor: Redactor) -> None:
    """Only the secret goes: JSON stays JSON, a header keeps its scheme, a URL its user and host."""
    text = json.dumps({"headers": {"Authorization": "Bearer " + some(24)}, "n": 1})
    assert json.loads(redactor.redact(text).text) == {"headers": {"Authorization": "Bearer «redacted:bearer»"}, "n": 1}
    assert redactor.redact("https://me:hunter22@git.test/x").text == "https://me:«redacted:url-password»@git.test/x"


VALUE = "tr0ub4dor&3 <x>/\"y'"


def base64_inside(value: bytes, before: int) -> str:
    return base64.b64encode(b"u" * before + value + b"tail").decode()


ENCODINGS = {
    "as it is": VALUE,
    "url": urllib.parse.quote(VALUE, safe=""),
    "url, slash kept": urllib.parse.quote(VALUE),
    "url, lower-case": urllib.parse.quote(VALUE, safe="").lower(),
    "form": urllib.parse.quote_plus(VALUE),
    "json": json.dumps(VALUE)[1:-1],
    "json in json": json.dumps(json.dumps(VALUE)[1:-1])[1:-1],
    "html": html.escape(VALUE),
    "html without quotes": html.escape(VALUE, quote=False),
    "hex": VALUE.encode().hex(),
    "hex, upper-case": VALUE.encode().hex().upper(),
    "base64": base64.b64encode(VALUE.encode()).decode(),
    "base64 in a pair": base64_inside(VALUE.encode(), 1),
    "base64 in a longer pair": base64_inside(VALUE.encode(), 2),
    "base64 behind three": base64_inside(VALUE.encode(), 3),
    "base64url": base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
}
INSIDE_BASE64 = {"base64 in a pair", "base64 in a longer pair", "base64 behind three"}
"""Here the neighbours' characters stay."""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_registered_value_is_found_in_every_encoding(encoding: str) -> None:
    """Programs print secrets escaped for the place where they put them."""
    redactor = Redactor()
    redactor.register("DB_PASSWORD", VALUE)
    encoded = ENCODINGS[encoding]
    redacted = redactor.redact(f"before {encoded} after")
    assert redacted.hits == (Hit("DB_PASSWORD", 1),)
    if encoding in INSIDE_BASE64:
        assert encoded[4:-8] not in redacted.text
    else:
        assert redacted.text == f"before {marker('DB_PASSWORD')} after"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "line_end", ["\n", "\r\n", "\n    ", " \\\n  ", '"\n"', "' \\\n '", "\\n", "\\\\n", "\n> ", "\n| "], ids=repr
)
def test_a_registered_value_is_found_when_it_is_split_over_lines(encoding: str, line_end: str) -> None:
    """Wrapped output, continued shell lines, concatenated literals and YAML blocks."""
    redactor = Redactor()
    redactor.register("DB_PASSWORD", VALUE)
    encoded = ENCODINGS[encoding]
    half = len(encoded) // 2
    if encoded[half - 1] == "\\":
        half += 1  # an escape is not cut by wrapping
    text = f"before {encoded[:half]}{line_end}{encoded[half:]} after"
    redacted = redactor.redact(text)
    if encoding in INSIDE_BASE64:
        assert redacted.hits == (Hit("DB_PASSWORD", 1),)
    else:
        assert redacted.text == f"before {marker('DB_PASSWORD')} after"


SECRET_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="«»"), min_size=8, max_size=300)


@given(SECRET_TEXTS, st.text(max_size=40), st.text(max_size=40))
@example("nrnrnrnrnick1234", "C:\\", "")
@example("a b c d e f", "", "")
@example("\u00e4\u00f6\u00fc\u00dfn1", "", "")
def test_no_registered_value_survives(value: str, before: str, after: str) -> None:
    """Whatever the value and whatever stands around it, in clear, JSON, hex, base64 and URLs."""
    redactor = Redactor()
    try:
        redactor.register("S", value)
    except ConfigError:
        return
    secret = value.strip()
    for encoded in (
        secret,
        json.dumps(secret)[1:-1],
        urllib.parse.quote(secret),
        secret.encode().hex(),
        base64.b64encode(secret.encode()).decode(),
    ):
        assert encoded not in redactor.redact(before + encoded + after).text


def test_bytes_and_long_values_are_registered_whole_and_in_part() -> None:
    """A key of many lines is found by its head alone, raw bytes by their hex and base64."""
    redactor = Redactor()
    redactor.register("RAW", bytes(range(128, 168)))
    redactor.register("KEY", PEM.replace("PRIVATE", "OTHER"))
    assert redactor.redact(bytes(range(128, 168)).hex()).text == marker("RAW")
    assert some(64) not in redactor.redact("head: " + "\n".join(PEM.replace("PRIVATE", "OTHER").splitlines()[:3])).text


def test_one_name_may_have_several_values() -> None:
    """An old key and a new one during a rotation."""
    redactor = Redactor()
    redactor.register("KEY", "old-value-1")
    redactor.register("KEY", "new-value-2")
    assert redactor.redact("old-value-1 new-value-2") == Redacted(f"{marker('KEY')} {marker('KEY')}", (Hit("KEY", 2),))


@pytest.mark.parametrize(
    ("value", "why"),
    [("", "fewer than 6"), ("ab1", "fewer than 6"), ("  a b1 ", "fewer than 6"), ("aaaaaaaaaa", "fewer than 3"),
     ("Production", "everyday word"), ("12345678", "everyday word"), ('""""\\\\\\a', "fewer than 6")],
)  # fmt: skip
def test_a_value_that_would_hide_ordinary_text_is_refused(value: str, why: str) -> None:
    """The message says why and what to do, and does not hold the value."""
    with pytest.raises(ConfigError, match=why) as caught:
        Redactor().register("PIN", value)
    assert not value.strip() or f" {value} " not in str(caught.value)
    assert "use a longer, random secret" in str(caught.value)


def test_a_name_that_cannot_stand_in_a_marker_is_refused() -> None:
    """Markers must be recognisable, so their names are plain."""
    with pytest.raises(ConfigError, match="use 1 to 64 letters"):
        Redactor().register("my key»", "long-enough-1")


FRAGMENTS = st.one_of(
    st.sampled_from([*SECRETS.values(), *(text for text, _ in IN_CONTEXT.values()), *LOOK_ALIKES.values(), VALUE]),
    st.sampled_from(["«redacted:", "»", "«redacted:jwt»", "«redacted:DB_PASSWORD»", "«redacted:nobody»", "redacted:x"]),
    st.sampled_from(
        ["password", "token=", '"', "'", ": ", "=", "\n", "--token ", "sk-", "ghp_", "\\n", "://", "@", "eyJ"]
    ),
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Ll"]), max_size=10),
)
MESSES = st.lists(FRAGMENTS, max_size=12).map("".join)


@given(MESSES)
@example("token=«redacted:nobody»")
@example("\ud800 password: x1x1x1x1")
def test_redaction_is_total_and_idempotent(text: str) -> None:
    """Every string is accepted, and redacting a result again changes nothing and finds nothing."""
    redactor = Redactor()
    redactor.register("DB_PASSWORD", VALUE)
    once = redactor.redact(text)
    assert redactor.redact(once.text) == Redacted(once.text)


@given(MESSES, st.sampled_from(sorted(set(SECRETS) - {"webhook-url"})), MESSES)
def test_no_neighbour_saves_a_secret(before: str, name: str, after: str) -> None:
    """Whatever stands around it (markers, forged ones too), a secret on a line of its own is gone."""
    redacted = Redactor().redact(f"{before}\n{SECRETS[name]}\n{after}")
    assert f"\n{SECRETS[name]}\n" not in redacted.text


def test_a_marker_is_never_redacted_again_and_a_forged_one_shields_nothing() -> None:
    """Only markers this redactor could have written are left alone."""
    redactor = Redactor()
    redactor.register("S", "swordfish-99")
    genuine = f"password: {marker('S')} token={marker('github-token')}"
    assert redactor.redact(genuine) == Redacted(genuine)
    assert "swordfish-99" not in redactor.redact("«redacted:swordfish-99»").text
    unknown = 'password: "«redacted:another.process»"'
    assert redactor.redact(unknown) == Redacted(unknown)


def test_a_registered_value_names_the_marker_where_nets_overlap() -> None:
    """The exact knowledge wins over the guess."""
    redactor = Redactor()
    redactor.register("OPENROUTER_API_KEY", SECRETS["openrouter-key"])
    assert redactor.redact("token=" + SECRETS["openrouter-key"]).hits == (Hit("OPENROUTER_API_KEY", 1),)


def test_findings_that_uncover_each_other_without_end_are_cut_short() -> None:
    """A text made to be found anew after each redaction is hidden rather than followed for ever."""
    redactor = Redactor()
    text = "ghp_" + some(36)
    for _ in range(200):
        text = f"ghp_{some(20)}{text}{some(16)}"
    once = redactor.redact(text)
    assert redactor.redact(once.text) == Redacted(once.text)


DOCUMENTS = st.lists(
    st.one_of(
        st.sampled_from([*SECRETS.values(), PEM, VALUE, "password: swordfish", "plain words here"]),
        st.text(st.characters(codec="ascii", exclude_characters="\r"), max_size=60),
        st.integers(1, 40).map(
            lambda n: "\n".join(f"{i:04d} INFO worker ready id=6f9619ff-8b86" for i in range(n * 8))
        ),
    ),
    min_size=1,
    max_size=16,
)


@given(DOCUMENTS, st.lists(st.integers(0, 30_000), max_size=6))
def test_a_stream_gives_what_redacting_the_whole_gives(lines: list[str], cuts: list[int]) -> None:
    """However the text is cut into chunks."""
    redactor = Redactor()
    redactor.register("DB_PASSWORD", VALUE)
    text = "\n".join(lines)
    stream = redactor.stream()
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    given_out = [stream.feed(text[a:b]) for a, b in itertools.pairwise(places)]
    assert "".join(given_out) + stream.close() == redactor.redact(text).text


def test_a_stream_gives_text_before_it_ends_and_holds_back_the_overlap() -> None:
    """Live output is not kept until the command is over."""
    stream = Redactor().stream()
    line = "0123456789abcde\n"
    first = stream.feed(line * (3 * OVERLAP // len(line)))
    assert len(first) == 2 * OVERLAP
    assert first + stream.close() == line * (3 * OVERLAP // len(line))


def test_a_secret_longer_than_any_buffer_is_swallowed_by_a_stream() -> None:
    """A token of 300 KB leaves one marker, and what follows it is given again."""
    stream = Redactor().stream()
    out = stream.feed("start ghp_")
    for _ in range(300):
        out += stream.feed(some(1000))
    out += stream.feed(" end of it\n") + stream.close()
    assert out == f"start {marker('github-token')} end of it\n"


def best_of(runs: int, call: object, *arguments: object) -> float:
    """The least wall time in seconds of several runs."""
    best = 1e9
    for _ in range(runs):
        start = time.process_time()
        call(*arguments)  # type: ignore[operator]
        best = min(best, time.process_time() - start)
    return best


CLEAN_LINE = (
    "2026-11-21T10:00:07.123Z INFO worker[7] request_id=6f9619ff-8b86-d011-b42d-00c04fc964ff GET /api/v1/items/7?p=3 "
    '200 12ms user-agent="Mozilla/5.0 (X11; Linux)"\n'
)


def test_clean_logs_pass_at_five_megabytes_a_second() -> None:
    """The published figure; benchmarks/governance_pure.py prints what a machine really does (about ten times it)."""
    text = CLEAN_LINE * 6000
    assert len(text) / best_of(3, Redactor().redact, text) > 5_000_000


def test_a_clean_kilobyte_costs_microseconds() -> None:
    """Every recorded event passes here; the aim is 20 us, the bound leaves room for a busy machine."""
    redactor = Redactor()
    redactor.register("OPENROUTER_API_KEY", SECRETS["openrouter-key"])
    assert best_of(300, redactor.redact, (CLEAN_LINE * 6)[:1024]) < 80e-6


@pytest.mark.parametrize(
    "text",
    ["password=" * 30_000, '"token": "' + "a" * 300_000, "://" * 100_000 + "@", "eyJ" * 60_000 + ".eyJ", "sk-" * 90_000,
     "-----BEGIN " + "PRIVATE KEY-----" + "A" * 300_000, "authorization: " * 20_000, "curl " * 50_000 + "-u a:bcd1",
     "kind: Secret\ndata:\n" + "  a: b\n" * 40_000, "name: token value: " * 15_000, "\\" * 200_000 + '"token": "a'],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_hostile_texts_cost_linear_time(text: str) -> None:
    """No text makes a pattern run for seconds: 300 KB of the worst take less than three."""
    assert best_of(1, Redactor().redact, text) < 3
