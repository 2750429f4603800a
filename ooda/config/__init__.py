"""Settings: read once at the entry point from command line, environment and two files, frozen, passed down.

`load_settings` gives `Loaded`: the settings, the origin of each, and the places files are kept in. Nothing below
the entry point reads the environment. This room knows no task, no store and no agent.
"""

from ooda.config.describe import SettingReference, SettingRow, describe, reference
from ooda.config.environ import model_environ
from ooda.config.places import Places, RunPlaces
from ooda.config.settings import Settings
from ooda.config.sources import Loaded, Origin, load_settings

__all__ = [
    "Loaded",
    "Origin",
    "Places",
    "RunPlaces",
    "SettingReference",
    "SettingRow",
    "Settings",
    "describe",
    "load_settings",
    "model_environ",
    "reference",
]
