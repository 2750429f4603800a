"""`ooda chat`, its plain first form: a conversation on the loop's journal, with slash commands.

Replies stream as they are written, every tool call is one line, approvals are asked inline. Ctrl-C interrupts the
turn and keeps the session; at the prompt a second one leaves it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from ooda.api.cassette import Cassette, load_cassette
from ooda.api.launch import Live, opened, reloaded
from ooda.api.request import Launch, Watch
from ooda.api.runs import known_run, started_of, summaries
from ooda.api.session import Session
from ooda.cli.exits import EXIT
from ooda.cli.progress import Progress
from ooda.cli.settings import session_for
from ooda.cli.style import Style, amount, style_for, table, when
from ooda.cli.terminal import TerminalPerson, read_line
from ooda.errors import OodaError
from ooda.events import Entry, ModelReplied, PhaseEntered, RunStarted, Stopped
from ooda.task import LoadedTask, parse_task

__all__ = ["chat"]

HELP = """\
/help            this list
/model [NAME]    the model in use, or another one from now on
/tools           what the agent can call
/budget          what this session used and may use
/resume [RUN]    earlier sessions, or go on with one
/quit            leave; the session can be resumed
Ctrl-C           interrupts the turn; at the prompt, twice leaves"""


def chat(args: argparse.Namespace) -> int:
    """Talk until the person leaves."""
    cassette = load_cassette(Path(args.replay)) if args.replay else None
    style = style_for(sys.stdout)
    with session_for(args) as session:
        if args.resume:
            known_run(session, args.resume)
        return asyncio.run(_chat(session, args, style, cassette))


async def _chat(session: Session, args: argparse.Namespace, style: Style, cassette: Cassette | None) -> int:
    run = args.resume or ""
    print(style("ooda chat", "bold") + f" · {Path.cwd()} · /help for commands")
    while True:
        person = _Talker(session, style)
        if not run:
            first = await person.first_message()
            if first is None:
                if person.goes_to:
                    run = person.goes_to
                    continue
                return EXIT["success"]
            loaded = parse_task({"kind": "chat", "folder": str(Path.cwd()), "message": first}, "chat")
        else:
            loaded = _recorded(session, run)
        await _talk(session, args, loaded, person, cassette, run)
        if not person.goes_to:
            return EXIT["success"]
        run = person.goes_to


async def _talk(
    session: Session,
    args: argparse.Namespace,
    loaded: LoadedTask,
    person: _Talker,
    cassette: Cassette | None,
    run: str,
) -> None:
    launch = Launch(
        loaded=loaded,
        run=run,
        model=args.model or "",
        base_url=args.base_url or "",
        cassette=cassette,
        person=person,
        watch=Watch(
            heard=person.heard,
            on_piece=person.piece if session.settings.chat.stream else None,
            on_attempt=person.progress.attempted,
        ),
    )
    loop = asyncio.get_running_loop()
    async with opened(session, launch) as live:
        person.live = live
        loop.add_signal_handler(signal.SIGINT, person.interrupted)
        try:
            ending = await live.go()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        if ending.status != "waiting":
            print(f"{ending.status}: {ending.reason}")
        if not person.goes_to:
            print(f"To go on with this session: ooda chat --resume {live.run}")


def _recorded(session: Session, run: str) -> LoadedTask:
    known_run(session, run)
    started = started_of(session, run)
    body = started.task
    return reloaded(session, run, session.store.blobs.get(body.ref.digest) if body.ref else body.text)


class _Talker(TerminalPerson):
    """The person of a chat: types messages and commands, sees the agent's words and calls."""

    def __init__(self, session: Session, style: Style) -> None:
        super().__init__(session.user, style)
        self.live: Live | None = None
        self.goes_to = ""
        """Another session the person asked for."""
        self.progress = Progress(sys.stdout, style)
        self._session = session
        self._paint = style
        self._streamed = False
        self._at_prompt: asyncio.Task[str | None] | None = None
        self._warned = False

    # -- what is shown ----------------------------------------------------------------------------------

    def piece(self, text: str) -> None:
        """A piece of the reply, as it is written."""
        self._streamed = True
        print(_printable(text), end="", flush=True)

    def heard(self, seq: int, entry: Entry) -> None:
        """One line a tool call; the reply's end."""
        match entry.event:
            case ModelReplied() as reply:
                if self._streamed:
                    print()
                elif reply.content.text:
                    print(_printable(reply.content.text))
                self._streamed = False
            case RunStarted() | PhaseEntered() | Stopped():
                pass
            case _:
                self.progress.heard(seq, entry)

    # -- what is typed ----------------------------------------------------------------------------------

    async def first_message(self) -> str | None:
        """The message a session begins with."""
        return await self.message("")

    async def message(self, prompt: str) -> str | None:
        """The next message; commands are carried out on the way. None leaves."""
        if prompt and prompt != "your turn":
            print(self._paint(prompt, "yellow"))
        while True:
            typed = await self._typed()
            if typed is None:
                return None
            text = typed.strip()
            if not text:
                continue
            if not text.startswith("/"):
                return text
            if not await self._command(text):
                return None

    async def _typed(self) -> str | None:
        self._at_prompt = asyncio.ensure_future(read_line(self._paint("> ", "bold")))
        try:
            return await self._at_prompt
        except asyncio.CancelledError:
            if self._at_prompt.cancelled() and self._warned:
                return None  # the second Ctrl-C at the prompt
            raise
        finally:
            self._at_prompt = None

    def interrupted(self) -> None:
        """Ctrl-C: ends the turn; at the prompt it warns, then leaves."""
        if self._at_prompt is not None and not self._at_prompt.done():
            if self._warned:
                self._at_prompt.cancel()
                return
            self._warned = True
            print("\nCtrl-C again, or /quit, leaves; the session can be resumed.\n> ", end="", flush=True)
            return
        self._warned = False
        if self.live is not None:
            print(self._paint("\ninterrupted", "yellow"), flush=True)
            self.live.interrupt_turn("the person interrupted the turn")

    async def _command(self, text: str) -> bool:
        """Carry a slash command out; False leaves the session."""
        word, _, rest = text[1:].partition(" ")
        rest = rest.strip()
        try:
            match word:
                case "help":
                    print(HELP)
                case "quit" | "exit":
                    return False
                case "tools":
                    print(self._tools())
                case "budget":
                    print(self._budget())
                case "model":
                    await self._model(rest)
                case "resume":
                    return not self._resume(rest)
                case _:
                    print(f"There is no command /{word}. /help lists them.")
        except OodaError as error:
            print(self._paint(str(error), "red"))
        return True

    def _tools(self) -> str:
        if self.live is None:
            return "The session begins with your first message; then there are tools to list."
        rows = [(t.name, t.operation, t.description.partition("\n")[0]) for t in self.live.kind.tools]
        shown = [row for row in rows if row[0] in self.live.kind.agent.phases[0].tools]
        return table(("tool", "operation", "what it does"), shown, self._paint)

    def _budget(self) -> str:
        if self.live is None:
            return "Nothing is spent yet."
        spent, limits = self.live.state.spent, self.live.state.limits
        return (
            f"{amount(spent.cost_nano)} of {amount(limits.cost_nano)}, {spent.tokens:,} of {limits.tokens:,} tokens, "
            f"{spent.model_calls} model calls, {spent.tool_calls} tool calls"
        )

    async def _model(self, name: str) -> None:
        if self.live is None:
            print("The session begins with your first message; name the model by `ooda chat --model` until then.")
        elif name:
            await self.live.switch_model(name)
            print(f"From now on: {name}")
        else:
            print(self.live.model_name)

    def _resume(self, run: str) -> bool:
        """Whether to leave for another session."""
        if run:
            known_run(self._session, run)
            self.goes_to = run
            return True
        earlier = [s for s in summaries(self._session, limit=200) if s.agent == "chat"][:15]
        rows = [(s.run, s.status, when(s.updated_ns), amount(s.cost_nano)) for s in earlier]
        print(table(("session", "status", "last", "cost"), rows, self._paint) if rows else "No earlier session.")
        return False


def _printable(text: str) -> str:
    """Without control characters: a model's text must not steer the terminal."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
