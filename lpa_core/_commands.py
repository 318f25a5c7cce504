"""What each command of the command line does, from its parsed options; ``__main__`` says what the options are."""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from ._utils.device import pick_device
from ._utils.files import write_atomic
from .data.image_set import ImageSet
from .data.photographs import PHOTOGRAPHS, photograph
from .data.sources import load
from .look import look_at, prepare
from .models.deploy import export_onnx
from .models.weights import load_weights
from .training.checkpoint import RunFolder
from .training.config import TrainConfig, completed
from .training.evaluation import evaluate
from .training.presets import preset
from .training.run import train
from .training.sets import Sets, load_sets
from .training.sweeps import SWEEPS, combined, named, sweep

MODEL_OPTIONS = {"levels", "compatibility", "combine", "match", "normalise", "width", "dropout"}
DATA_HELP = "digits, cifar10, cifar100, svhn, tiny-imagenet, imagenette or folder:PATH"
# What torchvision's pretrained networks were trained with, of pictures in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _print(values: Any) -> None:
    sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")


def run_data(options: argparse.Namespace, command: str) -> None:
    described: dict[str, Any] = {"name": options.name}
    for split in ("train", "validation", "test"):
        part = load(options.name, split, root=options.root, download=not options.no_download)
        described[split] = {"n": len(part), "checksum": part.checksum}
    described |= {"shape": [*part.images.shape[1:]], "classes": len(part.classes), "class_names": [*part.classes]}
    _print(described | {"mean": part.mean, "std": part.std})


def run_train(options: argparse.Namespace, command: str) -> None:
    known = {field.name for field in fields(TrainConfig)} - {"data", "model"} | MODEL_OPTIONS
    overrides = {name: value for name, value in vars(options).items() if name in known and value is not None}
    config = _config(options, overrides)
    on_epoch = None
    if options.tensorboard is not None:
        from .training.tensorboard import scalars  # a package that few have

        on_epoch = scalars(options.tensorboard)
    run = train(
        config,
        options.out,
        sets=_sets(options, config),
        root=options.root,
        download=not options.no_download,
        device=options.device,
        resume=options.resume,
        progress=not options.quiet,
        on_epoch=on_epoch,
        checkpoint_seconds=options.checkpoint_seconds,
        command=command,
    )
    if os.environ.get("RANK", "0") == "0":
        _print({"run": options.out, **run.results, "seconds": run.info["timings"]["seconds"]})


def run_sweep(options: argparse.Namespace, command: str) -> None:
    changes = {name: getattr(options, name) for name in ("epochs", "batch_size", "width", "limit")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.name is not None and (options.data or options.preset or changes):
        raise ValueError(f"NAME {options.name!r} says what to train; leave --data, --preset and what changes them out")
    if options.name is not None:
        jobs = named(options.name)
    elif options.data is not None:
        jobs = combined(options.data, options.preset or "quick", options.variants, options.seeds, **changes)
    else:
        raise ValueError(f"name a sweep ({', '.join(SWEEPS)}) or give --data ({DATA_HELP})")
    done = sweep(
        jobs,
        options.out,
        minutes=options.minutes,
        command=command,
        root=options.root,
        download=not options.no_download,
        device=options.device,
        progress=not options.quiet,
        checkpoint_seconds=options.checkpoint_seconds,
    )
    _print(done._asdict())
    if done.failed:
        raise FloatingPointError("; ".join(f"{folder}: {reason}" for folder, reason in done.failed.items()))


def _config(options: argparse.Namespace, overrides: dict[str, Any]) -> TrainConfig:
    """The config asked for: from a preset, or, without --data, that of the run to continue."""
    backbone = {"model": options.backbone, "weights": options.pretrained, "freeze_backbone": options.freeze_backbone}
    given = {key: value for key, value in backbone.items() if value is not None}
    if given and options.backbone is None:
        raise ValueError("--pretrained and --freeze-backbone need --backbone, the name of a torchvision classifier")
    if given and options.data is None:
        raise ValueError("--backbone needs --data; --resume alone continues with the model of the run")
    if options.data is not None:
        recipe = preset(options.preset or "quick", options.data, **overrides)
        if not given:
            return recipe
        given |= {} if options.size is None else {"input_size": options.size}
        asked = {key: overrides[key] for key in MODEL_OPTIONS & set(overrides)}
        return replace(recipe, model={"builder": "attend_to", **given, **asked})
    if not options.resume:
        raise ValueError(f"--data is needed: {DATA_HELP}")
    if options.preset is not None:
        raise ValueError("--preset needs --data; --resume alone continues with the recipe of the run")
    if not (Path(options.out) / "run.json").is_file():
        raise FileNotFoundError(f"--out: there is no run in {options.out} to continue; name its --data to start one")
    values = TrainConfig.from_dict(completed(RunFolder(Path(options.out)).read_info()["config"])).to_dict()
    options_of_model = {key: overrides.pop(key) for key in MODEL_OPTIONS & set(overrides)}
    return TrainConfig.from_dict({**values, **overrides, "model": {**values["model"], **options_of_model}})


def _sets(options: argparse.Namespace, config: TrainConfig) -> Sets | None:
    """The pictures at the size asked for, normalised as the backbone knows it; None where neither is asked."""
    pretrained = config.model.get("weights")
    if options.size is None and pretrained is None:
        return None
    sets = load_sets(config, root=options.root, download=not options.no_download, size=options.size)
    if pretrained is None or str(pretrained).endswith((".pt", ".pth")):  # a file does not say what it is used to
        return sets
    return Sets(*map(_as_imagenet, sets))  # type: ignore[arg-type]


def _as_imagenet(part: ImageSet | None) -> ImageSet | None:
    return None if part is None else replace(part, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def run_evaluate(options: argparse.Namespace, command: str) -> None:
    device = pick_device(options.device)
    if not 1 <= options.batch_size < 2**31:
        raise ValueError(f"--batch-size must be at least 1 and below 2**31; got {str(options.batch_size)[:20]}")
    model, info = load_weights(options.model, device=device)
    size = info.size[0] if info.size is not None and options.data.startswith("folder:") else None
    found = load(options.data, options.split, root=options.root, download=not options.no_download, size=size)
    if found.images.shape[1] != len(info.mean):
        raise ValueError(
            f"MODEL takes pictures of {len(info.mean)} channels; {options.data} has {found.images.shape[1]}"
        )
    if found.classes != info.classes:
        raise ValueError(
            f"MODEL knows the classes {_some(info.classes)}; {options.data} has {_some(found.classes)}: evaluate it on "
            f"the data it was trained for"
        )
    scores = evaluate(model, replace(found, mean=info.mean, std=info.std), batch_size=options.batch_size)
    _print({"model": options.model, "data": options.data, "split": options.split, **scores})


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)})"


