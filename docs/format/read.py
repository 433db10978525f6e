"""Read a project of thence (format 1-draft) with nothing of thence: its data outlives it.

    python read.py STORE                   list artifacts and versions
    python read.py STORE NAME@v3 DEST      extract a version into DEST, which must not exist

STORE is a folder, such as .thence/store or a copy of a bucket. Needs a zstd decoder: Python 3.14
has one, else `pip install zstandard`. All bytes are verified by SHA-256. What happens here is
explained in spec-1.md.
"""

import hashlib
import json
import os
import struct
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

WHOLE, RECIPE, CHUNK, LIST = 1, 2, 3, 4


def zstd_decoder():
    """What decompresses a frame of zstd; only needed where a version is extracted."""
    for module in ("compression.zstd", "zstandard"):
        with suppress(ImportError):
            return import_module(module).decompress
    raise ValueError("a decoder of zstd is missing: pip install zstandard, or use Python 3.14")


def read_packs(root):
    """Where each id lies: {id: (pack, offset, raw length, stored length, inner, kind, codec)}."""
    found = {}
    for path in sorted(root.glob("packs/??/" + "?" * 64)):
        with path.open("rb") as pack:
            pack.seek(-min(64, pack.seek(0, 2)), 2)
            trailer = pack.read().rjust(64, b"\0")
            length, digest, *form = struct.unpack("<Q32sI12x8s", trailer)
            pack.seek(-min(64 + length, pack.tell()), 2)
            directory = pack.read(length)
        good = hashlib.sha256(directory).digest() == digest and digest.hex() == path.name
        if not good or form != [1, b"THNCPACK"]:
            print(f"{path} is damaged or newer; going on without it", file=sys.stderr)
            continue
        for entry in struct.iter_unpack("<32sQQIIBB6x", directory[24:]):  # 24: nonce and count
            found[entry[0]] = (path, *entry[1:])
    return found


def read_block(packs, wanted, kinds):
    """The kind and the bytes of an id; for a recipe those of its top node."""
    if wanted not in packs:
        raise ValueError(f"{wanted.hex()} is in no pack that can be read")
    path, offset, raw, stored, inner, kind, codec = packs[wanted]
    if kind not in kinds or codec > 1:
        raise ValueError(f"{wanted.hex()} is not what it should be")
    with path.open("rb") as pack:
        pack.seek(offset)
        block = pack.read(stored)
    block = zstd_decoder()(block) if codec == 1 else block
    return kind, block if kind == RECIPE else block[inner : inner + raw]


def read_node(packs, node):
    """The bytes below a node of a recipe."""
    for wanted, _ in struct.iter_unpack("<32sQ", node[1:]):
        _, below = read_block(packs, wanted, [LIST if node[0] else CHUNK])
        if node[0] and below[0] != node[0] - 1:
            raise ValueError("a recipe whose lists are not in order")
        yield from read_node(packs, below) if node[0] else [below]


def read_content(packs, digits):
    """The bytes of a content, piece by piece; verified when the last one was given."""
    kind, data = read_block(packs, bytes.fromhex(digits), [WHOLE, RECIPE])
    whole = hashlib.sha256()
    for piece in [data] if kind == WHOLE else read_node(packs, data):
        whole.update(piece)
        yield piece
    if whole.hexdigest() != digits:
        raise ValueError(f"content {digits} has other bytes: the store is damaged")


def read_log(folder):
    """The records of a log, each with its digest; entries are numbered from 1 without gaps."""
    number = 1
    while (path := folder / f"{number:010d}").exists():
        envelope = json.loads(path.read_bytes())
        if envelope.pop("sum", None) != digest_of(envelope):
            raise ValueError(f"{path} is damaged")
        yield envelope["record"], f"sha256:{digest_of(envelope['record'])}"
        number += 1


def digest_of(value):
    """The SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_tree(data):
    """(path, size, flags, digest) of each file; every path is safe to join to a folder."""
    files, paths = [], set()
    for line in data.splitlines():
        text, size, flags, digits = json.loads(line)
        path = unquote_to_bytes(text) if "p" in flags else text.encode()
        parts = path.split(b"/")
        if b"\0" in path or {b"", b".", b".."} & set(parts) or set(flags) - set("xlp"):
            raise ValueError(f"a path that could escape, or flags that are newer: {line!r}")
        files.append((path, size, flags, digits))
        paths |= {b"/".join(parts[:n]) for n in range(1, len(parts))}
    if paths & {file[0] for file in files} or len({file[0] for file in files}) < len(files):
        raise ValueError("a tree in which one path is two things")
    return files


def extract(packs, tree, target):
    """Write the files of a tree below a new folder; links last, so that none is written through."""
    files = read_tree(b"".join(read_content(packs, tree.removeprefix("sha256:"))))
    os.mkdir(target)
    for path, size, flags, digits in sorted(files, key=lambda file: "l" in file[2]):
        name = os.path.join(os.fsencode(target), path)
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if "l" in flags:
            os.symlink(b"".join(read_content(packs, digits)), name)
            continue
        with open(name, "xb") as file:
            file.writelines(read_content(packs, digits))
        os.chmod(name, os.stat(name).st_mode | (0o111 if "x" in flags else 0))
        if os.path.getsize(name) != size:
            raise ValueError(f"{path!r} has another size than its tree says")


def main(store, ref="", target=None):
    """List what is there, or extract one version."""
    root = Path(store)
    form = json.loads((root / "project.json").read_bytes()).get("format")
    if form != "1-draft" or any(root.glob("features/*")):
        raise ValueError(f"a project of format {form} or with newer features, not plain 1-draft")
    name, _, number = normalize("NFC", ref).partition("@v")
    for log in sorted(root.glob("refs/artifacts/**/@")):
        edits = [record for record, _ in read_log(log.parent / "@edits")]
        # The last word on a version counts.
        last = {e["version"]: e["type"] for e in edits if e["type"] in {"tombstone", "restored"}}
        deleted = [version for version, word in last.items() if word == "tombstone"]
        for count, (record, digest) in enumerate(read_log(log), 1):
            if not ref:
                facts = [record["created"], record["files"], record["size"], record["tree"]]
                print(f"{record['artifact']}@v{count}", *facts, *["deleted"] * (digest in deleted))
            elif (record["artifact"].casefold(), str(count)) == (name.casefold(), number):
                extract(read_packs(root), record["tree"], target)
                return
    if ref:
        raise ValueError(f"there is no version {ref}")


if __name__ == "__main__":
    if len(sys.argv) not in {2, 4}:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Exception as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
