"""The person of a chat: types messages and commands, answers questions, sees the agent's words and calls.

Replies stream as they are written, every tool call is one line. Ctrl-C ends what is under way: the agent's turn, or
a question (which is a no); at the prompt a second one leaves.
"""

from __future__ import annotations

import asyncio
import sys

from ooda.api.chat import Said, SaidBefore
from ooda.api.launch import Live
from ooda.api.permissions import matrix
from ooda.api.runs import known_run, summaries
from ooda.api.session import Session
from ooda.cli.progress import Progress
from ooda.cli.style import Style, amount, table, when
from ooda.cli.terminal import TerminalPerson, read_burst, read_line
from ooda.engines.local import Answer
from ooda.errors import ConfigError, OodaError, nearest
from ooda.events import Entry, ModelFailed, ModelReplied, PhaseEntered, Resumed, RunStarted, Stopped
from ooda.models.request import Attempt
from ooda.runtime.commands import AskHuman

__all__ = ["Talker"]

HELP = """\
/help            this list
/model [NAME]    the model in use, or another one from now on
/tools           what the agent can call
/permissions     what the agent may do, and what asks
/budget          what this session used and may use
/resume [RUN]    earlier sessions, or go on with one
/quit            leave; the session can be resumed
Ctrl-C           interrupts the turn, or answers a question with no; at the prompt, twice leaves"""

_WORDS = ("help", "model", "tools", "permissions", "budget", "resume", "quit", "exit")

_RECALLED = 6
"""Messages of an earlier session that are shown when it is taken up."""


