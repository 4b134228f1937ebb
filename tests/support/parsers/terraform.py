"""Runs Terraform on deploy/terraform, with a stand-in for the provider that has its schema only.

Terraform asks a provider for its schema before it plans anything, a mocked one too (`mock_provider` in .tftest.hcl),
and the real provider cannot be downloaded everywhere. The stand-in answers from provider_google_6_50.json, so that
Terraform checks types, blocks and required arguments; Google's own rules for values are not checked.

provider_google_6_50.json is made of the type information of @cdktf/provider-google 16.12.1, which was generated from
the schema of hashicorp/google 6.50.0: arguments with their types, `!` where required, of the resource types in use.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from deploy.local.stack import REPOSITORY

MODULE: Final = REPOSITORY / "deploy" / "terraform"

SCHEMAS: Final[dict[str, Any]] = json.loads((Path(__file__).with_name("provider_google_6_50.json")).read_text())
"""By type; those of data sources begin with `data.`."""

HAS_TERRAFORM: Final = shutil.which("terraform") is not None

_SERVICE: Final = "tfplugin6.Provider"

_ANSWERED_EMPTY: Final = (
    "ValidateProviderConfig",
    "ValidateResourceConfig",
    "ValidateDataResourceConfig",
    "ConfigureProvider",
    "StopProvider",
)
"""Calls with an empty answer, which means no objections. Other calls fail: a mock should have answered them."""

_NESTING: Final = {"single": 1, "list": 2, "set": 3}
"""NestingMode of docs/plugin-protocol/tfplugin6.proto in hashicorp/terraform, as are all field numbers here."""


def copied_module(folder: Path) -> Path:
    """A copy of the module and the schema beside it, since `terraform init` writes into the folder it runs in."""
    shutil.copytree(MODULE, folder / "deploy" / "terraform")
    shutil.copytree(REPOSITORY / "deploy" / "spanner", folder / "deploy" / "spanner")
    return folder / "deploy" / "terraform"


def run_terraform(
    *arguments: str, cwd: Path, stdin: str | None = None, provider: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it without this machine's configuration; `provider` is what `stand_in_provider` yielded."""
    environment = {"PATH": os.environ["PATH"], "CHECKPOINT_DISABLE": "1", "HOME": str(cwd)}
    if provider is not None:
        environment["TF_REATTACH_PROVIDERS"] = provider
    return subprocess.run(
        ["/usr/bin/env", "terraform", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@contextmanager
def stand_in_provider() -> Iterator[str]:
    """Serve hashicorp/google's schema. Yields the value of TF_REATTACH_PROVIDERS."""
    schema = _provider_schema()

    def answer(body: bytes) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: body)

    handlers = {"GetProviderSchema": answer(schema)} | {name: answer(b"") for name in _ANSWERED_EMPTY}
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    where = {
        "Protocol": "grpc",
        "ProtocolVersion": 6,
        "Pid": os.getpid(),
        "Test": True,  # Terraform does not end it
        "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
    }
    try:
        yield json.dumps({"registry.terraform.io/hashicorp/google": where})
    finally:
        server.stop(grace=None).wait()


# --- GetProviderSchema.Response, encoded by hand: its messages are few, and their code would have to be generated ----


def _provider_schema() -> bytes:
    provider = {"attributes": {"project": "string", "region": "string"}}
    encoded = _field(1, _schema(provider))
    for name, body in SCHEMAS.items():
        number = 3 if name.startswith("data.") else 2
        encoded += _field(number, _field(1, name.removeprefix("data.")) + _field(2, _schema(body)))
    return encoded


def _schema(body: dict[str, Any]) -> bytes:
    return _field(2, _block(body))


def _block(body: dict[str, Any]) -> bytes:
    encoded = b"".join(_field(2, _attribute(name, type_)) for name, type_ in body["attributes"].items())
    encoded += b"".join(
        _field(2, _field(1, name) + _field(2, json.dumps(type_)) + _field(6, 1))
        for name, type_ in body.get("computed", {}).items()
    )
    for name, (nesting, inner) in body.get("blocks", {}).items():
        block = _field(1, name.removesuffix("!")) + _field(2, _block(inner)) + _field(3, _NESTING[nesting])
        encoded += _field(3, block + (_field(4, 1) if name.endswith("!") else b""))
    return encoded


def _attribute(name: str, type_: Any) -> bytes:
    plain = name.removesuffix("!")
    encoded = _field(1, plain) + _field(2, json.dumps(type_)) + _field(4 if name.endswith("!") else 5, 1)
    return encoded + _field(6, 1) if name == "id" else encoded


def _field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protobuf message: a varint, or length-delimited."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    body = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low]) if not rest else bytes([low | 0x80]) + _varint(rest)
