"""From a name and the environment to a URL, a key and a name on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from ooda.errors import ConfigError, CredentialError
from ooda.models.chat import ChatModel
from ooda.models.fallback import FallbackModel
from ooda.models.select import find_local_servers, open_model, resolve_endpoint

ROUTER = {"OPENROUTER_API_KEY": "sk-or-1"}
OPENAI = {"OPENAI_API_KEY": "sk-oa-1"}
OWN = {"OODA_MODEL__BASE_URL": "https://own.example/v1", "OODA_MODEL__API_KEY": "sk-own-1"}

WHERE = {
    "openrouter by its key": ("z-ai/glm-4.6:exacto", "", ROUTER, "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "openrouter before openai": (
        "openai/gpt-x",
        "",
        ROUTER | OPENAI,
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
    ),
    "companion url before openrouter": (
        "gpt-x",
        "",
        {"OPENAI_BASE_URL": "https://gw.example/v1", **OPENAI, **ROUTER},
        "https://gw.example/v1",
        "OPENAI_API_KEY",
    ),
    "its older name": (
        "gpt-x",
        "",
        {"OPENAI_API_BASE": "https://gw.example/v1", **OPENAI},
        "https://gw.example/v1",
        "OPENAI_API_KEY",
    ),
    "settings before companion": (
        "m",
        "",
        {"OPENAI_BASE_URL": "https://gw.example/v1", **OPENAI, **OWN},
        "https://own.example/v1",
        "OODA_MODEL__API_KEY",
    ),
    "task before settings": ("m", "http://127.0.0.1:9/v1", OWN | OPENAI | ROUTER, "http://127.0.0.1:9/v1", ""),
    "task with the settings' own url": (
        "m",
        "https://own.example/v1",
        OWN,
        "https://own.example/v1",
        "OODA_MODEL__API_KEY",
    ),
    "task at a known provider": (
        "m",
        "https://api.openai.com/v1",
        OPENAI,
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
    ),
    "openai by its key": ("gpt-x", "", OPENAI, "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic by its key": (
        "anthropic/claude-x",
        "",
        {"ANTHROPIC_API_KEY": "a"},
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
    ),
    "anthropic by its other key": (
        "anthropic:claude-x",
        "",
        {"CLAUDE_API_KEY": "a"},
        "https://api.anthropic.com/v1",
        "CLAUDE_API_KEY",
    ),
    "google by its key": (
        "gemini/gemini-x",
        "",
        {"GOOGLE_API_KEY": "g"},
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GOOGLE_API_KEY",
    ),
    "ollama where it always is": ("ollama:llama3:8b", "", ROUTER, "http://127.0.0.1:11434/v1", ""),
    "ollama by its host": ("ollama/llama3", "", {"OLLAMA_HOST": "0.0.0.0:9999"}, "http://127.0.0.1:9999/v1", ""),
    "ollama by its url": (
        "ollama/llama3",
        "",
        {"OLLAMA_API_BASE": "http://localhost:11434"},
        "http://localhost:11434/v1",
        "",
    ),
    "azure": (
        "azure/gpt-x",
        "",
        {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/", "AZURE_OPENAI_API_KEY": "z", **ROUTER},
        "https://me.openai.azure.com/openai/v1",
        "AZURE_OPENAI_API_KEY",
    ),
}


@pytest.mark.parametrize(("name", "base_url", "environ", "url", "key_source"), WHERE.values(), ids=WHERE.keys())
def test_the_url_follows_its_precedence_and_brings_its_own_key(
    name: str, base_url: str, environ: dict[str, str], url: str, key_source: str
) -> None:
    """Task, settings, companion, OpenRouter, then the provider the name begins with."""
    endpoint = resolve_endpoint(name, base_url=base_url, environ=environ)
    assert (str(endpoint.url), endpoint.key_source) == (url, key_source)
    assert endpoint.key.get_secret_value() == environ.get(key_source, "")


WIRE = {
    "as it is": ("z-ai/glm-4.6:exacto", ROUTER, "z-ai/glm-4.6:exacto"),
    "openrouter's namespace": ("openai/gpt-x", ROUTER, "openai/gpt-x"),
    "colon at openrouter": ("openai:gpt-x", ROUTER, "openai/gpt-x"),
    "gemini at openrouter": ("gemini:gemini-x", ROUTER, "google/gemini-x"),
    "openrouter's own model": ("openrouter/auto", ROUTER, "openrouter/auto"),
    "litellm's way": ("openrouter/z-ai/glm-4.6:exacto", ROUTER, "z-ai/glm-4.6:exacto"),
    "colon at openai": ("openai:gpt-x", OPENAI, "gpt-x"),
    "slash at openai": ("openai/gpt-x", OPENAI, "gpt-x"),
    "fine-tuned": ("ft:gpt-x:org::id", OPENAI, "ft:gpt-x:org::id"),
    "another server's own id": ("openai/gpt-oss-20b", OWN, "openai/gpt-oss-20b"),
    "colon at another server": ("anthropic:claude-x", OWN, "claude-x"),
    "ollama's tag": ("ollama:llama3:8b", {}, "llama3:8b"),
    "a tag without provider": ("llama3:8b", OWN, "llama3:8b"),
}


@pytest.mark.parametrize(("name", "environ", "wire_model"), WIRE.values(), ids=WIRE.keys())
def test_a_name_passes_through_unless_its_prefix_is_ours(name: str, environ: dict[str, str], wire_model: str) -> None:
    """`provider:` is a way to say where; `provider/` belongs to the model's id except at that provider itself."""
    assert resolve_endpoint(name, environ=environ).wire_model == wire_model


