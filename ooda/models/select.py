"""From a model's name and the settings to a model that can be asked: which URL, which key, which back end.

Names pass through as their users write them: `z-ai/glm-4.6:exacto`, `anthropic/claude-…`, `openai:gpt-…`. The URL is
the task's, else `OODA_MODEL__BASE_URL`, else `OPENAI_BASE_URL`, else OpenRouter when its key is set, else the
provider the name begins with. A key goes only to the host it was issued for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from ooda.errors import ConfigError, CredentialError
from ooda.models.endpoint import ApiKey, Endpoint, Url, is_loopback, parse_url, proxy_for
from ooda.models.fallback import FallbackModel, Regrant
from ooda.models.http1 import Timeouts
from ooda.models.request import ModelAccess
from ooda.models.retry import RetryPolicy

__all__ = ["BackendName", "find_local_servers", "open_model", "resolve_endpoint"]

BackendName = Literal["http", "openai", "litellm"]
LOCAL_PORTS = (11434, 1234, 8000, 8080)
"""Ollama, LM Studio, vLLM, llama.cpp."""


class _HoldsSecret(Protocol):
    def get_secret_value(self) -> str: ...


class _Provider(msgspec.Struct, frozen=True):
    """A provider with an OpenAI-compatible endpoint of its own."""

    url: str
    keys: tuple[str, ...]
    """Environment variables that hold its key, the first set one wins."""


_PROVIDERS = {
    "openai": _Provider("https://api.openai.com/v1", ("OPENAI_API_KEY",)),
    "anthropic": _Provider("https://api.anthropic.com/v1", ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY")),
    "google": _Provider(
        "https://generativelanguage.googleapis.com/v1beta/openai", ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    ),
    "openrouter": _Provider("https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",)),
}
_ALIASES = {"gemini": "google", "google-gla": "google"}
_OWN_SERVERS = frozenset({"ollama", "azure"})
"""Prefixes that name a server of the user's own, which OpenRouter cannot stand in for."""
_COMPANIONS = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
"""The URL for `OPENAI_API_KEY`, as every OpenAI client reads them."""
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


def open_model(
    name: str,
    *,
    base_url: str = "",
    api_key: str | _HoldsSecret = "",
    environ: Mapping[str, str],
    backend: BackendName = "http",
    fallbacks: Sequence[str] = (),
    regrant: Regrant | None = None,
    policy: RetryPolicy | None = None,
    timeouts: Timeouts | None = None,
    probe_local: bool = False,
) -> ModelAccess:
    """The model of this name, ready to be asked; nothing is connected yet.

    Args:
        base_url: where to ask, said outright (a task's own URL); empty to go by `environ`.
        api_key: the key for that URL, or for the provider the name begins with; a pydantic `SecretStr` or a string.
        environ: settings and keys under their environment names; `os.environ` in the entry point.
        backend: our own transport, or an optional client library.
        fallbacks: models asked in order when this one is unavailable, each resolved by itself.
        regrant: needed with `fallbacks`: asks the gate for a grant for the next model.
        probe_local: when nothing is configured, look for model servers on this machine and name them in the error.

    Raises:
        CredentialError: no URL or no key; the message says what to set.
        ConfigError: a URL that is none, or an optional package that is not installed.
    """
    if fallbacks:
        if regrant is None:
            raise ConfigError("fallback models need `regrant`: each model's price is decided by the gate anew")
        members = [
            open_model(
                member,
                base_url=base_url if member == name else "",
                api_key=api_key if member == name else "",
                environ=environ,
                backend=backend,
                policy=policy,
                timeouts=timeouts,
                probe_local=probe_local,
            )
            for member in (name, *fallbacks)
        ]
        return FallbackModel(members, regrant)
    if backend == "litellm" and not (base_url or environ.get("OODA_MODEL__BASE_URL")):
        from ooda.models.litellm_client import LiteLLMModel

        return LiteLLMModel(name, policy=policy)
    endpoint = resolve_endpoint(name, base_url=base_url, api_key=api_key, environ=environ, probe_local=probe_local)
    if backend == "litellm":
        from ooda.models.litellm_client import LiteLLMModel

        return LiteLLMModel(name, endpoint=endpoint, policy=policy)
    if backend == "openai":
        from ooda.models.openai_client import OpenAIClientModel

        return OpenAIClientModel(name, endpoint, policy=policy)
    from ooda.models.chat import ChatModel

    return ChatModel(name, endpoint, policy=policy, timeouts=timeouts)


