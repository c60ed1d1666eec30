"""MDAnalysis's own tests of readers and writers, on depots. They come with the package MDAnalysisTests."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("MDAnalysisTests.coordinates", reason="needs the package MDAnalysisTests")
import MDAnalysis as mda  # noqa: E402
from MDAnalysisTests.coordinates.base import BaseReference, BaseWriterTest, MultiframeReaderTest  # noqa: E402
from MDAnalysisTests.datafiles import COORDINATES_TOPOLOGY, COORDINATES_TRR  # noqa: E402

import vldepot.mdanalysis  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Reference(BaseReference):
    """The reference trajectory, from a file in another format, in the units of a depot."""

    def __init__(self, folder: Path, units):
        super().__init__()
        self.trajectory = str(folder / "reference.vld")
        self.topology = COORDINATES_TOPOLOGY
        source = mda.Universe(COORDINATES_TOPOLOGY, COORDINATES_TRR)
        source.atoms.write(self.trajectory, frames="all", **units)
        self.reader, self.writer = vldepot.mdanalysis.DepotReader, vldepot.mdanalysis.DepotWriter
        self.ext, self.prec, self.changing_dimensions = "vld", 3, True
        for ts in (self.first_frame, self.second_frame, self.last_frame, self.jump_to_frame):
            ts.velocities, ts.forces = ts.positions / 10, ts.positions / 100

    def iter_ts(self, i):
        ts = self.first_frame.copy()
        ts.positions = 2**i * self.first_frame.positions
        ts.velocities, ts.forces = ts.positions / 10, ts.positions / 100
        ts.time = ts.frame = i
        return ts


class _Depots:
    @staticmethod
    @pytest.fixture(
        params=[{}, {"units": "gromacs"}, {"units": "ase", "precision": "float64"}], ids=["", "nm", "eV"]
    )
    def ref(request, tmp_path_factory):
        return Reference(tmp_path_factory.mktemp("reference"), request.param)


class TestReader(_Depots, MultiframeReaderTest):
    pass


class TestWriter(_Depots, BaseWriterTest):
    pass