def run_explain(options: argparse.Namespace, command: str) -> None:
    # Drawing and the post-hoc methods take a second to import, and the other commands do without.
    from matplotlib.figure import Figure

    from .plotting.grids import attention_figure, drawable, map_grid
    from .posthoc import METHODS, explain

    if (options.image is None) == (options.sample is None):
        raise ValueError(f"give one picture: a file, or --sample with one of {', '.join(PHOTOGRAPHS)}")
    picture = Path(options.image) if options.sample is None else photograph(options.sample).path
    out = Path(options.out)
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out must end in .png; got {options.out}")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK) or out.is_dir():
        raise ValueError(f"--out: {out} cannot be written; its folder must exist and be writable")
    if options.method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}; got {options.method!r}")
    if options.level is not None and options.method != "attention":
        raise ValueError(f"--level is for --method attention; {options.method} has no levels")
    if options.target is not None and options.method == "attention":
        raise ValueError("--target is for post-hoc methods; a trained attention map is the same for every class")
    trained = load_weights(options.model, device=pick_device(options.device))
    figure = Figure()
    if options.method == "attention":
        seen = look_at(trained, picture, size=options.size)
        logits, classes, attended = seen.output.logits, seen.classes, seen.output.attended
        if options.level is not None and not 1 <= options.level <= len(attended):
            raise ValueError(f"--level must be from 1 to {len(attended)}; got {options.level}")
        if options.level is not None:
            seen = seen._replace(output=seen.output._replace(attended=attended[options.level - 1 : options.level]))
        attention_figure(picture, seen, figure=figure)
    else:
        ready = prepare(trained, picture, size=options.size)
        classes = ready.classes
        target = None if options.target is None else _class_number(options.target, classes)
        maps = explain(ready.model, ready.images, target, method=options.method)
        with torch.no_grad():
            logits = ready.model(ready.images)
        of = int(logits.argmax()) if target is None else target
        title = f"{options.method}: “{classes[of]}”"
        map_grid(drawable(ready.photograph)[None], [maps.cpu()], titles=[title], figure=figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    write_atomic(out, drawn.getvalue())
    probability, best = logits[0].softmax(dim=0).max(dim=0)
    _print({"class": classes[int(best)], "probability": round(float(probability), 4), "out": str(out)})


def run_export(options: argparse.Namespace, command: str) -> None:
    if not options.out.endswith(".onnx"):
        raise ValueError(f"--out must end in .onnx; got {options.out}")
    outputs = export_onnx(options.out, load_weights(options.model), size=options.size)
    _print({"out": options.out, "inputs": ["images"], "outputs": outputs})


def run_live(options: argparse.Namespace, command: str) -> None:
    from .widgets.live_network import live  # draws a figure, and drawing takes a second to import

    out = Path(options.out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out must end in .html; got {options.out}")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK) or out.is_dir():
        raise ValueError(f"--out: {out} cannot be written; its folder must exist and be writable")
    page = live(options.model, size=options.size, title=options.title, pictures=options.pictures, half=not options.full)
    page.save(out)
    _print({"model": options.model, "out": str(out), "bytes": out.stat().st_size})


def _class_number(target: str, classes: Sequence[str]) -> int:
    if target in classes:
        return list(classes).index(target)
    if target.isdecimal() and int(target) < len(classes):
        return int(target)
    raise ValueError(f"--target must be a class, {_some(classes)}, or its number from 0; got {target!r}")
