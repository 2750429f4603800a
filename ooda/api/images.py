"""Sandbox images built on this machine, without a registry."""

from __future__ import annotations

from collections.abc import Sequence

from ooda.api.session import Session
from ooda.sandbox import BuiltImage, build_image
from ooda.sandbox.images import PACKAGES

__all__ = ["built_image"]


async def built_image(session: Session, *, packages: Sequence[str] = (), commands: Sequence[str] = ()) -> BuiltImage:
    """A root file system under the session's cache folder: built, or found from the same recipe.

    Args:
        packages: Debian packages beside the usual ones.
        commands: shell commands run in the new root, with this machine's network.

    Raises:
        SandboxError: not root, no debootstrap, or what debootstrap said.
    """
    return await build_image(
        cache_dir=session.places.cache, packages=tuple(dict.fromkeys((*PACKAGES, *packages))), commands=commands
    )
