"""The command line: ``python -m lpa_core data | train | sweep | evaluate | explain | record``; each has ``--help``.

Results go to standard output, as JSON; news and progress to standard error. Exit code 0 means done, 2 that something
asked for is not possible: one line says what and what would be right.
"""

import argparse
import io
import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_args

import torch

from . import __version__
from ._utils.checks import is_whole
from ._utils.device import pick_device
from ._utils.files import write_atomic
from .attention import Compatibility, Match, Normalise
from .data.image_set import ImageSet, normalise
from .data.photographs import PHOTOGRAPHS, photograph
from .data.pictures import read_picture
from .data.sources import load
from .models.classifier import Combine
from .models.weights import WeightsInfo, available, load_weights
from .recording import record_run
from .records import read_record
from .training.checkpoint import RunFolder
from .training.config import TrainConfig, completed
from .training.evaluation import evaluate
from .training.presets import PRESETS, preset
from .training.run import train
from .training.sets import Sets, load_sets
from .training.sweeps import SWEEPS, VARIANTS, combined, named, sweep

logger = logging.getLogger("lpa_core")

MODEL_HELP = f"a run folder, a .safetensors file, or shipped weights ({', '.join(available())})"
DATA_HELP = "digits, cifar10, cifar100, svhn, tiny-imagenet, imagenette or folder:PATH"
# What torchvision's pretrained networks were trained with, of pictures in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODEL_OPTIONS = {"levels", "compatibility", "combine", "match", "normalise", "width", "dropout"}
# What a user can do something about. Anything else is a fault of this package and shows its traceback.
USER_ERRORS = (ValueError, TypeError, OSError, FloatingPointError, ImportError)


