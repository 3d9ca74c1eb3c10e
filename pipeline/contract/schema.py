"""The schema of the build config, free of any ML library. Files are read by ``targets.config``.

The parameters of a pass or check are validated by its own ``Params`` model, so the tables below
only define what is common to all.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from typing_extensions import Self

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.frozen import Frozen

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
"""A name that is safe as a folder name on every system."""

HUB_PREFIX = "hf:"
GGUF_SUFFIX = ".gguf"
AZURE_PREFIX = "azureml:"

_LEAST_MEMORY = 64 << 20
"""Less than the interpreter and its libraries take, in bytes."""
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?$", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Return the bytes that ``"6g"``, ``"512 MiB"`` or ``"1.5GB"`` mean (powers of 1,024).

    Raises ``ValueError`` for anything else.
    """
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a size; write for example '6g' or '512m'")
    number, unit = match.groups()
    return int(float(number) * 1024 ** " kmgt".index(unit.lower() or " "))


def _is_size(text: str) -> str:
    parse_bytes(text)
    return text


def _is_enough(text: str) -> str:
    if parse_bytes(text) < _LEAST_MEMORY:
        raise ValueError(f"no step runs in '{text}'; give at least '{_LEAST_MEMORY >> 20}m'")
    return text


Size = Annotated[str, AfterValidator(_is_size)]


class ModelSource(Frozen):
    """The base model: exactly one of ``source``, ``pretrain`` and ``onnx``. Beside ``onnx`` may
    stand the checkpoint that it was made from, as ``source``."""

    source: str | None = None
    """A Hugging Face model at a revision (``"hf:org/name@revision"``), or a local folder or GGUF
    file, relative to the config file. ``model = "..."`` is short for this."""
    file: str | None = None
    """The GGUF file to use of a Hugging Face model: ``"smollm2-135m-instruct-q8_0.gguf"``."""
    pretrain: dict[str, JsonValue] | None = None
    """Make a small model from text instead: parameters of the ``pretrain`` pass."""
    onnx: str | None = None
    """A folder that ``onnxruntime_genai.Model`` loads, relative to the config file. All passes must
    then work on an ONNX model. Without any pass, it is checked as it is: only with ``source``, the
    checkpoint that it was made from, is it held against a model."""
    adapter: str | None = None
    """A LoRA, LoHa or LoKr adapter that was trained elsewhere: the folder that PEFT saved, relative
    to the config file. The passes begin with it: usually ``merge`` is the first."""
    trust_remote_code: bool = False
    """Run code that comes with the model: Python, or native operators of an ONNX model and session
    options that a model does not need. In a container it has neither network access nor
    capabilities; in a virtual environment it can do whatever you can."""
    weights: Literal["safetensors", "any"] = "safetensors"
    """``any`` also loads pickled weights, which can run code when they are loaded."""


class StepTable(Frozen):
    """One pass or check: its type (default: the table's own name) and its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    type: str | None = None
    """Name of the pass or check, if the table has another name."""

    @property
    def params(self) -> dict[str, JsonValue]:
        """Return the parameters as written."""
        return dict(self.__pydantic_extra__ or {})


class TargetTable(Frozen):
    """Parameters for one target, which replace those of the common tables."""

    passes: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Parameters per pass, e.g. ``[targets.cpu.passes.model_builder]``."""
    checks: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Parameters and limits per check, e.g. ``[targets.cpu.checks.latency]``."""


class Resources(Frozen):
    """What steps may use. A virtual environment enforces only the time, and says so."""

    memory: Annotated[Size, AfterValidator(_is_enough)] | None = None
    """Memory without swap, e.g. ``"6g"``. Default, and most: nine tenths of the machine's, with its
    swap."""
    cpus: float | None = Field(default=None, ge=0.01)
    """CPU time per second, e.g. ``2``. Default: all of the machine's."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of the libraries. Default: ``cpus`` rounded down, else the machine's CPUs."""
    step_hours: float = Field(default=24, gt=0, le=8760)
    """Hours that one step may take, e.g. ``0.5``: it is stopped then, so that one that never ends
    does not hold the machine. The default is a day. A training that takes longer needs more. Nobody
    counts the steps of a job that was started with ``--detach`` before somebody attaches to it: on
    another machine's engine they may take as many times this together as there are of them, on a
    cluster or in Azure ``max_hours``."""
    arithmetic: Literal["portable", "native"] = "portable"
    """``portable``: no instruction sets but those that every supported CPU has, and training by
    kernels chosen by name, so that each gives the same bytes. ``native``: all that this CPU has,
    which can be half again as fast; its name is then in the keys, and a release refuses such a
    config."""


_REMOTE = re.compile(
    r"""(az://[a-z0-9]+/[\w$.-]+ | s3://[\w.-]+ | gs://[\w.-]+ | file://) (/[^?\#@\s\\]*)?""",
    re.VERBOSE | re.ASCII,
)


