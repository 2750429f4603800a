"""Messages: what becomes of a notice on its way to each receiver, every attempt, and the channels' own state.

A message is claimed before it is sent and settled afterwards, each in a transaction; the attempt that says "about to
send" is on disk before the first byte leaves. A claim whose owner is gone is taken back as an attempt of unknown
outcome. Knows rows; when to try again and what to send is decided above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from ooda.store.outbox import Notice
from ooda.store.tx import Tx, columns, records

__all__ = [
    "Attempt",
    "ChannelState",
    "Message",
    "add",
    "attempts_of",
    "bury",
    "channel_state",
    "claim",
    "counted",
    "cut_off",
    "enable",
    "end",
    "find",
    "found",
    "join",
    "listed",
    "next_due",
    "notices_of",
    "open_for",
    "pause",
    "remove_of",
    "retry",
    "stop_channel",
]

State = Literal["waiting", "sending", "sent", "dead"]
Outcome = Literal["", "sent", "failed", "unknown"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way to one receiver."""

    id: str
    channel: str
    recipient: str
    kind: str
    state: State
    created_ns: int
    due_ns: int
    attempts: int = 0
    unsure: int = 0
    """Attempts of which nobody knows whether they arrived."""
    owner: str = ""
    lease_ns: int = 0
    ended_ns: int | None = None
    failure: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to send a message."""

    message: str
    attempt: int
    started_ns: int
    ended_ns: int | None = None
    outcome: Outcome = ""
    """Empty while it is under way."""
    status: int = 0
    detail: str = ""


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that was told to wait or to stop."""

    channel: str
    endpoint: str
    paused_ns: int = 0
    disabled_ns: int | None = None
    reason: str = ""


_SELECT = f"SELECT {columns(Message)} FROM messages"  # noqa: S608 - our own names


# -- from notices to messages -------------------------------------------------------------------------------


def add(tx: Tx, message: Message, notices: Iterable[str]) -> bool:
    """Put a message on its way; False when it is known, sent or not."""
    if not tx.change(
        f"INSERT INTO messages ({columns(Message)}) VALUES ({', '.join('?' * 13)}) ON CONFLICT DO NOTHING",  # noqa: S608
        msgspec.structs.astuple(message),
    ):
        return False
    for notice in notices:
        join(tx, message.id, notice)
    return True


def join(tx: Tx, message: str, notice: str) -> None:
    """Let a notice go with a message."""
    tx.change("INSERT INTO message_notices (message, notice) VALUES (?, ?) ON CONFLICT DO NOTHING", (message, notice))


def open_for(tx: Tx, channel: str, recipient: str, kind: str, most: int) -> Message | None:
    """The message to this receiver that nobody has tried to send yet and that holds fewer than `most` notices."""
    rows = tx.execute(
        f"{_SELECT} WHERE channel = ? AND state = 'waiting' AND ended_ns IS NULL AND recipient = ? AND kind = ? "  # noqa: S608
        "AND attempts = 0 AND (SELECT COUNT(*) FROM message_notices n WHERE n.message = messages.id) < ? "
        # Locked: nobody may send it between this look and the notice that joins it.
        f"ORDER BY created_ns, id LIMIT 1{tx.for_update}",
        (channel, recipient, kind, most),
    )
    return records(Message, rows)[0] if rows else None


def notices_of(tx: Tx, message: str) -> list[Notice]:
    """The notices a message tells, the oldest first."""
    rows = tx.execute(
        f"SELECT {', '.join('o.' + name for name in Notice.__struct_fields__)} FROM outbox o "  # noqa: S608
        "JOIN message_notices n ON n.notice = o.id WHERE n.message = ? ORDER BY o.created_ns, o.id",
        (message,),
    )
    return records(Notice, rows)


# -- sending ------------------------------------------------------------------------------------------------


def claim(tx: Tx, channel: str, owner: str, now_ns: int, lease_ns: int, run: str = "") -> Message | None:
    """Take the message of a channel that is due longest, and note that it is about to be sent; None without one.

    Args:
        lease_ns: until when the attempt may take; afterwards others may take it as cut off.
        run: only messages that tell notices of this run.
    """
    rows = tx.execute(
        f"{_SELECT} WHERE channel = ? AND state = 'waiting' AND ended_ns IS NULL AND due_ns <= ?{_of(run)} "
        "ORDER BY due_ns, id LIMIT 1",
        (channel, now_ns, *((run,) if run else ())),
    )
    if not rows:
        return None
    waiting = records(Message, rows)[0]
    number = waiting.attempts + 1
    if not tx.change(
        "UPDATE messages SET state = 'sending', owner = ?, lease_ns = ?, attempts = ? "
        "WHERE id = ? AND state = 'waiting' AND attempts = ?",
        (owner, lease_ns, number, waiting.id, waiting.attempts),
    ):
        return None  # another deliverer was quicker
    tx.change(
        "INSERT INTO message_attempts (message, attempt, started_ns) VALUES (?, ?, ?)", (waiting.id, number, now_ns)
    )
    return msgspec.structs.replace(waiting, state="sending", owner=owner, lease_ns=lease_ns, attempts=number)


