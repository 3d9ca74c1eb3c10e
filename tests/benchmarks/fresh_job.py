"""What a job on a fresh machine takes, from the clone to the artifact: ``nox -s bench-job``.

Each job begins with a clone, an empty cache and an engine that has neither image nor base: the
clone has a recipe of its own, so that the images of other checkouts stay where they are. The first
has nothing; the others have what it left in a registry and in a shared cache. The registry is
``docker-registry`` and the shared cache a folder, both on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from targets.cli.options import DEFAULT_CONFIG, PROJECT, REGISTRY
from targets.target import load_target
from targets.toolchain.image import base_recipe, recipe_digest
from targets.toolchain.platforms import this_machine
from tests.benchmarks import pages
from tests.benchmarks.pages import Section
from tests.support.registries import PROGRAM, Registry, registry

ENVIRONMENT_UNABLE = 4  # as targets/errors.py has it

_COLUMNS = (
    "a fresh job has",
    "clone to artifact",
    "of it `./nox`'s own packages",
    "steps that ran",
)
_HOW = """\
Wall time of `git clone` and `./nox -s build-cpu` with `configs/tone.toml`, in seconds, each from an
empty cache, without Quern's own packages, and on an engine that has neither image nor base.
Registry and shared cache are on the same machine: a network in between adds what it takes to carry
the image."""
CONFIG = DEFAULT_CONFIG.relative_to(PROJECT)
_REMOVE_SECONDS = 900
"""How long an engine may take to remove an image: the disk may be busy."""
_EPOCH = re.compile(r"^(source_date_epoch = )\d+$", re.MULTILINE)


@dataclass(frozen=True)
class Kind:
    """What a job has, and whether a row of its data is another one."""

    has: str
    registry: bool
    shared: bool
    changed: bool = False


JOBS = (
    Kind("nothing", registry=False, shared=True),  # it fills the shared cache
    Kind("a registry with the image, {size}, and a shared cache", registry=True, shared=True),
    Kind("the registry alone", registry=True, shared=False),
    Kind("both, and a changed row of the data", registry=True, shared=True, changed=True),
)


def main() -> None:
    """Measure, show, and write the section."""
    arguments = parser().parse_args()
    if shutil.which(PROGRAM) is None:
        sys.stderr.write(f"there is no {PROGRAM} here: `apt-get install {PROGRAM}`\n")
        sys.exit(ENVIRONMENT_UNABLE)
    pages.require_clean(arguments.out)
    options = "" if arguments.jobs == len(JOBS) else f" -- --jobs {arguments.jobs}"
    origin = pages.origin(f"./nox -s bench-job{options}", pages.beside())
    with (
        tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch,
        registry(Path(scratch) / "registry") as served,
    ):
        jobs = Jobs(Path(scratch), served, epoch=int(time.time()))
        rows = map(jobs.row, JOBS[: arguments.jobs])
        pages.measure(Section("job", "A fresh job", rows, _HOW, _COLUMNS), arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-job --", description=__doc__)
    parser.add_argument("--scratch", type=Path, help="folder for all of it: 4 GB for a while")
    numbers = range(1, len(JOBS) + 1)
    parser.add_argument("--jobs", type=int, choices=numbers, default=len(JOBS), help="the first N")
    pages.add_out(parser, pages.MEASURED)
    return parser


class Jobs:
    """Fresh jobs, one after the other, each in a folder of its own."""

    def __init__(self, scratch: Path, served: Registry, epoch: int) -> None:
        """``epoch`` makes the recipe of the clones their own."""
        self._scratch = scratch
        self._served = served
        self._epoch = epoch

    def row(self, kind: Kind) -> str:
        """Run a job, and return what it took. The first brings what it made to the others."""
        registry = self._served.repository
        with self._clone(kind) as job:
            if kind.changed:
                job.change_a_row()
            row = job.build(self._described(kind), registry if kind.registry else "")
            if not kind.registry:
                job.nox("images", "--push", registry=registry)
        return row

    @contextmanager
    def _clone(self, kind: Kind) -> Iterator[Job]:
        """Yield a job with a clone; of it and of its images nothing is left."""
        folder = self._scratch / "job"
        job = Job(folder, time.perf_counter())
        command = ["git", "clone", "--quiet", "--no-hardlinks", str(PROJECT), str(job.clone)]
        subprocess.run(command, check=True)
        base = job.clone / "images/base/base.toml"
        base.write_text(_EPOCH.sub(rf"\g<1>{self._epoch}", base.read_text("utf-8")), "utf-8")
        if kind.shared:
            with (job.clone / CONFIG).open("a", encoding="utf-8") as config:
                config.write(f'\n[cache]\nremote = "file://{self._scratch}/shared"\npush = true\n')
        (self._scratch / "shared").mkdir(exist_ok=True)
        try:
            yield job
        finally:
            job.remove_images()
            shutil.rmtree(folder)

    def _described(self, kind: Kind) -> str:
        """Return what the job has, with the size of the image in the registry."""
        if not kind.registry:
            return kind.has
        tags = self._served.folder / "data/docker/registry/v2/repositories/team/quern/_manifests"
        (link,) = tags.glob("tags/cpu-*/current/link")
        layers = self._served.layers(link.read_text("utf-8"))
        return kind.has.format(size=pages.gigabytes(sum(file.stat().st_size for file in layers)))


@dataclass(frozen=True)
class Job:
    """A fresh job, in a folder, and when it began."""

    folder: Path
    began: float

    @property
    def clone(self) -> Path:
        return self.folder / "quern"

    def build(self, has: str, registry: str = "") -> str:
        """Build the shipped example; return the row of it."""
        self.nox("plan", "--help")
        installed = time.perf_counter()
        self.nox("build-cpu", registry=registry)
        ended = time.perf_counter()
        report = json.loads((self.clone / "dist/tone/cpu/report.json").read_text("utf-8"))
        ran = [step["name"] for step in report["passes"] if not step["cached"]]
        times = f"{ended - self.began:.0f} | {installed - self.began:.0f}"
        return f"| {has} | {times} | {len(ran)} of {len(report['passes'])} |"

    def nox(self, session: str, *arguments: str, registry: str = "") -> None:
        """Run a session in the clone, with caches of its own. Ends as it does where it fails."""
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "caches")}
        for name in ("QUERN_CACHE", REGISTRY):
            environment.pop(name, None)
        if registry:
            environment[REGISTRY] = registry
        command = [sys.executable, "nox", "-s", session, "--", *arguments]
        done = subprocess.run(
            command, cwd=self.clone, env=environment, stdout=sys.stderr, check=False
        )
        if done.returncode:
            sys.exit(done.returncode)

    def change_a_row(self) -> None:
        """Change the data such that what was trained on them is trained again."""
        data = self.clone / CONFIG.with_suffix(".jsonl")
        first, *others = data.read_text("utf-8").splitlines()
        row = json.loads(first)
        row["phrase"] = f"{row['phrase']} indeed"
        data.write_text("\n".join([json.dumps(row), *others]) + "\n", "utf-8")

    def remove_images(self) -> None:
        """Remove the images of the clone's recipe, and its base, from the engine."""
        toolchain = load_target("cpu").toolchain(this_machine())
        own = replace(toolchain, image_dir=self.clone / "images/cpu")
        client = docker.from_env(timeout=_REMOVE_SECONDS)
        images = client.images.list(filters={"label": f"quern.recipe={recipe_digest(own)}"})
        names = [name for image in images for name in image.tags]
        names += [name for image in images for name in image.attrs["RepoDigests"] or ()]
        for name in [*names, base_recipe(own).bootstrapped_tag]:
            with suppress(ImageNotFound):
                client.images.remove(name)


if __name__ == "__main__":
    main()
