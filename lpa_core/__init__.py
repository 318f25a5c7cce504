"""lpa_core: trainable visual attention after "Learn to Pay Attention" (Jetley et al., ICLR 2018).

The public names are listed in ``__init__.pyi``, room by room. A room (models, data, training, figures, ...) is loaded
when one of its names is first asked for; importing this package loads none of them.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