def _is_remote(text: str) -> str:
    if not _REMOTE.fullmatch(text) or text in ("file://", "file:///") or "/../" in f"{text}/":
        raise ValueError(
            "write az://ACCOUNT/CONTAINER/PREFIX, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
            "file:///FOLDER; credentials never stand here, they come from the environment"
        )
    return text.rstrip("/")


class SharedCacheTable(Frozen):
    """A cache that a team shares: a build takes from it what is not in the cache of its own machine
    ([how](how-to.md#share-a-cache-in-a-team)). Credentials are those of the environment: the
    variables of Azure, AWS or Google, a managed identity, an AWS profile, ``az login``."""

    remote: Annotated[str, AfterValidator(_is_remote)]
    """Where it lies: ``az://ACCOUNT/CONTAINER/PREFIX``, ``s3://BUCKET/PREFIX``,
    ``gs://BUCKET/PREFIX`` or ``file:///FOLDER``."""
    push: bool = False
    """Bring to it what is made here. With ``trust``, only a build with a key to sign with does:
    ``QUERN_CACHE_SIGN_KEY`` names its file."""
    trust: tuple[str, ...] = ()
    """Public keys or certificates, relative to the config file. Results that none of them signed
    are not used. Without any, whoever can write to the cache decides what builds take from it."""
    checkpoints: bool = False
    """Also bring to it the checkpoints that were merged or converted, and what a hub gave. Without
    them, a build that needs one makes or fetches it again; trained weights are always brought."""


_IMAGE_REGISTRY = re.compile(
    r"(?=[^/]*[.:]|localhost/)[a-zA-Z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+",
    re.ASCII,
)


def is_image_registry(text: str) -> str:
    """Return ``text`` if it is the address of a repository of images. Raises ``ValueError``."""
    if not _IMAGE_REGISTRY.fullmatch(text) or len(text) > 200:
        raise ValueError(
            "write HOST/REPOSITORY without a tag, such as ghcr.io/org/quern; credentials never "
            "stand here, they are those of `docker login`"
        )
    return text


class ToolchainTable(Frozen):
    """Where the images of toolchains come from
    ([how](how-to.md#share-images-in-a-registry))."""

    registry: Annotated[str, AfterValidator(is_image_registry)] | None = None
    """A repository of images, ``HOST/REPOSITORY``: an image that is not on this machine is pulled
    from there, and built where it is not there. ``images -- --push`` brings it there. The engine
    logs in as ``docker login`` said. ``QUERN_REGISTRY`` names another one."""
    trust: tuple[str, ...] | None = None
    """Public keys or certificates, relative to the config file. Images that none of them signed are
    not used. Default: those of ``[cache]``. Without any, whoever can write to the registry decides
    what steps run in."""


_ENGINE = re.compile(
    r"ssh://([\w.-]+@)?[\w.-]+(:\d{1,5})?(/[\w./-]+)? | tcp://[\w.-]+:\d{1,5}",
    re.VERBOSE | re.ASCII,
)


def _is_engine(text: str) -> str:
    if not _ENGINE.fullmatch(text):
        raise ValueError("write ssh://USER@MACHINE:22 or tcp://MACHINE:2376")
    return text


class DockerSystem(Frozen):
    """Another machine whose Docker Engine runs the steps ([how](systems.md)): ``host = "box"`` or
    ``--system box`` chooses the table ``[systems.box]``. Nothing has to be installed there."""

    type: Literal["docker"]
    engine: Annotated[str, AfterValidator(_is_engine)]
    """Where it is: ``ssh://USER@MACHINE:22`` with the keys and settings of your OpenSSH, or
    ``tcp://MACHINE:2376`` with certificates on both sides."""
    certificates: str | None = None
    """Folder with ``ca.pem``, ``cert.pem`` and ``key.pem`` for ``tcp://``, relative to the config
    file. Default: ``DOCKER_CERT_PATH``, else ``~/.docker``."""
    platform: Literal["linux/amd64", "linux/arm64"] | None = None
    """What it runs. Default: the architecture of this machine."""
    trains: Name | None = None
    """Target whose toolchain trains and merges there. Default: ``cpu``."""
    patience: float = Field(default=180, ge=5, le=86400)
    """For how many seconds a connection that drops is tried again, and for how many a job lives
    there after the last word from here."""
    checkpoints: bool = False
    """Also fetch the checkpoints that were merged, converted or fetched from a hub there. Without
    them, a step of this machine or of another system that reads one makes or fetches it again;
    trained weights, artifacts and results always come."""


