"""The front door of Quern: a session for each command, `python -m targets COMMAND`.

`build-TARGET` is `build --target TARGET`, `check-TARGET` is `check --target TARGET`. The sessions
that are written out below are no commands: they are for those who work on Quern.

Arguments after `--` go to the command, e.g. `./nox -s build-cpu -- --config my.toml`.
"""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nox
from filelock import FileLock

nox.options.sessions = ["lint", "types", "tests"]
# One environment per lock serves many sessions, so nox makes none of its own.
nox.options.default_venv_backend = "none"
# nox looks for uv anyway; it does not matter here if there is none.
logging.getLogger("nox").addFilter(lambda record: record.msg != "uv binary not found.")

PROJECT = Path(__file__).resolve().parent
ENVIRONMENTS = PROJECT / ".nox"
TARGETS = sorted(path.stem for path in (PROJECT / "targets").glob("*.toml"))
COMMANDS = sorted((PROJECT / "targets" / "cli" / "commands").glob("[!_]*.py"))
ENVIRONMENT_UNABLE = 4  # as targets/errors.py has it
# In seconds: when a command that goes on after Ctrl-C is told to stop, since not every Ctrl-C
# reaches it, and how long it has to end. CI services take 10 s before they kill everything.
TELL_TO_STOP = 0.3
STOP_TIMEOUT = 8.0
# Three processes share the tests: one often waits for a disk, a network or one thread. `-n 0` after
# `--` makes it one process.
SIDE_BY_SIDE = ("--numprocesses=3", "--dist=loadgroup", "--no-loadscope-reorder")
# Where the host's side runs as well, by `sys.platform`, and what runs there.
OTHER_SYSTEMS = ("win32", "darwin")
RUNS_ELSEWHERE = ("targets", "pipeline", "quern", "noxfile.py")
STOPPING = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as by nohup
    STOPPING.append(signal.SIGHUP)


class Signalled(KeyboardInterrupt):
    """As in targets/runtimes/interrupts.py, which says why it is no plain KeyboardInterrupt."""


def stop(_number: int, _frame: object) -> None:
    """Have nox stop what runs, as after Ctrl-C, and wait for it: further signals change nothing."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise Signalled


def swallowed(unraisable: sys.UnraisableHookArgs) -> None:
    """Stop nevertheless where that was called in a callback that cannot raise; a hook of `sys`."""
    # Windows sends no signals to threads.
    if sys.platform == "win32" or not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    for number in STOPPING:
        signal.signal(number, stop)
    main = threading.main_thread().ident
    threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGINT]).start()


for number in STOPPING:
    signal.signal(number, stop)
sys.unraisablehook = swallowed


def define_command(file: Path) -> None:
    """Define the session of the command in ``file``, named as it and described by its docstring.

    A command that needs more than requirements.lock says so as ``REQUIREMENTS``.
    """
    module = ast.parse(file.read_text("utf-8"))
    constants = {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    lock_file = str(constants.get("REQUIREMENTS", "requirements.lock"))
    name = file.stem.rstrip("_").replace("_", "-")

    @nox.session(name=name)
    def run(session: nox.Session) -> None:
        command(session, name, lock_file=lock_file)

    _, _, described = (ast.get_docstring(module) or "").partition("\n")[0].rpartition(": ")
    run.__doc__ = described[:1].upper() + described[1:]


def define_build(target: str) -> None:
    """Define the session `build-TARGET`."""

    @nox.session(name=f"build-{target}")
    def build_target(session: nox.Session) -> None:
        command(session, "build", f"--target={target}")

    build_target.__doc__ = f"Build the artifact for the target {target}."


def define_check(target: str) -> None:
    """Define the session `check-TARGET`."""

    @nox.session(name=f"check-{target}")
    def check_target(session: nox.Session) -> None:
        command(session, "check", f"--target={target}")

    check_target.__doc__ = f"Check a built artifact where the {target} device is."


for path in COMMANDS:
    define_command(path)
for name in TARGETS:
    define_build(name)
    define_check(name)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, containers and trainings included; the slowest proofs are in tests-slow."""
    pytest(session, *SIDE_BY_SIDE)


