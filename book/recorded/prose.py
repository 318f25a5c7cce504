"""Names for the figures that a chapter's text prints, so that text and cells cannot part unnoticed."""


def figures(**texts: str) -> None:
    """Print each figure as the text has it: ``figures(pc_right=f"{accuracy:.1%}")`` for ``98.4 %<!--pc-right-->``.

    An underscore of a name is a hyphen in the text, and spaces do not count. The tests compare the two.

    Raises: TypeError on a number, whose digits would be another machine's choice.
    """
    for name, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"{name} must be text, as it is printed; got {text!r}")
        print(f"figure {name.replace('_', '-')}: {text}")