class Parser(argparse.ArgumentParser):
    """One line for a mistake, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help shows what there is)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = sys.argv[1:] if arguments is None else [*arguments]
    options = parser().parse_args(given)
    try:
        if getattr(options, "threads", None) is not None:
            if options.threads < 1:
                raise ValueError(f"--threads must be at least 1; got {options.threads}")
            torch.set_num_threads(options.threads)
        options.command(options, shlex.join(["python", "-m", "lpa_core", *given]))
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; train goes on from the last checkpoint with --resume\n")
        return 130
    except (*USER_ERRORS, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        sys.stderr.write(f"lpa_core: error: {' '.join(str(error).split()) or type(error).__name__}\n")
        return 2
    return 0


def parser() -> Parser:
    """The commands and their options."""
    top = Parser(prog="python -m lpa_core", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="data | train | sweep | evaluate | explain | record")

    def command(name: str, function: Any, text: str) -> Parser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=function)
        return made

    data = command("data", _data, "Fetch or verify a data set and describe it.")
    data.add_argument("name", metavar="NAME", help=DATA_HELP)
    _data_place(data)

    run = command("train", _train, "Train a model into a run folder, or continue one.")
    run.add_argument("--data", help=f"{DATA_HELP}; may be left out with --resume")
    run.add_argument("--preset", choices=PRESETS, help="recipe to start from (default: quick)")
    run.add_argument("--out", required=True, metavar="RUN", help="run folder")
    run.add_argument("--resume", action="store_true", help="continue the run in RUN from its last checkpoint")
    _data_place(run)
    group = run.add_argument_group("model (each overrides the preset)")
    group.add_argument("--levels", type=int, help="how many attention levels, 1 to 3")
    group.add_argument("--compatibility", choices=get_args(Compatibility))
    group.add_argument("--combine", choices=get_args(Combine))
    group.add_argument("--match", choices=get_args(Match), help="which side is projected where sizes differ")
    group.add_argument("--normalise", choices=get_args(Normalise))
    group.add_argument("--width", type=float, help="multiplies every channel count of attention_vgg")
    group.add_argument("--dropout", type=float, help="multiplies the authors' dropout rates in attention_vgg")
    group = run.add_argument_group("attention for a torchvision network, in place of the preset's model")
    group.add_argument("--backbone", metavar="NAME", help="a torchvision classifier, such as resnet18")
    group.add_argument(
        "--pretrained", metavar="WEIGHTS", help="DEFAULT: torchvision's, downloaded once; or a .pth file of your own"
    )
    group.add_argument("--freeze-backbone", action="store_true", default=None, help="train the attention alone")
    group.add_argument("--size", type=int, help="pixels of a side of the pictures of folder:PATH (default: 64)")
    group = run.add_argument_group("recipe (each overrides the preset)")
    group.add_argument("--epochs", type=int)
    group.add_argument("--batch-size", type=int)
    group.add_argument("--lr", type=float, help="peak learning rate")
    group.add_argument("--weight-decay", type=float)
    group.add_argument("--seed", type=int)
    group.add_argument("--limit", type=int, metavar="N", help="use at most N pictures of each split, for a quick look")
    group.add_argument(
        "--all", action="store_true", default=None, help="train on the held-out tenth too, with nothing left to choose"
    )
    group = run.add_argument_group("how it runs")
    group.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    group.add_argument("--threads", type=int, help="CPU threads; a resumed run is bit-equal at the same number")
    group.add_argument("--checkpoint-seconds", type=float, default=30.0, help="between checkpoints (default: 30)")
    compiled = argparse.BooleanOptionalAction
    group.add_argument("--compile", action=compiled, help="torch.compile on a GPU (default: as the preset says)")
    group.add_argument("--quiet", action="store_true", help="no progress bar")
    group.add_argument("--tensorboard", metavar="DIR", help="write each epoch's numbers for TensorBoard, if installed")

    many = command(
        "sweep", _sweep, "Train many runs, one after another; stopped and started again, none is made twice."
    )
    many.add_argument("name", nargs="?", metavar="NAME", help=f"a named sweep on CIFAR-100: {', '.join(SWEEPS)}")
    many.add_argument("--out", required=True, metavar="DIR", help="folder of the run folders")
    many.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    many.add_argument("--to", metavar="DIR", help="write a record of each finished run, as record does")
    many.add_argument("--maps", type=int, default=0, metavar="N", help="with the maps of the first N test pictures")
    _data_place(many)
    group = many.add_argument_group("what to train, in place of NAME")
    group.add_argument("--data", help=DATA_HELP)
    group.add_argument("--preset", choices=PRESETS, help="recipe to start from (default: quick)")
    group.add_argument("--variants", nargs="+", metavar="V", default=["pc"], help=f"of {', '.join(VARIANTS)}")
    group.add_argument("--seeds", nargs="+", type=int, metavar="N", default=[0])
    for option, kind in (("epochs", int), ("batch-size", int), ("width", float), ("limit", int)):
        group.add_argument(f"--{option}", type=kind, help="as in train, for every run")
    group = many.add_argument_group("how it runs")
    group.add_argument("--device")
    group.add_argument("--threads", type=int)
    group.add_argument("--checkpoint-seconds", type=float, default=30.0)
    group.add_argument("--quiet", action="store_true", help="no progress bars")

    score = command("evaluate", _evaluate, "Print accuracy and loss of a model on a data set, as JSON.")
    score.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    score.add_argument("--data", required=True, help=DATA_HELP)
    score.add_argument("--split", choices=("train", "validation", "test", "all"), default="test")
    score.add_argument("--batch-size", type=int, default=500)
    score.add_argument("--device")
    score.add_argument("--threads", type=int)
    _data_place(score)

    show = command("explain", _explain, "Draw where a model looks on a picture.")
    show.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    show.add_argument("image", metavar="IMAGE", nargs="?", help="a picture file")
    show.add_argument("--sample", metavar="NAME", help=f"in place of IMAGE, a photograph: {', '.join(PHOTOGRAPHS)}")
    show.add_argument(
        "--method", default="attention", help="attention (default), or a post-hoc method such as grad_cam"
    )
    show.add_argument("--level", type=int, help="one level of attention, 1 the shallowest (default: all)")
    show.add_argument("--target", help="class to explain, by name or number (post-hoc methods; default: the predicted)")
    show.add_argument("--out", required=True, metavar="PNG", help="file to write")
    show.add_argument(
        "--size", type=int, help="pixels of the shorter side that the picture is scaled to (default: as trained)"
    )
    show.add_argument("--device")

    keep = command("record", _record, "Write the record of a run, finished or cut short, for the tables of the book.")
    keep.add_argument("run", metavar="RUN", help="a run folder")
    keep.add_argument("--name", help="of the variant, such as book-pc (default: the name of the folder)")
    keep.add_argument(
        "--to", default="book/results", metavar="DIR", help="folder of the records (default: %(default)s)"
    )
    keep.add_argument("--maps", type=int, default=0, metavar="N", help="draw the maps of the first N test pictures too")
    keep.add_argument("--shipped", metavar="NAME", help="the weights in the package that came from this run")
    _data_place(keep)
    return top


def _data_place(some: argparse.ArgumentParser) -> None:
    some.add_argument("--root", help="folder of the data sets (default: $LPA_DATA, else ~/.cache/lpa_core)")
    some.add_argument("--no-download", action="store_true", help="use only what is there")


def _print(values: Any) -> None:
    sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")


def _data(options: argparse.Namespace, command: str) -> None:
    described: dict[str, Any] = {"name": options.name}
    for split in ("train", "validation", "test"):
        part = load(options.name, split, root=options.root, download=not options.no_download)
        described[split] = {"n": len(part), "checksum": part.checksum}
    described |= {"shape": [*part.images.shape[1:]], "classes": len(part.classes), "class_names": [*part.classes]}
    _print(described | {"mean": part.mean, "std": part.std})


def _train(options: argparse.Namespace, command: str) -> None:
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


def _sweep(options: argparse.Namespace, command: str) -> None:
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
        to=options.to,
        maps=options.maps,
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


def _evaluate(options: argparse.Namespace, command: str) -> None:
    device = pick_device(options.device)
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1; got {options.batch_size}")
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


def _explain(options: argparse.Namespace, command: str) -> None:
    # Drawing and the post-hoc methods take a second to import, and the other commands do without.
    from matplotlib.figure import Figure

    from .plotting.grids import attention_figure, map_grid
    from .posthoc.methods import METHODS, explain

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
    model, info = load_weights(options.model, device=pick_device(options.device))
    image = _picture(picture, options.size, info)
    normalised = normalise(image[None], info.mean, info.std).to(next(model.parameters()).device)
    with torch.no_grad():
        output = model.attend(normalised)
    figure = Figure()
    if options.method == "attention":
        if options.target is not None:
            raise ValueError("--target is for post-hoc methods; a trained attention map is the same for every class")
        if options.level is not None and not 1 <= options.level <= len(output.attended):
            raise ValueError(f"--level must be from 1 to {len(output.attended)}; got {options.level}")
        if options.level is not None:
            output = output._replace(attended=output.attended[options.level - 1 : options.level])
        attention_figure(image, output, classes=info.classes, figure=figure)
    else:
        target = None if options.target is None else _class_number(options.target, info.classes)
        maps = explain(model, normalised, target, method=options.method)
        of = int(output.logits.argmax()) if target is None else target
        map_grid(image[None], [maps.cpu()], titles=[f"{options.method}: “{info.classes[of]}”"], figure=figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    write_atomic(out, drawn.getvalue())
    probability, best = output.logits[0].softmax(dim=0).max(dim=0)
    _print({"class": info.classes[int(best)], "probability": round(float(probability), 4), "out": str(out)})


def _record(options: argparse.Namespace, command: str) -> None:
    if not is_whole(options.maps, 0, 2**31):
        raise ValueError(f"--maps must be at least 0 and below 2**31; got {str(options.maps)[:20]}")
    if options.shipped is not None and options.shipped not in available():
        raise ValueError(f"--shipped must be one of {', '.join(available())}; got {options.shipped!r}")
    path = record_run(
        options.run,
        options.name or Path(options.run).resolve().name,
        options.to,
        shipped=options.shipped,
        maps=options.maps,
        root=options.root,
        download=not options.no_download,
    )
    values = read_record(path).values
    _print({"record": str(path), **{key: values[key] for key in ("cut_short", "results", "maps")}})


def _class_number(target: str, classes: Sequence[str]) -> int:
    if target in classes:
        return list(classes).index(target)
    if target.isdecimal() and int(target) < len(classes):
        return int(target)
    raise ValueError(f"--target must be a class, {_some(classes)}, or its number from 0; got {target!r}")


def _picture(path: Path, size: int | None, info: WeightsInfo) -> torch.Tensor:
    """A picture file as the model takes it: uint8 (c, size, size), the shorter side scaled, the middle cut out."""
    if not path.is_file():
        raise FileNotFoundError(f"IMAGE: there is no file {path}")
    if size is None and (info.size is None or info.size[0] != info.size[1]):
        raise ValueError("--size is needed: the weights do not say how large their pictures were")
    if len(info.mean) not in (1, 3):
        raise ValueError(f"MODEL takes pictures of {len(info.mean)} channels; a picture file has 1 or 3")
    return read_picture(path, size=info.size if size is None else size, channels=len(info.mean))


if __name__ == "__main__":
    sys.exit(main())
