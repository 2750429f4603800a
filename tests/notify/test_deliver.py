"""Notices arrive: routed once, tried again, given up with a reason, and never twice under another id."""

import asyncio
from pathlib import Path

import pytest

from ooda.governance.audit import verify
from ooda.governance.rules import RuleSet
from ooda.notify.deliver import DeliveryPolicy, DeliveryReport
from ooda.notify.slack import SlackChannel
from ooda.notify.webhook import WebhookChannel
from ooda.store import Store, messages, outbox
from tests.notify.bench import NOW, DeliveryBench, poster
from tests.notify.receivers import Answered, receiving

SECOND = 1_000_000_000


async def test_a_notice_is_delivered_once_to_each_receiver(store: Store) -> None:
    """A second look finds nothing to do; the outbox row is sent when all its messages are."""
    with receiving() as hook, receiving() as slack:
        bench = DeliveryBench(store, [WebhookChannel(poster(hook.url)), SlackChannel(poster(slack.url))])
        bench.put()
        first = await bench.deliverer.drain()
        again = await bench.deliverer.drain()

    assert (first, again) == (DeliveryReport(sent=2), DeliveryReport())
    assert (len(hook.posted), len(slack.posted)) == (1, 1)
    assert bench.states() == [("slack", "sent", 1), ("webhook", "sent", 1)]
    assert store.read(lambda tx: outbox.pending(tx, NOW + SECOND)) == []


async def test_a_failed_attempt_is_made_again_after_its_wait_under_the_same_id(store: Store) -> None:
    """Full jitter over a base that doubles: 5 s, then 10 s at most."""
    with receiving(lambda posted, n: Answered(500 if n < 2 else 204)) as hook:
        bench = DeliveryBench(store, [WebhookChannel(poster(hook.url))])
        bench.put()
        first = await bench.deliverer.drain()
        too_soon = await bench.deliverer.drain()
        bench.clock.advance(5)
        second = await bench.deliverer.drain()
        bench.clock.advance(9)
        still_too_soon = await bench.deliverer.drain()
        bench.clock.advance(1)
        third = await bench.deliverer.drain()

    assert first.problems == ("webhook: 127.0.0.1 answered 500: ok",)
    assert [report.failed for report in (first, too_soon, second, still_too_soon, third)] == [1, 0, 1, 0, 0]
    assert third == DeliveryReport(sent=1)
    assert len({posted.id for posted in hook.posted}) == 1 and len({posted.body for posted in hook.posted}) == 1
    assert [a.outcome for a in store.read(lambda tx: messages.attempts_of(tx, hook.posted[0].id))] == [
        "failed",
        "failed",
        "sent",
    ]


@pytest.mark.parametrize("form", ["90", "Tue, 14 Nov 2023 22:14:50 GMT"], ids=["seconds", "date"])
async def test_retry_after_is_kept_for_the_whole_channel(store: Store, form: str) -> None:
    """Nothing else goes there before, either; the clock of the tests stands at 22:13:20."""
    with receiving(lambda posted, n: Answered(429 if n == 0 else 200, headers={"Retry-After": form})) as hook:
        bench = DeliveryBench(store, [SlackChannel(poster(hook.url))], jitter=0.0)
        bench.put("n1")
        await bench.deliverer.drain()
        bench.put("n2", kind="note", text="Another")
        bench.clock.advance(89)
        early = await bench.deliverer.drain()
        bench.clock.advance(1)
        late = await bench.deliverer.drain(wait_s=5)

    assert (early.sent, early.waiting) == (0, 2)
    assert (late.sent, late.waiting) == (2, 0)


