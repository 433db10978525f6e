import os
import subprocess
import sys
from pathlib import Path

import pytest

from sites import MARKERS, Site
from thence.execution.capture.distributions import find_distributions
from thence.execution.capture.environment import Environment, capture_environment
from thence.execution.capture.host import capture_host
from thence.execution.capture.installed import Installed, list_installed, record_digest
from thence.execution.capture.interpreters import find_interpreters
from thence.execution.capture.probe import attempt
from thence.execution.capture.system import capture_system, find_packages
from thence.execution.capture.urls import without_credentials
from thence.model import codec


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_file_belongs_to_the_distribution_whose_record_has_it(site: Site) -> None:
    site.install("cloud_a", "1.0", {"cloud/a.py": "a = 1"})
    site.install("cloud_b", "2.0", {"cloud/b.py": "b = 1", "cloud/with,comma.py": "c = 1"})
    found = find_distributions(
        site.at("cloud/__pycache__/b.cpython-311.pyc", "cloud/with,comma.py"), markers=MARKERS
    )
    assert [(item.name, item.version) for item in found.distributions] == [("cloud-b", "2.0")]
    assert found.installed == ("cloud-a==1.0", "cloud-b==2.0")


def test_scanning_metadata_and_start_up_files_is_no_use(site: Site) -> None:
    site.install("setuptools", "65", {"_distutils_hack/__init__.py": "", "setuptools.py": ""})
    site.install("six", "1.0", {"six.py": "", "six.pth": ""})
    found = find_distributions(
        site.at(
            "six-1.0.dist-info/METADATA",
            "six.pth",
            "_distutils_hack/__pycache__/__init__.cpython-311.pyc",
        ),
        markers=MARKERS,
    )
    assert found.distributions == ()


def test_requirements_follow_markers_and_extras_that_are_asked_for(site: Site) -> None:
    site.install(
        "app",
        "1",
        {"app.py": ""},
        requires=(
            "lib[fast]>=1",
            'windows-only; sys_platform == "win32"',
            'old ; python_version < "3"',
            'docs-tool; extra == "docs"',
            'backport; python_version >= "3"',
        ),
    )
    site.install(
        "lib",
        "1",
        {"lib.py": ""},
        requires=('speedup; extra == "fast"', 'slow; extra == "slow"'),
    )
    for name in ("speedup", "slow", "docs_tool", "windows_only", "old"):
        site.install(name, "1", {f"{name}.py": ""})
    found = find_distributions(site.at("app.py"), markers=MARKERS)
    assert {item.name: item.used for item in found.distributions} == {
        "app": True,
        "lib": False,
        "speedup": False,
    }
    assert found.problems == ("app requires backport, which is not installed",)


def test_the_record_digest_does_not_depend_on_the_installer(tmp_path: Path) -> None:
    one, other = Site(tmp_path / "1"), Site(tmp_path / "2")
    one.install("six", "1", {"six.py": "x = 1"}, installer="pip")
    other.install("six", "1", {"six.py": "x = 1"}, installer="uv", direct_url={"url": "file:///x"})
    changed = Site(tmp_path / "3")
    changed.install("six", "1", {"six.py": "x = 2"})
    digests = [record_digest(list_installed(str(s.path))[0]) for s in (one, other, changed)]
    assert digests[0] is not None
    assert digests[0] == digests[1] != digests[2]


def test_a_file_edited_by_hand_is_found_and_kept(site: Site) -> None:
    site.install("six", "1", {"six.py": "x = 1", "other.py": "y = 1"})
    (site.path / "six.py").write_text("x = 2")
    (site.path / "other.py").write_text("y = 2")
    found = find_distributions(site.at("__pycache__/six.cpython-311.pyc"), markers=MARKERS)
    assert [(k.place, k.package, k.reason) for k in found.kept] == [("six.py", "six", "patched")]
    assert found.kept[0].path == str(site.path / "six.py")


def test_files_that_there_was_no_time_to_check_are_counted(site: Site) -> None:
    site.install("six", "1", {"six.py": "x = 1"})
    ticks = iter([0.0, 10.0])
    found = find_distributions(site.at("six.py"), markers=MARKERS, clock=lambda: next(ticks))
    assert found.problems == ("1 used package files were not compared with their hashes",)


def test_an_editable_install_keeps_its_opened_source_and_metadata(
    site: Site, tmp_path: Path
) -> None:
    source = tmp_path / "lib" / "src"
    (source / "mine").mkdir(parents=True)
    for name in ("__init__.py", "table.json", "unused.py"):
        (source / "mine" / name).write_text("")
    (tmp_path / "lib" / "data.csv").write_text("a\n1\n")
    site.install(
        "mine",
        "0.1",
        {"_mine.pth": f"{source}\n"},
        direct_url={"url": f"file://{tmp_path}/lib", "dir_info": {"editable": True}},
    )
    opened = {str(source / "mine" / n) for n in ("__init__.py", "table.json")}
    opened |= {str(tmp_path / "lib" / "data.csv")} | site.at("mine-0.1.dist-info/METADATA")
    found = find_distributions(opened | site.at("x"), markers=MARKERS)
    assert [(item.name, item.source, item.used) for item in found.distributions] == [
        ("mine", "editable", True)
    ]
    assert {(k.place, k.reason) for k in found.kept} == {
        ("mine/__init__.py", "editable"),
        ("mine/table.json", "editable"),
        ("mine-0.1.dist-info/METADATA", "editable"),
    }


