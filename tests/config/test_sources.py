"""Where settings come from, and which source wins; every mistake of every source in one answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.config import Loaded, Origin, Settings, load_settings
from ooda.errors import ConfigError


class Home:
    """A user's home and a repository, in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.project = folder / "project"
        (self.project / ".git").mkdir(parents=True)
        self.home.mkdir()

    @property
    def user_file(self) -> Path:
        return self.home / ".config" / "ooda" / "config.toml"

    @property
    def project_file(self) -> Path:
        return self.project / ".ooda" / "config.toml"

    def user(self, text: str) -> Home:
        self.user_file.parent.mkdir(parents=True, exist_ok=True)
        self.user_file.write_text(text)
        return self

    def shared(self, text: str) -> Home:
        self.project_file.parent.mkdir(exist_ok=True)
        self.project_file.write_text(text)
        return self

    def load(self, *, cwd: Path | None = None, overrides: Mapping[str, object] | None = None, **environ: str) -> Loaded:
        return load_settings(environ={"HOME": str(self.home), **environ}, cwd=cwd or self.project, overrides=overrides)

    def refusal(self, overrides: Mapping[str, object] | None = None, **environ: Any) -> list[str]:
        """The mistakes, with the two files named shortly."""
        with pytest.raises(ConfigError) as caught:
            self.load(overrides=overrides, **environ)
        text = str(caught.value).replace(str(self.user_file), "USER").replace(str(self.project_file), "PROJECT")
        first, *lines = text.splitlines()
        assert first.startswith("The settings have ")
        return [line.strip() for line in lines]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_any_source_there_are_the_defaults(home: Home) -> None:
    """A fresh machine: every origin is `default`."""
    loaded = home.load()
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {Origin("default")}


def test_each_source_stands_above_the_one_before(home: Home) -> None:
    """Default < user < project < environment < command line, setting by setting."""
    home.user("limits = {steps = 100, rounds = 9, tokens = 900, reply_tokens = 90, context_tokens = 9000}")
    home.shared("limits = {rounds = 8, tokens = 800, reply_tokens = 80}")
    loaded = home.load(
        OODA_LIMITS__TOKENS="700", OODA_LIMITS__REPLY_TOKENS="70", overrides={"limits.reply_tokens": "60"}
    )
    limits, origins = loaded.settings.limits, loaded.origins
    assert (limits.output_bytes, str(origins["limits.output_bytes"])) == (16_384, "default")
    assert (limits.steps, str(origins["limits.steps"])) == (100, f"user file {home.user_file}")
    assert (limits.rounds, str(origins["limits.rounds"])) == (8, f"project file {home.project_file}")
    assert (limits.tokens, str(origins["limits.tokens"])) == (700, "environment OODA_LIMITS__TOKENS")
    assert (limits.reply_tokens, str(origins["limits.reply_tokens"])) == (60, "command line")


def test_environment_and_command_line_are_the_user_again(home: Home) -> None:
    """They may go above what the project lowered."""
    home.shared("[budget]\ntask_usd = 0.10\n")
    assert home.load(OODA_BUDGET__TASK_USD="3").settings.budget.nano("task") == 3_000_000_000


def test_the_project_file_is_found_from_below_and_not_beyond_the_repository(home: Home, tmp_path: Path) -> None:
    """Up to the top of the repository; outside one only the current folder counts."""
    home.shared("[limits]\nsteps = 7\n")
    deep = home.project / "a" / "b"
    deep.mkdir(parents=True)
    assert home.load(cwd=deep).settings.limits.steps == 7
    inner = home.project / "vendored"
    (inner / ".git").mkdir(parents=True)
    assert home.load(cwd=inner).settings.limits.steps == 200
    outside = tmp_path / "plain" / "below"
    outside.mkdir(parents=True)
    (tmp_path / "plain" / ".ooda").mkdir()
    (tmp_path / "plain" / ".ooda" / "config.toml").write_text("[limits]\nsteps = 9\n")
    assert home.load(cwd=outside).settings.limits.steps == 200
    assert home.load(cwd=tmp_path / "plain").settings.limits.steps == 9


def test_values_from_the_environment_are_text_in_the_field_s_own_spelling(home: Home) -> None:
    """Lists by comma or as JSON, durations and sizes with units, booleans as words; empty counts as not set."""
    settings = home.load(
        OODA_SANDBOX__HOSTS="pypi.org, *.example.com",
        OODA_MODEL__FALLBACKS='["a/b", "c, d"]',
        OODA_SANDBOX__MEMORY="4GiB",
        OODA_SANDBOX__COMMAND_TIMEOUT="5m",
        OODA_CHAT__STREAM="off",
        OODA_LIMITS__STEPS="",
    ).settings
    assert settings.sandbox.hosts == ("pypi.org", "*.example.com")
    assert settings.model.fallbacks == ("a/b", "c, d")
    assert (settings.sandbox.memory, settings.sandbox.command_timeout) == (4 << 30, 300)
    assert (settings.chat.stream, settings.limits.steps) == (False, 200)


