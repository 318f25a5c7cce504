"""A training run: set up, killed at any moment, continued to the same result, evaluated once on the test set.

The loop itself is ``loop.fit``. A run folder holds:

* ``run.json``: config, commit, versions, device, data, timings, results.
* ``history.jsonl``: one line per epoch.
* ``checkpoint.pt``: everything that changes while training, random state included; until the run is finished,
  ``checkpoint.previous.pt`` is the one before it.
* ``weights.safetensors``: the trained model, for ``load_weights``.
"""

import copy
import dataclasses
import logging
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .._utils import provenance
from .._utils.checks import is_number
from .._utils.device import pick_device, tuned_convolutions
from .._utils.files import locked
from .._utils.seeding import generator, own_random_state
from ..data.batches import Batches
from ..data.image_set import ImageSet
from ..models.builders import build
from ..models.classifier import AttentionClassifier
from ..models.weights import load_weights, save_weights
from .checkpoint import RunFolder, refuse_other
from .compiling import compiled
from .config import TrainConfig, completed
from .context import Context, OnEpoch, OnEvent, run_info
from .evaluation import final_scores
from .frozen import FrozenFeatures, check_unchanged
from .loop import decay_groups, fit
from .processes import joined
from .sets import Sets, check_sets, load_sets
from .state import State, check_snapshot, restore
from .watch import Watch

logger = logging.getLogger(__name__)


class Run(NamedTuple):
    """A finished run: the model in evaluation mode, its config, one dict per epoch, the results, and all of run.json.

    ``results`` has ``"validation"`` (None where everything was trained on) and ``"test"``, each with ``accuracy``,
    ``loss`` and ``n``, and, where the set knows where the object is, ``pointing_game``: for its ``box`` and for its
    ``ink`` one number per level, shallow to deep.
    """

    model: AttentionClassifier
    config: TrainConfig
    history: list[dict[str, Any]]
    results: dict[str, Any]
    info: dict[str, Any]


