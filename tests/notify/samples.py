"""Letters with everything in them that a channel must not obey."""

from __future__ import annotations

from ooda.notify.values import Entry, Letter

AT = 1_700_000_000_000_000_000

HOSTILE = (
    "<!channel> <@U123|ada> <https://evil.example|click> *bold* _it_ ~s~ `code` & @here @channel\n"
    "[link](https://evil.example) ![img](https://evil.example/x.png) # head\n1. one\n- two\n"
    "<script>alert(1)</script> \"quoted\" 'single' {{mustache}} %s \u202egnp.exe\u202c \x00\x1b[31mred\r\nlast"
)

PLAIN = Letter(
    id="msg-0123456789abcdef0123456789abcdef",
    kind="workspace_stop_warning",
    title="Your workspaces will be stopped",
    severity="warning",
    entries=(
        Entry(
            id="n1",
            kind="workspace_stop_warning",
            text="Your workspaces will be stopped: ada/dev at 18:30 UTC (quiet hours). Use them to put the stop off.",
            at_ns=AT,
            facts=(("for", "Ada Lovelace"), ("run", "run-1")),
            lines=("ada/dev · 2023-11-14 18:30 UTC · quiet hours", "ada/gpu · 2023-11-14 19:00 UTC · time to live"),
            data={"notification_type": "workspace_stop_warning", "message": "…"},
        ),
    ),
)
ATTACK = Letter(
    id="msg-0123456789abcdef0123456789abcdef",
    kind="alert_fired",
    title=HOSTILE.partition("\n")[0],
    severity="error",
    entries=(Entry(id="n2", kind="alert_fired", text=HOSTILE, at_ns=AT, facts=(("run", HOSTILE),), lines=(HOSTILE,)),),
    place="#ops-alerts",
    is_repeated=True,
)
HUGE = Letter(
    id="msg-0123456789abcdef0123456789abcdef",
    kind="note",
    title="T" * 1_000,
    severity="info",
    entries=tuple(
        Entry(
            id=f"n{number}",
            kind="note",
            text="<&>*_" * 1_600,
            at_ns=AT,
            facts=(("run", "r" * 5_000),),
            lines=("<&>" * 300,) * 50,
        )
        for number in range(30)
    ),
)
LETTERS = {"plain": PLAIN, "attack": ATTACK, "huge": HUGE}
