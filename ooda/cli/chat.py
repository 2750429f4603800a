"""`ooda chat`, its plain first form: a conversation on the loop's journal, with slash commands.

A session is a run of the chat agent: this module opens it, goes on with it when it is resumed, and goes over to
another one when its person asks for that. What is typed and shown is the talker's.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from ooda.api.cassette import Cassette, load_cassette
from ooda.api.chat import check_model, said_before
from ooda.api.launch import opened, reloaded
from ooda.api.request import Launch, Watch
from ooda.api.runs import known_run, started_of, text_of
from ooda.api.session import Session
from ooda.api.steward.looks import deployment_of
from ooda.api.steward.open import coder_client
from ooda.cli.exits import EXIT
from ooda.cli.settings import session_for
from ooda.cli.style import Style, is_terminal, style_for
from ooda.cli.talker import Talker
from ooda.engines.local import Ending
from ooda.errors import ConfigError, CredentialError, UserError
from ooda.task import ChatTask, LoadedTask, parse_task

__all__ = ["chat"]

_AGAIN = ("model_unavailable", "failed")
"""Ends after which the same turn may well succeed when it is tried once more."""


def chat(args: argparse.Namespace) -> int:
    """Talk until the person leaves."""
    if not is_terminal():
        raise UserError(
            "`ooda chat` talks with a person, and standard input and error are no terminal here; give an agent a task "
            "without a person by `ooda run TASK.yaml`"
        )
    cassette = load_cassette(Path(args.replay)) if args.replay else None
    with session_for(args) as session:
        if args.agent == "steward" and not args.resume:
            coder_client(session.settings)  # connects to nothing yet, and says what is not set
        if cassette is None and not args.resume:
            _check_model(session, args)
        return asyncio.run(_Chat(session, args, style_for(sys.stdout), cassette).talk())


def _check_model(session: Session, args: argparse.Namespace) -> None:
    try:
        check_model(session, args.model or "", args.base_url or "")
    except CredentialError as error:
        if args.agent == "steward":
            raise CredentialError(
                f"{error} (without a model `ooda steward quiet-hours`, `status`, `ttl` and `autostop` answer as well)"
            ) from error
        raise


class _Chat:
    """The sessions of one `ooda chat`, one after the other."""

    def __init__(self, session: Session, args: argparse.Namespace, style: Style, cassette: Cassette | None) -> None:
        self._session = session
        self._args = args
        self._style = style
        self._cassette = cassette
        self._talker = Talker(session, style)
        self._shown = ""
        """The session whose words stand on the terminal."""

    async def talk(self) -> int:
        """Go from session to session; gives the exit code of the last one."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._talker.interrupted)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._talker.dismissed)
        run = self._args.resume or ""
        folder = Path.cwd() if not run else Path(self._chat_task(self._recorded(run)).folder)
        where = deployment_of(self._session) if self._args.agent == "steward" and not run else str(folder)
        print(self._style("ooda chat", "bold") + f" · {where} · /help for commands")
        while True:
            loaded = self._recorded(run) if run else await self._begun()
            if loaded is not None:
                run, ending = await self._converse(loaded, run)
                if ending.status in _AGAIN and await self._talker.wants_again():
                    continue
            if not (run := self._talker.next_session()):
                return EXIT[ending.status] if loaded is not None and ending.status != "waiting" else EXIT["success"]

    async def _begun(self) -> LoadedTask | None:
        """The task of a new session, from the first message; None when there is none."""
        first = await self._talker.message("")
        if first is None:
            return None
        about = "fleet" if self._args.agent == "steward" else "folder"
        return parse_task({"kind": "chat", "about": about, "folder": str(Path.cwd()), "message": first}, "chat")

    def _recorded(self, run: str) -> LoadedTask:
        """The task of an earlier session.

        Raises:
            ConfigError: there is no such run, or it is no conversation.
        """
        known_run(self._session, run)
        loaded = reloaded(self._session, run, text_of(self._session)(started_of(self._session, run).task))
        self._chat_task(loaded)
        return loaded

    def _chat_task(self, loaded: LoadedTask) -> ChatTask:
        if not isinstance(loaded.task, ChatTask):
            raise ConfigError(
                f"{loaded.source.removeprefix('task of ')} is a {loaded.task.kind} run and no conversation; go on with "
                f"it by `ooda runs resume`, or look for sessions with `/resume`"
            )
        return loaded.task

    async def _converse(self, loaded: LoadedTask, run: str) -> tuple[str, Ending]:
        """Carry one session until it ends or its person leaves; gives its id."""
        talker, settings = self._talker, self._session.settings
        model = self._args.model or ""
        if run:
            earlier = said_before(self._session, run)
            model = model or earlier.model
            if run != self._shown:
                talker.recall(run, earlier)
        launch = Launch(
            loaded=loaded,
            run=run,
            model=model,
            base_url=self._args.base_url or "",
            cassette=self._cassette,
            person=talker,
            watch=Watch(
                heard=talker.heard,
                on_piece=talker.piece if settings.chat.stream else None,
                on_attempt=talker.attempted,
                on_governance=lambda text: print(self._style(text, "yellow"), flush=True),
            ),
        )
        async with opened(self._session, launch) as live:
            self._shown = live.run
            talker.begin(live)
            try:
                ending = await live.go()
            finally:
                talker.end()
        if ending.status != "waiting":
            print(f"{ending.status}: {ending.reason}")
        print(f"To go on with this session: ooda chat --resume {live.run}")
        return live.run, ending
