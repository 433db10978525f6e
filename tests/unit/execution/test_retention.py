"""Retention: what goes by a rule, and what stays whatever the rule says."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from thence.errors import InvalidInput
from thence.execution.retention import Policy, expire, expired
from thence.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Five versions of `data/a`, two of `data/b`, one of `model`."""
    made = Project.init(tmp_path)
    for n in range(5):
        made.save(f"a{n}", "data/a")
    for n in range(2):
        made.save(f"b{n}", "data/b")
    made.save("m", "model")
    return made


def refs(project: Project, policy: Policy) -> list[str]:
    return [one.ref for one in expired(project.site, policy)]


def later(project: Project, days: float) -> Project:
    """The same project some days later."""
    import dataclasses

    now = datetime.now(UTC) + timedelta(days=days)
    return Project(dataclasses.replace(project.site, clock=lambda: now))


def test_the_last_ones_stay(project: Project) -> None:
    assert refs(project, Policy(keep_last=3)) == ["data/a@v1", "data/a@v2"]
    assert refs(project, Policy(keep_last=1, artifacts=("data/b", "MOD*"))) == ["data/b@v1"]


def test_young_ones_stay_and_both_rules_must_agree(project: Project) -> None:
    month = timedelta(days=30)
    assert refs(later(project, 29), Policy(older_than=month)) == []
    old = later(project, 31)
    assert refs(old, Policy(older_than=month, artifacts=("data/*",))) == [
        "data/a@v1", "data/a@v2", "data/a@v3", "data/a@v4", "data/b@v1",
    ]  # fmt: skip
    assert refs(old, Policy(keep_last=4, older_than=month)) == ["data/a@v1"]


def test_what_an_alias_points_at_stays_unless_only_others_are_kept(project: Project) -> None:
    project.alias("data/a@v1", "gold")
    project.alias("data/a@v2", "tmp-x")
    assert refs(project, Policy(keep_last=3)) == []
    assert refs(project, Policy(keep_last=3, keep_alias=("gold", "prod*"))) == ["data/a@v2"]


def test_what_a_kept_run_has_read_stays(project: Project) -> None:
    with project.run() as session:
        project.load("data/a@v1")
    assert refs(project, Policy(keep_last=3)) == ["data/a@v2"]
    assert refs(project, Policy(keep_last=3, also_used=True)) == ["data/a@v1", "data/a@v2"]
    project.remove(project.plan_removal([f"run:{session.run}"]), reason="done")
    assert refs(project, Policy(keep_last=3)) == ["data/a@v1", "data/a@v2"]


def test_expired_versions_get_a_tombstone_that_names_the_rule(project: Project) -> None:
    policy = Policy(keep_last=2, older_than=timedelta(days=30))
    old = later(project, 40)
    expire(old.site, expired(old.site, policy), policy)
    shown = project.show("data/a@v1")
    assert shown.deletion is not None
    assert shown.deletion.reason == "retention: keep the last 2, older than 30d"
    assert [one.label for one in project.history("data/a") if one.deletion is None] == ["v5", "v4"]
    assert refs(old, policy) == []
    project.undo_removal(["data/a@v1"])
    assert project.load("data/a@v1") == "a0"


def test_a_policy_without_a_rule_is_refused(project: Project) -> None:
    with pytest.raises(InvalidInput, match="no rule"):
        expired(project.site, Policy())
    with pytest.raises(InvalidInput, match="latest version"):
        expired(project.site, Policy(keep_last=0))
