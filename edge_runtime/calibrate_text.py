"""What a calibration has found, in words."""

from __future__ import annotations

from edge_runtime.calibration_files import BusCalibration, CameraCalibration, LatencyCalibration
from edge_runtime.config import Bus


def joints(bus: Bus, found: BusCalibration) -> str:
    """A line a joint, in its own units."""
    rows = [f"{'joint':16} zero  direction  {'range':22} noise, steps"]
    for joint, motor in zip(bus.joints, found.motors, strict=True):
        low, high = (value / joint.scale_rad for value in motor.range_rad)
        span = f"{low:.4g} to {high:.4g} {joint.units}"
        rows.append(f"{joint.name:16} {motor.zero_step:4}  {motor.direction:+9}  {span:22} {motor.noise_steps:.2f}")
    return "\n".join(rows)


def camera(found: CameraCalibration) -> str:
    """Lens, and where it is fixed if that is known."""
    (fx, fy), (cx, cy) = found.focal_px, found.centre_px
    words = (
        f"{found.camera}: focal length {fx:.2f} x {fy:.2f} px (±{found.focal_error_px:.2f}), "
        f"centre {cx:.1f}, {cy:.1f}\n"
        f"reprojection error {found.error_px:.3f} px over {found.views} views"
    )
    if found.mount is None:
        return words
    at, mount = ", ".join(f"{x * 1e3:.1f}" for x in found.mount.translation_m), found.mount
    return (
        f"{words}\nfixed to the {mount.frame} at {at} mm: {mount.poses} poses agree to {mount.error_mm:.2f} mm and "
        f"{mount.error_deg:.3f}°"
    )


def latency(found: LatencyCalibration) -> str:
    """Both delays with their residuals."""
    return (
        f"camera {found.camera}: its stamps are {found.camera_delay_ms:.1f} ms late (±{found.camera_spread_ms:.1f}, "
        f"correlation {found.correlation:.3f}, {found.frames} frames)\n"
        f"joint {found.joint}: follows its setpoint {found.actuator_delay_ms:.1f} ms late "
        f"(±{found.actuator_spread_ms:.1f})"
    )
