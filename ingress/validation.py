"""protovalidate's rules of a message, as our violations."""

from functools import cache
from typing import Any, Final

from protobuf import Message
from protovalidate import FieldPathPb, Validator

from shared.errors import FieldViolation, InvalidEventError

NESTED_TOO_DEEPLY: Final = FieldViolation("metadata", "max_nesting", "must be at most 32 levels deep")


def validate(message: Message[Any]) -> None:
    """Check the rules that proto/ declares.

    Raises:
        InvalidEventError: with every broken rule. Names fields and rules, never values.
    """
    try:
        violations = _validator().collect_violations(message)
    except ValueError:
        # For its CEL rule on metadata protovalidate 2.1 serializes the message and reads it back, which fails beyond
        # some 33 levels of objects: more than normalization takes anyway.
        raise InvalidEventError((NESTED_TOO_DEEPLY,)) from None
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
