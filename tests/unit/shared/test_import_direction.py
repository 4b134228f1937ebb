"""The direction of imports: ingress and worker import shared, whose rooms form layers; nothing else crosses.

Imports inside functions and under TYPE_CHECKING count too.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from deploy.local.stack import REPOSITORY

PACKAGES: Final = ("ingress", "worker", "shared")

LAYERS: Final = (
    ("errors", "clock", "cancellation", "concurrency", "backoff", "traceparent", "gen"),
    ("events",),
    ("process",),
    ("pubsub",),
    ("telemetry",),
    ("spanner",),
    ("starting",),
)
"""The parts of shared, as its docstring lists them. Each imports only itself and parts of earlier layers."""

ROOTS_OF_WORKER: Final = ("worker.runtime", "worker.wiring")
ROOTS_OF_INGRESS: Final = ("ingress.runtime", "ingress.app")

_LAYER_OF: Final = {part: number for number, parts in enumerate(LAYERS) for part in parts}


@dataclass(frozen=True)
class Import:
    place: str
    """Path and line."""

    importer: str
    """A module, with dots."""

    imported: str
    """A module, or a name in one, with dots."""


def imports_in(root: Path) -> list[Import]:
    found: list[Import] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            relative = path.relative_to(root)
            parts = relative.with_suffix("").parts
            importer = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            for node in ast.walk(ast.parse(path.read_text(), str(relative))):
                place = f"{relative}:{getattr(node, 'lineno', 0)}"
                found += [Import(place, importer, name) for name in _imported(node, parts[:-1])]
    return found


def _imported(node: ast.AST, folder: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        # One dot is the folder itself, each further one its parent.
        base = folder[: len(folder) + 1 - node.level] if node.level else ()
        module = ".".join([*base, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}" for alias in node.names)


def is_in(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def crosses_processes(each: Import) -> bool:
    return (is_in(each.importer, "ingress") and is_in(each.imported, "worker")) or (
        is_in(each.importer, "worker") and is_in(each.imported, "ingress")
    )


def imports_out_of_shared(each: Import) -> bool:
    return is_in(each.importer, "shared") and is_in(each.imported, "ingress", "worker")


def imports_deploy_or_tests(each: Import) -> bool:
    return is_in(each.imported, "deploy", "tests")


def imports_a_higher_layer(each: Import) -> bool:
    if not (is_in(each.importer, "shared") and is_in(each.imported, "shared")):
        return False
    importer, imported = (name.split(".")[1] for name in (each.importer, each.imported))
    return importer != imported and _LAYER_OF[importer] <= _LAYER_OF[imported]


def imports_operators_into_worker(each: Import) -> bool:
    return is_in(each.imported, "worker.operators") and not is_in(each.importer, "worker.operators")


def imports_telemetry_outside_roots(each: Import) -> bool:
    return (
        is_in(each.imported, "worker.telemetry") and not is_in(each.importer, "worker.telemetry", *ROOTS_OF_WORKER)
    ) or (
        is_in(each.imported, "ingress.telemetry") and not is_in(each.importer, "ingress.telemetry", *ROOTS_OF_INGRESS)
    )


Rule = Callable[[Import], bool]

RULES: Final[tuple[Rule, ...]] = (
    crosses_processes,
    imports_out_of_shared,
    imports_deploy_or_tests,
    imports_a_higher_layer,
    imports_operators_into_worker,
    imports_telemetry_outside_roots,
)


@pytest.fixture(scope="module")
def all_imports() -> list[Import]:
    return imports_in(REPOSITORY)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_import_is_against_the_rule(all_imports: list[Import], rule: Rule) -> None:
    assert [f"{each.place} imports {each.imported}" for each in all_imports if rule(each)] == []


def test_every_part_of_shared_is_in_a_layer() -> None:
    parts = {path.stem for path in (REPOSITORY / "shared").iterdir() if path.suffix == ".py" or path.is_dir()}

    assert parts - {"__init__", "__pycache__"} == _LAYER_OF.keys()


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("ingress/app.py", "import worker.circuit", crosses_processes),
        ("worker/operators/cli.py", "from ingress import app", crosses_processes),
        ("shared/pubsub.py", "from worker.subscription import Subscription", imports_out_of_shared),
        ("worker/runtime.py", "from deploy.local import stack", imports_deploy_or_tests),
        ("shared/clock.py", "from tests.support.fakes import manual_clock", imports_deploy_or_tests),
        ("shared/process/logs.py", "from shared.telemetry.tracing import word_of", imports_a_higher_layer),
        ("shared/events/event.py", "from shared import pubsub", imports_a_higher_layer),
        ("shared/events/event.py", "from ..spanner import schema", imports_a_higher_layer),
        ("shared/clock.py", "import shared.errors as errors", imports_a_higher_layer),
        ("worker/runtime.py", "from worker.operators.cli import app", imports_operators_into_worker),
        ("worker/sending.py", "from worker.telemetry import requests", imports_telemetry_outside_roots),
        ("ingress/service.py", "import ingress.telemetry", imports_telemetry_outside_roots),
    ],
)
@pytest.mark.parametrize("frame", ["{}\n", "def late():\n    if True:\n        {}\n"], ids=["module", "function"])
def test_a_wrong_import_is_found(tmp_path: Path, file: str, line: str, rule: Rule, frame: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(frame.format(line))

    found = imports_in(tmp_path)

    assert [each for each in found if rule(each)] == found
    assert len(found) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ingress/app.py", "from ingress.telemetry import outer_interceptors"),
        ("worker/runtime.py", "from worker.telemetry.ports import observed"),
        ("worker/operators/cli.py", "from worker.operators import exit_codes"),
        ("worker/sending.py", "import shared.spanner.schema"),
        ("shared/spanner/schema.py", "from shared.errors import SchemaMismatchError"),
        ("shared/spanner/schema.py", "from . import reading"),
    ],
)
def test_a_right_import_is_not(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line)

    (found,) = imports_in(tmp_path)

    assert [rule for rule in RULES if rule(found)] == []
