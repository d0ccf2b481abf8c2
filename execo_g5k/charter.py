"""The usage policy of Grid'5000: its days and nights, what a user may have of a day, and what is left of it."""

from __future__ import annotations

from execo.log import logger
from execo.time_utils import datetime_to_unixts, format_seconds, format_unixts, get_unixts
from execo.utils import memoize

from ._charter.calendar import (
    french_holidays,
    g5k_charter_time,
    get_next_charter_period,
    get_oar_day_start_end,
    oar_datetime_to_unixts,
    unixts_to_oar_datetime,
)
from ._charter.remaining import CharterState, charter_state, g5k_charter_remaining
from ._charter.rules import (
    CHARTER_RULES,
    CharterJob,
    CharterRule,
    charter_quotas,
    charter_use,
    charter_violations,
)
from ._oar.formats import format_oar_date
from .api_utils import get_site_clusters
from .config import g5k_configuration
from .utils import G5kAutoPortForwarder

# names that are at home here
_OWN = (
    CharterJob, CharterRule, CharterState, charter_quotas, charter_state, charter_use, charter_violations, french_holidays,
    g5k_charter_remaining, g5k_charter_time, get_next_charter_period, get_oar_day_start_end, oar_datetime_to_unixts,
    unixts_to_oar_datetime,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "CHARTER_RULES", "CharterJob", "CharterRule", "CharterState", "G5kAutoPortForwarder", "charter_quotas", "charter_state", "charter_use",
    "charter_violations", "datetime_to_unixts", "format_oar_date", "format_seconds", "format_unixts", "french_holidays",
    "g5k_charter_remaining", "g5k_charter_time", "g5k_configuration", "get_next_charter_period", "get_oar_day_start_end",
    "get_site_clusters", "get_unixts", "logger", "memoize", "oar_datetime_to_unixts", "unixts_to_oar_datetime",
]
