"""Signed bundles for tests: the model that ships, with golden vectors of today's signal code, in any version."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import numpy as np
import pytest
from bundles import edit, write_bundle
from signals import talk

from edge.bundle import default_bundle_path, load_bundle
from edge.errors import BundleError
from edge.pipeline import verify_golden
from train_host.signing import keygen, sign


class Maker:
    """Makes bundles under `folder` and signs them with its key, `key`; `public` is what a board has to be given."""

    def __init__(self, folder: Path) -> None:
        if not default_bundle_path().is_dir():
            pytest.skip(f"{default_bundle_path()} is not there: no model to make bundles of")
        self.folder = folder
        self.key, self.public = keygen(folder / "keys")
        shipped = load_bundle(default_bundle_path())
        manifest = msgspec.structs.replace(shipped.manifest, name="test", version="0.0.1")
        samples = np.round(32767 * talk()).astype(np.int16)
        self._first = write_bundle(folder / "first", manifest, shipped.model, samples).path

    def make(self, version: str, name: str = "test", signed: bool = True, note: str = "") -> Path:
        """A new folder with the bundle `<name>-<version>`; another `note` makes it another bundle."""
        folder = Path(mkdtemp(dir=self.folder)) / f"{name}-{version}"
        shutil.copytree(self._first, folder)
        edit(folder, lambda manifest: manifest.update(name=name, version=version, commit=note))
        if signed:
            sign(folder, self.key)
        return folder


def skip_unless_shipped_bundle_works() -> None:
    """Some ways end at the bundle that ships; while it is being trained anew, there may be none that fits."""
    try:
        verify_golden(load_bundle(default_bundle_path()))
    except BundleError as error:
        pytest.skip(f"the bundle that ships cannot be used here: {error}")
