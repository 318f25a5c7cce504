"""What the book shows and does not compute: recorded runs and published numbers, the JSON files of ``results``.

``schema`` finds and reads every kind of file; ``runs``, ``hard``, ``maps``, ``photographs``, ``swaps`` and
``literature`` say what is in theirs. ``ladder`` says what follows from the runs.
"""