async def test_a_final_refusal_is_a_dead_letter_that_can_be_tried_again(store: Store) -> None:
    """Slack's 404 will not get better by itself; a person may have mended the URL."""
    with receiving(lambda posted, n: Answered(404, "no_service") if n == 0 else Answered()) as slack:
        bench = DeliveryBench(store, [SlackChannel(poster(slack.url))])
        bench.put()
        report = await bench.deliverer.drain()
        (dead,) = bench.messages()
        bench.clock.advance(86_400)
        later = await bench.deliverer.drain()
        store.write_now(lambda tx: messages.retry(tx, dead.id, bench.clock.now_ns()))
        retried = await bench.deliverer.drain()

    assert (report.dead, later.sent, retried.sent) == (1, 0, 1)
    assert dead.state == "dead" and dead.failure == (
        "127.0.0.1 answered 404: no_service (look at `notify.slack_webhook_url`)"
    )


async def test_410_ends_an_address_for_all_messages_until_it_changes(store: Store) -> None:
    """What waits for it is given up without an attempt."""
    with receiving(lambda posted, n: Answered(410 if posted.path == "/old" else 200)) as hook:
        bench = DeliveryBench(store, [WebhookChannel(poster(f"{hook.url}/old"))])
        bench.put("n1")
        await bench.deliverer.drain()
        bench.put("n2")
        second = await bench.deliverer.drain()
        moved = DeliveryBench(store, [WebhookChannel(poster(f"{hook.url}/new"))])
        moved.put("n3")
        third = await moved.deliverer.drain()

    assert [posted.path for posted in hook.posted] == ["/old", "/new"]
    assert (second.dead, third.sent) == (1, 1)
    assert "switched off: 127.0.0.1 answered 410" in second.problems[0]


async def test_a_redirect_is_a_failure_and_is_not_followed(store: Store) -> None:
    """It could lead anywhere."""
    with receiving() as elsewhere:
        there = {"Location": elsewhere.url}
        with receiving(lambda posted, n: Answered(307, "", there)) as hook:
            bench = DeliveryBench(store, [WebhookChannel(poster(hook.url))])
            bench.put()
            report = await bench.deliverer.drain()

    assert report.failed == 1 and "a redirect" in report.problems[0]
    assert elsewhere.posted == []


async def test_a_message_is_given_up_when_it_has_been_tried_for_long_enough(store: Store) -> None:
    """By age, whatever the number of attempts: the third would have come after 21 s."""
    with receiving(lambda posted, n: Answered(503)) as hook:
        bench = DeliveryBench(
            store, [WebhookChannel(poster(hook.url))], policy=DeliveryPolicy(timeout_s=5, keep_trying_s=20)
        )
        bench.put()
        for _ in range(4):
            await bench.deliverer.drain()
            bench.clock.advance(11)

    assert bench.states() == [("webhook", "dead", 2)]


async def test_a_notice_that_is_too_old_is_not_sent(store: Store) -> None:
    """A channel that is configured today does not tell last week's news; the outbox says why."""
    with receiving() as hook:
        bench = DeliveryBench(store, [WebhookChannel(poster(hook.url))])
        bench.put()
        bench.clock.advance(86_401)
        report = await bench.deliverer.drain()

    assert report.dead == 1 and "older than `notify.keep_trying`" in report.problems[0]
    assert hook.posted == []


async def test_an_answer_that_never_came_is_repeated_with_the_same_id(store: Store) -> None:
    """The receiver has it and says nothing: a webhook's receiver tells the repetition by its id."""
    with receiving(lambda posted, n: Answered(cut=n == 0)) as hook:
        bench = DeliveryBench(store, [WebhookChannel(poster(hook.url))])
        bench.put()
        first = await bench.deliverer.drain()
        bench.clock.advance(5)
        second = await bench.deliverer.drain()

    assert (first.unsure, second.sent) == (1, 1)
    assert [posted.id for posted in hook.posted] == [hook.posted[0].id] * 2


async def test_where_ids_are_not_known_a_repetition_says_that_it_may_be_one(store: Store) -> None:
    """Slack shows both; a reader knows."""
    with receiving(lambda posted, n: Answered(cut=n == 0)) as slack:
        bench = DeliveryBench(store, [SlackChannel(poster(slack.url))])
        bench.put()
        await bench.deliverer.drain()
        bench.clock.advance(5)
        await bench.deliverer.drain()

    said = ["may have been sent before" in posted.body.decode() for posted in slack.posted]
    assert said == [False, True]


