"""What an answer over HTTP means for a message: sent, try again, given up, or nobody knows. Pure but for the post."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ooda.notify.pace import retry_after_s
from ooda.notify.post import Answer, Poster, PostFailure
from ooda.notify.values import Parcel, Receipt

__all__ = ["Refuses", "posted"]

Refuses = Callable[[Answer], str | None]
"""Whether an answer means that this message will never be taken: why, or None."""

_SAYS = 200


async def posted(
    poster: Poster,
    parcel: Parcel,
    headers: Mapping[str, str],
    *,
    is_taken: Callable[[Answer], bool] = lambda answer: 200 <= answer.status < 300,
    refuses: Refuses = lambda answer: None,
) -> Receipt:
    """Post a parcel; what becomes of it as a receipt.

    A redirect is a failure: the receiver's address is the one in the settings and no other.
    """
    try:
        answer = await poster.post(parcel.body, headers, parcel.deadline_s)
    except PostFailure as failure:
        return Receipt(outcome="unknown" if failure.is_sent else "failed", detail=failure.problem)
    said = " ".join(answer.body[:_SAYS].split())
    detail = f"{poster.url.host} answered {answer.status}" + (f": {said}" if said else "")
    if is_taken(answer):
        return Receipt(outcome="sent", status=answer.status, detail=detail)
    if 300 <= answer.status < 400:
        detail = f"{poster.url.host} answered {answer.status}, a redirect; set the final address, none is followed"
    why = refuses(answer)
    return Receipt(
        outcome="failed",
        status=answer.status,
        detail=f"{detail} ({why})" if why else detail,
        is_final=why is not None,
        is_gone=answer.status == 410,
        retry_after_s=retry_after_s(answer.retry_after, parcel.at_ns) if answer.retry_after else None,
    )
