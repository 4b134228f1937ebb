"""protovalidate's rules of a message, as our violations."""

from functools import cache
from typing import Any

from protobuf import Message
from protovalidate import FieldPathPb, Validator

from shared.errors import FieldViolation, InvalidEventError


def validate(message: Message[Any]) -> None:
    """Check the rules that proto/ declares.

    Raises:
        InvalidEventError: with every broken rule. Names fields and rules, never values.
    """
    violations = _validator().collect_violations(message)
    if violations:
        raise InvalidEventError(
            tuple(
                FieldViolation(
                    field=_path(violation.proto.field),
                    rule=violation.proto.rule_id.rpartition(".")[2] or violation.proto.rule_id,
                    description=violation.proto.message,
                )
                for violation in violations
            )
        )


@cache
def _validator() -> Validator:
    # Compiles the rules of each message once, when it first sees it.
    return Validator()


def _path(path: FieldPathPb | None) -> str:
    if path is None:
        return ""
    names = []
    for element in path.elements:
        index = element.subscript
        names.append(element.field_name + (f"[{index.value}]" if index is not None else ""))
    return ".".join(names)
