"""A recipe's comment, taken apart."""

import pytest

from accord.errors import RegistryError
from accord.recipes.about import read_about

TEXT = """# A method (Author et al., 2025, arXiv 1234.56789): idea.
# One sentence
# over two lines.
#
# What differs from the paper, and why:
#   - the first,
#     and more of it
#   - the second
#
# Hardware: a laptop.
#   And time.
# Expected: nothing.
[method]
recipe = "a"  # not a part
"""


def test_the_parts_of_a_comment():
    about = read_about(TEXT)
    assert about.title == "A method (Author et al., 2025, arXiv 1234.56789): idea"
    assert about.summary == "One sentence over two lines."
    assert about.differences == ("the first, and more of it", "the second")
    assert about.notes == ("Hardware: a laptop. And time.", "Expected: nothing.")


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("What differs from the paper, and why:", "What differs:"),
        TEXT.replace("#\n# Hardware", "# Hardware"),
        "[method]\n",
    ],
)
def test_a_comment_without_the_three_parts_is_refused(text):
    with pytest.raises(RegistryError, match="three paragraphs"):
        read_about(text)
