"""Parameters of the ``tune`` pass, and the space that it searches. Free of any ML library."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator
from typing_extensions import Self

from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.quantizer import Quantizer, misfits
from pipeline.builder.session_options import SessionOption, SessionValue, problem_with
from pipeline.contract.frozen import Frozen
from pipeline.contract.schema import Size, parse_bytes
from pipeline.contract.space import SpaceEstimate
from pipeline.contract.ways import PASSES, WAY, ChoosesWays, Way

Point = dict[str, JsonValue]
"""One point of a search space: a value for each parameter that is searched over."""
Axes = Mapping[str, tuple[JsonValue, ...]]
"""The values of each parameter that is searched over; the search starts with the first ones."""

_BUILT: Mapping[str, tuple[JsonValue, ...]] = {
    "block_size": (32, 64, 128, 256),
    "symmetric": (True, False),
    "algorithm": ("k_quant", "default"),
    "accuracy_level": (),
    "mixed_precision": (),
}
"""Parameters of the model builder that can be searched over, with their default values."""

_QUANTIZED = ("int4", "int8")
_SEEN = 64
"""Number of choices from which the largest size is estimated."""


class TuneSpace(Frozen):
    """Values to try. If a parameter that is searched also has a value in the pass's table, it must
    be one of these, and the search starts with it."""

    block_size: tuple[Literal[16, 32, 64, 128, 256], ...] = ()
    """Default: 32, 64, 128 and 256, unless the pass has a ``block_size``."""
    symmetric: tuple[bool, ...] = ()
    """Default: both, unless the pass has a value."""
    algorithm: tuple[
        Literal[
            "default",
            "rtn",
            "rtn_last",
            "k_quant",
            "k_quant_last",
            "k_quant_mixed",
            "k_quant_linear",
        ],
        ...,
    ] = ()
    """Default: ``k_quant`` and ``default``, unless the pass has a value. They are about equally
    fast, and differ in the loss of quality. ``k_quant`` has a zero point in any case."""
    accuracy_level: tuple[Literal[1, 2, 3, 4], ...] = ()
    """Default: only the pass's own."""
    mixed_precision: tuple[
        dict[Literal["last_matmul", "mixed_layers", "linear_attn"], Literal["int4", "int8"]], ...
    ] = ()
    """Default: only the pass's own. ``[{}, { last_matmul = "int8" }]`` tries both."""
    passes: tuple[tuple[str, ...], ...] = ()
    """Which of the passes before it that quantize (``gptq``, ``awq``, ``mixed_precision``) a build
    uses: ``[[], ["gptq"], ["awq", "gptq"]]`` tries three ways, the first without any. A value that
    does not suit a pass, as another ``block_size``, is tried without that pass only. Default: all
    of them."""
    threads: tuple[int, ...] = ()
    """Values of ``threads``. Default, unless the pass has one: all threads of the build, half of
    them, and one."""
    session: dict[SessionOption, tuple[SessionValue, ...]] = Field(default_factory=dict)
    """Values per option of ``session``: ``{ "session.dynamic_block_base" = [4, 8] }``. Default:
    none."""

    @field_validator("threads")
    @classmethod
    def _at_least_one(cls, threads: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < 1 for count in threads):
            raise ValueError("a session needs at least one thread")
        return threads

    @field_validator("session")
    @classmethod
    def _as_the_runtime_reads(
        cls, session: dict[SessionOption, tuple[SessionValue, ...]]
    ) -> dict[SessionOption, tuple[SessionValue, ...]]:
        for name, values in session.items():
            if not values:
                raise ValueError(f"{name} has no value to try")
            for value in values:
                problem = problem_with(name, value)
                if problem:
                    raise ValueError(f"{name} {problem}, not {value!r}")
        return session


class LimitCheck(Frozen):
    """A check that every choice must pass."""

    type: Literal["quantization", "quality"]
    params: dict[str, JsonValue] = Field(default_factory=dict)


