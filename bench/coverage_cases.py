"""Ways to read and to write a file, by library and by language.

Each is a small Python program, in which `p` is the path of the file that matters, relative to the
working directory; other languages are started by it, as people do. What is to be read is made
beforehand, by the maker of its kind.
"""

# ruff: noqa: E501 - a table, a line for each way

from typing import NamedTuple

__all__ = ["MAKERS", "READS", "WRITES", "Case"]


class Case(NamedTuple):
    """One way.

    Attributes:
        group: Under which it is listed.
        name: What it is called.
        file: Name of the file, or of the folder, that matters.
        code: The program.
        needs: Modules and programs (`$ name`) without which it cannot be tried.
    """

    group: str
    name: str
    file: str
    code: str
    needs: tuple[str, ...] = ()


# By the suffix of the file: makes `p`.
MAKERS: dict[str, tuple[str, str]] = {
    "csv": ("", "open(p, 'w').write('a,b\\n1,2\\n3,4\\n')"),
    "txt": ("", "open(p, 'w').write('one\\ntwo\\n')"),
    "json": ("", "open(p, 'w').write('[{\"a\": 1}, {\"a\": 2}]')"),
    "ndjson": ("", "open(p, 'w').write('{\"a\": 1}\\n{\"a\": 2}\\n')"),
    "xml": ("", "open(p, 'w').write('<t><r><a>1</a></r><r><a>2</a></r></t>')"),
    "py": ("", "open(p, 'w').write('x = 1\\n')"),
    "c": ("", "open(p, 'w').write('int main(void) { return 0; }\\n')"),
    "svm": ("", "open(p, 'w').write('1 1:2\\n0 1:3\\n')"),
    "gz": ("", "import gzip; gzip.open(p, 'wt').write('x')"),
    "bz2": ("", "import bz2; bz2.open(p, 'wt').write('x')"),
    "xz": ("", "import lzma; lzma.open(p, 'wt').write('x')"),
    "zip": ("", "import zipfile; zipfile.ZipFile(p, 'w').writestr('x', 'x')"),
    "tar": ("", "import tarfile; tarfile.open(p, 'w').close()"),
    "pickle": ("", "import pickle; pickle.dump([1], open(p, 'wb'))"),
    "db": (
        "",
        "import sqlite3; c = sqlite3.connect(p); c.execute('create table t(a)'); c.commit()",
    ),
    "wav": (
        "",
        "import wave; w = wave.open(p, 'wb'); w.setnchannels(1); w.setsampwidth(2);"
        " w.setframerate(8000); w.writeframes(bytes(1600)); w.close()",
    ),
    "npy": ("numpy", "import numpy; numpy.save(p, numpy.arange(8.0))"),
    "npz": ("numpy", "import numpy; numpy.savez(p, a=numpy.arange(8.0))"),
    "bin": ("numpy", "import numpy; numpy.arange(8, dtype='float32').tofile(p)"),
    "parquet": (
        "pyarrow",
        "import pyarrow as pa, pyarrow.parquet as q; q.write_table(pa.table({'a': [1, 2]}), p)",
    ),
    "arrow": (
        "pyarrow",
        "import pyarrow as pa, pyarrow.feather as f;"
        " f.write_feather(pa.table({'a': [1, 2]}), p, compression='uncompressed')",
    ),
    "orc": (
        "pyarrow",
        "import pyarrow as pa, pyarrow.orc as o; o.write_table(pa.table({'a': [1, 2]}), p)",
    ),
    "xlsx": ("openpyxl", "import openpyxl as o; b = o.Workbook(); b.active['A1'] = 1; b.save(p)"),
    "hdf": ("tables", "import pandas; pandas.DataFrame({'a': [1]}).to_hdf(p, key='k')"),
    "h5": ("h5py", "import h5py; h5py.File(p, 'w').create_dataset('a', data=[1, 2])"),
    "nc": (
        "netCDF4",
        "import netCDF4; d = netCDF4.Dataset(p, 'w'); d.createDimension('x', 2);"
        " d.createVariable('a', 'f4', ('x',))[:] = [1, 2]; d.close()",
    ),
    "zarr": ("zarr", "import zarr; zarr.save(p, __import__('numpy').arange(8))"),
    "duckdb": (
        "duckdb",
        "import duckdb; c = duckdb.connect(p); c.execute('create table t as select 1 a'); c.close()",
    ),
    "png": ("PIL", "import PIL.Image as i; i.new('RGB', (8, 8)).save(p)"),
    "pt": ("torch", "import torch; torch.save({'a': torch.ones(2)}, p)"),
    "jit": (
        "torch",
        "import torch; m = torch.jit.trace(torch.nn.Linear(2, 1), torch.ones(1, 2)); m.save(p)",
    ),
    "safetensors": (
        "safetensors",
        "import numpy, safetensors.numpy as s; s.save_file({'a': numpy.ones(2)}, p)",
    ),
    "onnx": (
        "onnx",
        "import onnx; from onnx import helper as h, TensorProto as t;"
        " v = [h.make_tensor_value_info(n, t.FLOAT, [1]) for n in 'xy'];"
        " g = h.make_graph([h.make_node('Relu', ['x'], ['y'])], 'g', v[:1], v[1:]);"
        " onnx.save(h.make_model(g, ir_version=8, opset_imports=[h.make_opsetid('', 13)]), p)",
    ),
    "ubj": (
        "xgboost",
        "import numpy, xgboost as x; d = x.DMatrix(numpy.ones((4, 2)), label=[0, 1, 0, 1]);"
        " x.train({}, d, 1).save_model(p)",
    ),
    "lgb": (
        "lightgbm",
        "import numpy, lightgbm as g; d = g.Dataset(numpy.random.rand(50, 2), label=[0, 1] * 25);"
        " g.train({'verbose': -1}, d, 1).save_model(p)",
    ),
    "cbm": (
        "catboost",
        "import catboost as c; m = c.CatBoostRegressor(iterations=1, verbose=False,"
        " allow_writing_files=False); m.fit([[0], [1]], [0, 1]); m.save_model(p)",
    ),
    "joblib": ("joblib", "import joblib; joblib.dump([1], p)"),
    "skops": (
        "skops",
        "import skops.io as s; from sklearn.linear_model import Ridge; s.dump(Ridge(), p)",
    ),
}


