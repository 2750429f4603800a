"""Enclosures for what agents run: docker and bubblewrap behind one protocol, with a helper inside.

`open_sandbox` gives an open `Sandbox`; `probe_backends` says what works here; `reap` removes what dead
processes left, `end_enclosures` ends what an owner that lost its run has running, `end_own_enclosures` ours at
once; `adopt` gives files that the host put into a workspace to the commands of its open sandbox;
`prepare_environment` runs a task's setup once; `build_image` makes a root of our own.
Names are loaded on first use: importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ooda.sandbox.environment import Environment, prepare_environment
    from ooda.sandbox.images import BuiltImage, build_image
    from ooda.sandbox.opening import open_sandbox, probe_backends
    from ooda.sandbox.ownership import adopt
    from ooda.sandbox.protocol import Bind, Credential, Network, Sandbox, SandboxLimits, SandboxReport, SandboxSpec
    from ooda.sandbox.reaper import reap
    from ooda.sandbox.takeover import end_enclosures, end_own_enclosures

__all__ = [
    "Bind",
    "BuiltImage",
    "Credential",
    "Environment",
    "Network",
    "Sandbox",
    "SandboxLimits",
    "SandboxReport",
    "SandboxSpec",
    "adopt",
    "build_image",
    "end_enclosures",
    "end_own_enclosures",
    "open_sandbox",
    "prepare_environment",
    "probe_backends",
    "reap",
]

_HOMES = {
    "BuiltImage": "images",
    "Environment": "environment",
    "adopt": "ownership",
    "build_image": "images",
    "end_enclosures": "takeover",
    "end_own_enclosures": "takeover",
    "open_sandbox": "opening",
    "prepare_environment": "environment",
    "probe_backends": "opening",
    "reap": "reaper",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'protocol')}"), name)
