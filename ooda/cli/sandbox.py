"""`ooda sandbox build-image`: a root file system for sandboxes, built here."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ooda.api.images import built_image
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import session_for

__all__ = ["build"]


def build(args: argparse.Namespace) -> int:
    """Build an image, or find the one already built from the same recipe; its name goes into `sandbox.image`."""
    if not args.quiet:
        print("building; about a minute unless the same recipe was built before", file=sys.stderr)
    with session_for(args) as session:
        image = asyncio.run(built_image(session, packages=args.packages, commands=args.commands))
    if args.form != "text":
        print_data(
            {"name": image.name, "digest": image.digest, "folder": str(image.rootfs), "in_engine": image.in_engine},
            args.form,
        )
    else:
        where = "in the Docker Engine and on disk" if image.in_engine else "on disk; no Docker Engine answered"
        print(f"image   {image.name}\ndigest  {image.digest}\nfolder  {image.rootfs}\nwhere   {where}")
    return EXIT["success"]
