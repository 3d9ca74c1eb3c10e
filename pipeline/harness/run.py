"""Runs tasks with lm-eval, offline: on data of the user's folder, or that a step has fetched."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs, Reporter
from pipeline.contract.suggest import did_you_mean
from pipeline.harness.params import TaskParams
from pipeline.harness.results import TaskResults, read_results
from pipeline.harness.task_data import TASK_DATA, kept_datasets, replaced
from pipeline.process.causes import out_of_memory
from pipeline.process.packages import unpack_packages

_FOLDER = "task_folder"
_ITS_TASKS = "lm_eval/tasks/*/*"
_OF_FOLDER = (
    "data that a task names lies in its folder: dataset_path json, csv or parquet, and "
    "dataset_kwargs.data_files relative to the folder"
)
_OF_HUB = "check the network and HTTPS_PROXY; data that the hub does not give to all needs HF_TOKEN"
_LONGEST = 300
"""Characters of a library's message that are shown."""
_PATTERN = frozenset("*?[")


def unpack_lm_eval(inputs: Inputs) -> None:
    """Make lm-eval ready to be imported; without its thousands of tasks where those of the user are
    asked."""
    unpack_packages(inputs, without=_ITS_TASKS if _FOLDER in inputs.paths else "")


def run_tasks(model: Any, inputs: Inputs, params: TaskParams) -> TaskResults:
    """Return what ``model``, an ``LM`` of lm-eval's, scores.

    Raises :class:`StepError` of the cause ``bad_input`` for tasks that cannot be loaded.
    """
    import lm_eval

    folder = inputs.paths.get(_FOLDER)
    with _surroundings(folder, inputs.paths.get(TASK_DATA)):
        manager = load_tasks(params.tasks, folder)
        raw = lm_eval.simple_evaluate(
            _watched(model, inputs.report),
            tasks=[*params.tasks],
            task_manager=manager,
            num_fewshot=params.num_fewshot,
            limit=params.limit,
            bootstrap_iters=params.bootstrap_iters,
            apply_chat_template=params.apply_chat_template,
            system_instruction=params.system_instruction,
            fewshot_as_multiturn=params.fewshot_as_multiturn and params.apply_chat_template,
        )
    results = read_results(raw, lm_eval.__version__)
    if not results.figures:
        raise StepError(f"the tasks {', '.join(params.tasks)} have no figures", cause="bad_input")
    return results


def load_tasks(names: tuple[str, ...], folder: Path | None) -> Any:
    """Return lm-eval's manager of tasks, when those with ``names`` have been loaded once: those of
    the user's ``folder``, or else its own.

    Raises :class:`StepError` for names that it does not know, and for what loading them raises.
    """
    from lm_eval.tasks import TaskManager

    if folder is not None and not folder.is_dir():
        raise StepError("task_folder is no folder", cause="bad_input")
    where = "lm-eval" if folder is None else "the task folder"
    with _blaming(f"the tasks of {where} cannot be read", folder):
        manager = TaskManager(
            include_path=None if folder is None else str(folder), include_defaults=folder is None
        )
    for name in names:
        if name not in manager.all_tasks and not _PATTERN & set(name):
            hint = did_you_mean(name, manager.all_tasks)
            raise StepError(f"there is no task '{name}' in {where}", hint, "bad_input")
    with _blaming(f"the tasks {', '.join(names)} cannot be loaded", folder):
        for task in manager.load([*names])["tasks"].values():
            _require_repeatable(task.config)
    return manager


def _require_repeatable(config: Any) -> None:
    """Raise :class:`StepError` for a task whose answers are drawn by chance."""
    chosen = config.generation_kwargs or {}
    if chosen.get("do_sample") and float(chosen.get("temperature") or 0.0) > 0:
        raise StepError(
            f"the task '{config.task}' draws its answers by chance (do_sample)",
            "set do_sample: false in its generation_kwargs",
            "bad_input",
        )


@contextmanager
def _blaming(what: str, folder: Path | None) -> Iterator[None]:
    """Turn whatever loading tasks raises, in libraries or functions of theirs, into the error of a
    wrong task, or where lm-eval's own are fetched, of the network; but not a lack of memory or of
    disk."""
    try:
        yield
    except StepError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or out_of_memory(error):
            raise
        lines = str(error).splitlines() or [""]
        message = f"{what}: {type(error).__name__}: {lines[0][:_LONGEST]}"
        if folder is None and isinstance(error, OSError):  # huggingface_hub's errors are of it
            raise StepError(message, _OF_HUB, "network") from error
        raise StepError(message, _OF_FOLDER if folder else "", "bad_input") from error


@contextmanager
def _surroundings(folder: Path | None, fetched: Path | None) -> Iterator[None]:
    """Let tasks find their data while the block runs: files relative to ``folder``, and what was
    ``fetched``. What is made of it lies in a temporary folder."""
    import datasets.config

    before = Path.cwd()
    made = tempfile.mkdtemp(prefix="datasets-")
    with replaced(datasets.config, "HF_DATASETS_CACHE", made), kept_datasets(fetched):
        try:
            os.chdir(folder or before)
            yield
        finally:
            os.chdir(before)


def _watched(model: Any, report: Reporter) -> Any:
    """Return ``model``, which now reports each answer as progress."""

    class Watch:
        """What lm-eval hands each answer to, so that it could be kept."""

        done = total = 0

        def add_partial(self, *_answer: object) -> None:
            self.done += 1
            report.progress(min(self.done, self.total), self.total, "requests")

    watch = Watch()
    model.set_cache_hook(watch)
    for name in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        setattr(model, name, _counted(getattr(model, name), watch))
    return model


def _counted(ask: Any, watch: Any) -> Any:
    def counted(requests: Any, *arguments: Any, **options: Any) -> Any:
        watch.total += len(requests)
        return ask(requests, *arguments, **options)

    return counted
