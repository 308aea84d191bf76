"""The mutation run: which changes it makes, and that what it leaves out is there to be left out."""

from __future__ import annotations

from tests.imports import ROOT
from tests.mutants import SUBJECTS
from tests.mutants_equivalent import EQUIVALENT
from tests.mutate import mutants

SOURCE = '''def f(a, b):
    """Says only."""
    c = min(a, -b) + 2
    if a < b or not c:
        return True
    return c
'''


def test_every_comparison_sign_operator_constant_word_and_statement_is_changed() -> None:
    made = {mutant.change for mutant in mutants(SOURCE)}
    assert made == {
        "c = min(a, -b) + 2  →  pass",
        "min(a, -b) + 2  →  min(a, -b) - 2",
        "min  →  max",
        "-b  →  b",
        "2  →  3",
        "2  →  1",
        "a < b or not c  →  a < b and (not c)",
        "a < b  →  a <= b",
        "a < b  →  a > b",
        "not c  →  c",
        "return True  →  pass",
        "True  →  False",
        "return c  →  pass",
    }


def test_a_mutant_is_the_whole_source_with_one_change() -> None:
    (found,) = (mutant for mutant in mutants(SOURCE) if mutant.change == "a < b  →  a <= b")
    assert (found.line, found.text) == (4, "if a < b or not c:")
    assert found.source.splitlines()[3].strip() == "if a <= b or not c:"
    assert sum(a != b for a, b in zip(found.source.splitlines(), SOURCE.splitlines(), strict=True)) == 1


def test_what_is_called_equivalent_is_a_change_of_the_source_as_it_is() -> None:
    for path in SUBJECTS:
        made = {(path, mutant.text, mutant.change) for mutant in mutants((ROOT / path).read_text(encoding="utf-8"))}
        assert {key for key in EQUIVALENT if key[0] == path} <= made
    assert {path for path, _, _ in EQUIVALENT} <= set(SUBJECTS)
