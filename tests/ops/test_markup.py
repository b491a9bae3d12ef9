"""Elements of a page, as a parser of HTML reads them."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.browsing import Reader
from wakumail.ops.markup import element, join


@given(st.text(), st.text())
def test_whatever_is_told_stays_text(told: str, value: str) -> None:
    page = element("p", told, [value, 7, None], title=value, hidden=False, data_x=told)
    told, value = (text.replace("\r\n", "\n").replace("\r", "\n") for text in (told, value))
    read = Reader(join(page))
    [(tag, attributes)] = read.attributes
    assert tag == "p"
    assert set(attributes) == {"title", "data-x"}
    if "\r" not in page and "\0" not in page:
        assert attributes["title"] == value
        words = "".join(read.words)
        assert words == f"{told}{value}7" or not (told + value).strip()
