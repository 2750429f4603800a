"""`ooda notices`, and what a run tells at its end: over real receivers on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.cli.home import GOOD, NO_WALL, Home
from tests.notify.receivers import Answered, receiving

Make = Callable[..., Home]


def test_a_run_tells_its_end_and_nothing_else(home: Make) -> None:
    """Signed to the webhook, a line to Slack; its steps are told to nobody."""
    there = home(GOOD)
    with receiving(lambda posted, n: Answered(204, "")) as hook, receiving() as slack:
        environ = {
            "ELIXIR_WEBHOOK_URL": hook.url,
            "ELIXIR_WEBHOOK_SECRET": "your-webhook-secret",
            "SLACK_WEBHOOK": slack.url,
        }
        done = there.ooda("run", there.task(), "--quiet", *NO_WALL, environ=environ)
        listed = there.ooda("notices", "list", "--json", environ=environ).json()

    assert (done.code, done.err) == (0, "")
    assert [posted.json["type"] for posted in hook.posted] == ["workflow_completed"]
    assert hook.posted[0].headers["webhook-signature"].startswith("v1,")
    assert hook.posted[0].json["data"]["task_id"] == "T-1"
    assert "Work is done" in slack.posted[0].body.decode()
    assert sorted((one["channel"], one["state"]) for one in listed) == [("slack", "sent"), ("webhook", "sent")]


def test_a_receiver_that_is_down_fails_no_run_and_gets_it_later(home: Make) -> None:
    """It stays queued, which is said; `notices deliver` goes on under the same id."""
    there = home(GOOD)
    up: list[bool] = []
    with receiving(lambda posted, n: Answered(200 if up else 503)) as hook:
        environ = {"OODA_NOTIFY__WEBHOOK_URL": hook.url, "OODA_NOTIFY__END_WAIT": "1"}
        done = there.ooda("run", there.task(), *NO_WALL, environ=environ)
        waiting = there.ooda("notices", "list", "--state", "waiting", environ=environ)
        up.append(True)
        id = waiting.out.splitlines()[1].split()[0]
        retried = there.ooda("notices", "retry", id, environ=environ)
        shown = there.ooda("notices", "show", id[:10], environ=environ)

    assert done.code == 0
    assert "They stay queued: `ooda notices deliver`" in done.err
    assert retried.code == 0 and retried.out.startswith("notices: 1 sent")
    assert {posted.id for posted in hook.posted} == {id}
    assert "answered 503" in shown.out and " sent 127.0.0.1 answered 200" in shown.out


def test_dead_letters_are_looked_at_and_tried_again(home: Make) -> None:
    """A wrong URL is a dead letter with the setting's name; exit 1 says that something was given up."""
    there = home()
    answers = [Answered(404, "no_service"), Answered()]
    with receiving(lambda posted, n: answers[min(n, 1)]) as slack:
        environ = {"SLACK_WEBHOOK_URL": slack.url}
        tried = there.ooda("notices", "test", "slack", environ=environ)
        dead = there.ooda("notices", "list", "--state", "dead", environ=environ)
        again = there.ooda("notices", "retry", environ=environ)

    assert tried.code == 1
    assert "no_service (look at `notify.slack_webhook_url`)" in dead.out
    assert (again.code, again.out) == (0, "notices: 1 sent\n")
    assert len(slack.posted) == 2


def test_a_dry_run_says_what_would_go_where(home: Make) -> None:
    """And sends nothing; a channel that is half configured names what is missing."""
    there = home(GOOD)
    there.ooda("run", there.task(), "--quiet", *NO_WALL)
    with receiving() as slack:
        environ = {"SLACK_WEBHOOK_URL": slack.url}
        dry = there.ooda("notices", "deliver", "--dry-run", environ=environ)
        muted = there.ooda(
            "notices", "deliver", "--dry-run", "--json", "--set", "notify.routes=* none", environ=environ
        ).json()
    half = there.ooda("notices", "deliver", environ={"OODA_NOTIFY__SMTP_HOST": "mail.example.com"})

    assert "workflow_completed → slack" in dry.out and "workflow_started → nobody (no route)" in dry.out
    assert {tuple(notice["receivers"]) for notice in muted["notices"]} == {()}
    assert slack.posted == []
    assert half.code == 2 and "`notify.mail_from`" in half.err


def test_a_test_message_needs_a_configured_channel(home: Make) -> None:
    """It says which there are."""
    done = home().ooda("notices", "test", "teams")
    assert done.code == 2 and "channel 'teams' is not configured; configured are: none" in done.err


def test_secrets_of_channels_are_shown_nowhere(home: Make) -> None:
    """Not in the list, not in a failure, not in the settings."""
    there = home()
    secret = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
    environ = {"SLACK_WEBHOOK_URL": f"http://127.0.0.1:9/services/{secret}"}
    done = [
        there.ooda(*arguments, environ=environ)
        for arguments in (
            ("notices", "test", "slack"),
            ("notices", "list", "--json"),
            ("config", "show"),
        )
    ]
    said = json.dumps([(one.out, one.err) for one in done])
    assert secret not in said and "XXXXXXXX" not in said
    assert "talking to 127.0.0.1 failed" in done[0].out


def test_the_doctor_says_whether_anybody_is_told(home: Make) -> None:
    """Which channels there are, or what is missing for one; no secret."""
    there = home()
    secret = "T0/B0/abcdefgh"
    good = there.ooda("doctor", "--json", environ={"SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{secret}"})
    half = there.ooda("doctor", "--json", environ={"OODA_NOTIFY__SMTP_HOST": "mail.example.com"})
    (found,), (missing,) = ([c for c in one.json() if c["name"] == "notices"] for one in (good, half))

    assert found["ok"] and found["detail"] == "slack at hooks.slack.com; try one: `ooda notices test slack`"
    assert not missing["ok"] and "`notify.mail_from`" in missing["detail"]
    assert secret not in good.out
