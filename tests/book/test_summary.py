"""What the pages without code claim is true, or stands where they say."""

import json
import re

import notebooks
import pytest
import torch
import torch.nn.functional as F

from lpa_core import attend, dot_scores

BOOK = notebooks.ROOT / "book"
CLAIMS = re.findall(r"^- .*\.ipynb#.*$", (BOOK / "summary.md").read_text(encoding="utf8"), re.MULTILINE)


def text_of(chapter: str) -> str:
    """The source and the printed outputs of a chapter."""
    text = []
    for cell in json.loads((BOOK / chapter).read_text(encoding="utf8"))["cells"]:
        text += cell["source"]
        for output in cell.get("outputs", []):
            text += [*output.get("text", []), *output.get("data", {}).get("text/plain", [])]
    return "".join(text)


def missing_numbers(claim: str) -> list[str]:
    """The numbers of a claim that none of the chapters it links to holds."""
    chapters = re.findall(r"\]\(([\w-]+\.ipynb)#", claim)
    prose = re.sub(r"\]\([^)]*\)", "]", claim)
    texts = " ".join(text_of(chapter).replace(" x ", "×") for chapter in chapters)
    return [number for number in re.findall(r"\d+(?:[.,×]\d+)+", prose) if number not in texts]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim[2:40])
def test_numbers_of_the_summary_stand_in_the_chapter_they_link_to(claim):
    assert missing_numbers(claim) == []


def test_a_wrong_number_is_noticed():
    claim = next(claim for claim in CLAIMS if "25.6" in claim)
    assert missing_numbers(claim.replace("25.6", "25.7")) == ["25.7"]


def test_dp_is_scaled_dot_product_attention_with_one_query():
    generator = torch.Generator().manual_seed(0)
    local = torch.randn(2, 8, 5, 7, generator=generator, dtype=torch.float64)
    g = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    rows = local.flatten(2).mT
    expected = F.scaled_dot_product_attention(g[:, None], rows, rows, scale=1.0)[:, 0]
    torch.testing.assert_close(attend(local, dot_scores(local, g)).vector, expected)


def test_glossary_is_in_alphabetical_order_without_doubles():
    terms = re.findall(r"^(\S.*)\n  ", (BOOK / "glossary.md").read_text(encoding="utf8"), re.MULTILINE)
    assert len(terms) > 20
    assert terms == sorted(set(terms), key=str.lower)
