"""Secrets among the parameters and literals of queries, told by their columns."""

from typing import Any

import pytest

from thence.execution.capture.query_secrets import places_in, scrub_query
from thence.execution.capture.secrets import Redactor

VALUE = "hunter2horse"


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        ("select * from t where a = ? and b.password=?", {0: "a", 1: "password"}),
        ("select * from t where \"api key\" in (%s, %s) and c < %s", {0: "api key", 1: "api key",
                                                                     2: "c"}),
        ("select * from t where $2 = token and a between $1 and $3", {1: "token", 0: "a"}),
        ("update t set a = ?, pwd = ?, b = ? where id = ?", {0: "a", 1: "pwd", 2: "b", 3: "id"}),
        ("insert into t (a, password) values (?, ?), (?, crypt(?, 'x')) returning id",
         {0: "a", 1: "password", 2: "a"}),
        ("insert into t values (?, ?)", {}),
        ("select * from t where lower(token) = lower(:t) limit :n", {"t": "token"}),
        ("select * from t where secret = %(s)s -- ? \n /* ? */ and 'a ? b' = x and k=%(n)s",
         {"s": "secret", "n": "k"}),
        ("select ?::text, a->>'b' from t where `k` like ?", {1: "k"}),
        ("select * from (select * from t where a = ?) where password = ?",
         {0: "a", 1: "password"}),
        ("select '", {}),
    ],
)  # fmt: skip
def test_parameters_stand_beside_columns(statement: str, columns: dict[Any, str]) -> None:
    found = {one.key: one.column for one in places_in(statement) if one.key is not None}
    assert {key: column for key, column in found.items() if column} == columns


def scrubbed(statement: str, parameters: Any = None) -> tuple[str, Any, Redactor]:
    redactor = Redactor(b"key")
    note = {"kind": "query", "statement": statement, "parameters": parameters}
    clean = scrub_query(redactor, note)
    return clean["statement"], clean["parameters"], redactor


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("select * from t where a = ? and password = ?", [["", "3"], ["", repr(VALUE)]]),
        ("select * from t where a = :a and password = :b", [["a", "3"], ["b", repr(VALUE)]]),
        ("select * from t where a = :a and b = :password",
         [["a", "3"], ["password", repr(VALUE.encode())]]),
    ],
)  # fmt: skip
def test_a_parameter_beside_a_secret_column_is_withheld(statement: str, parameters: Any) -> None:
    _, shown, redactor = scrubbed(statement, parameters)
    assert VALUE not in shown
    assert redactor.placeholder(VALUE) in shown
    assert "3" in shown
    assert [one.name for one in redactor.withheld][:1] in (["password"], [])


def test_a_parameter_that_looks_drawn_by_chance_is_withheld() -> None:
    key = "q7Rm2Lk9" + "Zp4Wd8Xs1Vb6Nc3Tf5Gh0JyQ"
    assert key not in scrubbed("select * from t where a = ?", [["", repr(key)]])[1]


def test_a_literal_beside_a_secret_column_is_withheld() -> None:
    statement, _, redactor = scrubbed(f"select a from t where password = '{VALUE}' and b = 'x'")
    assert statement == (
        f"select a from t where password = '{redactor.placeholder(VALUE)}' and b = 'x'"
    )


def test_what_is_no_secret_stays_as_it_is() -> None:
    statement = "select max_tokens, 'a' from t where author = ? and primary_key in ('a', 'b')"
    parameters = [["", "'Ada Lovelace'"], ["", "1.5"], ["", "datetime.date(2026, 1, 2)"]]
    clean, shown, redactor = scrubbed(statement, parameters)
    assert clean == statement
    assert shown == "['Ada Lovelace', 1.5, datetime.date(2026, 1, 2)]"
    assert redactor.withheld == ()
    assert scrubbed("select 1", [["n", "'it''s'"], ["m", "3"]])[1] == "{'n': 'it''s', 'm': 3}"
    assert scrubbed("select 1", "<Frame>")[1] == "<Frame>"
