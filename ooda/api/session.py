"""What one process opens once: settings, store, ledger, redaction, prices. Runs are built on it (`launch.py`)."""

from __future__ import annotations

import getpass
import os
import secrets
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from ooda.api.overdue import close_overdue
from ooda.clock import Clock, RandomIds, SystemClock
from ooda.config import Loaded, load_settings
from ooda.config.catalogue import is_secret, known_settings, value_of
from ooda.governance.audit import is_anchor_due, write_anchor
from ooda.governance.budget import Reservation
from ooda.governance.caps import caps_of
from ooda.governance.ledger import Ledger
from ooda.governance.prices import PriceBook
from ooda.governance.redaction import Redactor
from ooda.governance.rules import RuleSet
from ooda.governance.sent_mark import SentMark
from ooda.ids import IdSource
from ooda.store import Store

__all__ = ["Session"]


class Session:
    """The opened parts every run of this process shares. Close it, or use it as a context."""

    def __init__(
        self, loaded: Loaded, environ: Mapping[str, str], store: Store, *, clock: Clock, ids: IdSource, user: str
    ) -> None:
        """Use `Session.open`."""
        settings = loaded.settings
        self.settings = settings
        self.places = loaded.places
        self.environ = environ
        self.store = store
        self.clock = clock
        self.ids = ids
        self.open_runs = 0
        """Runs this process carries now; several share their commits."""
        self.user = user
        """Who runs this process: named by journals and audit."""
        self.ledger = Ledger(caps_of(settings.budget))
        override = settings.budget.price_file
        self.prices = PriceBook.load(Path(override).expanduser() if override else None)
        self.redactor = Redactor()
        for name in _SECRET_VARIABLES:
            self.register_secrets(name.lower(), [environ.get(name, "")])
        for name, field in known_settings().items():
            value = value_of(settings, name) if is_secret(field) else None
            held = value if isinstance(value, tuple) else (value,)
            shown = "setting" if name == "redaction.extra_values" else name
            for secret in held:
                if isinstance(secret, SecretStr):
                    self.register_secrets(shown, _parts(secret.get_secret_value()))

    @classmethod
    def open(
        cls,
        *,
        environ: Mapping[str, str],
        cwd: Path,
        overrides: Mapping[str, object] | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        readonly: bool = False,
    ) -> Self:
        """Read the settings and open the store.

        Raises:
            ConfigError: the settings have mistakes, or the data folder cannot be used.
        """
        loaded = load_settings(environ=environ, cwd=cwd, overrides=overrides)
        url = loaded.settings.store.url
        store = Store.open(
            loaded.places.database,
            url=url.get_secret_value() if url is not None else "",
            readonly=readonly,
            blobs=loaded.places.blobs,
        )
        session = cls(
            loaded,
            environ,
            store,
            clock=clock or SystemClock(),
            ids=ids or RandomIds(),
            user=loaded.settings.governance.user or _user(),
        )
        if not readonly:
            session.expire_holds()
        return session

    def expire_holds(self) -> None:
        """Close what processes that died have left reserved for too long: charged if it was sent, else released."""
        close_overdue(self.store, self.ledger, self.redactor, self.clock.now_ns(), self._was_sent)

    def _was_sent(self, held: Reservation) -> bool:
        """Whether its run noted, on this machine, that the call left."""
        return SentMark(self.places.run(held.run).folder / "sent").last() == held.key

    def register_secrets(self, name: str, values: Iterable[str]) -> int:
        """Values that must never be recorded; too short ones are skipped. Gives how many are registered now."""
        known = 0
        for value in values:
            if len(value) >= 6:
                self.redactor.register(name, value)
                known += 1
        return known

    @cached_property
    def rules(self) -> RuleSet:
        """The bundled rules and the operator's own. Their examples are tried as they are loaded, so it is done for
        what asks the gate and not for what only reads.

        Raises:
            ConfigError: the operator's file has a mistake.
        """
        file = self.settings.governance.rules_file
        return RuleSet.load(Path(file).expanduser() if file else None)

    @property
    def anchors(self) -> Path | None:
        """The file of signed anchors of the audit log; None before the first one was written."""
        path = self._anchors
        return path if path.exists() else None

    @property
    def _anchors(self) -> Path:
        return self.places.state / "audit.anchors"

    def audit_key(self, *, make: bool) -> bytes | None:
        """The key that signs anchors, kept beside the settings and outside the store (mode 0600).

        Args:
            make: Make one when there is none yet; else give None.
        """
        path = self.places.config / "audit.key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if not make:
                return None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = secrets.token_bytes(32)
        # Whole under its name or not there at all: half a key, of a process killed here, would refuse every later one.
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:  # another process made it just now; its key counts
            return path.read_bytes()
        finally:
            draft.unlink(missing_ok=True)
        return key

    def anchor_audit(self) -> None:
        """Sign the audit log as it stands, when the last anchor is a hundred rows or a minute old."""
        now_ns = self.clock.now_ns()
        key = self.audit_key(make=True)
        if key is not None and is_anchor_due(self.store, self._anchors, now_ns):
            self._anchors.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_anchor(self.store, self._anchors, key, now_ns)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SECRET_VARIABLES = (
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "OODA_MODEL__API_KEY",
    "CODER_TOKEN",
    "VERCEL_TOKEN",
    "ELIXIR_WEBHOOK_SECRET",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
)
"""Environment variables whose values are blotted out wherever they appear, used by a run or not."""


def _parts(secret: str) -> tuple[str, ...]:
    """A secret and, when it is a URL with a password, that too: it may be shown by itself."""
    try:
        password = urlsplit(secret).password
    except ValueError:
        password = None
    return (secret, password) if password else (secret,)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this uid: a container
        return "unknown"