def _run(*words: str) -> str:
    """Starts a program; the word `p` is the path."""
    return f"import subprocess; subprocess.run([{', '.join(words)}], check=True)"


def _shell(text: str) -> str:
    return f"import subprocess; subprocess.run({text!r}.replace('P', p), shell=True, check=True)"


def _python(option: str, code: str) -> str:
    return f"import subprocess, sys; subprocess.run([sys.executable, {option!r}, '-c', {code!r}, p], check=True)"


_FRAME = "import pandas; d = pandas.DataFrame({'a': [1, 2]}); "
_TABLE = "import pyarrow as pa; t = pa.table({'a': [1, 2]}); "
_POLARS = "import polars; d = polars.DataFrame({'a': [1, 2]}); "
_POOL = (
    "import multiprocessing\n"
    "def work(q): return open(q{mode}){then}\n"
    "if __name__ == '__main__':\n"
    "    with multiprocessing.get_context({how!r}).Pool(1) as pool: pool.map(work, [p])\n"
)


def _pool(how: str, mode: str = "", then: str = ".read()") -> str:
    return _POOL.format(how=how, mode=mode, then=then)


def _cases(group: str, *rows: tuple[str, str, str] | tuple[str, str, str, str]) -> list[Case]:
    made = []
    for number, row in enumerate(rows):
        name, suffix, code, *needs = row
        words = tuple(needs[0].split(", ")) if needs else ()
        label = "".join(letter for letter in group.lower() if letter.isalnum())
        made.append(Case(group, name, f"{label}-{number}.{suffix}", code, words))
    return made