@pytest.mark.parametrize(
    "environ", [OPENAI | ROUTER, {"OODA_MODEL__API_KEY": "k"}, OWN], ids=["keys", "own key", "own url"]
)
def test_a_tasks_url_cannot_collect_the_environments_keys(environ: dict[str, str]) -> None:
    """A task file names a host nobody vouched for: no key goes there that was not given for it."""
    with pytest.raises(CredentialError, match="give the task a key of its own"):
        resolve_endpoint("m", base_url="https://evil.example/v1", environ=environ)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "http://own.example:443/v1",
        "https://other.openai.azure.com/openai/v1",
    ],
)
def test_a_key_goes_to_its_own_server_over_tls_and_nowhere_near_it(url: str) -> None:
    """Not in clear, not to another port, not to another tenant of the same cloud."""
    azure = {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com", "AZURE_OPENAI_API_KEY": "z"}
    with pytest.raises(CredentialError):
        resolve_endpoint("m", base_url=url, environ=OPENAI | OWN | azure)


@pytest.mark.parametrize("key", ["sk-task", SecretStr("sk-task")], ids=["text", "secret"])
def test_a_key_given_outright_goes_to_the_url_given_with_it(key: Any) -> None:
    """As a string or as pydantic's secret."""
    endpoint = resolve_endpoint("m", base_url="https://h.example/v1", api_key=key, environ=OPENAI)
    assert (endpoint.key.get_secret_value(), endpoint.key_source) == ("sk-task", "task")


def test_a_key_given_outright_reaches_the_provider_the_name_begins_with() -> None:
    """The shortest programmatic use: a name and a key."""
    endpoint = resolve_endpoint("openai:gpt-x", api_key="sk-given", environ={})
    assert (str(endpoint.url), endpoint.key.get_secret_value()) == ("https://api.openai.com/v1", "sk-given")


def test_the_settings_key_goes_to_the_settings_url_only() -> None:
    """Without that URL it is not sent to whoever happens to be asked."""
    endpoint = resolve_endpoint("m", environ={"OODA_MODEL__API_KEY": "sk-own-1", **ROUTER})
    assert endpoint.key_source == "OPENROUTER_API_KEY"
    with pytest.raises(CredentialError):
        resolve_endpoint("openai:gpt-x", environ={"OODA_MODEL__API_KEY": "sk-own-1"})


def test_a_server_on_this_machine_needs_no_key() -> None:
    """And is known as local, which prices it 0."""
    endpoint = resolve_endpoint("m", base_url="http://127.0.0.1:8000/v1", environ={})
    assert endpoint.is_loopback
    assert not endpoint.key


def test_azure_takes_its_key_in_a_header_of_its_own() -> None:
    """Bearer is for its directory tokens."""
    environ = {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com", "AZURE_OPENAI_API_KEY": "z"}
    assert ("api-key", "z") in resolve_endpoint("azure:gpt-x", environ=environ).request_headers()


def test_an_organisation_is_named_to_openai_only() -> None:
    """The header means nothing elsewhere."""
    environ = {"OPENAI_ORG_ID": "org-1"}
    assert resolve_endpoint("gpt-x", environ=OPENAI | environ).headers == (("openai-organization", "org-1"),)
    assert resolve_endpoint("gpt-x", environ=ROUTER | environ).headers == ()


@pytest.mark.parametrize("name", ["gpt-x", "anthropic/claude-x", "azure/gpt-x", "z-ai/glm-4.6:exacto"])
def test_nothing_configured_says_what_to_set_and_what_works_without(name: str) -> None:
    """The first thing a newcomer sees."""
    with pytest.raises(CredentialError) as caught:
        resolve_endpoint(name, environ={})
    for word in (name, "OPENROUTER_API_KEY", "OPENAI_API_KEY", "OODA_MODEL__BASE_URL", "ooda demo"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "variable"),
    [
        ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
        ("https://me.openai.azure.com/openai/v1", "AZURE_OPENAI_API_KEY"),
        ("https://gw.example/v1", "OODA_MODEL__API_KEY"),
    ],
)
def test_a_missing_key_is_named_by_its_variable(base_url: str, variable: str) -> None:
    """For the host that will be asked."""
    with pytest.raises(CredentialError, match=variable):
        resolve_endpoint("m", environ={"OODA_MODEL__BASE_URL": base_url})


def test_no_name_is_a_setting_to_mend() -> None:
    """With an example."""
    with pytest.raises(ConfigError, match=r"model\.name"):
        resolve_endpoint(" ", environ=ROUTER)


async def test_servers_on_this_machine_are_found_and_named(server: Any, wire: Any) -> None:
    """Only what really lists models: another service on the port is passed over, and so is a closed port."""
    server.script = [
        wire.http({"object": "list", "data": [{"id": "llama3:8b"}, {"id": "qwen3"}]}),
        wire.http(b"<html>It works!</html>", content_type="text/html"),
        wire.http({"object": "list", "data": []}),
    ]
    ports = (server.port, server.port, server.port, 1)
    found = await asyncio.to_thread(find_local_servers, ports)
    url = f"http://127.0.0.1:{server.port}/v1"
    assert found == (f"{url} (llama3:8b, qwen3)", f"{url} (no model loaded)")
    assert [seen.target for seen in server.seen] == ["/v1/models"] * 3


def test_a_port_that_says_nothing_costs_only_its_timeout() -> None:
    """A connection that is accepted and never answered."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert find_local_servers((silent.getsockname()[1],), timeout_s=0.05) == ()


def test_the_default_back_end_is_our_own() -> None:
    """Nothing is connected by opening it."""
    model = open_model("z-ai/glm-4.6:exacto", environ=ROUTER)
    assert isinstance(model, ChatModel)
    assert (model.name, model.is_loopback) == ("z-ai/glm-4.6:exacto", False)
    assert "sk-or-1" not in repr(vars(model)["endpoint"])


async def test_fallbacks_are_opened_in_order_each_by_itself(asking: Any) -> None:
    """The task's URL and key are for the first model only."""

    async def regrant(grant: Any, name: str) -> Any:
        return asking.grant(name)

    model = open_model(
        "first",
        base_url="http://127.0.0.1:1/v1",
        api_key="sk-task",
        environ=ROUTER,
        fallbacks=("z-ai/glm-4.6:exacto",),
        regrant=regrant,
    )
    assert isinstance(model, FallbackModel)
    assert model.name == "first"
    endpoints = [member.endpoint for member in model.members if isinstance(member, ChatModel)]
    assert [str(endpoint.url) for endpoint in endpoints] == ["http://127.0.0.1:1/v1", "https://openrouter.ai/api/v1"]
    assert [endpoint.key.get_secret_value() for endpoint in endpoints] == ["sk-task", "sk-or-1"]
    await model.close()


def test_fallbacks_without_the_gate_are_refused() -> None:
    """Another model has another price, so somebody has to decide anew."""
    with pytest.raises(ConfigError, match="regrant"):
        open_model("m", environ=ROUTER, fallbacks=("n",))