def test_the_metadata_of_an_editable_project_is_kept_when_it_was_read(
    site: Site, tmp_path: Path
) -> None:
    direct_url: dict[str, object] = {
        "url": f"file://{tmp_path}/lib",
        "dir_info": {"editable": True},
    }
    finder = "MAPPING: dict[str, str] = {'mine': '/other/src/mine'}"
    files = {"_mine.pth": "/nowhere/src\nimport x\n", "__editable___mine_finder.py": finder}
    site.install("mine", "0.1", files, direct_url=direct_url)
    assert find_distributions(site.at("x.py"), markers=MARKERS).kept == ()
    found = find_distributions(site.at("mine-0.1.dist-info/METADATA"), markers=MARKERS)
    assert [(item.name, item.used) for item in found.distributions] == [("mine", False)]
    assert [item.place for item in found.kept] == ["mine-0.1.dist-info/METADATA"]
    assert found.import_roots == ("/nowhere/src", "/other/src")


def test_a_local_install_keeps_its_files_up_to_a_limit(site: Site) -> None:
    site.install(
        "mine", "0.1", {"mine.py": "m = 1"}, direct_url={"url": "file:///somewhere", "dir_info": {}}
    )
    found = find_distributions(site.at("mine.py"), markers=MARKERS)
    assert found.distributions[0].source == "local"
    assert {"mine.py", "mine-0.1.dist-info/METADATA"} <= {k.place for k in found.kept}
    small = find_distributions(site.at("mine.py"), markers=MARKERS, kept_limit_bytes=4)
    assert small.kept == ()
    assert "mine 0.1 was installed from a local path and is not kept" in small.problems[0]


@pytest.mark.parametrize(
    ("direct_url", "source", "url"),
    [
        (
            {
                "url": "https://user:pass@git.example/x.git",
                "vcs_info": {"vcs": "git", "commit_id": "abc"},
                "subdirectory": "py",
            },
            "vcs",
            "git+https://git.example/x.git@abc#subdirectory=py",
        ),
        ({"url": "https://e.example/x.whl", "archive_info": {}}, "url", "https://e.example/x.whl"),
        (None, "index", None),
    ],
)
def test_the_source_of_a_distribution(
    site: Site, direct_url: dict[str, object] | None, source: str, url: str | None
) -> None:
    site.install("six", "1", {"six.py": ""}, direct_url=direct_url)
    (item,) = find_distributions(site.at("six.py"), markers=MARKERS).distributions
    assert (item.source, item.url) == (source, url)


def test_the_build_farm_path_of_conda_is_not_a_local_install(site: Site) -> None:
    site.install(
        "numpy",
        "2",
        {"numpy.py": ""},
        installer="conda",
        direct_url={"url": "file:///home/conda/feedstock_root/build", "dir_info": {}},
    )
    (item,) = find_distributions(site.at("numpy.py"), markers=MARKERS).distributions
    assert (item.source, item.installer) == ("index", "conda")


def test_a_distribution_without_record_is_matched_by_its_top_level(site: Site) -> None:
    info = site.path / "Old_Thing-1.2-py3.11.egg-info"
    info.mkdir()
    (info / "top_level.txt").write_text("oldthing\n")
    found = find_distributions(site.at("oldthing/a.py"), markers=MARKERS)
    assert [(i.name, i.version, i.record) for i in found.distributions] == [
        ("old-thing", "1.2", None)
    ]


def test_folders_of_pythonpath_are_looked_at(tmp_path: Path) -> None:
    target = Site(tmp_path)
    vendored = tmp_path / "vendored"
    target.install("six", "1", {"six.py": ""})
    target.path.rename(vendored)
    opened = {str(vendored / "six.py")}
    assert find_distributions(opened, markers=MARKERS).distributions == ()
    found = find_distributions(opened, markers=MARKERS, sites=["", ".", str(vendored)])
    assert [item.name for item in found.distributions] == ["six"]


def test_a_broken_folder_breaks_nothing(site: Site) -> None:
    (site.path / "broken-1.dist-info").mkdir()
    (site.path / "~umpy-1.dist-info").mkdir()
    (site.path / "bad-1.dist-info").mkdir()
    (site.path / "bad-1.dist-info" / "RECORD").write_bytes(b"\xff\xfe,,\nbad.py")
    (site.path / "bad-1.dist-info" / "direct_url.json").write_text("{")
    found = find_distributions(site.at("bad.py"), markers=MARKERS)
    assert [item.name for item in found.distributions] == ["bad"]
    assert found.installed == ("bad==1", "broken==1")


