"""Terraform files as data: blocks by address, strings without their quotes, and references."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hcl2

_META = frozenset({"__is_block__", "__comments__", "__inline_comments__"})

_REFERENCE = re.compile(
    r"(?<![\w.-])(?:(var|local)\.(\w+)|data\.(google_\w+)\.(\w+)|(google_\w+)\.(\w+))(?:\[[^\]]*\])?"
)


@dataclass(frozen=True)
class Module:
    resources: dict[str, dict[str, Any]]
    """By address, such as `google_pubsub_topic.forward` or `data.google_project.this`."""

    variables: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    locals: dict[str, Any]

    def of_type(self, *types: str) -> dict[str, dict[str, Any]]:
        return {address: body for address, body in self.resources.items() if address.split(".")[0] in types}

    @property
    def addresses(self) -> set[str]:
        return {
            *self.resources,
            *(f"var.{name}" for name in self.variables),
            *(f"local.{name}" for name in self.locals),
        }


def read_module(folder: Path) -> Module:
    module = Module({}, {}, {}, {})
    for path in sorted(folder.glob("*.tf")):
        content = _plain(hcl2.loads(path.read_text()))
        for kind, prefix in (("resource", ""), ("data", "data.")):
            for block in content.get(kind, []):
                for type_, named in block.items():
                    for name, body in named.items():
                        address = f"{prefix}{type_}.{name}"
                        assert address not in module.resources, f"{address} is there twice"
                        module.resources[address] = body
        for kind, target in (("variable", module.variables), ("output", module.outputs)):
            for block in content.get(kind, []):
                target.update(block)
        for block in content.get("locals", []):
            assert not block.keys() & module.locals.keys()
            module.locals.update(block)
    return module


def read_blocks(path: Path) -> dict[str, Any]:
    """A file's blocks by kind, each a list with the blocks' labels; for Terraform's own tests, for example."""
    content: dict[str, Any] = _plain(hcl2.loads(path.read_text()))
    return content


def references(value: Any) -> Iterator[str]:
    """The addresses that a value refers to."""
    for text in strings(value):
        for match in _REFERENCE.finditer(text):
            scope, name, data, data_name, type_, resource = match.groups()
            yield f"{scope}.{name}" if scope else f"data.{data}.{data_name}" if data else f"{type_}.{resource}"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_unquoted(key): _plain(each) for key, each in value.items() if key not in _META}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _unquoted(value) if isinstance(value, str) else value


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