def train(
    config: TrainConfig,
    out: str | Path | None = None,
    *,
    root: str | Path | None = None,
    download: bool = True,
    device: str | torch.device | None = None,
    resume: bool = False,
    progress: bool = True,
    on_epoch: OnEpoch | None = None,
    on_event: OnEvent | None = None,
    sets: tuple[ImageSet, ImageSet | None, ImageSet] | None = None,
    checkpoint_seconds: float = 30.0,
    minutes: float | None = None,
    command: str | None = None,
    features: str | Path | None = None,
) -> Run:
    """Train a model as ``config`` says and evaluate it once on the test set.

    Equal configs on equal hardware at equal thread counts give equal weights, bit by bit on a CPU, also when the run
    was killed and resumed. The caller's random state is not touched.

    Args:
        out: the run folder. None keeps nothing on disk.
        root, download: where the data lie, and whether to fetch what is missing; see ``data.load``.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; by default a GPU if there is one.
        resume: continue the run in ``out`` from its checkpoint (from the start if there is none yet; a finished run is
            returned as it is). The config and the data must be the same.
        progress: show a progress bar.
        on_epoch: called after each epoch with its history entry and the model that would be kept, in evaluation mode;
            it may draw random numbers, and must not change the model. An epoch that a resumed run makes again, since
            its checkpoint is older, is reported again.
        on_event: called with (moment, epochs done, batches done of the next) as the run goes on: at ``"begin"``, when
            all is set up; after each ``"step"``, before any checkpoint; when a ``"checkpoint"`` is written; at the end
            of the steps of an ``"epoch"``; before each ``"validation"`` and the ``"test"``. What it raises stops the
            run.
        sets: train, validation and test set in place of ``load_sets(config)``.
        checkpoint_seconds: a checkpoint is written whenever this time has passed since the last, and at the end.
        minutes: stop after so long, with a checkpoint.
        command: the command line to record.
        features: a folder that keeps the maps of a frozen backbone, computed once; see ``training.frozen``.

    Raises: TimeUp when ``minutes`` have passed; ValueError on options or data that do not fit, a folder with another
        run, a damaged or foreign checkpoint; TypeError on a network in place of its name where there is a run folder;
        BlockingIOError when another process uses the folder; OSError when it cannot be written; FloatingPointError
        when the loss is no longer finite.
    """
    if not is_number(checkpoint_seconds) or not checkpoint_seconds > 0:
        raise ValueError(f"checkpoint_seconds must be above 0; got {checkpoint_seconds!r}")
    if minutes is not None and (not is_number(minutes) or not minutes >= 0):
        raise ValueError(f"minutes must be at least 0; got {minutes!r}")
    if out is not None and isinstance(config.model.get("model"), nn.Module):
        kind = type(config.model["model"]).__name__
        raise TypeError(
            f"config.model must say which network in names and numbers, to be written to the run folder; got a {kind}. "
            f"Give the name of a torchvision classifier, or train with out=None"
        )
    until = math.inf if minutes is None else time.perf_counter() + 60 * minutes
    device = pick_device(device)
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))  # where objects that ranks share travel
            stack.enter_context(tuned_convolutions())
        ranks = stack.enter_context(joined(device))
        if minutes is not None and ranks.size > 1:
            raise ValueError("minutes is for one process: several would stop at different steps")
        main = ranks.rank == 0
        folder = RunFolder(
            None if out is None else stack.enter_context(locked(out)) if main else Path(out), writes=main
        )
        earlier = ranks.shared(folder.earlier(config.to_dict(), resume=resume) if main else None)
        if earlier is not None and earlier["finished"]:
            logger.info("the run in %s is finished; nothing to do", folder.path)
            return _finished(folder, config, earlier, device)
        if sets is not None and len(sets) != 3:
            raise ValueError(f"sets must be three: train, validation (or None) and test; got {len(sets)}")
        sets = load_sets(config, root=root, download=download) if sets is None else Sets(*sets)
        check_sets(sets, config)
        stack.enter_context(own_random_state(device, config.seed))
        context = Context(
            config,
            sets,
            device,
            folder,
            ranks,
            info=run_info(config, sets, device, command),
            checkpoint_seconds=checkpoint_seconds,
            until=until,
            progress=progress and main,
            on_epoch=on_epoch if main else None,
            on_event=on_event,
        )
        context, state, batches = _start(context, features)
        _go_on(context, state, earlier)
        watch = Watch(context, state, batches)
        with watch.bar:
            fit(state, batches, config, after_step=watch.after_step, after_epoch=watch.after_epoch)
        return _finish(context, state)


def _start(context: Context, features: str | Path | None) -> tuple[Context, State, Batches]:
    """A fresh model with its optimiser, and the batches it is trained on. Refuses what does not fit the data."""
    if features is not None:
        check_unchanged(context.config)
    config, train_set, device, ranks = context.config, context.sets.train, context.device, context.ranks
    needed = {"num_classes": len(train_set.classes), "in_channels": train_set.images.shape[1]}
    for name, value in needed.items():
        if config.model.get(name, value) != value:
            raise ValueError(f"model[{name!r}] must be {value} for {config.data}; got {config.model[name]!r}")
    if config.model["builder"] == "attend_to":
        del needed["in_channels"]  # a network from elsewhere has its own
    model = build({**config.model, **needed}).eval()
    with torch.no_grad():
        model(train_set.float_images([0]))  # pictures too small for the network are refused here
    if features is not None:
        context = dataclasses.replace(context, frozen=FrozenFeatures(model, context.sets, features, device=device))
    batches = Batches(
        context.shown.train,
        config.batch_size,
        seed=config.seed,
        crop=config.crop,
        flip=config.flip,
        device=device,
        channels_last=config.channels_last,
        part=(ranks.rank, ranks.size),
    )
    model.to(device).to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)
    average = copy.deepcopy(model) if config.ema else model
    optimiser = torch.optim.SGD(
        decay_groups(model, config),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        fused=device.type == "cuda",
    )
    context.info["compiled"] = [config.compile and device.type == "cuda" and compiled(model)]
    context.info["parameters"] = sum(p.numel() for p in model.parameters())
    return context, State(model, average, optimiser, torch.zeros(2, device=device)), batches


