"""The command line: ``python -m lpa_core data | train | sweep | evaluate | explain | live | export``; see ``--help``.

Results go to standard output, as JSON; news and progress to standard error. Exit code 0 means done, 2 that something
asked for is not possible: one line says what and what would be right.
"""

import argparse
import dis
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

import torch

from . import __version__
from . import _commands as commands
from ._commands import DATA_HELP
from .attention import Compatibility, Match, Normalise
from .data.photographs import PHOTOGRAPHS
from .models.classifier import Combine
from .models.weights import available
from .posthoc import METHODS
from .training.presets import PRESETS
from .training.sweeps import SWEEPS, VARIANTS

logger = logging.getLogger("lpa_core")

MODEL_HELP = f"a run folder, a .safetensors file, or shipped weights ({', '.join(available())})"


class Parser(argparse.ArgumentParser):
    """One line for a mistake, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help shows what there is)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = sys.argv[1:] if arguments is None else [*arguments]
    if not given:
        parser().print_help()
        return 0
    options = parser().parse_args(given)
    try:
        if getattr(options, "threads", None) is not None:
            if not 1 <= options.threads < 2**31:
                raise ValueError(f"--threads must be at least 1 and below 2**31; got {str(options.threads)[:20]}")
            torch.set_num_threads(options.threads)
        options.command(options, shlex.join(["python", "-m", "lpa_core", *given]))
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; train goes on from the last checkpoint with --resume\n")
        return 130
    except Exception as error:
        if not is_users(error):
            raise
        sys.stderr.write(f"lpa_core: error: {' '.join(str(error).split()) or type(error).__name__}\n")
        return 2
    return 0


def is_users(error: Exception) -> bool:
    """Whether an error tells the user what to do: one line is enough then. A fault of ours keeps its traceback.

    Files, missing packages and memory are the user's. So is what this package refuses: a ``raise`` of its own. The same
    kinds of error from anywhere else (an index, a torch function) were foreseen by nobody.
    """
    if isinstance(error, OSError | ImportError | MemoryError):
        return True
    if isinstance(error, RuntimeError):
        return "memory" in str(error)  # how torch says that there is too little
    if not isinstance(error, ValueError | TypeError | FloatingPointError) or error.__traceback__ is None:
        return False
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    ours = Path(code.co_filename).is_relative_to(Path(__file__).parent)
    return ours and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def parser() -> Parser:
    """The commands and their options."""
    top = Parser(prog="python -m lpa_core", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=__version__)
    of = top.add_subparsers(required=True, metavar="data | train | sweep | evaluate | explain | live | export")

    def command(name: str, function: Any, text: str) -> Parser:
        made = of.add_parser(name, help=text, description=text)
        made.set_defaults(command=function)
        return made

    data = command("data", commands.run_data, "Fetch or verify a data set and describe it.")
    data.add_argument("name", metavar="NAME", help=DATA_HELP)
    _data_place(data)

    run = command("train", commands.run_train, "Train a model into a run folder, or continue one.")
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
        "sweep",
        commands.run_sweep,
        "Train many runs, one after another; stopped and started again, none is made twice.",
    )
    many.add_argument("name", nargs="?", metavar="NAME", help=f"a named sweep on CIFAR-100: {', '.join(SWEEPS)}")
    many.add_argument("--out", required=True, metavar="DIR", help="folder of the run folders")
    many.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
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

    score = command("evaluate", commands.run_evaluate, "Print accuracy and loss of a model on a data set, as JSON.")
    score.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    score.add_argument("--data", required=True, help=DATA_HELP)
    score.add_argument("--split", choices=("train", "validation", "test", "all"), default="test")
    score.add_argument("--batch-size", type=int, default=500)
    score.add_argument("--device")
    score.add_argument("--threads", type=int)
    _data_place(score)

    show = command("explain", commands.run_explain, "Draw where a model looks on a picture.")
    show.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    show.add_argument("image", metavar="IMAGE", nargs="?", help="a picture file")
    show.add_argument("--sample", metavar="NAME", help=f"in place of IMAGE, a photograph: {', '.join(PHOTOGRAPHS)}")
    show.add_argument("--method", default="attention", help=f"one of {', '.join(METHODS)} (default: attention)")
    show.add_argument("--level", type=int, help="one level of attention, 1 the shallowest (default: all)")
    show.add_argument("--target", help="class to explain, by name or number (post-hoc methods; default: the predicted)")
    show.add_argument("--out", required=True, metavar="PNG", help="file to write")
    show.add_argument(
        "--size",
        type=int,
        help="pixels of the shorter side that the picture is scaled to (default: as trained, else its own)",
    )
    show.add_argument("--device")

    text = "Write one HTML file in which a model looks at pictures that are dropped on it."
    page = command("live", commands.run_live, text)
    page.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    page.add_argument("--out", required=True, metavar="HTML", help="file to write")
    page.add_argument("--title", help="of the page")
    page.add_argument("--size", type=int, help="pixels of a side of what the model is shown (default: as trained)")
    page.add_argument("--pictures", nargs="+", metavar="IMAGE", default=[], help="pictures that the page brings along")
    page.add_argument("--full", action="store_true", help="numbers of 32 bits in place of 16: twice as large")

    graph = command("export", commands.run_export, "Write a model as ONNX: pictures in, logits and maps out.")
    graph.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    graph.add_argument("--out", required=True, metavar="ONNX", help="file to write")
    graph.add_argument("--size", type=int, help="pixels of a side of the pictures (default: as trained)")
    return top


def _data_place(some: argparse.ArgumentParser) -> None:
    some.add_argument("--root", help="folder of the data sets (default: $LPA_DATA, else ~/.cache/lpa_core)")
    some.add_argument("--no-download", action="store_true", help="use only what is there")


if __name__ == "__main__":
    sys.exit(main())
