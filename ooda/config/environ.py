"""The model settings back under their environment names, for rooms and libraries that choose by them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from ooda.config.aliases import ALIASES, environ_name
from ooda.config.catalogue import known_settings, value_of
from ooda.config.settings import Settings

__all__ = ["model_environ"]


def model_environ(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the model and provider settings laid over it under their environment names.

    `ooda.models.open_model` chooses URL and key by these names; a key from a configuration file has to count like
    one from the environment. The result holds secrets in clear: hand it over, never log or keep it.
    """
    merged = dict(environ)
    for name in known_settings():
        if name not in ("model.base_url", "model.api_key") and not name.startswith("providers."):
            continue
        aliases = [alias for alias, stands in ALIASES.items() if stands.setting == name]
        for variable in (environ_name(name), *aliases):
            merged.pop(variable, None)
        value = value_of(settings, name)
        if value is not None:
            # A provider's key goes under the name its own clients read, our settings under ours.
            variable = aliases[0] if aliases else environ_name(name)
            merged[variable] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return merged
