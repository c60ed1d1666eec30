"""Makes a depot of a trajectory in XTC.

    python from_xtc.py run.xtc run.vld

Frames are named by their number, as steps may come twice: `frame_0000000017`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from MDAnalysis.lib.formats.libmdaxdr import XTCFile  # type: ignore[import-not-found,import-untyped,unused-ignore]

import vldepot


def convert(source: str, target: str, **options: Any) -> int:
    """Copies all frames, and returns how many. The options are those of `vldepot.create`."""
    # XTC has nm and ps, which are a depot's default units.
    with XTCFile(source) as frames, vldepot.create(target, columns=["step", "time"], **options) as depot:
        precision = None
        for number, frame in enumerate(frames):
            cell = np.asarray(frame.box, np.float64)
            box: dict[str, Any] = {"cell": cell, "pbc": True} if cell.any() else {}
            depot[f"frame_{number:010}"] = vldepot.Frame(
                positions=frame.x, step=frame.step, time=frame.time, **box
            )
            precision = frame.prec
        depot.metadata["xtc"] = {"steps_per_nm": precision}
        return len(depot)


if __name__ == "__main__":
    print(convert(*sys.argv[1:3]), "frames")