class TuneParams(ModelBuilderParams, ChoosesWays):
    """Fixed parameters as of ``model_builder``, the search space, and how it is searched. Only
    choices within the limits of the config's ``quantization`` and ``quality`` checks are
    accepted."""

    space: TuneSpace = Field(default_factory=TuneSpace)
    """The parameters and values to try."""
    goal: Literal["answer", "decode", "prompt", "size"] = "answer"
    """What is to be fast: a whole ``answer`` of ``new_tokens`` to a prompt of ``prompt_tokens``,
    the tokens after the first (``decode``), or the first token (``prompt``). ``size``: the cheapest
    build within the limits, which is the smallest, and of those that are as small up to the share
    ``tie`` the fastest; its session is then as fast as for ``answer``."""
    prompt_tokens: int = Field(default=128, ge=1)
    """Length of the made-up prompt that is timed."""
    new_tokens: int = Field(default=64, ge=2)
    """Length of the answer that is timed."""
    search_by: Literal["auto", "grid", "random", "tpe"] = "auto"
    """How the space is searched: all of it in turn (``grid``), or a sample of it, chosen at random
    (``random``) or from the results so far (``tpe``, of Optuna). ``auto``: all if ``max_trials``
    and ``max_seconds`` allow, else ``tpe``."""
    sampler_seed: int | None = None
    """Seed of the sample. Default: the build's."""
    max_trials: int = Field(default=48, ge=1)
    """Largest number of builds tried before the finalists, and of settings of the session."""
    max_seconds: float = Field(default=3600, gt=0)
    """Time after which no further trial begins, once there is one choice within the limits."""
    layers: int = Field(default=4, ge=0)
    """Layers to which a large model is cut for all trials before the finalists; 0 never cuts it."""
    cut_above: Annotated[int, Field(ge=0)] | Size = "512m"
    """Size of the weights from which on a model is large: bytes, or text such as ``"1g"``."""
    finalists: int = Field(default=3, ge=1)
    """How many of the fastest builds within the limits are built whole and timed; of each value of
    ``passes``, so that quality decides among those that are equally fast."""
    rounds: int = Field(default=5, ge=1)
    """Fresh processes in which each finalist is timed, in turns with the others; other trials use
    one each."""
    tie: float = Field(default=0.02, ge=0, lt=1)
    """By which share a finalist may be slower than the fastest and still count as equally fast. Of
    equally fast ones, the one closest to the float model is chosen."""
    held_to: dict[str, LimitCheck] = Field(default_factory=dict)
    """Checks and their limits. Set by ``[checks]``."""
    quantizers: dict[str, Quantizer] = Field(default_factory=dict)
    """What the passes before it work for that quantize. Set by their tables."""

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, table: Any) -> Any:
        """Fill in the values and the start of every parameter that is searched over."""
        if not isinstance(table, dict) or not isinstance(table.get("space", {}), dict):
            return table
        settled = {**table}
        space = {**table.get("space", {})}
        quantized = table.get("precision", "int4") in _QUANTIZED
        for name, usual in _BUILT.items():
            searched = space.get(name)
            if isinstance(searched, (list, tuple)) and searched:
                settled.setdefault(name, searched[0])
            elif table.get(name) is not None:
                space[name] = [table[name]]
            elif not searched:
                space[name] = list(usual) if quantized else []
        settled["space"] = space
        return settled

    @model_validator(mode="after")
    def _starts_inside(self) -> Self:
        for name in _BUILT:
            values = getattr(self.space, name)
            if values and getattr(self, name) not in values:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r} and space.{name} is {list(values)}: the "
                    "search starts at the first, which has to be one of the second"
                )
        if self.threads is not None and self.space.threads:
            raise ValueError("threads and space.threads: give one of them")
        twice = self.session.keys() & self.space.session.keys()
        if twice:
            raise ValueError(f"{sorted(twice)[0]} is in session and in space.session: give one")
        if not any(True for _ in self._built()):
            raise ValueError("no combination of the space can be built")
        return self

    @property
    def built_axes(self) -> Axes:
        """Return the axes of the builder, with more than one value."""
        axes = {}
        for name in _BUILT:
            start = getattr(self, name)
            values = [start, *(value for value in getattr(self.space, name) if value != start)]
            if len(values) > 1:
                axes[name] = tuple(values)
        return axes

    def session_axes(self, cores: int) -> Axes:
        """Return the axes that need no build (threads and session options), for ``cores`` CPUs."""
        threads = self.space.threads or ((self.threads,) if self.threads else _usual(cores))
        axes: dict[str, tuple[JsonValue, ...]] = {"threads": tuple(dict.fromkeys(threads))}
        return {**axes, **{name: tuple(values) for name, values in self.space.session.items()}}

    @property
    def ways(self) -> tuple[Way, ...]:
        """Return the ways in which the model may be quantized, the start first, each with its
        passes in their order."""
        every = tuple(self.quantizers)
        asked = self.space.passes or (every,)
        return tuple(tuple(name for name in every if name in names) for names in asked)

    @property
    def asked_ways(self) -> tuple[Way, ...]:
        """See :class:`ChoosesWays`."""
        return self.space.passes

    def way_at(self, point: Point) -> Way:
        """Return the way of ``point``."""
        names = point.get(PASSES)
        return tuple(map(str, names)) if isinstance(names, list) else self.ways[0]

    def told(self, point: Point) -> dict[str, JsonValue]:
        """Return the metric of an artifact that names the way of ``point``, where it was chosen."""
        return {WAY: [*self.way_at(point)]} if self.space.passes else {}

    def builder(self, point: Point) -> ModelBuilderParams:
        """Return the model builder's parameters at ``point``, without threads and session options,
        which are written later. Raises ``ValueError`` if they exclude each other."""
        fixed = self.model_dump(include=set(ModelBuilderParams.model_fields))
        own = {name: value for name, value in point.items() if name != PASSES}
        return ModelBuilderParams.model_validate({**fixed, "threads": None, "session": {}, **own})

    @property
    def built_points(self) -> tuple[Point, ...]:
        """Return every choice that can be built, each once, the start first."""
        several = len(self.ways) > 1
        return tuple(
            {PASSES: [*way], **point} if several else point
            for way in self.ways
            for point in self._built_in(way)
        )

    def has_build_in(self, way: Way) -> bool:
        """Return whether the space has a build that suits all passes of ``way``."""
        return any(True for _ in self._built_in(way))

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the largest choice, with the other finalists beside it. Trials with a
        cut model need less."""
        sizes = (params.writes(inputs) for params in itertools.islice(self.alternatives(), _SEEN))
        sizes_known = [size.kept for size in sizes if size is not None]
        count = self.finalists * len(self.ways)
        return _finalists(max(sizes_known), count) if sizes_known else None

    def alternatives(self) -> Iterator[ModelBuilderParams]:
        """Yield all parameters with which the builder may be called."""
        for _, builder_params in self._built():
            yield builder_params

    def _built_in(self, way: Way) -> Iterator[Point]:
        """Yield the builds that suit all passes of ``way``."""
        for point, built in self._built():
            if not any(True for name in way for _ in misfits(name, self.quantizers[name], built)):
                yield point

    def _built(self) -> Iterator[tuple[Point, ModelBuilderParams]]:
        """Yield every build, however the model is quantized."""
        for point in grid(self.built_axes):
            try:
                builder_params = self.builder(point)
            except ValidationError:
                continue
            # Its blocks have a zero point either way: the bytes are the same.
            if builder_params.rounding == "k_quant" and builder_params.symmetric != self.symmetric:
                continue
            yield point, builder_params

    @property
    def large(self) -> int:
        """Return ``cut_above`` in bytes."""
        return self.cut_above if isinstance(self.cut_above, int) else parse_bytes(self.cut_above)

    def settings(self, point: Point) -> tuple[int | None, dict[SessionOption, SessionValue]]:
        """Return threads and session options at ``point``."""
        options: dict[Any, Any] = {**self.session}
        options |= {name: value for name, value in point.items() if name != "threads"}
        threads = point.get("threads", self.threads)
        return (threads if isinstance(threads, int) else None), options


def grid(axes: Axes) -> Iterator[Point]:
    """Yield every point, the start first."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _finalists(size: int, count: int) -> SpaceEstimate:
    return SpaceEstimate(size, temporary=size * max(count - 1, 1))


def _usual(cores: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((cores, max(cores // 2, 1), 1)))
