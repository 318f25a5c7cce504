__version__: str

from .attention import (
    Attended as Attended,
)
from .attention import (
    AttentionEstimator as AttentionEstimator,
)
from .attention import (
    additive_scores as additive_scores,
)
from .attention import (
    attend as attend,
)
from .attention import (
    dot_scores as dot_scores,
)
from .attention import (
    parametrised_scores as parametrised_scores,
)
from .attention import (
    uniform_scores as uniform_scores,
)
from .data import (
    Batches as Batches,
)
from .data import (
    ImageSet as ImageSet,
)
from .data import (
    digits_in_clutter as digits_in_clutter,
)
from .data import (
    load as load,
)
from .data import (
    normalise as normalise,
)
from .data import (
    read_picture as read_picture,
)
from .look import (
    Look as Look,
)
from .look import (
    look_at as look_at,
)
from .metrics import (
    best_level as best_level,
)
from .metrics import (
    box_masks as box_masks,
)
from .metrics import (
    cluster_interval as cluster_interval,
)
from .metrics import (
    energy_in_mask as energy_in_mask,
)
from .metrics import (
    enlarge as enlarge,
)
from .metrics import (
    iou as iou,
)
from .metrics import (
    pointing_game as pointing_game,
)
from .metrics import (
    score_maps as score_maps,
)
from .models import (
    BUILDERS as BUILDERS,
)
from .models import (
    AttentionClassifier as AttentionClassifier,
)
from .models import (
    AttentionOutput as AttentionOutput,
)
from .models import (
    Features as Features,
)
from .models import (
    Trained as Trained,
)
from .models import (
    Trunk as Trunk,
)
from .models import (
    attend_to as attend_to,
)
from .models import (
    attention_maps as attention_maps,
)
from .models import (
    attention_resnet164 as attention_resnet164,
)
from .models import (
    attention_vgg as attention_vgg,
)
from .models import (
    available as available,
)
from .models import (
    build as build,
)
from .models import (
    load_weights as load_weights,
)
from .models import (
    node_shapes as node_shapes,
)
from .models import (
    photo_attention_net as photo_attention_net,
)
from .models import (
    resnet164 as resnet164,
)
from .models import (
    save_weights as save_weights,
)
from .models import (
    small_attention_net as small_attention_net,
)
from .models import (
    vgg as vgg,
)
from .models import (
    vgg_gap as vgg_gap,
)
from .models import (
    vgg_pan as vgg_pan,
)
from .plotting import (
    attention_figure as attention_figure,
)
from .plotting import (
    map_grid as map_grid,
)
from .plotting import (
    overlay as overlay,
)
from .posthoc import (
    explain as explain,
)
from .training import (
    PRESETS as PRESETS,
)
from .training import (
    TrainConfig as TrainConfig,
)
from .training import (
    evaluate as evaluate,
)
from .training import (
    preset as preset,
)
from .training import (
    train as train,
)
from .widgets import (
    maps_explorer as maps_explorer,
)
from .widgets import (
    quiz as quiz,
)
from .widgets import (
    swap_explorer as swap_explorer,
)
from .widgets import (
    temperature_explorer as temperature_explorer,
)
from .widgets import (
    window_explorer as window_explorer,
)

__all__ = [
    "BUILDERS",
    "PRESETS",
    "Attended",
    "AttentionClassifier",
    "AttentionEstimator",
    "AttentionOutput",
    "Batches",
    "Features",
    "ImageSet",
    "Look",
    "TrainConfig",
    "Trained",
    "Trunk",
    "additive_scores",
    "attend",
    "attend_to",
    "attention_figure",
    "attention_maps",
    "attention_resnet164",
    "attention_vgg",
    "available",
    "best_level",
    "box_masks",
    "build",
    "cluster_interval",
    "digits_in_clutter",
    "dot_scores",
    "energy_in_mask",
    "enlarge",
    "evaluate",
    "explain",
    "iou",
    "load",
    "load_weights",
    "look_at",
    "map_grid",
    "maps_explorer",
    "node_shapes",
    "normalise",
    "overlay",
    "parametrised_scores",
    "photo_attention_net",
    "pointing_game",
    "preset",
    "quiz",
    "read_picture",
    "resnet164",
    "save_weights",
    "score_maps",
    "small_attention_net",
    "swap_explorer",
    "temperature_explorer",
    "train",
    "uniform_scores",
    "vgg",
    "vgg_gap",
    "vgg_pan",
    "window_explorer",
]