async def test_an_unsure_message_can_be_held_for_a_person(store: Store) -> None:
    """`notify.unsure = hold`: never twice, at the price of asking."""
    with receiving(lambda posted, n: Answered(cut=True)) as slack:
        bench = DeliveryBench(
            store, [SlackChannel(poster(slack.url))], policy=DeliveryPolicy(timeout_s=5, holds_unsure=True)
        )
        bench.put()
        report = await bench.deliverer.drain()

    assert (report.unsure, report.dead) == (1, 1)
    assert bench.states() == [("slack", "dead", 1)]


async def test_a_slow_channel_delays_no_other(store: Store) -> None:
    """The webhook does not answer until Slack has got its message."""
    with receiving() as slack:

        def patient(posted: object, number: int) -> Answered:
            slack.wait_for(1)
            return Answered()

        with receiving(patient) as hook:
            bench = DeliveryBench(store, [WebhookChannel(poster(hook.url)), SlackChannel(poster(slack.url))])
            bench.put()
            report = await bench.deliverer.drain()

    assert report == DeliveryReport(sent=2)


async def test_two_deliverers_send_a_message_once(store: Store) -> None:
    """A claim is one conditional statement."""
    with receiving() as hook:
        benches = [DeliveryBench(store, [WebhookChannel(poster(hook.url))], owner=f"d{n}") for n in range(2)]
        for number in range(40):
            benches[0].put(f"n{number}")
        reports = await asyncio.gather(*(bench.deliverer.drain() for bench in benches))

    assert sum(report.sent for report in reports) == 40
    assert len(hook.posted) == len({posted.id for posted in hook.posted}) == 40


async def test_notices_of_one_kind_to_one_person_go_together(store: Store) -> None:
    """Within the digest's time; an error is not held back."""
    with receiving() as slack:
        bench = DeliveryBench(store, [SlackChannel(poster(slack.url))], policy=DeliveryPolicy(timeout_s=5, digest_s=60))
        for number in range(3):
            bench.put(f"n{number}", text=f"Text {number}")
            await bench.deliverer.drain()
            bench.clock.advance(10)
        bench.put("urgent", kind="note", text="Fire", details={"severity": "critical"}, channel="x")
        held = len(slack.posted)
        bench.clock.advance(30)
        report = await bench.deliverer.drain()

    assert held == 0
    assert (report.sent, len(slack.posted)) == (1, 1)
    assert all(f"Text {number}" in slack.posted[0].body.decode() for number in range(3))