def cut_off(tx: Tx, channel: str, now_ns: int, is_alive: Callable[[str], bool]) -> list[Message]:
    """Messages that somebody was sending who is gone, or who has had more than the time of an attempt."""
    rows = tx.execute(f"{_SELECT} WHERE channel = ? AND state = 'sending' AND ended_ns IS NULL", (channel,))
    return [one for one in records(Message, rows) if one.lease_ns <= now_ns or not is_alive(one.owner)]


def end(
    tx: Tx,
    claimed: Message,
    outcome: Literal["sent", "failed", "unknown"],
    now_ns: int,
    *,
    status: int = 0,
    detail: str = "",
    retry_ns: int | None = None,
) -> bool:
    """Record how an attempt ended, and with it the notices; False when it was taken from its owner meanwhile.

    Args:
        retry_ns: when to try again; None when it was sent, or is given up.
    """
    state = "sent" if outcome == "sent" else "waiting" if retry_ns is not None else "dead"
    if not tx.change(
        "UPDATE messages SET state = ?, due_ns = ?, ended_ns = ?, owner = '', lease_ns = 0, failure = ?, "
        "unsure = unsure + ? WHERE id = ? AND state = 'sending' AND attempts = ? AND owner = ?",
        (
            state,
            retry_ns if retry_ns is not None else claimed.due_ns,
            None if state == "waiting" else now_ns,
            "" if outcome == "sent" else detail,
            int(outcome == "unknown"),
            claimed.id,
            claimed.attempts,
            claimed.owner,
        ),
    ):
        return False
    tx.change(
        "UPDATE message_attempts SET ended_ns = ?, outcome = ?, status = ?, detail = ? "
        "WHERE message = ? AND attempt = ?",
        (now_ns, outcome, status, detail, claimed.id, claimed.attempts),
    )
    _tell_notices(tx, claimed.id, outcome, detail, now_ns)
    return True


def _tell_notices(tx: Tx, message: str, outcome: str, detail: str, now_ns: int) -> None:
    """A notice is sent once all its messages are."""
    of_message = "id IN (SELECT notice FROM message_notices WHERE message = ?)"
    tx.change(
        f"UPDATE outbox SET attempts = attempts + 1, failure = ? WHERE {of_message}",  # noqa: S608
        ("" if outcome == "sent" else detail, message),
    )
    if outcome == "sent":
        tx.change(
            f"UPDATE outbox SET sent_ns = ? WHERE {of_message} AND sent_ns IS NULL AND NOT EXISTS ("  # noqa: S608
            "SELECT 1 FROM message_notices n JOIN messages m ON m.id = n.message "
            "WHERE n.notice = outbox.id AND m.state <> 'sent')",
            (now_ns, message),
        )


def bury(tx: Tx, channel: str, now_ns: int, reason: str) -> int:
    """Give up all due messages of a channel without an attempt; gives how many."""
    due = "SELECT id FROM messages WHERE channel = ? AND state = 'waiting' AND ended_ns IS NULL AND due_ns <= ?"
    tx.change(
        f"UPDATE outbox SET failure = ? WHERE id IN (SELECT notice FROM message_notices WHERE message IN ({due}))",  # noqa: S608
        (reason, channel, now_ns),
    )
    return tx.change(
        f"UPDATE messages SET state = 'dead', failure = ?, ended_ns = ? WHERE id IN ({due})",  # noqa: S608
        (reason, now_ns, channel, now_ns),
    )


def retry(tx: Tx, id: str, now_ns: int) -> bool:
    """Try a message again that was given up, or at once one that waits; False when it is neither."""
    return bool(
        tx.change(
            "UPDATE messages SET state = 'waiting', due_ns = ?, created_ns = ?, ended_ns = NULL "
            "WHERE id = ? AND state IN ('waiting', 'dead')",
            (now_ns, now_ns, id),
        )
    )


def next_due(tx: Tx, channel: str, run: str = "") -> int | None:
    """When the first waiting message of a channel is due, of all runs or of one; None when none waits."""
    rows = tx.execute(
        f"SELECT MIN(due_ns) FROM messages WHERE channel = ? AND state = 'waiting' AND ended_ns IS NULL{_of(run)}",  # noqa: S608
        (channel, *((run,) if run else ())),
    )
    return rows[0][0] if rows else None


def _of(run: str) -> str:
    """The condition, with one parameter, that a message tells a notice of this run; empty for all runs."""
    if not run:
        return ""
    return (
        " AND EXISTS (SELECT 1 FROM message_notices n JOIN outbox o ON o.id = n.notice "
        "WHERE n.message = messages.id AND o.run = ?)"
    )