@nox.session(name="tests-slow")
def tests_slow(session: nox.Session) -> None:
    """Run the proofs that take minutes each: on another CPU, all of the README, killed builds."""
    pytest(session, "-m", "slow and not heavy and not pretrained", *SIDE_BY_SIDE)


@nox.session
def attack(session: nox.Session) -> None:
    """Attack Quern with hostile input of every kind, for as long as `--minutes` says."""
    command(session, module="tests.attack", lock_file="requirements-dev.lock")


@nox.session(name="tests-cuda")
def tests_cuda(session: nox.Session) -> None:
    """Build the CUDA image and artifacts in it: several GB, so apart from the other tests."""
    pytest(session, "-m", "heavy")


@nox.session(name="tests-families")
def tests_families(session: nox.Session) -> None:
    """Build a small model of every family for every target."""
    pytest(session, "-m", "families or not families", "tests/families")


@nox.session(name="tests-tokenizers")
def tests_tokenizers(session: nox.Session) -> None:
    """Fetch tokenizers that people use, and hold the runtime against transformers on them."""
    pytest(session, "-m", "fetched", "tests/tokenizers")


@nox.session(name="tests-remote")
def tests_remote(session: nox.Session) -> None:
    """Run the tests of shared caches on stand-ins of clouds, which pip and npm fetch."""
    pytest(session, "-m", "servers or not servers", "tests/unit/targets/remote")


@nox.session
def azure(session: nox.Session) -> None:
    """Install the SDK of Azure Machine Learning, for systems of that type."""
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
    python = python_with(session, "requirements.lock")
    session.run(
        python, *pip, "--only-binary", ":all:", "-r", str(PROJECT / "requirements-azure.lock")
    )


@nox.session(name="tests-slurm")
def tests_slurm(session: nox.Session) -> None:
    """Run the tests of Slurm, all of them: on real daemons with two nodes on this machine."""
    pytest(session, "-m", "slow or not slow", "tests/slurm")


@nox.session(name="tests-azure")
def tests_azure(session: nox.Session) -> None:
    """Run the tests of Azure Machine Learning: on a stand-in, and on a subscription if named."""
    pytest(session, "-m", "servers or not servers", "tests/azureml")


@nox.session(name="fetch-smollm")
def fetch_smollm(session: nox.Session) -> None:
    """Fetch the pretrained model of configs/smollm2.toml."""
    command(session, module="tests.support.smollm")


@nox.session(name="tests-smollm")
def tests_smollm(session: nox.Session) -> None:
    """Build a real, pretrained model with all checks: many minutes, so apart from other tests."""
    pytest(session, "-m", "pretrained")


@nox.session(name="bench-smollm")
def bench_smollm(session: nox.Session) -> None:
    """Measure what a real, pretrained model gives."""
    benchmark(session, "smollm")


@nox.session(name="bench-asking")
def bench_asking(session: nox.Session) -> None:
    """Measure what asking a real, pretrained model on a CPU takes."""
    benchmark(session, "asking")


@nox.session(name="bench-training")
def bench_training(session: nox.Session) -> None:
    """Measure what a training step costs that gives the same bytes on every CPU."""
    benchmark(session, "training")


@nox.session(name="bench-example")
def bench_example(session: nox.Session) -> None:
    """Measure what the shipped example gives, and draw its summary."""
    benchmark(session, "example")


@nox.session(name="bench-driver")
def bench_driver(session: nox.Session) -> None:
    """Measure what the driver and the container cost."""
    benchmark(session, "driver")


@nox.session(name="bench-commands")
def bench_commands(session: nox.Session) -> None:
    """Measure what commands cost that have nothing to do."""
    benchmark(session, "commands")


@nox.session(name="bench-data")
def bench_data(session: nox.Session) -> None:
    """Measure what many rows cost."""
    benchmark(session, "data")