# --- interpreters --------------------------------------------------------------------------------


def test_the_interpreter_of_a_virtual_environment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    (one,) = find_interpreters([], ["/bin/sh", str(python), str(python)])
    info = sys.version_info
    assert one.version.startswith(f"{info.major}.{info.minor}.{info.micro}")
    assert one.prefix == str(tmp_path / "venv")
    assert one.base_prefix == sys.base_prefix
    assert one.minor_version == f"{info.major}.{info.minor}"


def test_a_resolved_program_path_finds_its_environment_by_pyvenv_cfg(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    real = os.path.realpath(sys.executable)
    (one,) = find_interpreters([str(tmp_path / "venv" / "pyvenv.cfg")], [real])
    assert one.prefix == str(tmp_path / "venv")


def test_scripts_count_by_their_first_line_and_shims_do_not(tmp_path: Path) -> None:
    shim = tmp_path / "python"
    shim.write_text("#!/bin/sh\nexec something\n")
    script = tmp_path / "tool"
    script.write_text(f"#!{sys.executable} -E\nprint(1)\n")
    assert find_interpreters([], [str(shim), "/bin/true", str(tmp_path / "gone")]) == []
    (one,) = find_interpreters([], [str(shim), str(script)])
    assert one.executable == sys.executable


def test_a_python_that_cannot_be_asked_is_described_by_its_pyvenv_cfg(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_bytes(b"\x7fELF nothing")
    (tmp_path / "pyvenv.cfg").write_text("home = /x\nversion_info = 3.9.2\n")
    (one,) = find_interpreters([], [str(tmp_path / "bin" / "python3")])
    assert one.version == "3.9.2"


# --- all together --------------------------------------------------------------------------------


def test_the_environment_of_a_real_process_survives_the_codec() -> None:
    import msgspec
    import packaging

    opened = {packaging.__file__, msgspec.__file__, "/not/utf8/\udcff"}
    environment = capture_environment(
        opened, [sys.executable], variables={"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    )
    assert environment.python is not None
    assert {"packaging", "msgspec"} <= {item.name for item in environment.used}
    assert all(item.record is not None for item in environment.used)
    assert environment.system.threads == {"OMP_NUM_THREADS": "1"}
    assert environment.problems == ()
    assert codec.decode(codec.encode(environment), Environment) == environment


def test_a_run_without_python_has_no_interpreter() -> None:
    environment = capture_environment({"/etc/hosts"}, ["/bin/ls"])
    assert environment.python is None
    assert environment.distributions == ()


# --- operating system ----------------------------------------------------------------------------


@pytest.mark.skipif(
    not Path("/var/lib/dpkg/info").is_dir(), reason="no dpkg on this machine: rpm is not tested"
)
def test_system_packages_are_found_under_both_spellings_of_a_merged_usr() -> None:
    libraries = [
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libc.so.6" in line
    ]
    path = libraries[0]
    bare = path.removeprefix("/usr")
    for spelling in (f"/usr{bare}", bare):
        (package,) = find_packages([spelling, "/usr/lib/nothing.so"])
        assert package.name == "libc6"
        asked = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "libc6"], capture_output=True, check=True
        )
        assert package.version == asked.stdout.decode()


def test_loaded_blas_and_gpu_libraries_are_named() -> None:
    system = capture_system(
        ["/v/numpy.libs/libscipy_openblas64_-1.so", "/opt/cuda/libcudart.so.12", "/x/libm.so"],
        [],
        {"CUDA_VISIBLE_DEVICES": "0", "HOME": "/root"},
    )
    assert system.blas == ("libscipy_openblas64_-1.so",)
    assert system.accelerators[:1] == ("libcudart.so.12",)
    assert system.threads == {"CUDA_VISIBLE_DEVICES": "0"}


def test_the_host_is_described() -> None:
    host = capture_host()
    assert host.system
    assert host.cpus > 0
    assert host.memory_bytes > 1 << 20


def test_a_probe_that_fails_is_a_sentence() -> None:
    def fail() -> int:
        raise OSError("no such device\nand more")

    assert attempt("the host", fail) == (None, "the host could not be recorded: no such device")
    assert attempt("the host", lambda: 3) == (3, None)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://me:tok@h/a.git", "https://h/a.git"),
        ("https://tok@h/a.git", "https://h/a.git"),
        ("git+ssh://git@h/a.git", "git+ssh://git@h/a.git"),
        ("git@h:a.git", "git@h:a.git"),
        ("https://h/a@b", "https://h/a@b"),
        ("ssh://me:pw@h/a", "ssh://h/a"),
        ("/srv/a.git", "/srv/a.git"),
    ],
)
def test_addresses_lose_their_credentials(url: str, kept: str) -> None:
    assert without_credentials(url) == kept


def test_the_name_and_version_come_from_the_folder() -> None:
    item = Installed("/nowhere", "Ruamel.Yaml-0.18.6.dist-info")
    assert (item.name, item.version) == ("ruamel-yaml", "0.18.6")
    assert item.tags() == ()
