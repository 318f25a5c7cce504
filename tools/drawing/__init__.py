"""The diagrams of the book: each is a function of this package that returns a ``kit.Drawing``."""

from collections.abc import Callable
from functools import partial

from . import families, heads, loops, network, step_by_step
from .kit import Drawing

DIAGRAMS: dict[str, Callable[[], Drawing]] = {
    "network": network.network,
    **{f"network-{step}": partial(network.network, step) for step in network.STEPS},
    "four-steps": step_by_step.four_steps,
    "pc-and-dp": step_by_step.pc_and_dp,
    "concat-and-indep": heads.concat_and_indep,
    "projections": heads.projections,
    "kinds-of-attention": families.kinds_of_attention,
    "hard-loop": loops.hard_loop,
    "glimpse-loop": loops.glimpse_loop,
    "post-hoc-timeline": families.post_hoc_timeline,
}
