"""deploy/settings.env documents every setting, with the default that the code has."""

from deploy.local.stack import REPOSITORY
from shared.process.fault_points import VARIABLE
from shared.process.settings import IngressSettings, OperatorSettings, Settings, WorkerSettings


def documented() -> dict[str, str]:
    lines = (REPOSITORY / "deploy" / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def in_code() -> dict[str, str]:
    settings: dict[str, str] = {VARIABLE: ""}
    for cls in (Settings, IngressSettings, WorkerSettings, OperatorSettings):
        for field in cls.model_fields.values():
            if field.alias and field.alias != "ON_CLOUD_RUN_DERIVED":
                default = "" if field.is_required() or field.default is None else field.default
                settings[field.alias] = str(default).lower() if isinstance(default, bool) else str(default)
    return settings


def test_names_every_setting_with_its_default() -> None:
    assert documented() == in_code()