async def test_notices_that_join_while_others_send_are_all_told_once(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    """Two processes' stores: a notice never joins a message that the other has just begun to send."""
    with receiving() as slack, Store.open(tmp_path / "ooda.db", url=store_url) as other:
        channels = [SlackChannel(poster(slack.url)) for _ in range(2)]
        for channel in channels:
            channel.per_second = 10_000.0  # not the pace is tried
        benches = [
            DeliveryBench(store, [channels[0]], owner="first"),
            DeliveryBench(other, [channels[1]], owner="second"),
        ]
        for number in range(60):
            benches[number % 2].put(f"n{number:02}", text=f"Text {number:02}.")
            if number % 3 == 0:
                await asyncio.gather(*(bench.deliverer.drain() for bench in benches))
        await asyncio.gather(*(bench.deliverer.drain() for bench in benches))

    told = [posted.json["blocks"] for posted in slack.posted]
    texts = [block["text"]["text"] for blocks in told for block in blocks if block["type"] == "section"]
    assert sorted(texts) == [f"Text {number:02}." for number in range(60)]


async def test_only_what_a_run_has_queued_is_delivered_at_its_end(store: Store) -> None:
    """Another run's backlog is not this one's to wait for."""
    with receiving() as hook:
        bench = DeliveryBench(store, [WebhookChannel(poster(hook.url))])
        bench.put("n1", run="run-1")
        bench.put("n2", run="run-2")
        report = await bench.deliverer.drain(run="run-2")

    assert report == DeliveryReport(sent=1)
    assert hook.posted[0].json["data"]["workflow_id"] == "run-2"


async def test_waiting_goes_on_with_what_becomes_due(file_store: Store) -> None:
    """Within its time, and no longer."""
    from ooda.clock import SystemClock

    with receiving(lambda posted, n: Answered(500 if n == 0 else 200)) as hook:
        bench = DeliveryBench(file_store, [WebhookChannel(poster(hook.url))], jitter=0.02)
        bench.deliverer._clock = SystemClock()  # the waits are real here
        bench.clock = bench.deliverer._clock  # type: ignore[assignment]
        bench.put()
        report = await bench.deliverer.drain(wait_s=20)

    assert (report.failed, report.sent, report.waiting) == (1, 1, 0)


async def test_a_rule_can_keep_a_channel_shut(store: Store, tmp_path: Path) -> None:
    """The operator's rules hold for delivery too; the audit names the rule."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nname = "no-slack"\noperations = ["notify"]\ntools = ["slack"]\ndecision = "deny"\n'
        'reason = "not here"\nmatch = [{tool = "slack", operation = "notify"}]\n'
        'not_match = [{tool = "teams", operation = "notify"}]\n'
    )
    with receiving() as slack, receiving() as hook:
        bench = DeliveryBench(
            store,
            [SlackChannel(poster(slack.url)), WebhookChannel(poster(hook.url))],
            rules=RuleSet.load(rules),
        )
        bench.put()
        report = await bench.deliverer.drain()

    assert (report.sent, report.dead, slack.posted) == (1, 1, [])
    assert "no-slack" in report.problems[0]
    rows = store.read(lambda tx: tx.execute("SELECT action, subject, decision FROM audit ORDER BY subject"))
    assert rows == [("notify", "slack", "refuse"), ("notify", "webhook", "allow")]
    assert verify(store).is_clean


async def test_secrets_leave_in_no_message_and_stay_in_no_table(store: Store) -> None:
    """Redacted at the one place through which every text goes; a receiver's answer that echoes one is redacted too."""
    secret = "hunter2-correct-horse-battery"
    with receiving(lambda posted, n: Answered(500, f"you sent {secret}")) as hook, receiving() as slack:
        bench = DeliveryBench(store, [WebhookChannel(poster(hook.url)), SlackChannel(poster(slack.url))])
        bench.redactor.register("test_secret", secret)
        bench.put(text=f"the key is {secret}", details={"deep": [{"key": secret}], secret: 1})
        await bench.deliverer.drain()

    assert secret not in (hook.posted[0].body + slack.posted[0].body).decode()
    kept = store.read(lambda tx: repr([tx.execute(f"SELECT * FROM {t}") for t in ("messages", "message_attempts")]))
    assert secret not in kept and "«redacted:test_secret»" in kept


async def test_a_payload_that_cannot_be_read_is_said_and_left(store: Store) -> None:
    """It stops nothing else."""
    with receiving() as hook:
        bench = DeliveryBench(store, [WebhookChannel(poster(hook.url))])
        store.write_now(lambda tx: outbox.enqueue(tx, "bad", "x", "{not json", NOW))
        bench.put("good")
        report = await bench.deliverer.drain()

    assert (report.sent, report.dead) == (1, 1)
    assert "notice bad: its payload cannot be read" in report.problems[0]


async def test_a_deliverer_serves_until_it_is_stopped(file_store: Store) -> None:
    """Poked, it looks at once."""
    with receiving() as hook:
        bench = DeliveryBench(file_store, [WebhookChannel(poster(hook.url))])
        stopping, heard = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(bench.deliverer.serve(stopping, lambda report: heard.set()))
        await asyncio.sleep(0)
        bench.put()
        bench.deliverer.poke()
        await asyncio.wait_for(heard.wait(), 10)
        stopping.set()
        await asyncio.wait_for(serving, 10)

    assert len(hook.posted) == 1
