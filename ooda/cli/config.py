"""`ooda config show`: every setting with its origin, secrets masked."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ooda.cli.data import print_data
from ooda.cli.settings import overrides_of
from ooda.cli.style import style_for, table
from ooda.config import describe, load_settings

__all__ = ["show"]


def show(args: argparse.Namespace) -> int:
    """Every setting, its value and where it comes from."""
    rows = describe(load_settings(environ=os.environ, cwd=Path.cwd(), overrides=overrides_of(args)))
    if args.form != "text":
        plain = [{"name": row.name, "value": row.value, "origin": str(row.origin)} for row in rows]
        print_data(plain, args.form)
        return 0
    cells = [(row.name, str(row.value), str(row.origin)) for row in rows]
    print(table(("setting", "value", "from"), cells, style_for(sys.stdout, args.color)))
    return 0
