"""Validation by protovalidate, its violations translated into ours."""

from functools import cache
from typing import Any

from protobuf import Message
from protovalidate import FieldPathPb, Validator

from shared.errors import FieldViolation, InvalidEventError


def validate(message: Message[Any]) -> None:
    """Check a message against the rules that proto/ declares for its type.

    Raises:
        InvalidEventError: at least one rule is broken; lists all of them, by field and rule, never a value.
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
    return Validator()  # compiles the rules of a message type once, on first use: hence one for the process


def _path(path: FieldPathPb | None) -> str:
    if path is None:
        return ""
    names = []
    for element in path.elements:
        index = element.subscript
        names.append(element.field_name + (f"[{index.value}]" if index is not None else ""))
    return ".".join(names)
