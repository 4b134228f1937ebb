"""Settings: read from the environment once, validated together, passed on as values.

Every problem is reported in one error. `deploy/settings.env` documents each variable; a test checks that both agree.
"""

from shared.process.settings.common import CLOUD_RUN_VARIABLES, Settings, from_environment
from shared.process.settings.ingress import MAX_METADATA_BYTES, IngressSettings
from shared.process.settings.operators import OperatorSettings
from shared.process.settings.worker import WorkerSettings

__all__ = [
    "CLOUD_RUN_VARIABLES",
    "MAX_METADATA_BYTES",
    "IngressSettings",
    "OperatorSettings",
    "Settings",
    "WorkerSettings",
    "from_environment",
]