def test_every_mistake_of_every_source_is_in_one_answer(home: Home) -> None:
    """Each with its source, what was found, what is allowed, the nearest known word."""
    home.user("[limits]\nstep = 1\n[budget]\ntask_usd = -1\n")
    home.shared("[sandbx]\nimage = 'x'\n")
    assert home.refusal({"limits.rounds": "many"}, OODA_MODEL_NAME="x", DRY_RUN="perhaps") == [
        "`limits.step` (user file USER): unknown setting; did you mean `limits.steps`?",
        "`sandbx` (project file PROJECT): unknown setting; did you mean `sandbox`?",
        "environment variable `OODA_MODEL_NAME` is no setting; did you mean `OODA_MODEL__NAME`?",
        "`budget.task_usd` (user file USER): found the number -1; expected an amount in USD such as 0.50 (digits, at "
        "most 9 decimals)",
        "`limits.rounds` (command line): found 'many'; expected a whole number, from 1 to 1,000",
        "`steward.dry_run` (environment DRY_RUN): found 'perhaps'; expected `true` or `false`",
    ]


BAD_FILES = {
    "syntax": ("[limits\n", "user file USER: Expected ']' at the end of a table declaration (at line 1, column 8)"),
    "twice": ("[limits]\nsteps = 1\nsteps = 2\n", "user file USER: Cannot overwrite a value (at line 3, column 10)"),
    "group": ("limits = 5\n", "`limits` (user file USER): is a group of settings; give it as a table"),
    "far": (
        "[limits]\nqqq = 1\n",
        "`limits.qqq` (user file USER): unknown setting; `limits` has `steps`, `rounds`, "
        "`wall_clock`, `tokens`, `reply_tokens`, `context_tokens`, `output_bytes`",
    ),
    "nowhere": ("zzz = 1\n", "`zzz` (user file USER): unknown setting; `ooda config show` lists all"),
    "boolean": (
        "[limits]\nsteps = true\n",
        "`limits.steps` (user file USER): found `true`; expected a whole number, from 1 to 100,000",
    ),
    "nan": (
        "[model]\ntemperature = nan\n",
        "`model.temperature` (user file USER): found the number nan; expected a number, from 0 to 2",
    ),
    "list-entry": (
        "[sandbox]\nhosts = ['pypi.org', 'https://x']\n",
        "`sandbox.hosts[1]` (user file USER): found 'https://x'; expected a host name such as `pypi.org`, "
        "`*.example.com` or `localhost:8080` (no scheme, no path)",
    ),
    "secret": (
        "[model]\napi_key = 12345\n",
        "`model.api_key` (user file USER): found a number; expected a secret text; put it in quotes to make it text",
    ),
    "huge": ("x = " + "9" * 5_000, "user file USER: holds a value that cannot be read"),
    "together": (
        "[limits]\nreply_tokens = 9000\ncontext_tokens = 9000\n",
        "`limits.reply_tokens` 9000 leaves no room in `limits.context_tokens` 9000",
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_told_with_its_name(home: Home, text: str, expected: str) -> None:
    """One line per mistake."""
    assert home.user(text).refusal() == [expected]


def test_a_file_that_is_no_text_is_told_with_its_name(home: Home) -> None:
    """No traceback for a slip."""
    home.user("")
    home.user_file.write_bytes(b"\xff\xfe")
    assert home.refusal() == ["user file USER: is not UTF-8 text"]
    home.user_file.unlink()
    home.user_file.mkdir()
    assert home.refusal() == ["user file USER: cannot be read (Is a directory)"]


def test_names_that_belong_to_others_are_left_alone(home: Home) -> None:
    """Only `OODA_` is ours, and two beginnings of it serve tests and git's child processes."""
    loaded = home.load(OODA_SPECS="/x", OODA_ASKPASS_FOR="h", HTTP_PROXY="y", PATH="/bin")
    assert loaded.settings == Settings()


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["OODA_LIMITS__STEPS", "OODA_SANDBOX__HOSTS", "DATABASE_URL", "QUIET_HOURS_CONFIG", "GRACE_PERIOD_HOURS"]
        ),
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    ),
    st.dictionaries(
        st.text() | st.just("budget.task_usd"), st.none() | st.integers() | st.floats() | st.text() | st.binary()
    ),
)
def test_any_environment_gives_settings_or_a_config_error(
    environ: dict[str, str], overrides: dict[str, object]
) -> None:
    """No other exception, whatever the text."""
    try:
        loaded = load_settings(environ={"HOME": "/nonexistent", **environ}, cwd=Path("/"), overrides=overrides)
    except ConfigError as error:
        outcome: object = error.problems
    else:
        outcome = loaded.origins
    assert outcome