class AzureMLSystem(Frozen):
    """A compute of Azure Machine Learning that runs the steps, or a Kubernetes cluster that is
    attached through Azure Arc ([how](systems.md#azure-machine-learning)): ``host = "aml"`` or
    ``--system aml`` chooses the table ``[systems.aml]``. Not verified against the live service yet.
    """

    type: Literal["azureml"]
    subscription: str
    """ID of the subscription."""
    resource_group: str
    """The resource group of the workspace."""
    workspace: str
    """Name of the workspace."""
    compute: str
    """Name of the compute cluster, or of the attached Kubernetes compute."""
    max_hours: float = Field(gt=0, le=24 * 30)
    """Hours that one job may take, after which the service ends it: what limits its cost. So long
    it may also wait for the compute."""
    instance_type: str | None = None
    """Which of the instance types of a Kubernetes compute."""
    instance_count: int = Field(default=1, ge=1, le=64)
    """Machines that share a training with ``gpus``, each with as many of its processes. Any other
    step runs on one."""
    datastore: Name = "workspaceblobstore"
    """The datastore of blobs for inputs and results, below ``quern/``: a shared cache in there
    (``az://ACCOUNT/CONTAINER/quern``) has the same bytes."""
    image_registry: Annotated[str, AfterValidator(is_image_registry)] | None = None
    """A repository of images that the compute may read, ``HOST/REPOSITORY``, which
    ``images -- --push`` brings them to. What ``trust`` in ``[toolchain]`` says holds for it too:
    the compute is told of no image that none of these keys signed. Default: the workspace builds
    them from the same lock."""
    keyvault: Name | None = None
    """The key vault from which a job takes the hub's token, the secret ``hf-token``, as the
    compute's identity. Default: a job has no token."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of the jobs. Whoever may see the workspace can read them."""
    platform: Literal["linux/amd64"] = "linux/amd64"
    """What it runs."""
    trains: Name | None = None
    """Target whose toolchain trains and merges there. Default: ``cpu``."""


_LOGIN = re.compile(r"ssh://([\w.-]+@)?[\w.-]+(:\d{1,5})?", re.ASCII)
_SHARED = re.compile(r"/[\w./+-]*\w", re.ASCII)
_SBATCH = re.compile(r"--[a-z-]+(=[\w.,:/@+%-]+)?", re.ASCII)


def _is_login(text: str) -> str:
    if not _LOGIN.fullmatch(text):
        raise ValueError("write ssh://USER@MACHINE:22; leave it out if this is the login machine")
    return text


def _is_shared_folder(text: str) -> str:
    if not _SHARED.fullmatch(text) or ".." in text.split("/"):
        raise ValueError("write an absolute path of letters, digits and ._+-, as it is there")
    return text


def _is_sbatch_option(text: str) -> str:
    if not _SBATCH.fullmatch(text):
        raise ValueError("write an option of sbatch, such as --account=physics")
    return text