def _go_on(context: Context, state: State, earlier: dict[str, Any] | None) -> None:
    """Bring ``state`` to where the earlier run stopped, if there is one, and begin the folder's files."""
    folder, info, ranks = context.folder, context.info, context.ranks
    if earlier is not None:
        refuse_other(f"data: the run in {folder.path} was made with other data", earlier["data"], info["data"])
        saved = ranks.shared(folder.load() if ranks.rank == 0 else None)
        if saved is not None:
            check_snapshot(saved)
            there = completed(saved["config"])
            refuse_other(f"{folder.path}: checkpoint.pt has another config", there, info["config"])
            refuse_other(f"{folder.path}: checkpoint.pt was made with other data", saved["data"], info["data"])
            restore(context, state, saved)
        if set(earlier["threads"]) != set(info["threads"]):
            logger.warning(
                "the run was made with %s threads and goes on with %d: its result may differ in the last bits",
                " and ".join(map(str, dict.fromkeys(earlier["threads"]))),
                info["threads"][0],
            )
        earlier = {"devices": [earlier.get("device")], "compiled": [None], **earlier}  # from before these were kept
        for name in ("threads", "devices", "compiled"):
            info[name] = earlier[name] + info[name]
        info["device"] = ", ".join(dict.fromkeys(map(str, info["devices"])))
        info["resumed"] = earlier["resumed"] + 1
        info["command"], info["started"] = earlier["command"], earlier["started"]
    if ranks.size > 1:
        state.parallel = DistributedDataParallel(state.model)  # from here on all have the main one's weights
    if ranks.rank:  # other dropout than the main process's, for other pictures
        key = ("rank", context.config.seed, ranks.rank, state.epoch, state.batch)
        torch.manual_seed(generator(*key).initial_seed())
    folder.clean()
    folder.write_info(info)
    folder.write_history(state.history)
    context.tell("begin", state.epoch, state.batch)


def _finish(context: Context, state: State) -> Run:
    """Evaluate the trained model, on the test set for the only time, and write the weights and run.json."""
    config, sets, folder, info = context.config, context.sets, context.folder, context.info
    model = state.average.eval()
    assert isinstance(model, AttentionClassifier)  # as _start built it
    results: dict[str, Any] = {"validation": None}
    if context.shown.validation is not None:
        context.tell("validation", state.epoch)
        results["validation"] = final_scores(model, context.shown.validation)
    context.tell("test", state.epoch)
    results["test"] = final_scores(model, context.shown.test)
    if context.frozen is not None:
        context.frozen.give_back(model)
    seconds = sum(entry["seconds"] for entry in state.history)
    info["timings"] = {
        "seconds": round(seconds, 3),
        "seconds_per_epoch": round(seconds / config.epochs, 3),
        "images_per_second": round(sum(entry["images_per_second"] for entry in state.history) / config.epochs, 1),
    }
    info["results"], info["finished"], info["ended"] = results, True, provenance.now()
    if folder.path is not None and folder.writes:
        info["sha256"] = save_weights(
            folder.path / "weights.safetensors",
            model,
            classes=sets.train.classes,
            mean=sets.train.mean,
            std=sets.train.std,
            scores=results,
            provenance={key: info[key] for key in ("command", "commit", "versions", "device", "data")}
            | {"seed": config.seed, "threads": sorted(set(info["threads"]))},
            size=sets.train.images.shape[2:],
        )
        folder.clean(finished=True)
        folder.write_info(info)  # the last of all: a run that is killed before it is finished anew
    return Run(model, config, state.history, results, info)


def _finished(folder: RunFolder, config: TrainConfig, info: dict[str, Any], device: torch.device) -> Run:
    """The run in ``folder``, as ``train`` returned it."""
    assert folder.path is not None  # only a folder holds an earlier run
    model = load_weights(folder.path, device=device).model
    return Run(model, config, folder.read_history(), info["results"], info)
