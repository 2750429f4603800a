"""The one door. `decide` says whether a call may happen, `execute` makes it happen; there is no other way.

    decide:   arguments -> permission (operation x level, then rules) -> hooks -> labels against sinks -> budget
    execute:  fence, decision and ToolStarted in one transaction -> effect under its deadline -> redaction -> cap
              -> ToolReturned in one transaction; the audit is chained in both

A person's answer is never awaited here: `NeedsApproval` goes back to the loop, which asks, and `decide` runs again.
Model calls pass the same door (`model_door.py`) with a reservation of their worst case.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace

from ooda.errors import IntegrationError, RefusedError, ToolError, nearest
from ooda.events import ApprovalAnswered, ApprovalAsked, Body, Effect, Notified, ToolReturned, ToolStarted, canonical
from ooda.governance.approval import Binding, shown_text
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.call import (
    Allowed,
    KeepsOutput,
    KeepsWorkspace,
    NeedsApproval,
    Parsed,
    ProbeAnswer,
    ProposedCall,
    Refused,
    ReplacesFile,
    Tool,
    Toolbox,
    ToolOutcome,
    Verdict,
)
from ooda.governance.cap import capped
from ooda.governance.conduct import DENIALS
from ooda.governance.grant import Grant, Mint
from ooda.governance.hooks import HookEvent, Hooks, HookSaid, merged
from ooda.governance.levels import Level
from ooda.governance.operations import Operation
from ooda.governance.policy import DoorPolicy
from ooda.governance.recorder import Intent, Recorder
from ooda.governance.redaction import has_marker
from ooda.governance.rules import UNREAD
from ooda.governance.weighing import weigh
from ooda.ids import IdSource, effect_key
from ooda.labels import TOOL
from ooda.runtime.decide import Situation
from ooda.runtime.state import OpenCall
from ooda.store import Tx, approvals

__all__ = ["Gate", "Hook", "Reachable"]

Hook = Callable[[ProposedCall, Tool, Parsed], Refused | NeedsApproval | None]
"""Runs after permission; may only tighten: None leaves the decision as it is."""

Reachable = Callable[[Operation, Effect], Awaitable[str]]
"""Asked right before an effect: why it may not begin now, since governance cannot be reached; empty when it may."""

_NANO = 1_000_000_000
_BEFORE: tuple[HookEvent, ...] = ("PreToolUse", "PermissionRequest")
_PLAINLY = (
    "Nobody is there to be asked. Write the command plainly: programs by their names, no text run as a command that "
    "is made at run time; or put the steps into a script file and run that"
)


class Gate:
    """The door of one run."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        toolbox: Toolbox,
        policy: DoorPolicy,
        ids: IdSource,
        outputs: KeepsOutput,
        hooks: tuple[Hook, ...] = (),
        workspace: KeepsWorkspace | None = None,
        programs: Hooks | None = None,
        reachable: Reachable | None = None,
        level_now: Callable[[], Level] | None = None,
    ) -> None:
        """Take the parts of one run.

        Args:
            level_now: The agent's level as it stands; asked before each effect, as it may have been lost since.
        """
        self.recorder = recorder
        self.policy = policy
        self.mint = Mint()
        self._toolbox = toolbox
        self._ids = ids
        self._outputs = outputs
        self._hooks = hooks
        self._workspace = workspace
        self.notice: Callable[[Tx, Notified], None] = lambda tx, notified: None
        """Writes with a notice what is delivered of it."""
        self._told: set[str] = set()
        self._programs = programs
        self._reachable = reachable
        self._level_now = level_now
        self._said: dict[str, tuple[str, HookSaid]] = {}
        """What the operator's hooks said to a call, with its arguments: asked before it is decided."""
        self._replaced: dict[str, str] = {}
        """What a call would take the place of, as it was right before it was decided."""

    # -- decide -----------------------------------------------------------------------------------------

    def decide(self, call: ProposedCall, situation: Situation) -> Verdict:
        """Judge one call. Changes nothing, asks nobody; the same call in the same situation gets the same verdict."""
        tool = self._toolbox.find(call.tool)
        if tool is None or call.tool not in situation.tools:
            return self._unknown(call.tool, situation)
        try:
            parsed = tool.parse(call.arguments)
        except ToolError as error:
            return Refused("arguments", str(error), tool.operation)
        operation = tool.operation
        if operation is Operation.WRITE_WORKSPACE and has_marker(parsed.canonical.decode()):
            return Refused(
                "arguments",
                "the text holds a redaction mark (`«redacted:…»`) where a secret was masked for you; writing "
                "it would overwrite the secret. Change the other lines with `edit_file`",
                operation,
            )
        targets = tool.targets(parsed)
        weighed = weigh(self.policy, call.tool, operation, parsed.canonical, targets, situation.label)
        ruled, judged = weighed.ruled, weighed.judged
        if weighed.permitted.decision == "deny":
            return Refused("permission", weighed.permitted.reason, operation)
        if ruled.decision == "deny":
            return Refused("rule", f"rule `{ruled.rule}`: {ruled.reason}", operation)
        asks: NeedsApproval | None = None
        shown_targets = (*targets, *filter(None, (self._replaced.get(call.call),)))
        for hook in self._hooks:
            match hook(call, tool, parsed):
                case Refused() as refused:
                    return refused
                case NeedsApproval() as asked:
                    asks = asks or asked
        said = self._hook_said(call)
        if said.decision == "deny":
            return Refused("hook", f"hook `{said.hook}`: {said.reason}", operation)
        if said.decision == "ask":
            reason = f"hook `{said.hook}`: {said.reason}"
            asks = asks or NeedsApproval(
                shown_text(call.tool, operation, reason, shown_targets, parsed.canonical), reason, operation
            )
        if ruled.rule == UNREAD and not self.policy.is_attended:
            # A model can write it otherwise at once; a run that waits for a person over a spelling is of no use.
            return Refused("arguments", f"{ruled.reason}. {_PLAINLY}", operation)
        if judged.decision == "deny":
            return Refused("label", judged.reason, operation)
        if reason := weighed.asking:
            asks = asks or NeedsApproval(
                shown_text(call.tool, operation, reason, shown_targets, parsed.canonical), reason, operation
            )
        if asks is not None and not self._is_approved(call, tool, parsed, targets):
            return asks
        return Allowed(self._grant(call, tool, parsed, targets, situation), parsed, ruled.rule)

    def wants_hooks(self, tool: str) -> bool:
        """Whether the operator's hooks have to be asked (`consult`) before a call of this tool is decided."""
        return self._programs is not None and any(self._programs.concern(event, tool) for event in _BEFORE)

    def wants_consult(self, call: ProposedCall, situation: Situation) -> bool:
        """Whether something outside has to be looked at or asked (`consult`) before a call is decided for good."""
        if self.wants_hooks(call.tool):
            return True
        tool = self._toolbox.find(call.tool)
        if tool is None or _replacing(tool) is None:
            return False
        return bool(call.approval) or isinstance(self.decide(call, situation), NeedsApproval)

    async def consult(self, call: ProposedCall, situation: Situation) -> None:
        """See what a call would replace, and ask the operator's hooks; `decide` then counts both, for this call."""
        hooks, tool = self._programs, self._toolbox.find(call.tool)
        try:
            parsed = tool.parse(call.arguments) if tool is not None else None
        except ToolError:
            return  # refused for its arguments anyway
        if tool is None or parsed is None:
            return
        if (replacing := _replacing(tool)) is not None:
            self._replaced[call.call] = await replacing.replaces(parsed)
        if hooks is None or not self.wants_hooks(call.tool):
            return
        facts = self._facts_of(call.call, tool, parsed, str(situation.label))
        said = await hooks.ask("PreToolUse", call.tool, facts)
        self._said[call.call] = (call.arguments, said)
        if said.decision != "deny" and isinstance(asked := self.decide(call, situation), NeedsApproval):
            again = await hooks.ask("PermissionRequest", call.tool, {**facts, "shown": asked.shown})
            self._said[call.call] = (call.arguments, merged([again, said]))

    async def asked(self, event: HookEvent, facts: Mapping[str, object]) -> HookSaid:
        """What the operator's hooks say to something that is no call of a tool; no objection without hooks."""
        if self._programs is None or not self._programs.concern(event):
            return HookSaid()
        return await self._programs.ask(event, "", facts)

    def _facts_of(self, call: str, tool: Tool, parsed: Parsed, label: str) -> dict[str, object]:
        return {
            "tool_name": tool.name,
            "tool_use_id": call,
            "tool_input": msgspec.json.decode(parsed.canonical),
            "operation": str(tool.operation),
            "effect": tool.effect,
            "targets": list(tool.targets(parsed)),
            "label": label,
            "permission_level": self.policy.level.word,
        }

    def _hook_said(self, call: ProposedCall) -> HookSaid:
        if not self.wants_hooks(call.tool):
            return HookSaid()
        arguments, said = self._said.get(call.call, ("", HookSaid("deny", "it was not asked")))
        return said if arguments == call.arguments else HookSaid("deny", "it was asked about other arguments")

    def _unknown(self, name: str, situation: Situation) -> Refused:
        known = situation.tools
        near = nearest(name, known)
        hint = f"Did you mean `{near}`?" if near else f"Available now: {', '.join(f'`{tool}`' for tool in known)}."
        exists = self._toolbox.find(name) is not None
        what = (
            f"Tool `{name}` is not available in phase `{situation.phase}`." if exists else f"There is no tool `{name}`."
        )
        return Refused("unknown_tool", f"{what} {hint}")

    def _grant(
        self, call: ProposedCall, tool: Tool, parsed: Parsed, targets: tuple[str, ...], situation: Situation
    ) -> Grant:
        state = self.recorder.state
        seq = state.next_seq
        known = next((c.key for c in state.calls if c.call == call.call), "")
        deadline_ns = self.recorder.clock.now_ns() + int(tool.timeout_s * _NANO)
        return self.mint.grant(
            kind="tool",
            run=situation.run,
            seq=seq,
            call=call.call,
            tool=tool.name,
            definition=tool.definition,
            arguments=_sha256(parsed.canonical),
            operation=tool.operation,
            effect=tool.effect,
            key=known or effect_key(situation.run, seq, call.call),
            fence=self.recorder.fence,
            deadline_ns=deadline_ns,
            targets=targets,
            label=situation.label,
            approval=call.approval,
            sandbox=self._toolbox.sandbox_id,
        )

    def _binding(self, call: ProposedCall, tool: Tool, parsed: Parsed, targets: tuple[str, ...]) -> Binding:
        return Binding(
            run=self.recorder.state.run,
            call=call.call,
            tool=tool.name,
            definition=tool.definition,
            arguments=_sha256(parsed.canonical),
            targets=(*targets, *filter(None, (self._replaced.get(call.call),))),
            policy=self.policy.version,
            # The question itself is a text of ours: asking must not change what the answer is bound to.
            labels=str(self.recorder.state.label.join(TOOL)),
        )

    def _is_approved(self, call: ProposedCall, tool: Tool, parsed: Parsed, targets: tuple[str, ...]) -> bool:
        """Whether a person's unused answer lets exactly this call through."""
        if not call.approval:
            return False
        row = self.recorder.read(lambda tx: approvals.find(tx, call.approval))
        if row is None or row.state not in ("approve", "modify") or row.shown_hash != _sha256(row.shown.encode()):
            return False
        if row.used_ns is not None and not self._has_begun(call.call):
            return False
        allowed = row.arguments.encode()
        if row.state == "modify" and row.edited_arguments is not None:
            allowed = tool.parse(row.edited_arguments).canonical
        asked = Binding(
            run=row.run,
            call=row.call,
            tool=row.tool,
            definition=row.definition,
            arguments=_sha256(allowed),
            targets=tuple(msgspec.json.decode(row.targets)),
            policy=row.policy,
            labels=row.labels,
        )
        now = self._binding(call, tool, parsed, targets)
        if row.state == "modify":  # whoever changed the call may have named another file, whose content nobody showed
            now, asked = (replace(bound, targets=bound.targets[: len(targets)]) for bound in (now, asked))
        return asked == now

    def _has_begun(self, call: str) -> bool:
        """Whether an open call was begun before: made again after an interruption, it is the same effect still."""
        return any(known.call == call and known.key for known in self.recorder.state.calls)

    # -- what the verdict leads to ----------------------------------------------------------------------

    def intent(self, tx: Tx, call: ProposedCall, situation: Situation) -> Intent:
        """Decide a call and give the intent to record for it: its start, its refusal, or the question to a person."""
        match self.decide(call, situation):
            case Allowed() as allowed:
                return self.begin(allowed)
            case Refused() as refused:
                return Intent(refused.event(call), TOOL, also=lambda tx: self._note_refusal(call, refused))
            case NeedsApproval() as asked:
                return self._question(call, asked.shown, "action")
            case verdict:
                assert_never(verdict)

    def _note_refusal(self, call: ProposedCall, refused: Refused) -> None:
        """Audit a refusal; one of something the agent may not do is told to people too, once a run and operation."""
        self._audit("refuse", call.tool, refused.why, refused.reason)
        if refused.why not in DENIALS or not refused.operation or refused.operation in self._told:
            return
        self._told.add(refused.operation)
        run = self.recorder.state.run
        notified = Notified(
            notice=f"denied-{run}-{refused.operation}",
            kind_="permission_denied",
            message=f"{run} was denied `{refused.operation}`: {refused.reason}",
            details={"severity": "warning", "tool": call.tool, "operation": str(refused.operation)},
        )
        self.recorder.join(Intent(notified, TOOL, also=lambda tx: self.notice(tx, notified)))

    def ask_decision(self, call: ProposedCall, shown: str) -> Intent:
        """The question to a person whether an interrupted effect happened."""
        return self._question(call, shown, "decision")

    def _question(self, call: ProposedCall, shown: str, ask: Literal["action", "decision"]) -> Intent:
        tool, parsed = self._known(call)
        approval = self._ids.new("apr")
        now_ns = self.recorder.clock.now_ns()
        expires_ns = now_ns + self.policy.approval_ttl_s * _NANO if ask == "action" else approvals.NEVER_NS
        targets = tool.targets(parsed)
        binding = self._binding(call, tool, parsed, targets)
        row = approvals.Approval(
            id=approval,
            run=binding.run,
            seq=self.recorder.state.next_seq,
            call=call.call,
            tool=tool.name,
            ask=ask,
            definition=tool.definition,
            arguments=parsed.canonical.decode(),
            arguments_hash=binding.arguments,
            targets=canonical(binding.targets).decode(),
            policy=self.policy.version,
            labels=binding.labels,
            shown=shown,
            shown_hash=_sha256(shown.encode()),
            asked_ns=now_ns,
            expires_ns=expires_ns,
        )

        def also(tx: Tx) -> None:
            approvals.insert(tx, row)
            self._audit("ask", tool.name, ask, shown.partition("\n")[0])

        event = ApprovalAsked(
            approval=approval,
            call=call.call,
            tool=tool.name,
            ask=ask,
            shown=Body(shown),
            expires_at_ns=expires_ns if ask == "action" else 0,
        )
        return Intent(event, TOOL, also=also)

    def answer(self, answered: ApprovalAnswered) -> Intent:
        """A person's answer, to be recorded once: recording raises RefusedError when somebody answered before."""
        edited = answered.arguments.text if answered.arguments is not None else None

        def also(tx: Tx) -> None:
            approvals.answer(
                tx,
                answered.approval,
                answered.answer,
                by=answered.by,
                at_ns=self.recorder.clock.now_ns(),
                note=answered.note,
                edited_arguments=edited,
            )
            self._audit("answer", answered.approval, answered.answer, answered.note, actor=answered.by)

        return Intent(answered, also=also)

    def answer_in_store(self, call: OpenCall) -> Intent | None:
        """An answer given by another process, or the expiry, as the intent to record; None while it waits."""
        row = self.recorder.read(lambda tx: approvals.find(tx, call.waiting))
        if row is None:
            return None
        state, by, now_ns = row.state, row.answered_by, self.recorder.clock.now_ns()
        if state == "waiting":
            if row.expires_ns > now_ns or row.ask == "decision":
                return None
            state, by = "expired", "ooda"
            self.recorder.store.write_now(lambda tx: approvals.answer(tx, row.id, "expired", by="ooda", at_ns=now_ns))
        return Intent(
            ApprovalAnswered(
                approval=row.id,
                call=call.call,
                answer=state,
                by=by,
                note=row.note,
                arguments=Body(row.edited_arguments) if row.edited_arguments is not None else None,
            )
        )

    # -- execute ----------------------------------------------------------------------------------------

    def begin(self, allowed: Allowed) -> Intent:
        """The intent of an allowed call; its effect starts once the intent is on disk."""
        grant: Grant = allowed.grant
        started = ToolStarted(
            call=grant.call,
            tool=grant.tool,
            definition=grant.definition,
            arguments=grant.arguments,
            operation=str(grant.operation),
            effect=grant.effect,
            key=grant.key,
            targets=grant.targets,
            approval=grant.approval,
        )
        return Intent(
            started,
            TOOL,
            also=lambda tx: self._begin(tx, grant, allowed.rule),
            start=lambda: self._act(allowed),
            is_repeatable=grant.effect == "pure",
        )

    async def execute(self, allowed: Allowed) -> ToolReturned:
        """Carry an allowed call out: intent, effect under its deadline, result; each on disk before the next.

        Cancelled in the middle, it leaves the intent without a result: the owner of the run closes it by its
        effect class. Raises SandboxError when the enclosure failed, LeaseLostError when the run is another's.
        """
        await self.recorder.record(self.begin(allowed))
        done = await self._act(allowed)
        await self.recorder.record(done)
        assert isinstance(done.event, ToolReturned)
        return done.event

    async def _act(self, allowed: Allowed) -> Intent:
        """The effect itself, under its deadline; gives the result to record."""
        grant: Grant = allowed.grant
        tool = self._toolbox.find(grant.tool)
        if tool is None or not any(c.call == grant.call and c.started for c in self.recorder.state.calls):
            raise RefusedError(f"the intent of `{grant.tool}` is not in the journal; pass the call through the gate")
        if grant.effect != "pure":  # paused since the intent, this process may have lost the run
            self.recorder.check_fence()
        if self._reachable is not None and (why := await self._reachable(tool.operation, tool.effect)):
            return self._not_now(grant, "degraded", why)
        if why := self._lowered(tool, grant, allowed.parsed):
            return self._not_now(grant, "level", why)
        started_ns = self.recorder.clock.now_ns()
        outcome = await self._withheld(tool, grant, allowed.parsed, await self._effect(tool, grant, allowed.parsed))
        returned = self._returned(grant, outcome, (self.recorder.clock.now_ns() - started_ns) // 1_000_000)
        return Intent(returned, outcome.label, also=lambda tx: self._audit("return", grant.tool, returned.status, ""))

    def _lowered(self, tool: Tool, grant: Grant, parsed: Parsed) -> str:
        """Why the level that is left would not have let the call through; empty when it would, or none was lost."""
        if self._level_now is None or grant.effect == "pure" or (level := self._level_now()) >= self.policy.level:
            return ""
        policy = replace(self.policy, level=level)
        weighed = weigh(policy, tool.name, tool.operation, parsed.canonical, grant.targets, grant.label)
        if weighed.decision == "allow" or (weighed.decision == "ask" and grant.approval):
            return ""
        reason = next(said.reason for said in weighed.said() if said.decision == weighed.decision)
        return f"the agent's level was lowered to {level.word} after it was decided, and {reason}"

    def _not_now(self, grant: Grant, by: str, why: str) -> Intent:
        """The result of a call that was allowed, and whose effect may not begin any more."""
        text = f"`{grant.tool}` was not carried out: {why}."
        returned = self._returned(grant, ToolOutcome(status="error", text=text, label=TOOL), 0)
        return Intent(returned, TOOL, also=lambda tx: self._audit("refuse", grant.tool, by, why))

    async def _withheld(self, tool: Tool, grant: Grant, parsed: Parsed, outcome: ToolOutcome) -> ToolOutcome:
        """The outcome, or a hook's word in place of its text: what was done is done, and the model need not read it."""
        event: HookEvent = "PostToolUse" if outcome.status in ("ok", "no_data") else "PostToolUseFailure"
        if self._programs is None or not self._programs.concern(event, tool.name):
            return outcome
        response = {"status": outcome.status, "text": outcome.text}
        facts = self._facts_of(grant.call, tool, parsed, str(outcome.label)) | {"tool_response": response}
        said = await self._programs.ask(event, tool.name, facts)
        if said.decision == "allow":
            return outcome
        text = (
            f"`{tool.name}` ended with `{outcome.status}`; its result is withheld by hook `{said.hook}`: {said.reason}"
        )
        return ToolOutcome(status=outcome.status, text=text, label=outcome.label)

    def _begin(self, tx: Tx, grant: Grant, rule: str) -> None:
        is_used = grant.approval and not approvals.use(
            tx, grant.approval, grant.arguments, self.recorder.clock.now_ns()
        )
        if is_used and not self._has_begun(grant.call):
            raise RefusedError(f"approval {grant.approval} was used before; ask again for a second `{grant.tool}`")
        self._audit("allow", grant.tool, "allow", rule, targets=list(grant.targets), key=grant.key)

    async def _effect(self, tool: Tool, grant: Grant, parsed: Parsed) -> ToolOutcome:
        timeout_s = max(0.0, (grant.deadline_ns - self.recorder.clock.now_ns()) / _NANO)
        keeper = self._workspace if grant.effect == "local" else None
        try:
            if keeper is not None:
                await keeper.before(grant)
            async with asyncio.timeout(timeout_s):
                outcome = await tool.run(grant, parsed)
            if keeper is not None:
                await keeper.after(grant)
            return outcome
        except TimeoutError:
            return ToolOutcome(
                status="timeout",
                text=f"`{tool.name}` did not end within its deadline of {tool.timeout_s:g} s and was ended.",
                label=TOOL,
            )
        except ToolError as error:
            return ToolOutcome(status="error", text=str(error))
        except IntegrationError as error:
            return ToolOutcome(status="error", text=str(error))

    def _returned(self, grant: Grant, outcome: ToolOutcome, duration_ms: int) -> ToolReturned:
        text = self.recorder.redactor.redact(outcome.text).text
        limit = self.policy.output_bytes
        handle = outcome.spool
        if not handle and len(text) > limit:
            handle = self._outputs.keep(grant.call, text)
        return ToolReturned(
            call=grant.call,
            tool=grant.tool,
            status=outcome.status,
            text=Body(capped(text, limit, handle)),
            data=Body(canonical(outcome.data).decode()) if outcome.data is not None else Body(),
            duration_ms=duration_ms,
            spool=handle,
        )

    async def probe(self, call: ProposedCall, key: str) -> ProbeAnswer:
        """Ask a `once` tool whether its interrupted call happened; reads only."""
        tool, parsed = self._known(call)
        answer = await tool.probe(parsed, key)
        fact = self._fact("probe", call.tool, answer, key)
        self.recorder.store.write_now(lambda tx: append_audit(tx, fact))
        return answer

    def effect_of(self, tool: str) -> Effect:
        """The effect class of a tool; `once` for one this run no longer has, which is the safe reading."""
        found = self._toolbox.find(tool)
        return found.effect if found is not None else "once"

    # -- small parts ------------------------------------------------------------------------------------

    def _known(self, call: ProposedCall) -> tuple[Tool, Parsed]:
        tool = self._toolbox.find(call.tool)
        if tool is None:
            raise RefusedError(f"this run has no tool `{call.tool}` any more; start a new run of the task")
        return tool, tool.parse(call.arguments)

    def _audit(
        self, action: str, subject: str, decision: str, reason: str, *, actor: str = "", **details: object
    ) -> None:
        self.recorder.audit(self._fact(action, subject, decision, reason, actor=actor, **details))

    def _fact(
        self, action: str, subject: str, decision: str, reason: str, *, actor: str = "", **details: object
    ) -> AuditFact:
        return AuditFact(
            at_ns=self.recorder.clock.now_ns(),
            actor=actor or self.policy.actor,
            action=action,
            run=self.recorder.state.run,
            subject=subject,
            decision=decision,
            reason=self.recorder.redactor.redact(reason).text if reason else "",
            details=details,
        )


def _replacing(tool: object) -> ReplacesFile | None:
    is_write = getattr(tool, "operation", None) is Operation.WRITE_WORKSPACE
    return tool if is_write and isinstance(tool, ReplacesFile) else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
