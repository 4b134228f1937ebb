"""The options by which dead letters are chosen: defined once, for every command that takes them."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """As typed; `worker.operators.dead_letters.selection.selection` makes sense of them."""

    reason: Annotated[list[str] | None, typer.Option(help="Such as http_400 or native; may be repeated.")] = None
    event_name: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None
    caller: Annotated[list[str] | None, typer.Option(help="Who called the RPC, an e-mail; may be repeated.")] = None
    older_than: Annotated[
        str | None, typer.Option(help="Dead for so long, such as 90s, 15m, 24h or 7d, or since before a time, in UTC.")
    ] = None
    younger_than: Annotated[str | None, typer.Option(help="Dead for less than so long, or since after a time.")] = None
    ids_from: Annotated[str | None, typer.Option(help="A file with an event id a line; - is stdin.")] = None


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each field of Filters as an option in place of its parameter `filters`.

    Typer makes options of parameters alone, and so of the signature that this gives it.
    """
    options = inspect.signature(Filters).parameters
    own = inspect.signature(command).parameters

    @functools.wraps(command)
    def taking_options(**given: Any) -> None:
        chosen = Filters(**{name: given.pop(name) for name in options})
        command(**given, filters=chosen)

    parameters = [*options.values(), *(each for name, each in own.items() if name != "filters")]
    taking_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    taking_options.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
    return taking_options
