"""A run on a cassette's replies: each request is compared with the recorded one, and the first that differs is shown.

Knows cassettes and prompts; the order of the replies is `ReplayModel`'s.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ooda.api.cassette import Cassette, recorded_replies
from ooda.api.session import Session
from ooda.errors import ConfigError, DivergenceError
from ooda.events import ModelAsked, ModelReplied
from ooda.models.replay import ReplayModel
from ooda.runtime.context import Message, Prompt
from ooda.runtime.replay import prompt_diff
from ooda.task import CodingTask, parse_task
from ooda.tools.room import GitTarget

__all__ = ["comparing", "replay_model", "spare_recorded"]


def replay_model(session: Session, cassette: Cassette, run: str) -> ReplayModel:
    """The cassette as a model, at the place where `run` (empty for a new one) has come to."""
    given = sum(row.kind == ModelReplied.__name__ for row in session.store.rows(run)) if run else 0
    return ReplayModel(recorded_replies(cassette), name=cassette.started.model or "replay", start=given)


def comparing(model: ReplayModel, cassette: Cassette | None, prompt: Prompt) -> Callable[[str], None]:
    """Compares a request, given by its digest, before it is asked; `prompt` is what it was rendered from.

    The function raises DivergenceError as `ReplayModel.expect` does, with the first message that differs.
    """

    def compare(digest: str) -> None:
        try:
            model.expect(digest)
        except DivergenceError as error:
            at = error.facts.get("position")
            recorded = _request(cassette, at) if cassette is not None and isinstance(at, int) else None
            if recorded is None:
                raise
            raise DivergenceError(f"{error}\n{prompt_diff(recorded, prompt.messages)}", **error.facts) from error

    return compare


def spare_recorded(cassette: Cassette, target: GitTarget, remote_url: str) -> None:
    """Refuse a replay on the very remote that its recording pushed to.

    Args:
        remote_url: The remote as the task writes it.

    Raises:
        ConfigError: it is the same one; the message says how to make a copy.
    """
    recorded = parse_task(msgspec.json.decode(cassette.started.task.text), f"task of {cassette.run}").task
    if isinstance(recorded, CodingTask) and recorded.repository.remote_url in (remote_url, target.remote.url):
        raise ConfigError(
            f"the cassette was recorded on {remote_url}, and a replay never touches what its recording touched. Make a "
            f"copy (`git clone --bare {remote_url} copy.git`) and name that as `repository.remote_url` in the task"
        )


def _request(cassette: Cassette, position: int) -> list[Message] | None:
    """The messages of the recorded request that got the reply at `position`, from 1; None when there is none."""
    prompt = Prompt(lambda body: body.text)
    asked: list[Message] = []
    for seq, entry in enumerate(cassette.entries):
        if isinstance(entry.event, ModelAsked):
            asked = list(prompt.messages)
        elif isinstance(entry.event, ModelReplied):
            position -= 1
            if not position:
                return asked
        prompt.feed(seq, entry.event)
    return None
