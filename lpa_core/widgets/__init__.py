"""Pictures with controls, for pages and for notebooks: explorers, quizzes, and networks that live on a page.

The names are listed in ``__init__.pyi``; each is loaded when it is first asked for, so that a quiz needs no matplotlib.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