@nox.session(name="bench-growth")
def bench_growth(session: nox.Session) -> None:
    """Measure and draw how time and memory grow with rows, weights, targets and builds at once."""
    benchmark(session, "growth")


@nox.session(name="bench-job")
def bench_job(session: nox.Session) -> None:
    """Measure a job on a fresh machine, from its clone to the artifact."""
    benchmark(session, "fresh_job")


@nox.session(name="bench-installed")
def bench_installed(session: nox.Session) -> None:
    """Measure what it takes from an empty folder with only Python to an answer."""
    benchmark(session, "installed")


@nox.session(name="bench-systems")
def bench_systems(session: nox.Session) -> None:
    """Measure what it costs to build on another machine."""
    command(session, module="tests.benchmarks.systems", lock_file="requirements-dev.lock")


@nox.session(name="bench-shared")
def bench_shared(session: nox.Session) -> None:
    """Measure what a shared cache gives."""
    command(session, module="tests.benchmarks.shared", lock_file="requirements-dev.lock")


@nox.session(name="bench-coverage")
def bench_coverage(session: nox.Session) -> None:
    """Simulate how often the intervals of reports hold what they should."""
    benchmark(session, "coverage")


@nox.session(name="bench-checks")
def bench_checks(session: nox.Session) -> None:
    """Measure the checks of one build again and again: a clean one must always pass."""
    benchmark(session, "checks")


@nox.session(name="bench-peers")
def bench_peers(session: nox.Session) -> None:
    """Measure the artifact beside every peer: plain builder, llama.cpp, OpenVINO."""
    benchmark(session, "peers")


@nox.session(name="bench-scale")
def bench_scale(session: nox.Session) -> None:
    """Measure what a model of full size costs, beside the plain library calls."""
    benchmark(session, "scale")


@nox.session
def lint(session: nox.Session) -> None:
    """Lint Python and shell scripts, and check formatting and spelling."""
    python = python_with(session, "requirements-dev.lock")
    session.run(python, "-m", "ruff", "check")
    session.run(python, "-m", "ruff", "format", "--check")
    session.run(python, "-m", "codespell_lib")
    session.run(str(Path(python).with_name("shellcheck")), *shell_scripts(session))


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, and those of all but the tests also as Windows and macOS have them."""
    mypy = (python_with(session, "requirements-dev.lock"), "-m", "mypy")
    if session.posargs:
        session.run(*mypy, *session.posargs)
        return
    others = {system: start_mypy(mypy, system) for system in OTHER_SYSTEMS}
    try:
        session.run(*mypy)
    finally:
        said = {system: process.communicate()[0] for system, process in others.items()}
    wrong = [system for system, process in others.items() if process.returncode]
    if wrong:
        session.error("\n".join(f"as on {system}:\n{said[system]}" for system in wrong))


def start_mypy(mypy: tuple[str, ...], system: str) -> subprocess.Popen[str]:
    """Start to check the types as on another system, beside what runs here: that costs no time."""
    options = ("--platform", system, "--cache-dir", f".mypy_cache/{system}")
    return subprocess.Popen(
        [*mypy, *options, *RUNS_ELSEWHERE],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@nox.session(name="pre-commit")
def pre_commit(session: nox.Session) -> None:
    """Run pre-commit: `-- install` has `lint` and `types` run before every commit."""
    python = python_with(session, "requirements-dev.lock")
    session.run(python, "-m", "pre_commit", *session.posargs)


def pytest(session: nox.Session, *options: str) -> None:
    """Run pytest with ``options`` and what stands behind ``--``."""
    python = python_with(session, "requirements-dev.lock")
    # The tests run hundreds of commands. Without bytecode, each takes a second longer. Threads that
    # wait for each other would spin, and take the cores from the tests beside them.
    environment = {"PYTHONDONTWRITEBYTECODE": "", "OMP_WAIT_POLICY": "PASSIVE"}
    session.run(python, "-m", "pytest", *options, *session.posargs, env=environment)


def shell_scripts(session: nox.Session) -> list[str]:
    """Return the files that git does not ignore and whose first line names a shell."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=PROJECT, capture_output=True)
    if listed.returncode:
        session.error(f"git must say which files there are: {os.fsdecode(listed.stderr).strip()}")
    names = os.fsdecode(listed.stdout).split("\0")  # any bytes may be a name
    return [file for file in names if is_shell_script(PROJECT / file)]


