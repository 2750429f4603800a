"""`ooda chat --agent steward` at a pseudo-terminal: a model explains the fleet with tools that only look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda.models.scripted import say
from tests.cli.steward.fleet_home import FleetHome, fleet_home
from tests.cli.test_chat import Talk


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetHome]:
    (tmp_path / "fleet").mkdir()
    with fleet_home(tmp_path / "fleet") as made:
        made.person("ada", 2)
        yield made


def joined(talk: Talk, fleet: FleetHome) -> None:
    """Let the person at the terminal reach the fleet's deployment."""
    talk.home.environ.update({name: value for name, value in fleet.environ.items() if name not in ("HOME", "PATH")})


def test_questions_about_the_fleet_are_answered_from_looks_at_it(fleet: FleetHome, tmp_path: Path) -> None:
    """Every tool shows its report to the model, none builds anything, and the session can be replayed."""
    tools = ["fleet_plan", "fleet_ttl", "fleet_schedule", "fleet_operations", "fleet_savings", "fleet_forecast"]
    script = [
        say("", *((name, {}) for name in tools), ("fleet_workspace", {"workspace": "ada/w0"})),
        say("ada/w0 would be stopped: quiet hours."),
        say("", ("fleet_workspace", {"workspace": "ada/w9"}), ("fleet_plan", {"user": "nobody"})),
        say("There is no ada/w9."),
    ]
    folder = tmp_path / "talk"
    folder.mkdir()
    with Talk(folder, script) as talk:
        joined(talk, fleet)
        talk.opens("--agent", "steward")
        assert fleet.fake.url in talk.sees()
        assert "ada/w0 would be stopped: quiet hours." in talk.says("What happens to ada/w0 tonight?")
        assert "There is no ada/w9." in talk.says("And to ada/w9?")
        talk.terminal.sendline("/quit")
        assert talk.ends() == 0

        offered = {tool["function"]["name"] for tool in talk.home.provider.requests[0]["tools"]}
        results = [
            message["content"] for message in talk.home.provider.requests[-1]["messages"] if message["role"] == "tool"
        ]
        (run,) = talk.home.runs()
        replayed = talk.home.ooda("runs", "replay", run["run"])

    assert offered == {*tools, "fleet_workspace", "read_output", "update_plan"}
    assert len(results) == 9
    assert "this pass would stop 2" in results[0]
    assert all(title in results[2] for title in ("ada/w0", "ada/w1"))
    assert "no build in the last 7 days" in results[3]
    assert "decision: stop, because: quiet hours" in results[6]
    assert "there is no workspace 'ada/w9'; did you mean `ada/w" in results[7]
    assert "this pass would stop 0" in results[8]
    assert "no divergence" in replayed.out
    assert fleet.environ["CODER_TOKEN"] not in json.dumps(talk.home.provider.requests)
    assert fleet.fake.world.workspaces
    assert all(found.builds[-1].transition == "start" for found in fleet.fake.world.workspaces.values())


def test_a_deployment_that_is_not_configured_is_named_before_anything_is_typed(tmp_path: Path) -> None:
    with Talk(tmp_path, [say("unused")]) as talk:
        talk.opens("--agent", "steward")
        assert "there is no Coder deployment" in talk.sees("set `CODER_URL`")
        assert talk.ends() == 2
        talk.home.environ["CODER_URL"] = "http://127.0.0.1:9"
        talk.opens("--agent", "steward")
        assert "there is no Coder token" in talk.sees("set `CODER_TOKEN`")
        assert talk.ends() == 6


def test_without_a_model_the_commands_that_answer_are_named(fleet: FleetHome, tmp_path: Path) -> None:
    folder = tmp_path / "talk"
    folder.mkdir()
    with Talk(folder, []) as talk:
        joined(talk, fleet)
        for name in [name for name in talk.home.environ if "API_KEY" in name or "BASE_URL" in name]:
            del talk.home.environ[name]
        talk.opens("--agent", "steward")
        assert "OPENROUTER_API_KEY" in talk.sees("ooda steward quiet-hours")
        assert talk.ends() == 6
