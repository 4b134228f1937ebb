"""The two emulators as values: program, image, port, and the call by which each shows that it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from google.cloud.spanner_admin_instance_v1.types import ListInstancesRequest
from google.pubsub_v1.types import ListTopicsRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorKind:
    """What differs between the two emulators."""

    name: str
    variable: str
    """The environment variable by which Google's clients find it, as host:port."""

    program: str
    """Below the root of the Google Cloud SDK."""

    image: str
    """The version that comes with the Cloud CLI this was written against (528.0.0)."""

    container_port: int
    container_command: Sequence[str]
    component: str
    """In the Cloud CLI's component manager."""

    package: str
    """The apt package, for an SDK that came from apt and has no component manager."""

    method: str
    """A gRPC method that lists something: an emulator that answers it does more than listen."""

    request: bytes


SPANNER: Final = EmulatorKind(
    name="Spanner emulator",
    variable="SPANNER_EMULATOR_HOST",
    program="bin/cloud_spanner_emulator/gateway_main",
    image="gcr.io/cloud-spanner-emulator/emulator:1.5.28",
    container_port=9010,
    container_command=(),
    component="cloud-spanner-emulator",
    package="google-cloud-cli-spanner-emulator",
    method="/google.spanner.admin.instance.v1.InstanceAdmin/ListInstances",
    request=ListInstancesRequest.serialize(ListInstancesRequest(parent="projects/readiness")),
)
PUBSUB: Final = EmulatorKind(
    name="Pub/Sub emulator",
    variable="PUBSUB_EMULATOR_HOST",
    program="platform/pubsub-emulator/bin/cloud-pubsub-emulator",
    image="gcr.io/google.com/cloudsdktool/google-cloud-cli:528.0.0-emulators",
    container_port=8085,
    container_command=("gcloud", "beta", "emulators", "pubsub", "start", "--host-port=0.0.0.0:8085", "--project=local"),
    component="pubsub-emulator",
    package="google-cloud-cli-pubsub-emulator",
    method="/google.pubsub.v1.Publisher/ListTopics",
    request=ListTopicsRequest.serialize(ListTopicsRequest(project="projects/readiness")),
)