def is_shell_script(file: Path) -> bool:
    """Return whether the first line of ``file``, if it exists, names a shell."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return re.match(rb"#!.*\b(ba|da|k)?sh\b", opened.readline(100)) is not None


def benchmark(session: nox.Session, name: str) -> None:
    """Run a benchmark with what intervals and plots take."""
    command(session, module=f"tests.benchmarks.{name}", lock_file="requirements-bench.lock")


def command(
    session: nox.Session,
    *arguments: str,
    module: str = "targets",
    lock_file: str = "requirements.lock",
) -> None:
    """Run `python -m MODULE` from where nox was called, and end with its exit code."""
    python = python_with(session, lock_file)
    if Path.cwd() != Path(session.invoked_from):
        session.chdir(session.invoked_from)
    # As targets/cli/front_door.py has it; the children of other modules have another parent.
    door = {"QUERN_FRONT_DOOR": str(os.getpid())} if module == "targets" else {}
    try:
        session.run(
            *(python, "-I", "-m", module, *arguments, *session.posargs),
            stderr=None,  # standard output is for --json
            log=False,
            env=door,
            interrupt_timeout=TELL_TO_STOP,
            terminate_timeout=STOP_TIMEOUT,
        )
    except nox.command.CommandFailed as failure:
        # nox itself would exit with 1, whatever the command's exit code.
        sys.exit(exit_code(session, failure))


def exit_code(session: nox.Session, failure: nox.command.CommandFailed) -> int:
    """Return the code the failed command ended with; 128 + N if signal N, which it names, did."""
    _, _, number = str(failure.reason).rpartition(" ")
    code = int(number) if number.lstrip("-").isdigit() else 1
    if code >= 0:
        return code
    session.warn(f"the command was ended by {signal.Signals(-code).name}")
    return 128 - code


def python_with(session: nox.Session, lock_file: str) -> str:
    """Return the Python of an environment with ``lock_file``, made anew when the lock changed."""
    locked = PROJECT / lock_file
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = ENVIRONMENTS / f"{locked.stem.replace('requirements', 'quern')}-{version}"
    windows = sys.platform == "win32"
    python = folder / ("Scripts/python.exe" if windows else "bin/python")
    stamp = folder / "complete"
    digest = hashlib.sha256(locked.read_bytes()).hexdigest()
    with FileLock(ENVIRONMENTS / f"{folder.name}.lock"):
        if not (python.exists() and stamp.exists() and stamp.read_text() == digest):
            session.log(f"installing {lock_file}, once")
            shutil.rmtree(folder, ignore_errors=True)
            install(session, locked, folder, python)
            stamp.write_text(digest)
    return str(python)


def install(session: nox.Session, locked: Path, folder: Path, python: Path) -> None:
    """Make an environment in ``folder`` with what ``locked`` pins, and this project."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-compile"]  # Python compiles what it imports, which is a small part
    pinned = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(locked)]
    try:
        session.run(
            sys.executable,
            "-m",
            "virtualenv",
            "--no-periodic-update",
            "--no-download",
            str(folder),
            silent=True,
            log=False,
        )
        session.run(*pip, *pinned, silent=True, log=False)
    except nox.command.CommandFailed:
        sys.exit(ENVIRONMENT_UNABLE)
    # An absolute path: it works from any folder and cannot be confused with a file there.
    places = ("lib/python*/site-packages", "Lib/site-packages")  # POSIX, Windows
    site_packages = next(path for place in places for path in folder.glob(place))
    (site_packages / "quern.pth").write_text(f"{PROJECT}\n")
