"""Which files of a run become one artifact."""

from hypothesis import given
from hypothesis import strategies as st

from thence.execution.grouping import Group, group_files

segment = st.sampled_from(["a", "b", "c", "data", "out"])
paths = st.sets(
    st.lists(segment, min_size=1, max_size=4).map("/".join).map(lambda path: path + ".csv"),
    max_size=40,
)


def names(*files: str, many: int = 2) -> list[str]:
    return [group.name for group in group_files(files, many=many)]


def test_a_folder_of_few_files_is_as_many_artifacts() -> None:
    assert group_files(["b/c.csv", "a.csv", "a.csv"]) == [
        Group("a.csv", ("a.csv",), is_folder=False),
        Group("b/c.csv", ("b/c.csv",), is_folder=False),
    ]


def test_a_folder_of_many_files_is_one() -> None:
    found = group_files([f"out/{n:02}.png" for n in range(33)])
    assert [(group.name, group.is_folder) for group in found] == [("out", True)]
    assert found[0].members[:2] == ("00.png", "01.png")
    assert len(group_files([f"out/{n:02}.png" for n in range(32)])) == 32


def test_the_innermost_folders_that_hold_many_stay_apart() -> None:
    train = [f"data/train/{n}" for n in range(3)]
    test = [f"data/test/{n}" for n in range(3)]
    assert names(*train, *test) == ["data/test", "data/train"]


def test_few_files_beside_a_full_folder_keep_their_names() -> None:
    pictures = [f"out/png/{n}" for n in range(3)]
    assert names(*pictures, "out/metrics.json") == ["out/metrics.json", "out/png"]
    assert names(*pictures, "top.txt") == ["out/png", "top.txt"]


def test_many_small_folders_are_one_artifact_together() -> None:
    assert names("data/a/1", "data/b/1", "data/c/1") == ["data"]
    found = group_files(["data/a/1", "data/b/1", "data/c/1"], many=2)
    assert found[0].members == ("a/1", "b/1", "c/1")


def test_files_at_the_root_are_never_one() -> None:
    assert len(group_files([f"{n}.csv" for n in range(100)])) == 100


@given(paths, st.integers(1, 5))
def test_every_file_is_in_exactly_one_group(files: set[str], many: int) -> None:
    groups = group_files(files, many=many)
    back = [
        f"{group.name}/{member}" if group.is_folder else member
        for group in groups
        for member in group.members
    ]
    assert sorted(back) == sorted(files)
    assert all(len(group.members) > many for group in groups if group.is_folder)


def test_a_folder_of_very_many_files_takes_in_the_folders_below_it() -> None:
    pictures = [f"img/{at // 100:03}/{at}.png" for at in range(12_000)]
    few = [f"other/{at}.png" for at in range(40)]
    found = group_files([*pictures, *few, "img.csv"])
    assert [(g.name, len(g.members)) for g in found] == [
        ("img", 12_000), ("img.csv", 1), ("other", 40),
    ]  # fmt: skip
    # Just below the limit each class is a folder of its own.
    assert len(group_files(pictures[:10_000])) == 100


def test_two_data_sets_stay_apart() -> None:
    both = [f"data/{part}/{at % 7}/{at}" for part in ("test", "train") for at in range(11_000)]
    assert [g.name for g in group_files(both)] == ["data/test", "data/train"]