class Talker(TerminalPerson):
    """Whoever talks with the agent, through one session after the other."""

    def __init__(self, session: Session, style: Style) -> None:
        super().__init__(session.user, style)
        self._session = session
        self._live: Live | None = None
        self._progress = Progress(sys.stdout, style, shows_questions=False)
        self._next = ""
        self._is_streaming = False
        self._reading: asyncio.Task[str | None] | None = None
        self._ahead: list[str] = []
        """Lines that came with the last message and begin with a command: they are next."""
        self._is_at_end = False
        self._asks_approval = False
        self._is_warned = False
        self._is_withdrawn = False
        self._is_dismissed = False

    # -- sessions ---------------------------------------------------------------------------------------

    def begin(self, live: Live) -> None:
        """A session is open."""
        self._live = live
        self._progress.take_up(live.kind.limits, live.state.spent)

    def end(self) -> None:
        """It is closed again."""
        self._live = None

    def next_session(self) -> str:
        """The session the person asked for last; empty when they leave."""
        asked, self._next = self._next, ""
        return asked

    async def wants_again(self) -> bool:
        """Whether to try the turn once more that has just failed."""
        typed = await self.typed("[Enter] tries again, anything else leaves: ")
        return typed is not None and not typed.strip()

    def recall(self, run: str, before: SaidBefore) -> None:
        """Show how an earlier session stood."""
        left_out = len(before.messages) - _RECALLED
        shown = f", the last {_RECALLED} of {len(before.messages)} messages (all: `ooda runs show {run}`)"
        print(self.style(f"── {run}{shown if left_out > 0 else ''} ──", "dim"))
        for said in before.messages[-_RECALLED:]:
            print(self._recalled(said))

    def _recalled(self, said: Said) -> str:
        text = _printable(said.text)
        return self.style("> ", "bold") + text if said.is_person else text

    # -- what is shown ----------------------------------------------------------------------------------

    def piece(self, text: str) -> None:
        """A piece of the reply, as it is written."""
        self._is_streaming = True
        print(_printable(text), end="", flush=True)

    def attempted(self, attempt: Attempt) -> None:
        """A failed attempt: what it said so far is void."""
        self._break_line()
        self._progress.attempted(attempt)

    def heard(self, seq: int, entry: Entry) -> None:
        """One line a tool call; the reply's end."""
        match entry.event:
            case ModelReplied() as reply:
                was_streamed = self._is_streaming
                self._break_line()
                self._progress.count(reply)
                if not was_streamed and reply.content.text:
                    print(_printable(reply.content.text))
            case RunStarted() | Resumed() | PhaseEntered() | Stopped():
                pass  # the person sees what these lead to
            case ModelFailed(error="cancelled" | "interrupted"):
                pass  # it was the person who interrupted
            case _:
                self._progress.heard(seq, entry)

    def _break_line(self) -> None:
        if self._is_streaming:
            print(flush=True)
        self._is_streaming = False

    # -- what is typed ----------------------------------------------------------------------------------

    async def message(self, prompt: str) -> str | None:
        """The next message; commands are carried out on the way. None leaves."""
        if prompt and prompt != "your turn":
            print(self.style(prompt, "yellow"))
        self._is_warned = False
        while not self._is_dismissed:
            if (typed := await self._lines()) is None:
                return None
            self._is_warned = False
            text = typed[0].strip()
            if text.startswith("/") and (len(typed) == 1 or _is_command(text)):
                self._ahead = typed[1:]
                if not await self._command(text):
                    return None
                continue
            end = next((at for at, line in enumerate(typed) if _is_command(line)), len(typed))
            self._ahead = typed[end:]
            if text := "\n".join(typed[:end]).strip():
                return text
        return None

    async def _lines(self) -> list[str] | None:
        """What is typed next: a line, or all lines of a paste, which is one message and not one for every line."""
        if self._ahead:
            lines, self._ahead = self._ahead, []
            return lines
        if self._is_at_end or (first := await self.typed(self.style("> ", "bold"))) is None:
            return None
        more, self._is_at_end = await read_burst()
        return [*first.split("\n"), *more]

    async def approve(self, ask: AskHuman) -> Answer:
        """Ask inline; Ctrl-C is a no."""
        self._asks_approval = ask.ask == "approval"
        try:
            return await super().approve(ask)
        finally:
            self._asks_approval = False

    def unanswered(self) -> Answer:
        """Ctrl-C says no to this one call; a closed terminal ends the session, which can be resumed."""
        if self._is_withdrawn and not self._is_dismissed:
            return Answer("reject", self.name, "the person interrupted the question")
        return super().unanswered()

    async def typed(self, prompt: str, *, is_answer: bool = False) -> str | None:
        """A typed line; None at end of input, or when Ctrl-C took the question back."""
        self._is_withdrawn = False
        self._reading = asyncio.ensure_future(read_line(prompt, is_answer=is_answer))
        try:
            return await self._reading
        except asyncio.CancelledError:
            if self._is_withdrawn:
                print(file=sys.stderr)
                return None
            raise  # the turn was ended around the question
        finally:
            self._reading = None

    # -- signals ----------------------------------------------------------------------------------------

    def interrupted(self) -> None:
        """Ctrl-C: ends the turn, answers a question with no; at the prompt it warns, then leaves."""
        if self._reading is not None:
            if self._asks_approval or self._is_warned:
                self._withdraw()
                return
            self._is_warned = True
            warning = "\nCtrl-C again, or /quit, leaves; the session can be resumed.\n"
            print(warning + self.style("> ", "bold"), end="", file=sys.stderr, flush=True)
        elif self._live is not None:
            self._is_streaming = False
            print(self.style("\ninterrupted", "yellow"), flush=True)
            self._live.interrupt_turn("the person interrupted the turn")

    def dismissed(self) -> None:
        """SIGTERM, or the terminal is gone: leave, with the journal in order."""
        self._is_dismissed = True
        if self._reading is not None:
            self._withdraw()
        elif self._live is not None:
            self._live.interrupt_turn("the terminal was closed")

    def _withdraw(self) -> None:
        self._is_withdrawn = True
        if self._reading is not None:
            self._reading.cancel()

    # -- commands ---------------------------------------------------------------------------------------

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
                case "permissions":
                    print(self._permissions())
                case "budget":
                    print(self._budget())
                case "model":
                    await self._model(rest)
                case "resume":
                    return not self._resume(rest)
                case _:
                    close = nearest(word, _WORDS)
                    meant = f"; did you mean `/{close}`?" if close else "."
                    print(f"There is no command /{_printable(word)}{meant} /help lists them.")
        except OodaError as error:
            print(self.style(str(error), "red"))
        return True

    def _tools(self) -> str:
        if self._live is None:
            return "The session begins with your first message; then there are tools to list."
        agent = self._live.kind.agent
        rows = [(t.name, t.operation, t.description.partition("\n")[0]) for t in self._live.kind.tools]
        shown = [row for row in rows if row[0] in agent.phases[0].tools]
        return table(("tool", "operation", "what it does"), shown, self.style)

    def _permissions(self) -> str:
        agent, rows = matrix(self._session, kind="chat")
        shown = [(row.operation, row.risk, row.now) for row in rows]
        return f"{agent.reason}.\n" + table(("operation", "risk", "now"), shown, self.style)

    def _budget(self) -> str:
        if self._live is None:
            return "Nothing is spent yet."
        spent, limits = self._live.state.spent, self._live.state.limits
        return (
            f"{amount(spent.cost_nano)} of {amount(limits.cost_nano)}, {spent.tokens:,} of {limits.tokens:,} tokens, "
            f"{spent.model_calls} model calls, {spent.tool_calls} tool calls"
        )

    async def _model(self, name: str) -> None:
        if self._live is None:
            print("The session begins with your first message; name the model by `ooda chat --model` until then.")
        elif name:
            await self._live.switch_model(name)
            print(f"From now on: {name}")
        else:
            print(self._live.model_name)

    def _resume(self, run: str) -> bool:
        """Whether to leave for another session."""
        if run:
            if known_run(self._session, run).agent != "chat":
                raise ConfigError(f"{run} is no conversation; leave, and go on with it by `ooda runs resume {run}`")
            if self._live is not None and self._live.run == run:
                raise ConfigError(f"{run} is the session you are in")
            self._next = run
            return True
        earlier = [s for s in summaries(self._session, limit=200) if s.agent == "chat"][:15]
        rows = [(s.run, s.status, when(s.updated_ns), amount(s.cost_nano)) for s in earlier]
        print(table(("session", "status", "last", "cost"), rows, self.style) if rows else "No earlier session.")
        return False


def _is_command(line: str) -> bool:
    return line.startswith("/") and line[1:].split(" ", 1)[0].strip() in _WORDS


def _printable(text: str) -> str:
    """Without control characters: a model's text must not steer the terminal."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
