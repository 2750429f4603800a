"""Files people write for governance (rules, prices): read as TOML, unknown words answered with the nearest one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ooda.errors import ConfigError, nearest

__all__ = ["hint", "read_toml", "refuse_unknown"]


def hint(word: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown word: the nearest known one, or all of them."""
    words = list(known)
    near = nearest(word, words)
    return f"did you mean `{near}`?" if near else "known are " + ", ".join(f"`{name}`" for name in words)


def read_toml(path: Path, where: str) -> dict[str, Any]:
    """The document in a file; numbers with a point are exact decimals.

    Raises:
        ConfigError: it cannot be read or is no TOML; the message begins with `where`.
    """
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}", path=str(path)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{where} is no TOML: {error}", path=str(path)) from error


def refuse_unknown(fields: Mapping[str, object], known: Iterable[str], where: str) -> None:
    """Refuse keys that mean nothing.

    Raises:
        ConfigError: there is one; the message begins with `where` and ends with what may stand there.
    """
    words = tuple(known)
    for key in fields:
        if key not in words:
            raise ConfigError(f"{where}: unknown key `{key}`; {hint(key, words)}", key=key)