def resolve_endpoint(
    name: str,
    *,
    base_url: str = "",
    api_key: str | _HoldsSecret = "",
    environ: Mapping[str, str],
    probe_local: bool = False,
) -> Endpoint:
    """Where the model of this name is asked, and with which key; connects nowhere unless `probe_local`.

    Raises:
        CredentialError, ConfigError: as `open_model`.
    """
    if not name.strip():
        raise ConfigError("no model is named; set `model.name`, for instance z-ai/glm-4.6:exacto")
    prefix, rest = _split(name)
    given = api_key if isinstance(api_key, str) else api_key.get_secret_value()
    text, url_source = _url(prefix, base_url, bool(given), environ)
    if not text:
        raise CredentialError(_nothing_configured(name, find_local_servers() if probe_local else ()))
    url = parse_url(text)
    key, key_source = _key(url, url_source, given, environ)
    if not key and not is_loopback(url.host):
        raise CredentialError(_no_key(name, url, url_source))
    provider = _provider_at(url)
    organisation = environ.get("OPENAI_ORG_ID", "") if provider == "openai" else ""
    return Endpoint(
        url=url,
        wire_model=_wire_model(name, prefix, rest, provider),
        key=ApiKey(key),
        key_source=key_source,
        url_source=url_source,
        headers=(("openai-organization", organisation),) if organisation else (),
        key_header="api-key" if provider == "azure" else "authorization",
        proxy=proxy_for(url, environ),
        ca_file=environ.get("SSL_CERT_FILE", ""),
    )


def find_local_servers(ports: Sequence[int] = LOCAL_PORTS, timeout_s: float = 0.3) -> tuple[str, ...]:
    """Base URLs on loopback that list models, each with a few of their names.

    Blocks for at most `timeout_s` per port that accepts a connection and then says nothing.
    """
    import http.client

    found: list[str] = []
    for port in ports:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            connection.request("GET", "/v1/models")
            listed = msgspec.json.decode(connection.getresponse().read(1 << 20), type=_Models)
        except (OSError, http.client.HTTPException, msgspec.DecodeError, UnicodeDecodeError):
            continue  # nobody there, or something that is no model server
        finally:
            connection.close()
        names = ", ".join(model.id for model in listed.data[:3]) or "no model loaded"
        found.append(f"http://127.0.0.1:{port}/v1 ({names})")
    return tuple(found)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _split(name: str) -> tuple[str, str]:
    """The provider a name begins with, and what follows: `openai:x` and `openai/x` alike; ("", name) for none.

    A colon further in is part of the model's own name (`llama3:8b`, `z-ai/glm-4.6:exacto`).
    """
    for separator in (":", "/"):
        prefix, found, rest = name.partition(separator)
        known = _ALIASES.get(prefix.lower(), prefix.lower())
        if found and rest and (known in _PROVIDERS or known in _OWN_SERVERS):
            return known, rest
    return "", name


def _url(prefix: str, base_url: str, has_key: bool, environ: Mapping[str, str]) -> tuple[str, str]:
    """The base URL and where it was set; empty when nothing says where to ask."""
    if base_url:
        return base_url, "task"
    for source in ("OODA_MODEL__BASE_URL", *_COMPANIONS):
        if environ.get(source):
            return environ[source], source
    if prefix == "ollama":
        return _ollama_url(environ), "OLLAMA_HOST"
    if prefix == "azure":
        text = environ.get("AZURE_OPENAI_ENDPOINT", "")
        return (text.rstrip("/") + "/openai/v1", "AZURE_OPENAI_ENDPOINT") if text else ("", "")
    if environ.get("OPENROUTER_API_KEY"):
        return _PROVIDERS["openrouter"].url, "OPENROUTER_API_KEY"
    provider = _PROVIDERS[prefix or "openai"]
    for source in provider.keys:
        if environ.get(source):
            return provider.url, source
    return (provider.url, "model name") if prefix and has_key else ("", "")


