"""Tests of `tables`: text that lines up, and HTML that is safe and has real headers."""

from dlhelpers.show import Table


def test_text_columns_line_up_and_notes_follow():
    text = repr(
        Table(["a", "long header"], [["wide value", 1], ["b", 2]], notes=["read me"])
    ).splitlines()
    assert text == ["a           long header", "wide value  1", "b           2", "Note: read me"]


def test_html_has_header_cells_and_escapes_what_it_is_given():
    html = Table(["<b>"], [["<script>"]], notes=["a < b"])._repr_html_()
    assert html.count('<th scope="col"') == 1 and "<script>" not in html and "<b>" not in html
    assert "&lt;script&gt;" in html and "a &lt; b" in html


def test_columns_of_numbers_stand_on_the_right_and_words_on_the_left():
    html = Table(["what", "size"], [["a", "1,024"], ["b", "6.02 GB"], ["c", ""]])._repr_html_()
    assert html.count("text-align:right") == html.count("text-align:left") == 4