READS = [
    *_cases(
        "Python",
        ("open", "txt", "open(p).read()"),
        ("pathlib", "txt", "import pathlib; pathlib.Path(p).read_bytes()"),
        ("io.FileIO", "txt", "import io; io.FileIO(p).read()"),
        ("os.open", "txt", "import os; os.read(os.open(p, os.O_RDONLY), 9)"),
        ("mmap", "txt", "import mmap; f = open(p, 'rb'); mmap.mmap(f.fileno(), 0, prot=1)[:]"),
        ("shutil.copy", "txt", "import shutil; shutil.copy(p, 'copy')"),
        ("fileinput", "txt", "import fileinput; list(fileinput.input(p))"),
        ("linecache", "py", "import linecache; linecache.getlines(p)"),
        ("runpy", "py", "import runpy; runpy.run_path(p)"),
        ("gzip", "gz", "import gzip; gzip.open(p).read()"),
        ("bz2", "bz2", "import bz2; bz2.open(p).read()"),
        ("lzma", "xz", "import lzma; lzma.open(p).read()"),
        ("zipfile", "zip", "import zipfile; zipfile.ZipFile(p).read('x')"),
        ("tarfile", "tar", "import tarfile; tarfile.open(p).getnames()"),
        ("csv", "csv", "import csv; list(csv.reader(open(p)))"),
        ("json", "json", "import json; json.load(open(p))"),
        ("pickle", "pickle", "import pickle; pickle.load(open(p, 'rb'))"),
        ("sqlite3", "db", "import sqlite3; sqlite3.connect(p).execute('select * from t')"),
        ("wave", "wav", "import wave; wave.open(p).readframes(9)"),
        ("xml.etree", "xml", "import xml.etree.ElementTree as e; e.parse(p)"),
        ("urllib file://", "txt", "import os, urllib.request as u; u.urlopen('file://' + os.path.abspath(p)).read()"),
        ("ctypes fopen", "txt", "import ctypes; c = ctypes.CDLL(None); c.fopen.restype = ctypes.c_void_p; assert c.fopen(p.encode(), b'r')"),
    ),
    *_cases(
        "NumPy",
        ("load", "npy", "import numpy; numpy.load(p)", "numpy"),
        ("load, mmap_mode", "npy", "import numpy; numpy.load(p, mmap_mode='r').sum()", "numpy"),
        ("load of npz", "npz", "import numpy; numpy.load(p)['a']", "numpy"),
        ("memmap", "bin", "import numpy; numpy.memmap(p, mode='r').sum()", "numpy"),
        ("fromfile", "bin", "import numpy; numpy.fromfile(p)", "numpy"),
        ("loadtxt", "csv", "import numpy; numpy.loadtxt(p, delimiter=',', skiprows=1)", "numpy"),
    ),
    *_cases(
        "pandas",
        ("read_csv", "csv", "import pandas; pandas.read_csv(p)", "pandas"),
        ("read_csv, pyarrow engine", "csv", "import pandas; pandas.read_csv(p, engine='pyarrow')", "pandas, pyarrow"),
        ("read_parquet", "parquet", "import pandas; pandas.read_parquet(p)", "pandas, pyarrow"),
        ("read_parquet, fastparquet", "parquet", "import pandas; pandas.read_parquet(p, engine='fastparquet')", "pandas, pyarrow, fastparquet"),
        ("read_feather", "arrow", "import pandas; pandas.read_feather(p)", "pandas, pyarrow"),
        ("read_orc", "orc", "import pandas; pandas.read_orc(p)", "pandas, pyarrow"),
        ("read_excel", "xlsx", "import pandas; pandas.read_excel(p)", "pandas, openpyxl"),
        ("read_hdf", "hdf", "import pandas; pandas.read_hdf(p, 'k')", "pandas, tables"),
        ("read_json", "json", "import pandas; pandas.read_json(p)", "pandas"),
        ("read_xml", "xml", "import pandas; pandas.read_xml(p)", "pandas, lxml"),
        ("read_pickle", "pickle", "import pandas; pandas.read_pickle(p)", "pandas"),
    ),
    *_cases(
        "PyArrow",
        ("csv", "csv", "import pyarrow.csv as c; c.read_csv(p)", "pyarrow"),
        ("json", "ndjson", "import pyarrow.json as c; c.read_json(p)", "pyarrow"),
        ("parquet", "parquet", "import pyarrow.parquet as c; c.read_table(p)", "pyarrow"),
        ("ParquetFile", "parquet", "from pyarrow.parquet import ParquetFile as c; c(p).read()", "pyarrow"),
        ("orc", "orc", "import pyarrow.orc as c; c.ORCFile(p).read()", "pyarrow"),
        ("feather", "arrow", "import pyarrow.feather as c; c.read_table(p)", "pyarrow"),
        ("ipc", "arrow", "import pyarrow as pa; pa.ipc.open_file(p).read_all()", "pyarrow"),
        ("dataset", "parquet", "import pyarrow.dataset as c; c.dataset(p).to_table()", "pyarrow"),
        ("memory_map", "arrow", "import pyarrow as pa; pa.ipc.open_file(pa.memory_map(p)).read_all()", "pyarrow"),
        ("OSFile", "csv", "import pyarrow as pa; pa.OSFile(p).read()", "pyarrow"),
        ("input_stream", "csv", "import pyarrow as pa; pa.input_stream(p).read()", "pyarrow"),
        ("fs.LocalFileSystem", "csv", "import pyarrow.fs as f; f.LocalFileSystem().open_input_file(p).read()", "pyarrow"),
    ),
    *_cases(
        "Polars",
        ("read_csv", "csv", "import polars; polars.read_csv(p)", "polars"),
        ("scan_csv", "csv", "import polars; polars.scan_csv(p).collect()", "polars"),
        ("read_parquet", "parquet", "import polars; polars.read_parquet(p)", "polars, pyarrow"),
        ("scan_parquet", "parquet", "import polars; polars.scan_parquet(p).collect()", "polars, pyarrow"),
        ("read_ipc", "arrow", "import polars; polars.read_ipc(p)", "polars, pyarrow"),
        ("read_ndjson", "ndjson", "import polars; polars.read_ndjson(p)", "polars"),
        ("read_excel", "xlsx", "import polars; polars.read_excel(p)", "polars, fastexcel, openpyxl"),
        ("sql", "csv", "import polars; polars.sql(f\"select * from read_csv('{p}')\", eager=True)", "polars"),
    ),
    *_cases(
        "DuckDB",
        ("sql", "csv", "import duckdb; duckdb.sql(f\"select * from '{p}'\").fetchall()", "duckdb"),
        ("read_csv", "csv", "import duckdb; duckdb.read_csv(p).fetchall()", "duckdb"),
        ("read_parquet", "parquet", "import duckdb; duckdb.read_parquet(p).fetchall()", "duckdb, pyarrow"),
        ("connection.execute", "csv", "import duckdb; duckdb.connect().execute(f\"copy (select * from read_csv('{p}')) to 'x.csv'\")", "duckdb"),
        ("connect", "duckdb", "import duckdb; duckdb.connect(p, read_only=True).execute('from t').fetchall()", "duckdb"),
        ("attach", "duckdb", "import duckdb; c = duckdb.connect(); c.execute(f\"attach '{p}' as o (read_only)\"); c.execute('from o.t')", "duckdb"),
    ),
    *_cases(
        "Arrays",
        ("h5py", "h5", "import h5py; h5py.File(p)['a'][:]", "h5py"),
        ("PyTables", "hdf", "import tables; tables.open_file(p).close()", "tables, pandas"),
        ("netCDF4", "nc", "import netCDF4; netCDF4.Dataset(p)['a'][:]", "netCDF4"),
        ("xarray", "nc", "import xarray; xarray.open_dataset(p, engine='netcdf4').load()", "xarray, netCDF4"),
        ("zarr", "zarr", "import zarr; zarr.load(p)", "zarr"),
    ),
    *_cases(
        "Images and sound",
        ("Pillow", "png", "import PIL.Image as i; i.open(p).load()", "PIL"),
        ("OpenCV", "png", "import cv2; assert cv2.imread(p) is not None", "cv2, PIL"),
        ("imageio", "png", "import imageio.v3 as i; i.imread(p)", "imageio, PIL"),
        ("soundfile", "wav", "import soundfile; soundfile.read(p)", "soundfile"),
        ("SoundFile", "wav", "from soundfile import SoundFile as s; s(p).read()", "soundfile"),
        ("lxml", "xml", "import lxml.etree as e; e.parse(p)", "lxml"),
    ),
    *_cases(
        "Models",
        ("torch.load", "pt", "import torch; torch.load(p)", "torch"),
        ("torch.jit.load", "jit", "import torch; torch.jit.load(p)", "torch"),
        ("torch.from_file", "bin", "import torch; torch.from_file(p, size=8)", "torch, numpy"),
        ("UntypedStorage.from_file", "bin", "import torch; torch.UntypedStorage.from_file(p, False, 8)", "torch, numpy"),
        ("safe_open", "safetensors", "import safetensors as s\nwith s.safe_open(p, 'np') as f: f.keys()", "safetensors, numpy"),
        ("safetensors.numpy", "safetensors", "import safetensors.numpy as s; s.load_file(p)", "safetensors, numpy"),
        ("onnx", "onnx", "import onnx; onnx.load(p)", "onnx"),
        ("onnxruntime", "onnx", "import onnxruntime as o; o.InferenceSession(p)", "onnxruntime, onnx"),
        ("xgboost model", "ubj", "import xgboost; xgboost.Booster(model_file=p)", "xgboost"),
        ("xgboost.DMatrix", "svm", "import xgboost; xgboost.DMatrix(p + '?format=libsvm')", "xgboost"),
        ("lightgbm model", "lgb", "import lightgbm; lightgbm.Booster(model_file=p)", "lightgbm"),
        ("lightgbm.Dataset", "csv", "import lightgbm; lightgbm.Dataset(p, params={'header': True, 'verbose': -1}).construct()", "lightgbm"),
        ("catboost model", "cbm", "import catboost; catboost.CatBoost().load_model(p)", "catboost"),
        ("joblib", "joblib", "import joblib; joblib.load(p)", "joblib"),
        ("skops", "skops", "import skops.io; skops.io.load(p, trusted=[])", "skops"),
    ),
    *_cases(
        "Children",
        ("fork worker", "txt", _pool("fork")),
        ("spawn worker", "txt", _pool("spawn")),
        ("forkserver worker", "txt", _pool("forkserver")),
        ("python", "txt", _python("-B", "import sys; open(sys.argv[1])")),
        ("python -I", "txt", _python("-I", "import sys; open(sys.argv[1])")),
        ("python -S", "txt", _python("-S", "import sys; open(sys.argv[1])")),
        ("cat", "txt", _run("'cat'", "p"), "$ cat"),
        ("os.system cp", "txt", "import os; assert os.system(f'cp {p} copy') == 0", "$ cp"),
        ("sort in a pipe", "txt", _shell("sort P | head -1"), "$ sort"),
        ("redirection", "txt", _shell("cat < P"), "$ cat"),
        ("C compiler", "c", _run("'gcc'", "'-c'", "p", "'-o'", "'o'"), "$ gcc"),
        ("awk", "txt", _run("'awk'", "'{print}'", "p"), "$ awk"),
        ("perl", "txt", _run("'perl'", "'-ne'", "'1'", "p"), "$ perl"),
        ("node", "txt", _run("'node'", "'-e'", "'require(\"fs\").readFileSync(process.argv[1])'", "p"), "$ node"),
        ("git hash-object", "txt", _run("'git'", "'hash-object'", "p"), "$ git"),
        ("curl file://", "txt", "import os, subprocess; subprocess.run(['curl', '-s', 'file://' + os.path.abspath(p)], check=True)", "$ curl"),
        ("sqlite3", "db", _run("'sqlite3'", "p", "'select * from t'"), "$ sqlite3"),
    ),
]  # fmt: skip

