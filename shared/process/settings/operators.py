"""Settings of `nest-events`, the operators' command."""

from pydantic import SecretStr

from shared.process.settings.common import STATSIG_URL, HttpAddress, Name, Settings


class OperatorSettings(Settings):
    """None of Statsig's settings is required: only `doctor` uses them, to check address and key."""

    forward_subscription: Name
    dead_letter_topic: Name
    dead_letter_subscription: Name

    statsig_server_secret: SecretStr | None = None
    statsig_api_url: HttpAddress = STATSIG_URL