def _ollama_url(environ: Mapping[str, str]) -> str:
    """`OLLAMA_HOST` as Ollama itself reads it: scheme and port may be missing, 0.0.0.0 means this machine."""
    text = environ.get("OLLAMA_HOST") or environ.get("OLLAMA_API_BASE") or "127.0.0.1"
    url = parse_url(text if "://" in text else f"http://{text}")
    host = "127.0.0.1" if url.host in ("0.0.0.0", "::") else url.host  # noqa: S104  # compared, not bound
    has_port = url.port not in (80, 443) or text.rstrip("/").endswith((":80", ":443"))
    port = url.port if has_port or url.is_tls else 11434
    return str(Url(url.is_tls, host, port, url.path.removesuffix("/v1") + "/v1", ""))


def _key(url: Url, url_source: str, given: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The key for this URL and where it was set.

    A provider's key goes to the provider's own host, a key of the settings to the URL of the settings, and
    `OPENAI_API_KEY` beyond OpenAI only to the URL that was set as its companion: a URL in a task cannot collect the
    keys of the environment.
    """
    if given:
        return given, "task"
    provider = _provider_at(url)
    names = _PROVIDERS[provider].keys if provider in _PROVIDERS else ()
    # Anybody can open a server below Azure's host names: only the one that was set up here gets its key.
    if provider == "azure" and (url_source != "task" or _is_same(url, environ.get("AZURE_OPENAI_ENDPOINT", ""))):
        names = ("AZURE_OPENAI_API_KEY",)
    if url_source in _COMPANIONS and provider != "openai":
        names = (*names, "OPENAI_API_KEY")
    if _is_same(url, environ.get("OODA_MODEL__BASE_URL", "")):
        names = ("OODA_MODEL__API_KEY", *names)
    return next(((environ[source], source) for source in names if environ.get(source)), ("", ""))


def _provider_at(url: Url) -> str:
    """The provider whose server this is, over TLS and nothing less; empty for any other."""
    if url.is_tls and url.host.endswith(_AZURE_HOSTS):
        return "azure"
    return next((name for name, known in _PROVIDERS.items() if _is_same(url, known.url)), "")


def _is_same(url: Url, text: str) -> bool:
    """Whether `text` names the same server by the same scheme."""
    if not text:
        return False
    other = parse_url(text)
    return (url.is_tls, url.authority) == (other.is_tls, other.authority)


def _wire_model(name: str, prefix: str, rest: str, provider: str) -> str:
    """The name as the server knows it.

    `provider:` is always ours to read; `provider/` is part of the model's id at OpenRouter and at other people's
    servers, and is taken off only at that provider's own host.
    """
    if not prefix:
        return name
    is_colon = name[len(name) - len(rest) - 1] == ":"
    if provider == "openrouter":
        if prefix == "openrouter":  # `openrouter/auto` is a model, `openrouter/x/y` is LiteLLM's way to say x/y
            return rest if "/" in rest or is_colon else name
        return f"{prefix}/{rest}" if is_colon else name
    return rest if is_colon or prefix == provider or prefix in _OWN_SERVERS else name


def _nothing_configured(name: str, local: Sequence[str]) -> str:
    there = f" Model servers on this machine: {'; '.join(local)}: set OODA_MODEL__BASE_URL to one." if local else ""
    return (
        f"no provider is configured for the model `{name}`: set OPENROUTER_API_KEY, or OPENAI_API_KEY, "
        "ANTHROPIC_API_KEY or GEMINI_API_KEY for that provider's own models, or OODA_MODEL__BASE_URL for any "
        f"OpenAI-compatible server.{there} Without any of these, `ooda demo` plays the bundled cassette."
    )


def _no_key(name: str, url: Url, url_source: str) -> str:
    provider = _provider_at(url)
    if provider:
        advice = "set " + ("AZURE_OPENAI_API_KEY" if provider == "azure" else _PROVIDERS[provider].keys[0])
    elif url_source == "task":
        advice = "give the task a key of its own, or set OODA_MODEL__BASE_URL to this URL beside OODA_MODEL__API_KEY"
    else:
        advice = "set OODA_MODEL__API_KEY"
    return (
        f"the model `{name}` is asked at {url}, which needs a key: {advice}. "
        "Without one, `ooda demo` plays the bundled cassette."
    )