class SlurmSystem(Frozen):
    """A cluster with Slurm that runs the steps ([how](systems.md#slurm)): ``host = "hpc"`` or
    ``--system hpc`` chooses the table ``[systems.hpc]``."""

    type: Literal["slurm"]
    login: Annotated[str, AfterValidator(_is_login)] | None = None
    """Where ``sbatch`` is: ``ssh://USER@MACHINE:22``, with the keys and settings of your OpenSSH.
    Default: this machine."""
    folder: Annotated[str, AfterValidator(_is_shared_folder)]
    """A folder of yours that the login machine and all nodes share, for toolchains, inputs and
    results; it is made."""
    partition: str = Field(pattern=r"^[\w.-]+$")
    """The partition whose nodes run the jobs."""
    max_hours: float = Field(ge=1 / 60, le=24 * 30)
    """Hours that one job may take, after which Slurm ends it."""
    container: Literal["none", "apptainer", "charliecloud", "pyxis"] = "none"
    """What steps run in: containers of a program that is there, whose image this machine's engine
    has or makes; or a virtual environment of the lock, made in ``folder`` (``none``)."""
    python: str = Field(default="python3.11", pattern=r"^[\w./+-]+$")
    """The Python there of which a virtual environment is made."""
    gres: str | None = Field(default=None, pattern=r"^[\w:,.-]+$")
    """What a job gets beside CPUs and memory, as ``sbatch`` takes it: ``gpu:1``. These two are
    those of ``[resources]``."""
    nodes: int = Field(default=1, ge=1, le=64)
    """Nodes that share a training with ``gpus``, each with as many of its processes, and with what
    ``gres`` says. Any other step runs on one."""
    options: tuple[Annotated[str, AfterValidator(_is_sbatch_option)], ...] = ()
    """More options of ``sbatch``: ``["--account=physics", "--qos=long"]``."""
    platform: Literal["linux/amd64", "linux/arm64"] | None = None
    """What the nodes are. Default: the architecture of this machine."""
    trains: Name | None = None
    """Target whose toolchain trains and merges there. Default: ``cpu``."""
    patience: float = Field(default=180, ge=5, le=86400)
    """For how many seconds a login that drops, or a Slurm that does not answer, is tried again."""

    @model_validator(mode="after")
    def _containers_on_all_nodes(self) -> Self:
        if self.container == "pyxis" and self.nodes > 1:
            raise ValueError(
                "pyxis starts its containers through srun, which nodes > 1 needs for itself: "
                "choose another container"
            )
        return self


SystemTable = Annotated[DockerSystem | AzureMLSystem | SlurmSystem, Field(discriminator="type")]
"""One of ``[systems]``."""


class Card(Frozen):
    """Entries of a release's model card that Quern cannot know. Licences are SPDX expressions, such
    as ``"MIT"``. The card lists missing entries as not stated."""

    description: str | None = None
    """What the model is for, in a sentence."""
    license: str | None = None
    """Licence of the artifact."""
    model_license: str | None = None
    """Licence of the base model."""
    data_license: str | None = None
    """Licence of the data."""
    authors: tuple[str, ...] = ()
    """Who is responsible for it."""
    contact: str | None = None
    """Where to report problems."""
    intended_use: str | None = None
    """What it should be used for, and what it should not."""
    limitations: str | None = None
    """What it cannot do, and what it was not tested on."""


class BuildConfig(Frozen):
    """A build: one model, one data set, the passes in order, and the checks."""

    name: Name
    """Name of the build: its outputs lie in ``dist/<name>/<target>/``."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of initialization, data order and dropout."""
    model: ModelSource
    """The base model."""
    default_targets: tuple[Name, ...] = ()
    """Targets of a command that names none; ``"all"`` means every target. Default: ``cpu``."""
    host: Name | None = None
    """Target whose toolchain trains and merges. Default: the first one whose device this machine
    has, else ``cpu``. Or one of ``[systems]``: then all steps run there."""
    runtime: Literal["auto", "docker", "venv"] = "auto"
    """Where steps run unless the command says otherwise: in containers or in a virtual environment.
    ``auto``: in containers if there is a Docker Engine."""
    systems: dict[Name, SystemTable] = Field(default_factory=dict)
    """Other machines on which the steps can run, by name."""
    data: dict[Name, DataSpec] = Field(default_factory=dict)
    """The data sets, under names that ``--data NAME=PATH`` can replace. One of them is trained on
    and measured with; it may name others as its held-out and its validation part."""
    passes: dict[Name, StepTable] = Field(default_factory=dict)
    """The passes, in the order in which they run. There may be none if the model is ONNX already.
    """
    evaluation: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters of the ``evaluate`` pass: how base, tuned and built model answer the held-out
    prompts."""
    checks: dict[Name, StepTable] = Field(default_factory=dict)
    """The checks and their limits. All built-in checks that apply are run, whether they are named
    here or not."""
    skip_checks: tuple[str, ...] = ()
    """Built-in checks that are not run. A model that memory has no room for needs none of this: it
    is run layer by layer. Plan and report list them. If nothing reads the merged checkpoint
    (``merging``, ``conversion``, ``quantization``, ``quality`` and ``rebuild`` do), merging and
    quantizing become one step, and no checkpoint is written."""
    targets: dict[Name, TargetTable] = Field(default_factory=dict)
    """Parameters for single targets."""
    resources: Resources = Resources()
    """Limits for the containers."""
    cache: SharedCacheTable | None = None
    """The cache that is shared with others. Default: none."""
    toolchain: ToolchainTable = ToolchainTable()
    """Where the images of toolchains come from."""
    card: Card = Card()
    """The model card of a release."""
