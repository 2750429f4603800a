"""The next model is asked when the one before is unavailable, under a grant of its own."""

from __future__ import annotations

from typing import Any

import pytest

from ooda.errors import BudgetExceededError, ConfigError, CredentialError, ModelUnavailableError
from ooda.governance.grant import Grant
from ooda.models.fallback import FallbackModel
from ooda.models.request import Attempt
from ooda.models.scripted import ScriptedModel, say


class Gate:
    """Grants every model but `refused`, and remembers for whom it was asked."""

    def __init__(self, asking: Any, refused: str = "") -> None:
        self._asking = asking
        self._refused = refused
        self.asked: list[tuple[bool, str]] = []

    async def __call__(self, grant: Grant, name: str) -> Grant:
        self.asked.append((grant.is_spent, name))
        if name == self._refused:
            raise BudgetExceededError("too dear")
        made: Grant = self._asking.grant(name)
        return made


def down(status: int = 503, wait_s: float | None = None) -> ModelUnavailableError:
    return ModelUnavailableError("it is down", status=status, retry_after_s=wait_s)


async def test_the_first_model_answers_when_it_can(asking: Any) -> None:
    """The gate is not asked again, the others are not touched."""
    gate, second = Gate(asking), ScriptedModel([say("second")], name="second")
    model = FallbackModel([ScriptedModel([say("first")], name=asking.model), second], gate)
    reply = await model.complete(asking.request(), asking.grant())
    assert (reply.content, gate.asked, second.requests) == ("first", [], [])


async def test_the_next_model_is_asked_under_its_own_name_and_grant(asking: Any) -> None:
    """A grant binds one model at one price: each further one is decided anew."""
    gate, third = Gate(asking), ScriptedModel([say("third")], name="third")
    members = [ScriptedModel([down()], name=asking.model), ScriptedModel([down()], name="second"), third]
    reply = await FallbackModel(members, gate).complete(asking.request(), asking.grant())
    assert reply.content == "third"
    assert gate.asked == [(True, "second"), (True, "third")]
    assert third.requests[0].model == "third"


async def test_other_errors_are_not_hidden_by_another_model(asking: Any) -> None:
    """A rejected key is for its owner to mend."""
    gate = Gate(asking)
    members = [ScriptedModel([CredentialError("no")], name=asking.model), ScriptedModel([say("x")], name="second")]
    with pytest.raises(CredentialError):
        await FallbackModel(members, gate).complete(asking.request(), asking.grant())
    assert gate.asked == []


async def test_a_refusal_of_the_gate_ends_the_call(asking: Any) -> None:
    """The dearer model is not asked behind the budget's back."""
    second = ScriptedModel([say("x")], name="second")
    model = FallbackModel([ScriptedModel([down()], name=asking.model), second], Gate(asking, refused="second"))
    with pytest.raises(BudgetExceededError):
        await model.complete(asking.request(), asking.grant())
    assert second.requests == []


async def test_when_all_are_down_the_shortest_wait_is_told(asking: Any) -> None:
    """All sentences, the last status, and when it is worth coming back."""
    members = [
        ScriptedModel([down(wait_s=60.0)], name=asking.model),
        ScriptedModel([down(wait_s=20.0)], name="second"),
        ScriptedModel([down(429)], name="third"),
    ]
    with pytest.raises(ModelUnavailableError, match="it is down; then it is down; then it is down") as caught:
        await FallbackModel(members, Gate(asking)).complete(asking.request(), asking.grant())
    assert caught.value.facts == {"status": 429, "retry_after_s": 20.0}


async def test_attempts_of_all_models_are_counted_and_reported(server: Any, asking: Any, wire: Any) -> None:
    """What was sent to the first is charged although the second answered."""
    server.script = [wire.http(b"busy", "503 Busy", "text/plain")]
    attempts: list[Attempt] = []
    model = FallbackModel([asking.chat(server.url), ScriptedModel([say("x")], name="second")], Gate(asking))
    reply = await model.complete(asking.request(), asking.grant(), on_attempt=attempts.append)
    assert (reply.attempts, len(attempts)) == (6, 5)
    assert {attempt.model for attempt in attempts} == {asking.model}
    await model.close()


def test_a_list_of_local_models_is_local(asking: Any) -> None:
    """One member elsewhere makes the whole cost money."""
    here, there = ScriptedModel([]), ScriptedModel([])
    assert FallbackModel([here, there], Gate(asking)).is_loopback
    there.is_loopback = False
    assert not FallbackModel([here, there], Gate(asking)).is_loopback


def test_an_empty_list_is_a_setting_to_mend(asking: Any) -> None:
    """Nothing could ever be asked."""
    with pytest.raises(ConfigError, match="at least one"):
        FallbackModel([], Gate(asking))
