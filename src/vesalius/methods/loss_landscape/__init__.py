"""Loss landscapes: surfaces, trajectories, roll-back, flatness, with numbers beside the pictures.

Source: arXiv 1908.05620; Li et al. 2018, arXiv 1712.09913.
"""

from vesalius.methods.loss_landscape.agreement import (
    LowRegion,
    Pair,
    SurfaceAgreement,
    agreement,
)
from vesalius.methods.loss_landscape.barrier import BarrierHeight, BarrierResult, barrier
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.export import export_csv, export_npz, export_vtk
from vesalius.methods.loss_landscape.flatness import flatness
from vesalius.methods.loss_landscape.flatness_result import AxisWidth, Flatness, Sharpness
from vesalius.methods.loss_landscape.frame import Axis, Frame, make_frame
from vesalius.methods.loss_landscape.line import line
from vesalius.methods.loss_landscape.plot import plot_surface, plot_surfaces
from vesalius.methods.loss_landscape.points import Run
from vesalius.methods.loss_landscape.report import write_surface
from vesalius.methods.loss_landscape.result import Line, Surface
from vesalius.methods.loss_landscape.rollback import Rollback, RollbackRow, rollback
from vesalius.methods.loss_landscape.surface import surface
from vesalius.methods.loss_landscape.trajectory import Trajectory, trajectory
from vesalius.models.recorder import Recorder, checkpoints_in

__all__ = [
    "Axis",
    "AxisWidth",
    "BarrierHeight",
    "BarrierResult",
    "Examples",
    "Flatness",
    "Frame",
    "Line",
    "LowRegion",
    "Pair",
    "Recorder",
    "Rollback",
    "RollbackRow",
    "Run",
    "Sharpness",
    "Surface",
    "SurfaceAgreement",
    "Trajectory",
    "agreement",
    "barrier",
    "checkpoints_in",
    "export_csv",
    "export_npz",
    "export_vtk",
    "flatness",
    "line",
    "make_frame",
    "plot_surface",
    "plot_surfaces",
    "rollback",
    "surface",
    "trajectory",
    "write_surface",
]
