"""One conversation of N steps, measured inside its process: CPU seconds (user and system, children included).

    python benchmarks/contestants.py NAME BASE_URL STEPS

`httpx` is the practical floor: a hand-written loop over httpx and orjson that keeps nothing. `ooda` is our loop with
gate, reservations, audit and a fully durable journal. Both warm up with five steps, so that imports do not count.
Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

Conversation = Callable[[int], Awaitable[dict[str, int]]]


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def httpx_floor(root: str) -> Conversation:
    import httpx
    import orjson

    client = httpx.AsyncClient(timeout=60)
    head = {"content-type": "application/json", "authorization": "Bearer sk-bench"}
    tools = [
        {
            "type": "function",
            "function": {
                "name": "act",
                "description": "do it",
                "parameters": {
                    "type": "object",
                    "properties": {"command": {"type": "string"}},
                    "required": ["command"],
                },
            },
        }
    ]

    async def conversation(steps: int) -> dict[str, int]:
        messages = [{"role": "system", "content": "You act."}, {"role": "user", "content": f"Do {steps} steps."}]
        while True:
            body = orjson.dumps({"model": "bench", "messages": messages, "tools": tools})
            reply = await client.post(f"{root}/v1/chat/completions", content=body, headers=head)
            message = orjson.loads(reply.content)["choices"][0]["message"]
            messages.append(message)
            if not message.get("tool_calls"):
                return {}
            for call in message["tool_calls"]:
                orjson.loads(call["function"]["arguments"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": "ok"})

    return conversation


def ooda(root: str) -> Conversation:
    from bench_tool import act

    from ooda.api.session import Session
    from ooda.engines.local import LocalEngine
    from ooda.engines.world import LocalWorld, Topic
    from ooda.events import Body, Limits, RunStarted
    from ooda.governance.budget import Cap, Scope
    from ooda.governance.gate import Gate
    from ooda.governance.model_door import ModelDoor
    from ooda.governance.policy import DoorPolicy
    from ooda.governance.recorder import Recorder
    from ooda.governance.sent_mark import SentMark
    from ooda.models.select import open_model
    from ooda.runtime.agent import LOOP_VERSION, AgentSpec, Phase
    from ooda.runtime.decide import Decision, ModelDecider
    from ooda.runtime.loop import Loop
    from ooda.store import leases
    from ooda.tools.room import FolderSpool, ToolRoom
    from ooda.tools.toolbox import BoundToolbox

    home = tempfile.mkdtemp(prefix="ooda-bench-")
    caps = {f"budget.{name}": 10**6 for name in ("hour_usd", "day_usd", "total_usd")}
    caps |= {"budget.hour_tokens": 10**12, "budget.day_tokens": 10**12}
    session = Session.open(environ={"HOME": home}, cwd=Path(home), overrides=caps)
    # Like the floor, which keeps its client: an agent keeps its connections over conversations.
    access = open_model("bench", base_url=f"{root}/v1", environ={})
    price = session.prices.find("bench", f"{root}/v1")
    assert price is not None

    async def conversation(steps: int) -> dict[str, int]:
        run = session.ids.new("run")
        agent = AgentSpec(
            name="bench",
            phases=(
                Phase(
                    name="act",
                    decider=ModelDecider(silent=lambda situation, reply: Decision(done=True)),
                    tools=("act",),
                ),
            ),
            rules=Body("You act."),
            brief=Body(f"Do {steps} steps."),
            traits={"act": act.traits},
        )
        lease = await session.store.write(lambda tx: leases.take(tx, run, "bench", 600, session.clock.now_ns()))
        recorder = Recorder(
            run=run,
            loop=Loop(agent),
            store=session.store,
            redactor=session.redactor,
            clock=session.clock,
            fence=lease.fence,
            is_alone=lambda: True,
        )
        cap = Cap(10**12, 10**12)
        policy = DoorPolicy(
            actor="bench",
            rules=session.rules,
            version="bench",
            scopes=(Scope("global"), Scope("agent", "bench"), Scope("task", run, cap), Scope("run", run, cap)),
        )
        toolbox = BoundToolbox((act,), ToolRoom(run=run, clock=session.clock))
        gate = Gate(recorder=recorder, toolbox=toolbox, policy=policy, ids=session.ids, outputs=FolderSpool(Path(home)))
        door = ModelDoor(
            recorder=recorder,
            mint=gate.mint,
            policy=policy,
            ledger=session.ledger,
            model="bench",
            price=price,
            sent=SentMark(Path(home) / "sent"),
        )
        world = LocalWorld(
            recorder=recorder,
            door=door,
            model=access,
            schemas=toolbox.schemas,
            topic=Topic(company_id="b", project_id="b", task_id=run),
        )
        engine = LocalEngine(recorder, gate, world, owner="bench")
        limits = Limits(steps=10**6, tokens=10**12, cost_nano=10**12, context_tokens=10**9)
        ending = await engine.start(
            RunStarted(
                agent="bench",
                task=Body("{}"),
                task_digest="",
                rules=agent.rules,
                brief=agent.brief,
                limits=limits,
                loop_version=LOOP_VERSION,
                model="bench",
            )
        )
        assert (ending.status, ending.state.spent.model_calls) == ("success", steps + 1), ending
        rows = session.store.read(
            lambda tx: tx.execute("SELECT COUNT(*), SUM(LENGTH(body)) FROM events WHERE run = ?", (run,))
        )
        return {"journal_events": rows[0][0], "journal_bytes": rows[0][1]}

    return conversation


CONTESTANTS: dict[str, Callable[[str], Conversation]] = {"httpx": httpx_floor, "ooda": ooda}


async def measured(name: str, root: str, steps: int) -> dict[str, object]:
    conversation = CONTESTANTS[name](root)
    await conversation(5)
    before = cpu_s()
    facts = await conversation(steps)
    return {"name": name, "steps": steps, "cpu_s": cpu_s() - before, **facts}


if __name__ == "__main__":
    os.environ.pop("HTTP_PROXY", None)
    print(json.dumps(asyncio.run(measured(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