def remove_of(tx: Tx, run: str) -> None:
    """Remove the messages, and their attempts, that told nothing but delivered notices of a run."""
    delivered = "SELECT id FROM outbox WHERE run = ? AND sent_ns IS NOT NULL"
    told = tx.execute(f"SELECT DISTINCT message FROM message_notices WHERE notice IN ({delivered})", (run,))  # noqa: S608
    tx.change(f"DELETE FROM message_notices WHERE notice IN ({delivered})", (run,))  # noqa: S608
    for (message,) in told:
        if not tx.execute("SELECT 1 FROM message_notices WHERE message = ? LIMIT 1", (message,)):
            tx.change("DELETE FROM message_attempts WHERE message = ?", (message,))
            tx.change("DELETE FROM messages WHERE id = ?", (message,))


# -- looking --------------------------------------------------------------------------------------------------


def find(tx: Tx, id: str) -> Message | None:
    """A message by its id."""
    rows = tx.execute(f"{_SELECT} WHERE id = ?", (id,))
    return records(Message, rows)[0] if rows else None


def found(tx: Tx, start: str, limit: int = 10) -> list[Message]:
    """Messages whose id begins so: what a person types."""
    rows = tx.execute(f"{_SELECT} WHERE substr(id, 1, ?) = ? ORDER BY id LIMIT ?", (len(start), start, limit))
    return records(Message, rows)


def listed(tx: Tx, *, state: str = "", channel: str = "", run: str = "", limit: int = 100) -> list[Message]:
    """The newest messages first."""
    asked = {name: value for name, value in (("state", state), ("channel", channel)) if value}
    conditions = [f"{name} = ?" for name in asked]
    values = list(asked.values())
    if run:
        conditions.append(
            "id IN (SELECT n.message FROM message_notices n JOIN outbox o ON o.id = n.notice WHERE o.run = ?)"
        )
        values.append(run)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = tx.execute(f"{_SELECT}{where} ORDER BY created_ns DESC, id DESC LIMIT ?", (*values, limit))
    return records(Message, rows)


def attempts_of(tx: Tx, message: str) -> list[Attempt]:
    """Every attempt at a message, in order."""
    rows = tx.execute(
        f"SELECT {columns(Attempt)} FROM message_attempts WHERE message = ? ORDER BY attempt",  # noqa: S608
        (message,),
    )
    return records(Attempt, rows)


def counted(tx: Tx, run: str = "") -> dict[str, int]:
    """How many messages are in each state, of all runs or of one."""
    of_run = (
        "WHERE id IN (SELECT n.message FROM message_notices n JOIN outbox o ON o.id = n.notice WHERE o.run = ?) "
        if run
        else ""
    )
    rows = tx.execute(
        f"SELECT state, COUNT(*) FROM messages {of_run}GROUP BY state",  # noqa: S608
        (run,) if run else (),
    )
    return {str(state): int(count) for state, count in rows}


# -- channels -----------------------------------------------------------------------------------------------


def channel_state(tx: Tx, channel: str, endpoint: str) -> ChannelState:
    """Whether a channel was told to wait or stop, at this address of it."""
    rows = tx.execute(f"SELECT {columns(ChannelState)} FROM channels WHERE channel = ?", (channel,))  # noqa: S608
    kept = records(ChannelState, rows)
    if kept and kept[0].endpoint == endpoint:
        return kept[0]
    return ChannelState(channel=channel, endpoint=endpoint)


def pause(tx: Tx, channel: str, endpoint: str, until_ns: int) -> None:
    """Send nothing over a channel before an instant: its server asked for that."""
    _set_channel(tx, msgspec.structs.replace(channel_state(tx, channel, endpoint), paused_ns=until_ns))


def stop_channel(tx: Tx, channel: str, endpoint: str, now_ns: int, reason: str) -> None:
    """Send nothing over a channel any more: its address is gone."""
    state = channel_state(tx, channel, endpoint)
    _set_channel(tx, msgspec.structs.replace(state, disabled_ns=now_ns, reason=reason))


def enable(tx: Tx, channel: str) -> bool:
    """Use a channel again; False when nothing was against it."""
    return bool(tx.change("DELETE FROM channels WHERE channel = ?", (channel,)))


def _set_channel(tx: Tx, state: ChannelState) -> None:
    tx.change(
        f"INSERT INTO channels ({columns(ChannelState)}) VALUES (?, ?, ?, ?, ?) ON CONFLICT (channel) DO UPDATE SET "  # noqa: S608
        "endpoint = excluded.endpoint, paused_ns = excluded.paused_ns, disabled_ns = excluded.disabled_ns, "
        "reason = excluded.reason",
        msgspec.structs.astuple(state),
    )
