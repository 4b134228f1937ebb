"""The options that choose dead letters, defined once for every command that takes them."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The options as typed; `selection` parses them."""

    reason: Annotated[
        list[str] | None, typer.Option(help="By reason, such as http_400 or native; may be repeated.")
    ] = None
    event_name: Annotated[list[str] | None, typer.Option(help="By event name; may be repeated.")] = None
    caller: Annotated[list[str] | None, typer.Option(help="By the e-mail of the RPC's caller; may be repeated.")] = None
    older_than: Annotated[
        str | None, typer.Option(help="Dead for at least this age (90s, 15m, 24h, 7d), or since before this UTC time.")
    ] = None
    younger_than: Annotated[str | None, typer.Option(help="Dead for less than this age, or since this time.")] = None
    ids_from: Annotated[str | None, typer.Option(help="A file with one event id per line; - is stdin.")] = None


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the command's parameter `filters` by one option for each field of Filters.

    Typer makes options of a function's parameters only, so the new signature lists them.
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
