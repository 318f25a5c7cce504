"""A training run: set up, killed at any moment, continued to the same result, evaluated once on the test set.

The loop itself is ``recipe.fit``. A run folder holds:

* ``run.json``: config, commit, versions, device, data, timings, results.
* ``history.jsonl``: one line per epoch.
* ``checkpoint.pt``: everything that changes while training, random state included; until the run is finished,
  ``checkpoint.previous.pt`` is the one before it.
* ``weights.safetensors``: the trained model, for ``load_weights``.
"""

import copy
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
from .._utils.device import pick_device
from .._utils.files import locked
from .._utils.seeding import generator, own_random_state
from ..data.batches import Batches
from ..data.image_set import ImageSet
from ..models.builders import build
from ..models.classifier import AttentionClassifier
from ..models.weights import load_weights, save_weights
from .checkpoint import FORMAT, RunFolder, check_snapshot, refuse_other, restore
from .config import TrainConfig, completed
from .evaluation import evaluate_with_maps
from .frozen import FrozenFeatures, check_unchanged
from .loop import State, decay_groups, fit
from .processes import Ranks, joined
from .sets import Sets, check_sets, load_sets
from .watch import OnEpoch, Watch

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
            it may draw random numbers, and must not change the model.
        sets: train, validation and test set in place of ``load_sets(config)``.
        checkpoint_seconds: a checkpoint is written after each epoch, and within one whenever this time has passed.
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
        state, batches, frozen = _start(config, sets, device, ranks, features)
        shown = sets if frozen is None else frozen.sets
        info = _describe(config, sets, state, device, command)
        _continue(folder, state, info, earlier, device, ranks)
        if ranks.size > 1:
            state.parallel = DistributedDataParallel(state.model)  # from here on all have the main one's weights
        progress, on_epoch = progress and main, on_epoch if main else None
        watch = Watch(
            state, batches, shown, config, folder, info, device, checkpoint_seconds, on_epoch, progress, until, ranks
        )
        with watch.bar:
            fit(state, batches, config, after_step=watch.after_step, after_epoch=watch.after_epoch)
        return _finish(folder, config, sets, state, info, frozen)


def _start(
    config: TrainConfig, sets: Sets, device: torch.device, ranks: Ranks, features: str | Path | None
) -> tuple[State, Batches, FrozenFeatures | None]:
    """A fresh model with its optimiser, and the batches it is trained on. Refuses what does not fit the data."""
    if features is not None:
        check_unchanged(config)
    needed = {"num_classes": len(sets.train.classes), "in_channels": sets.train.images.shape[1]}
    for name, value in needed.items():
        if config.model.get(name, value) != value:
            raise ValueError(f"model[{name!r}] must be {value} for {config.data}; got {config.model[name]!r}")
    if config.model["builder"] == "attend_to":
        del needed["in_channels"]  # a network from elsewhere has its own
    model = build({**config.model, **needed}).eval()
    with torch.no_grad():
        model(sets.train.float_images([0]))  # pictures too small for the network are refused here
    frozen = None if features is None else FrozenFeatures(model, sets, features, device=device)
    batches = Batches(
        (sets if frozen is None else frozen.sets).train,
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
    if config.compile and device.type == "cuda":
        model.compile()  # in place: the names of the weights stay as they are
    return State(model, average, optimiser, torch.zeros(2, device=device)), batches, frozen


def _describe(
    config: TrainConfig, sets: Sets, state: State, device: torch.device, command: str | None
) -> dict[str, Any]:
    """What run.json says at the start."""
    counts = {name: 0 if part is None else len(part) for name, part in sets._asdict().items()}
    return {
        "format": FORMAT,
        "finished": False,
        "config": config.to_dict(),
        "command": command,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device_name(device),
        "threads": [torch.get_num_threads()],  # one entry per start
        "resumed": 0,
        "started": provenance.now(),
        "data": {"name": config.data, **counts, "checksums": [part.checksum for part in filter(None, sets)]},
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "timings": None,
        "results": None,
    }


def _continue(
    folder: RunFolder,
    state: State,
    info: dict[str, Any],
    earlier: dict[str, Any] | None,
    device: torch.device,
    ranks: Ranks,
) -> None:
    """Bring ``state`` to where the earlier run stopped, if there is one, and begin the folder's files."""
    if earlier is not None:
        refuse_other(f"data: the run in {folder.path} was made with other data", earlier["data"], info["data"])
        saved = ranks.shared(folder.load() if ranks.rank == 0 else None)
        if saved is not None:
            check_snapshot(saved)
            there = completed(saved["config"])
            refuse_other(f"{folder.path}: checkpoint.pt has another config", there, info["config"])
            refuse_other(f"{folder.path}: checkpoint.pt was made with other data", saved["data"], info["data"])
            restore(state, saved, device)
        if set(earlier["threads"]) != set(info["threads"]):
            logger.warning(
                "the run was made with %s threads and goes on with %d: its result may differ in the last bits",
                " and ".join(map(str, dict.fromkeys(earlier["threads"]))),
                info["threads"][0],
            )
        info["threads"] = earlier["threads"] + info["threads"]
        info["resumed"] = earlier["resumed"] + 1
        info["command"], info["started"] = earlier["command"], earlier["started"]
    if ranks.rank:  # other dropout than the main process's, for other pictures
        torch.manual_seed(
            generator("rank", info["config"]["seed"], ranks.rank, state.epoch, state.batch).initial_seed()
        )
    folder.clean()
    folder.write_info(info)
    folder.write_history(state.history)


def _finish(
    folder: RunFolder,
    config: TrainConfig,
    sets: Sets,
    state: State,
    info: dict[str, Any],
    frozen: FrozenFeatures | None,
) -> Run:
    """Evaluate the trained model, on the test set for the only time, and write the weights and run.json."""
    model = state.average.eval()
    assert isinstance(model, AttentionClassifier)  # as _start built it
    shown = sets if frozen is None else frozen.sets
    results: dict[str, Any] = {
        "validation": None if shown.validation is None else evaluate_with_maps(model, shown.validation),
        "test": evaluate_with_maps(model, shown.test),
    }
    if frozen is not None:
        frozen.give_back(model)
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
        folder.write_info(info)
        folder.clean(finished=True)
    return Run(model, config, state.history, results, info)


def _finished(folder: RunFolder, config: TrainConfig, info: dict[str, Any], device: torch.device) -> Run:
    """The run in ``folder``, as ``train`` returned it."""
    assert folder.path is not None  # only a folder holds an earlier run
    history = folder.read_history()
    if len(history) != config.epochs:
        raise ValueError(f"{folder.path / 'history.jsonl'} is damaged: it has {len(history)} of {config.epochs} epochs")
    model = load_weights(folder.path, device=device).model
    return Run(model, config, history, info["results"], info)
