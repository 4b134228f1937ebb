"""A Dockerfile as data; runs its steps that only touch files, without a container engine."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    keyword: str
    arguments: str


@dataclass(slots=True)
class Stage:
    name: str
    image: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [each.arguments for each in self.instructions if each.keyword == keyword]


def stages(text: str) -> list[Stage]:
    """The stages with their base images; arguments before the first stage are filled in."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    found: list[Stage] = []
    values: dict[str, str] = {}
    for line in filter(None, (each.strip() for each in joined.splitlines())):
        keyword, _, arguments = line.partition(" ")
        if keyword == "FROM":
            image, _, name = arguments.partition(" AS ")
            for argument, value in values.items():
                image = image.replace(f"${{{argument}}}", value)
            found.append(Stage(name, image))
        elif found:
            found[-1].instructions.append(Instruction(keyword, arguments))
        else:
            assert keyword == "ARG"
            values |= dict([arguments.split("=", 1)])
    return found


def carry_out(stage: Stage, *, context: Path, work: Path, replace: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Run COPY and RUN in `work`, with paths replaced by `replace`; COPY sees the files of the context only.

    Raises:
        AssertionError: a step failed; its output is in the message.
    """
    environment = dict(env)
    for each in stage.instructions:
        if each.keyword == "ENV":
            environment |= dict(re.findall(r"(\w+)=(\S+)", each.arguments))
        elif each.keyword == "COPY":
            *sources, target = each.arguments.split()
            for source in sources:
                _copy(context / source, work / target, into=target.endswith("/"))
        elif each.keyword == "RUN":
            command = each.arguments
            for old, new in replace.items():
                command = command.replace(old, new)
            done = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=work, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def _copy(source: Path, target: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        place = target / source.name if into else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