WRITES = [
    *_cases(
        "Python",
        ("open", "txt", "open(p, 'w').write('x')"),
        ("open, append", "txt", "open(p, 'a').write('x')"),
        ("pathlib", "txt", "import pathlib; pathlib.Path(p).write_text('x')"),
        ("os.open", "txt", "import os; os.write(os.open(p, os.O_WRONLY | os.O_CREAT), b'x')"),
        ("os.replace", "txt", "import os; open('new', 'w').write('x'); os.replace('new', p)"),
        ("shutil.copy", "txt", "import shutil; shutil.copy(__file__, p)"),
        ("gzip", "gz", "import gzip; gzip.open(p, 'wt').write('x')"),
        ("zipfile", "zip", "import zipfile; zipfile.ZipFile(p, 'w').writestr('x', 'x')"),
        ("tarfile", "tar", "import tarfile; tarfile.open(p, 'w').close()"),
        ("json", "json", "import json; json.dump([1], open(p, 'w'))"),
        ("pickle", "pickle", "import pickle; pickle.dump([1], open(p, 'wb'))"),
        ("sqlite3", "db", MAKERS["db"][1]),
        ("wave", "wav", MAKERS["wav"][1]),
        ("ctypes fopen", "txt", "import ctypes; c = ctypes.CDLL(None); c.fopen.restype = ctypes.c_void_p; assert c.fopen(p.encode(), b'w')"),
    ),
    *_cases(
        "Tables",
        ("numpy.save", "npy", MAKERS["npy"][1], "numpy"),
        ("numpy.savez", "npz", MAKERS["npz"][1], "numpy"),
        ("numpy.memmap", "bin", "import numpy; numpy.memmap(p, mode='w+', shape=8)[:] = 1", "numpy"),
        ("ndarray.tofile", "bin", MAKERS["bin"][1], "numpy"),
        ("pandas.to_csv", "csv", _FRAME + "d.to_csv(p)", "pandas"),
        ("pandas.to_parquet", "parquet", _FRAME + "d.to_parquet(p)", "pandas, pyarrow"),
        ("pandas.to_feather", "arrow", _FRAME + "d.to_feather(p)", "pandas, pyarrow"),
        ("pandas.to_excel", "xlsx", _FRAME + "d.to_excel(p)", "pandas, openpyxl"),
        ("pandas.to_hdf", "hdf", _FRAME + "d.to_hdf(p, key='k')", "pandas, tables"),
        ("pyarrow csv", "csv", _TABLE + "import pyarrow.csv as c; c.write_csv(t, p)", "pyarrow"),
        ("pyarrow parquet", "parquet", _TABLE + "import pyarrow.parquet as c; c.write_table(t, p)", "pyarrow"),
        ("pyarrow orc", "orc", _TABLE + "import pyarrow.orc as c; c.write_table(t, p)", "pyarrow"),
        ("pyarrow ipc", "arrow", _TABLE + "\nwith pa.ipc.new_file(p, t.schema) as w: w.write(t)", "pyarrow"),
        ("pyarrow dataset", "folder", _TABLE + "import pyarrow.dataset as c; c.write_dataset(t, p, format='parquet')", "pyarrow"),
        ("pyarrow OSFile", "txt", "import pyarrow as pa; pa.OSFile(p, 'w').write(b'x')", "pyarrow"),
        ("pyarrow fs", "txt", "import pyarrow.fs as f; f.LocalFileSystem().open_output_stream(p).close()", "pyarrow"),
        ("polars write_csv", "csv", _POLARS + "d.write_csv(p)", "polars"),
        ("polars write_parquet", "parquet", _POLARS + "d.write_parquet(p)", "polars"),
        ("polars sink_parquet", "parquet", _POLARS + "d.lazy().sink_parquet(p)", "polars"),
        ("polars write_ipc", "arrow", _POLARS + "d.write_ipc(p)", "polars"),
        ("duckdb copy", "csv", "import duckdb; duckdb.sql(f\"copy (select 1) to '{p}'\")", "duckdb"),
        ("duckdb relation", "parquet", "import duckdb; duckdb.sql('select 1').write_parquet(p)", "duckdb"),
        ("duckdb database", "duckdb", MAKERS["duckdb"][1], "duckdb"),
    ),
    *_cases(
        "Arrays, images, models",
        *((kind, kind, MAKERS[kind][1], need) for kind, need in (
            ("h5", "h5py"), ("nc", "netCDF4"), ("zarr", "zarr"), ("png", "PIL"), ("pt", "torch"),
            ("jit", "torch"), ("safetensors", "safetensors, numpy"), ("onnx", "onnx"),
            ("ubj", "xgboost"), ("lgb", "lightgbm"), ("cbm", "catboost"), ("joblib", "joblib"),
            ("skops", "skops"),
        )),
        ("OpenCV", "png", "import cv2, numpy; cv2.imwrite(p, numpy.zeros((8, 8, 3)))", "cv2, numpy"),
        ("soundfile", "wav", "import soundfile, numpy; soundfile.write(p, numpy.zeros(99), 8000)", "soundfile, numpy"),
        ("lxml", "xml", "import lxml.etree as e; e.ElementTree(e.Element('a')).write(p)", "lxml"),
        ("torch.jit.save", "jit", "import torch; torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 1), torch.ones(1, 2)), p)", "torch"),
    ),
    *_cases(
        "Children",
        ("fork worker", "txt", _pool("fork", ", 'w'", ".close()")),
        ("spawn worker", "txt", _pool("spawn", ", 'w'", ".close()")),
        ("python -I", "txt", _python("-I", "import sys; open(sys.argv[1], 'w')")),
        ("redirection", "txt", _shell("echo x > P")),
        ("tee", "txt", _shell("echo x | tee P"), "$ tee"),
        ("dd", "txt", _run("'dd'", "'if=/dev/zero'", "'of=' + p", "'count=1'"), "$ dd"),
        ("cp", "txt", _run("'cp'", "__file__", "p"), "$ cp"),
        ("gcc", "o", _shell("echo 'int x;' | gcc -xc -c - -o P"), "$ gcc"),
        ("perl", "txt", _run("'perl'", "'-e'", "'open F, q(>), shift; print F 1'", "p"), "$ perl"),
        ("node", "txt", _run("'node'", "'-e'", "'require(\"fs\").writeFileSync(process.argv[1], \"x\")'", "p"), "$ node"),
        ("sqlite3", "db", _run("'sqlite3'", "p", "'create table t(a)'"), "$ sqlite3"),
    ),
]  # fmt: skip
