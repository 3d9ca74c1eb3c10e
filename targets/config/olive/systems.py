"""Translates ``systems``, host and target: the machine of a chain, and its targets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipeline.contract.schema import DockerSystem
from pipeline.contract.suggest import did_you_mean
from pipeline.onnx.providers import is_provider
from targets.config.olive.context import nested
from targets.config.olive.known import PROVIDERS
from targets.config.olive.node import Fields, Node
from targets.config.olive.secrets import is_secret
from targets.target import load_target, target_names

_TYPES = {
    "localsystem": "local",
    "local": "local",
    "pythonenvironment": "venv",
    "pythonenvironmentsystem": "venv",
    "isolatedort": "venv",
    "isolatedortsystem": "venv",
    "docker": "docker",
    "dockersystem": "docker",
    "azureml": "azureml",
    "azuremlsystem": "azureml",
}
_PLACES = {
    "local": "this machine",
    "venv": 'runtime = "venv"',
    "docker": 'runtime = "docker"',
    "engine": 'type = "docker"',
    "azureml": "[systems.{name}]",
}
"""What each kind of system becomes."""
_DEVICES = ("cpu", "gpu", "npu")
_LOCKED = "steps run in the locked toolchain of their target, whatever is installed here"
_CLIENT = {
    "subscription_id": "subscription",
    "resource_group": "resource_group",
    "workspace_name": "workspace",
    "keyvault_name": "keyvault",
}
"""What the keys of a client of Azure ML are called in ``[systems.NAME]``."""
_VAULT = "a job has a token of the hub only with keyvault_name, from the secret hf-token there"


@dataclass(frozen=True)
class OliveSystem:
    """One entry of ``systems``, or one written in place."""

    name: str
    kind: str
    """``local``, ``venv``, ``docker``, ``engine`` (another machine's Docker) or ``azureml``."""
    node: Node
    devices: tuple[str, ...] = ()
    providers: tuple[Node, ...] = ()
    """Execution providers, as they are written."""
    azure: dict[str, object] = field(default_factory=dict)
    engine: dict[str, object] = field(default_factory=dict)
    """What ``[systems.NAME]`` of a TOML config says of another machine."""
    type_node: Node | None = None
    device_nodes: tuple[Node, ...] = ()

    def train_on(self, trains: bool) -> None:
        """Record the meaning of its keys as the host, where PyTorch runs; ``trains`` says whether
        anything is trained. A device for which Quern has no target is refused."""
        if self.type_node is not None:
            self.type_node.translated(_PLACES[self.kind].format(name=self.name))
        what = "trains" if trains else "PyTorch runs"
        self._devices(
            {"cpu": f"{what} on the CPU", "gpu": f"{what} where a GPU is, else on the CPU"}
        )

    def check_on(self, alone: bool) -> None:
        """Record the meaning of its keys as the target, which the artifact is for; ``alone`` if
        there is no host."""
        if self.type_node is not None and (alone or self.kind == "local"):
            self.type_node.translated(_PLACES[self.kind].format(name=self.name))
        elif self.type_node is not None:
            self.type_node.no_effect("the host says where steps run")
        self._devices(
            {"cpu": "the artifact is for the CPU", "gpu": "the artifact is for a GPU"},
        )

    def _devices(self, meanings: Mapping[str, str]) -> None:
        for node in self.device_nodes:
            meaning = meanings.get(str(node.raw).lower())
            if meaning is None:
                node.refuse("no target of Quern runs on an NPU", "use cpu or gpu")
            else:
                node.translated(meaning)


def system_names(node: Node | None) -> tuple[str, ...]:
    """Return the names of the systems of the file."""
    return tuple(node.raw) if node is not None and isinstance(node.raw, dict) else ()


def read_systems(node: Node | None, used: Collection[str]) -> dict[str, OliveSystem]:
    """Return those systems of the file that are ``used``, by name; each is read whole. The others
    have no effect, whatever they hold."""
    if node is None:
        return {}
    fields = node.fields("systems")
    systems = {}
    for entry in fields.rest():
        if entry.name not in used:
            entry.no_effect("nothing in this file uses this system")
            continue
        system = read_system(entry)
        if system is not None:
            systems[entry.name] = system
    return systems


def read_system(node: Node, name: str = "") -> OliveSystem | None:
    """Return the system that a table describes; ``None`` if it was refused."""
    fields = nested(node.fields("a system"), "config")
    kind_node = fields.take("type")
    if kind_node is None:
        node.refuse("a system needs a type", "LocalSystem, Docker, PythonEnvironment or AzureML")
        return None
    kind = _TYPES.get(str(kind_node.raw).lower())
    if kind is None:
        names = ("LocalSystem", "Docker", "PythonEnvironment", "AzureML", "IsolatedORT")
        kind_node.refuse(
            f"there is no system of type {kind_node.raw}", did_you_mean(str(kind_node.raw), names)
        )
        for part in fields.rest():
            part.no_effect("nothing is read of a system of unknown type")
        return None
    devices, providers = _accelerators(fields)
    azure = _azure(fields, kind) if kind == "azureml" else {}
    engine = _engine(fields, name or node.name) if kind == "docker" else {}
    _rest(fields, kind)
    if engine:
        kind = "engine"
    return OliveSystem(
        name or node.name,
        kind,
        node,
        tuple(str(device.raw).lower() for device in devices),
        providers,
        azure,
        engine,
        kind_node,
        devices,
    )


def _accelerators(fields: Fields) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """Return the devices that a system names, and the execution providers."""
    devices: list[Node] = []
    providers: list[Node] = []
    plain = fields.take("device")
    entries = fields.take("accelerators")
    for entry in [*([plain] if plain else []), *(entries.items() if entries else ())]:
        if isinstance(entry.raw, dict):
            inner = entry.fields("an accelerator")
            device = inner.take("device")
            listed = inner.take("execution_providers")
            memory = inner.take("memory")
            if memory is not None:
                memory.no_effect("[resources] of a TOML config limits memory")
            inner.refuse_rest("an accelerator")
            if device is not None:
                devices += _device(device)
            providers += listed.items() if listed is not None else []
        else:
            devices += _device(entry)
    return tuple(devices), tuple(providers)


def _device(node: Node) -> list[Node]:
    """Return ``node`` if it is a device; anything else is refused."""
    if str(node.raw).lower() in _DEVICES:
        return [node]
    if not node.refuse_placeholder():
        node.refuse(f"there is no device '{node.raw}'", "use cpu or gpu")
    return []


def _azure(fields: Fields, kind: str) -> dict[str, object]:
    azure: dict[str, object] = {}
    compute = fields.take("aml_compute")
    if compute is None:
        fields.owner.fail(f"a system of type {kind} needs aml_compute")
    elif (name := compute.word()) is not None:
        azure["compute"] = name
        compute.translated("systems.NAME.compute")
    _one_machine(fields.take("instance_count"))
    client = fields.take("azureml_client_config", "azureml_client")
    if client is not None:
        azure.update(read_azure_client(client))
    for name, keys in (
        (
            "aml_docker_config",
            (
                "base_image",
                "dockerfile",
                "build_context_path",
                "conda_file_path",
                "name",
                "version",
            ),
        ),
        ("aml_environment_config", ("name", "version", "label")),
    ):
        part = fields.take(name)
        if part is None:
            continue
        inner = part.fields(name)
        for key in keys:
            value = inner.take(key)
            if value is not None:
                value.no_effect(_LOCKED)
        inner.refuse_rest(name)
    azure.update(_tags(fields.take("tags")))
    azure.update(_datastore(fields.take("datastores")))
    azure.update(_resources(fields.take("resources")))
    token = fields.take("hf_token")
    if token is not None:
        if token.raw in (True, "true"):
            azure["hf_token"] = True
        token.translated(f"systems.NAME.keyvault: {_VAULT}")
    return azure


def _one_machine(count: Node | None) -> None:
    if count is None:
        return
    if count.number() in (1, None):
        count.no_effect("a job runs on one machine")
    else:
        count.refuse(
            "Olive's file does not say how the machines would share a training",
            "use 1, or a TOML config with `instance_count` and as many `gpus` of the training",
        )


def _tags(node: Node | None) -> dict[str, object]:
    if node is None:
        return {}
    tags = {tag.name: tag.word() for tag in node.fields("tags").rest() if not is_secret(tag.name)}
    node.translated("systems.NAME.tags")
    return {"tags": {name: text for name, text in tags.items() if text is not None}}


def _datastore(node: Node | None) -> dict[str, object]:
    """Return the datastore, if exactly one is named."""
    if node is None:
        return {}
    named = node.items() if not isinstance(node.raw, dict) else []
    if len(named) == 1 and (name := named[0].word()) is not None:
        node.translated("systems.NAME.datastore")
        return {"datastore": name}
    node.no_effect("what steps read is sent by its digest, to one datastore")
    return {}


def _resources(node: Node | None) -> dict[str, object]:
    if node is None:
        return {}
    fields = node.fields("resources")
    _one_machine(fields.take("instance_count"))
    kind = fields.take("instance_type")
    fields.ignore(
        dict.fromkeys(
            ("shm_size", "docker_args", "properties", "max_instance_count", "locations"),
            "a job gets the machine as the compute has it",
        )
    )
    fields.refuse_rest("resources")
    if kind is None or (name := kind.word()) is None:
        return {}
    kind.translated("systems.NAME.instance_type")
    return {"instance_type": name}


def _engine(fields: Fields, name: str) -> dict[str, object]:
    """Return the keys of a ``[systems.NAME]`` table, which a system of Docker has if its engine is
    another machine's; empty if it is this one's. Olive itself has none of them."""
    table = {}
    for key in DockerSystem.model_fields.keys() - {"type"}:
        part = fields.take(key)
        if part is not None:
            table[key] = part.raw
            part.translated(f"systems.{name}.{key}")
    if table and "engine" not in table:
        fields.owner.fail("a system of Docker with these keys needs the address of its engine")
        return {}
    return {"type": "docker", **table} if table else {}


def read_azure_client(node: Node) -> dict[str, object]:
    """Return workspace, group, subscription and key vault of an ``azureml_client`` table; no
    secrets."""
    if isinstance(node.raw, str):
        node.no_effect("the table azureml_client says which workspace is meant")
        return {}
    fields = node.fields("azureml_client")
    client: dict[str, object] = {}
    for name, key in _CLIENT.items():
        part = fields.take(name)
        if part is not None and (text := part.word()) is not None:
            client[key] = text
            part.translated(f"systems.NAME.{key}")
    for part in fields.rest():
        known = part.name in (
            "aml_config_path",
            "read_timeout",
            "max_operation_retries",
            "operation_retry_interval",
            "default_auth_params",
        )
        if known or is_secret(part.name):
            part.no_effect("the login is that of the environment, and requests are tried again")
        else:
            part.refuse("azureml_client has no such key")
    return client


def _rest(fields: Fields, kind: str) -> None:
    reasons = {
        "hf_token": "HF_TOKEN of the environment is used where a model is fetched",
        "is_dev": "it is a switch for developers of Olive",
        "olive_managed_env": _LOCKED,
        "requirements_file": _LOCKED,
        "python_environment_path": _LOCKED,
        "environment_variables": "a step gets only the variables of its locked toolchain",
        "prepend_to_path": _LOCKED,
        "local_docker_config": "Quern builds an image of its own for each target",
        "image_name": "Quern builds an image of its own for each target",
        "dockerfile": "Quern builds an image of its own for each target",
        "build_context_path": "Quern builds an image of its own for each target",
        "build_args": "Quern builds an image of its own for each target",
        "run_params": "a container gets only what its step needs",
        "work_dir": "a container gets only what its step needs",
        "clean_image": "images are kept for the next build; engines remove them",
    }
    fields.ignore(reasons)
    fields.refuse_rest(f"a system of type {kind}")


def choose(
    node: Node | None, systems: dict[str, OliveSystem], names: Collection[str]
) -> OliveSystem | None:
    """Return the system that ``host`` or ``target`` names or describes; ``names`` are those of
    all systems, also of refused ones."""
    if node is None:
        return None
    if isinstance(node.raw, dict):
        return read_system(node, node.name)
    name = node.word()
    if name is None:
        return None
    if name in names:
        node.honoured()
    elif is_local(name):
        node.translated("this machine")
    else:
        node.refuse(f"there is no system '{name}'", did_you_mean(name, names))
    return systems.get(name)


def is_local(name: str) -> bool:
    """Return whether ``name`` is what Olive calls this machine, without a system of that name."""
    return _TYPES.get(name.lower()) == "local"


def targets_of(providers: tuple[Node, ...]) -> tuple[str, ...]:
    """Return the targets for execution providers; one that no target has is refused."""
    targets = []
    ours = _targets()
    for node in providers:
        named = node.raw[0] if isinstance(node.raw, list) and node.raw else node.raw
        name = str(named)
        target = ours.get(name)
        if target is not None:
            targets.append(target)
            node.translated(f"the target {target}")
        elif name in PROVIDERS:
            node.refuse(
                f"no target of Quern runs on {name}",
                f"targets are for {', '.join(ours)}",
            )
        else:
            node.refuse(
                f"there is no execution provider '{name}'",
                did_you_mean(name, PROVIDERS),
            )
    if len(targets) > 1 and all(node.within is not None for node in providers):
        providers[0].translated(f"the targets {', '.join(dict.fromkeys(targets))}")
    return tuple(dict.fromkeys(targets))


def _targets() -> dict[str, str]:
    """Return the first target for each execution provider that one is for."""
    targets: dict[str, str] = {}
    for target in map(load_target, target_names()):
        for name in PROVIDERS:
            if is_provider(name, target.execution_provider):
                targets.setdefault(name, target.name)
    return targets
