from index_samples import SampleLogs, run_id

from thence.index import Index
from thence.index.lineage import Direction, lineage
from thence.index.views import LineageGraph
from thence.model.ids import Digest
from thence.model.records import Version


def indexed(logs: SampleLogs) -> Index:
    index = Index(":memory:")
    index.ingest(logs.items(), logs.contents)
    return index


def labels(graph: LineageGraph) -> list[str]:
    return [node.label for node in graph.nodes]


def edges(graph: LineageGraph) -> set[tuple[str, str, str]]:
    name = {node.id: node.label for node in graph.nodes}
    return {(name[e.origin], e.relation, name[e.result]) for e in graph.edges}


def chain() -> tuple[SampleLogs, Version, Version]:
    """raw -> run:clean -> clean -> run:fit -> model, and raw -> notes by hand."""
    logs = SampleLogs()
    raw = logs.version("raw")
    clean = logs.version("clean", run=run_id(1), sources=(raw.digest,))
    logs.sealed(run_id(1), name="cleaning", uses=(raw.digest,), makes=(clean.digest,))
    model = logs.version("model", run=run_id(2))
    logs.sealed(run_id(2), name="fitting", uses=(clean.digest,), makes=(model.digest,))
    logs.version("notes", sources=(raw.digest,))
    return logs, raw, model


def test_up_goes_to_the_runs_and_what_they_used() -> None:
    logs, _, model = chain()
    graph = lineage(indexed(logs), model.digest, Direction.UP)
    assert labels(graph) == ["model@v1", "fitting", "clean@v1", "cleaning", "raw@v1"]
    assert [node.depth for node in graph.nodes] == [0, 1, 2, 3, 4]
    assert edges(graph) == {
        ("fitting", "made", "model@v1"),
        ("clean@v1", "used", "fitting"),
        ("cleaning", "made", "clean@v1"),
        ("raw@v1", "used", "cleaning"),
    }
    assert graph.is_complete


def test_down_goes_to_what_came_of_it() -> None:
    logs, raw, _ = chain()
    graph = lineage(indexed(logs), raw.digest, Direction.DOWN)
    assert labels(graph)[0] == "raw@v1"
    assert set(labels(graph)) == {
        "raw@v1",
        "cleaning",
        "clean@v1",
        "fitting",
        "model@v1",
        "notes@v1",
    }
    assert edges(graph) == {
        ("raw@v1", "used", "cleaning"),
        ("cleaning", "made", "clean@v1"),
        ("clean@v1", "used", "fitting"),
        ("fitting", "made", "model@v1"),
        ("raw@v1", "source", "notes@v1"),
    }


def test_a_run_is_a_start_as_well() -> None:
    logs, _, _ = chain()
    index = indexed(logs)
    assert labels(lineage(index, run_id(2), Direction.DOWN)) == ["fitting", "model@v1"]
    assert labels(lineage(index, run_id(1), Direction.UP)) == ["cleaning", "raw@v1"]


def test_the_run_that_a_version_names_counts_even_without_the_end_of_that_run() -> None:
    logs = SampleLogs()
    logs.opened(run_id(1), name="still going")
    made = logs.version("a", run=run_id(1))
    index = indexed(logs)
    assert labels(lineage(index, made.digest, Direction.UP)) == ["a@v1", "still going"]
    assert labels(lineage(index, run_id(1), Direction.DOWN)) == ["still going", "a@v1"]


def test_depth_and_size_bound_the_walk_and_it_says_so() -> None:
    logs, raw, model = chain()
    index = indexed(logs)
    for depth in range(4):
        graph = lineage(index, model.digest, Direction.UP, depth=depth)
        assert len(graph.nodes) == depth + 1
        assert not graph.is_complete
    assert lineage(index, model.digest, Direction.UP, depth=4).is_complete
    small = lineage(index, raw.digest, Direction.DOWN, max_nodes=3)
    assert len(small.nodes) == 3
    assert not small.is_complete
    ids = {node.id for node in small.nodes}
    assert all({edge.origin, edge.result} <= ids for edge in small.edges)


def test_a_cycle_ends() -> None:
    logs = SampleLogs()
    table = logs.version("table")
    for number in (1, 2):
        logs.sealed(run_id(number), name=f"r{number}", uses=(table.digest,), makes=(table.digest,))
    for direction in Direction:
        graph = lineage(indexed(logs), table.digest, direction)
        assert set(labels(graph)) == {"table@v1", "r1", "r2"}
        assert len(graph.edges) == 4
        assert graph.is_complete


def test_what_is_not_known_is_shown_as_such() -> None:
    logs = SampleLogs()
    lost = Digest.of(b"lost")
    made = logs.version("a", run=run_id(9), sources=(lost,))
    graph = lineage(indexed(logs), made.digest, Direction.UP)
    assert {(node.label, node.is_known) for node in graph.nodes} == {
        ("a@v1", True),
        (run_id(9).short, False),
        (lost.short, False),
    }
    alone = lineage(Index(":memory:"), lost, Direction.DOWN)
    assert [node.is_known for node in alone.nodes] == [False]


def test_a_deleted_version_stays_in_the_lineage() -> None:
    logs, raw, model = chain()
    logs.delete(raw)
    graph = lineage(indexed(logs), model.digest, Direction.UP)
    assert [node.label for node in graph.nodes if node.is_deleted] == ["raw@v1"]


def test_a_step_with_more_neighbours_than_a_statement_takes_parameters() -> None:
    logs = SampleLogs()
    root = logs.version("root")
    for number in range(1300):
        logs.version(f"leaf{number}", sources=(root.digest,))
    tip = logs.version("tip", sources=(logs.version("leaf0").digest,))
    index = indexed(logs)
    graph = lineage(index, root.digest, Direction.DOWN)
    assert len(graph.nodes) == 1301
    assert graph.is_complete
    assert tip.digest.hex not in {node.id for node in graph.nodes}
