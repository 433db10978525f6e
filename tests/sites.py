"""A folder with packages, for tests of what is known of them."""

import base64
import hashlib
import json
from pathlib import Path

from thence.execution.capture.distributions import marker_environment

MARKERS = marker_environment(version="3.11.7", implementation="cpython")


class Site:
    """A folder with distributions, written as an installer writes them."""

    def __init__(self, root: Path) -> None:
        self.path = root / "venv" / "lib" / "python3.11" / "site-packages"
        self.path.mkdir(parents=True)

    def install(
        self,
        name: str,
        version: str,
        files: dict[str, str],
        *,
        requires: tuple[str, ...] = (),
        installer: str = "pip",
        direct_url: dict[str, object] | None = None,
    ) -> None:
        info = f"{name}-{version}.dist-info"
        metadata = [f"Name: {name}", f"Version: {version}"]
        metadata += [f"Requires-Dist: {line}" for line in requires]
        body = "\nRequires-Dist: not-a-header\n"
        written = dict(files)
        written[f"{info}/METADATA"] = "\n".join(metadata) + "\n" + body
        written[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nTag: py3-none-any\n"
        written[f"{info}/INSTALLER"] = f"{installer}\n"
        if direct_url is not None:
            written[f"{info}/direct_url.json"] = json.dumps(direct_url)
        record = []
        for place, text in written.items():
            path = self.path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
            quoted = f'"{place}"' if "," in place else place
            record.append(f"{quoted},sha256={digest.rstrip('=')},{len(text)}")
        record += [f"{info}/RECORD,,", f"../../../bin/{name},sha256={installer},10"]
        (self.path / info / "RECORD").write_text("\n".join(record) + "\n")

    def at(self, *places: str) -> set[str]:
        return {str(self.path / place) for place in places}
