import io
import pickle
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thence.formats.media import HEAD_BYTES, sniff
from thence.model.records import Kind


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "head", "kind", "media_type"),
    [
        ("a.csv", b"x,y\n1,2\n", Kind.DATASET, "text/csv"),
        ("a.CSV", "ä,ö\n".encode("latin-1"), Kind.DATASET, "text/csv"),
        ("a.tsv", b"x\ty\n", Kind.DATASET, "text/tab-separated-values"),
        ("a.json", b'{"a": 1}', Kind.DATASET, "application/json"),
        ("a.jsonl", b'{"a": 1}\n', Kind.DATASET, "application/jsonl"),
        ("metrics.json", b"{}", Kind.METRICS, "application/json"),
        ("out/eval.metrics.json", b"{}", Kind.METRICS, "application/json"),
        ("out/test_metrics.yaml", b"a: 1", Kind.METRICS, "application/yaml"),
        ("asymmetrics.json", b"{}", Kind.DATASET, "application/json"),
        ("config.json", b"{}", Kind.CONFIG, "application/json"),
        ("a.yaml", b"a: 1", Kind.CONFIG, "application/yaml"),
        ("pyproject.toml", b"[a]", Kind.CONFIG, "application/toml"),
        ("a.ini", b"[a]", Kind.CONFIG, "text/x-ini"),
        ("a.cfg", b"[a]", Kind.CONFIG, "text/x-ini"),
        ("requirements-dev.txt", b"numpy", Kind.ENVIRONMENT, "text/plain"),
        ("notes.txt", b"hello", Kind.DOCUMENT, "text/plain"),
        ("README", b"hello", Kind.DOCUMENT, "text/plain"),
        ("a.md", b"# hello", Kind.DOCUMENT, "text/markdown"),
        ("a.html", b"<!DOCTYPE html><p>", Kind.DOCUMENT, "text/html"),
        ("a.docx", _zip("[Content_Types].xml", "word/document.xml"), Kind.DOCUMENT, None),
        ("report", b"%PDF-1.7\n", Kind.DOCUMENT, "application/pdf"),
        ("a.py", b"import os", Kind.CODE, "text/x-python"),
        ("train", b"#!/usr/bin/env python3\n", Kind.CODE, "text/x-python"),
        ("go", b"#!/bin/sh\n", Kind.CODE, "text/x-shellscript"),
        ("a.ipynb", b'{"cells": []}', Kind.CODE, "application/x-ipynb+json"),
        ("a.R", b"x <- 1", Kind.CODE, "text/x-r"),
        ("a.sql", b"select 1", Kind.CODE, "text/x-sql"),
        ("a.sh", b"echo", Kind.CODE, "text/x-shellscript"),
        ("Makefile", b"all:\n", Kind.CODE, "text/x-makefile"),
        ("roc", b"\x89PNG\r\n\x1a\n....", Kind.FIGURE, "image/png"),
        ("roc.csv", b"\x89PNG\r\n\x1a\n....", Kind.FIGURE, "image/png"),
        ("a.jpg", b"\xff\xd8\xff\xe0", Kind.FIGURE, "image/jpeg"),
        ("a.gif", b"GIF89a..", Kind.FIGURE, "image/gif"),
        ("a.webp", b"RIFF\x00\x00\x00\x00WEBPVP8 ", Kind.FIGURE, "image/webp"),
        ("a", b'<?xml version="1.0"?><svg xmlns="x">', Kind.FIGURE, "image/svg+xml"),
        ("a.bin", b"PAR1\x15\x04", Kind.DATASET, "application/vnd.apache.parquet"),
        ("a.feather", b"ARROW1\x00\x00", Kind.DATASET, "application/vnd.apache.arrow.file"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", Kind.DATASET, "application/x-hdf5"),
        ("a.keras", b"\x89HDF\r\n\x1a\n", Kind.MODEL, "application/x-keras"),
        ("a.db", b"12345678DUCK", Kind.DATASET, "application/vnd.duckdb"),
        ("a.xlsx", _zip("[Content_Types].xml", "xl/workbook.xml"), Kind.DATASET, None),
        ("book", _zip("[Content_Types].xml", "xl/workbook.xml"), Kind.DATASET, None),
        ("a.skops", _zip("1.npy", "schema.json"), Kind.MODEL, "application/x-skops"),
        ("a.pt", _zip("archive/data.pkl"), Kind.MODEL, "application/x-pytorch"),
        ("weights", _zip("archive/data.pkl"), Kind.MODEL, "application/x-pytorch"),
        ("a.zip", _zip("x.txt"), Kind.FILE, "application/zip"),
        ("a.onnx", b"\x08\x09\x12\x07skl2onnx\x00", Kind.MODEL, "application/x-onnx"),
        ("a.ubj", b"{L\x00\x00\x00\x07learner", Kind.MODEL, "application/x-xgboost"),
        ("a.cbm", b"CBM1\x00", Kind.MODEL, "application/x-catboost"),
        ("a.txt", b"tree\nversion=v4\n", Kind.MODEL, "application/x-lightgbm"),
        ("a.json", b'{"learner":{"attributes"', Kind.MODEL, "application/json"),
        (
            "w",
            (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"',
            Kind.MODEL,
            "application/x-safetensors",
        ),
        ("a.pkl", pickle.dumps({"a": 1}), Kind.MODEL, "application/x-python-pickle"),
        ("thing", pickle.dumps({"a": 1}), Kind.MODEL, "application/x-python-pickle"),
        ("a.pkl", pickle.dumps(pd.DataFrame()), Kind.DATASET, "application/x-python-pickle"),
        ("a.csv.gz", b"\x1f\x8b\x08\x00", Kind.DATASET, "application/gzip"),
        ("a.gz", b"\x1f\x8b\x08\x00", Kind.FILE, "application/gzip"),
        ("a.joblib", b"\x78\x9c\x00", Kind.MODEL, "application/x-python-pickle"),
        ("core", b"\x7fELF\x02\x01\x00", Kind.FILE, "application/octet-stream"),
        ("words", b"just words", Kind.FILE, "text/plain"),
        # names that the bytes deny
        ("a.parquet", b"not at all", Kind.FILE, "text/plain"),
        ("a.png", b"<<<<", Kind.FILE, "text/plain"),
        ("a.skops", b"\x00\x01", Kind.FILE, "application/octet-stream"),
        # the name alone
        ("a.parquet", b"", Kind.DATASET, "application/vnd.apache.parquet"),
        ("dir.csv/a.png", b"", Kind.FIGURE, "image/png"),
        ("a.tsv.gz", b"", Kind.DATASET, "application/gzip"),
        (".gitignore", b"", Kind.FILE, "application/octet-stream"),
        ("", b"", Kind.FILE, "application/octet-stream"),
    ],
)
def test_files_are_told_apart(name: str, head: bytes, kind: Kind, media_type: str | None) -> None:
    found = sniff(name, head)
    assert found.kind is kind
    assert media_type in {None, found.media_type}


def test_real_files_are_recognised_without_their_names(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("create table t (a)")
    connection.close()
    np.savez(tmp_path / "z.npz", a=np.arange(3))
    np.save(tmp_path / "y.npy", np.arange(3))
    expected = {
        "db": "application/vnd.sqlite3",
        "z.npz": "application/x-npz",
        "y.npy": "application/x-npy",
    }
    for name, media_type in expected.items():
        head = (tmp_path / name).read_bytes()[:HEAD_BYTES]
        assert sniff("unnamed", head).media_type == media_type


def test_a_character_cut_by_the_head_is_still_text() -> None:
    head = ("ä" * HEAD_BYTES).encode()[: HEAD_BYTES - 1]
    assert sniff("a.csv", head).media_type == "text/csv"
