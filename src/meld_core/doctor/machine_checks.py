"""Findings about settings, machine and ROS environment: what can be told without a running graph."""

from __future__ import annotations

from collections.abc import Iterator

from meld_core.doctor.snapshot import Finding, Snapshot


def check_config(seen: Snapshot) -> Iterator[Finding]:
    """Whether the settings can be read."""
    if seen.config is None:
        remedy = "mend that line; `ros2 param describe` and src/meld_core/sections tell every setting"
        yield Finding("config.unreadable", "error", seen.config_problem, remedy, seen.config_where)


def check_disk(seen: Snapshot) -> Iterator[Finding]:
    """Whether a run would pause for want of room."""
    if seen.config is not None and seen.machine.free < seen.config.storage.min_free:
        found = (
            f"{seen.machine.free:.0f} MB are free in {seen.machine.folder}; below "
            f"{seen.config.storage.min_free:g} MB a run pauses"
        )
        yield Finding("disk.room", "error", found, "make room, or run on another disk", "storage.min_free")


def check_rendering(seen: Snapshot) -> Iterator[Finding]:
    """Whether the simulation can make pictures."""
    if seen.machine.rendering:
        remedy = "`apt-get install libegl1 libgl1`, or sim.renderer=auto with `pip install mujoco-warp`"
        yield Finding("rendering.none", "error", seen.machine.rendering, remedy, "sim.renderer")


def check_gpu(seen: Snapshot) -> Iterator[Finding]:
    """Whether a graphics card lies idle."""
    if seen.machine.gpu:
        yield Finding("gpu.idle", "warning", seen.machine.gpu, "install a torch build with CUDA, or leave it", "torch")


def check_packages(seen: Snapshot) -> Iterator[Finding]:
    """Whether everything that the settings need can be imported."""
    for package, install in seen.machine.missing_packages.items():
        yield Finding("package.missing", "error", f"the package {package} cannot be imported", install, package)


_FILES = {"device": "camera.device", "reference": "camera.reference", "calibration": "camera.calibration",
          "goals": "reward.file", "weights": "reward.file", "taught": "task.ports"}  # fmt: skip
_REMEDIES = {"camera.device": "plug it in (`meld camera list` shows what there is)",
             "task.ports": "teach them with `meld task teach`"}  # fmt: skip


def check_files(seen: Snapshot) -> Iterator[Finding]:
    """Whether files and devices that settings name are there."""
    for setting, path in seen.machine.missing_files.items():
        name = _FILES[setting.rpartition(".")[2]]
        yield Finding(
            name,
            "error",
            f"{setting} names {path}, which is not there",
            _REMEDIES.get(name, "name another one"),
            setting,
        )


def check_weights(seen: Snapshot) -> Iterator[Finding]:
    """Whether there is anything to evaluate."""
    if seen.mode == "eval" and not seen.machine.weights:
        found = f"the run in {seen.machine.folder} has no weights, and eval needs some"
        yield Finding("weights.missing", "error", found, "train first, or name a file", "weights:= of eval.launch.py")


def check_ros(seen: Snapshot) -> Iterator[Finding]:
    """Whether ROS starts here, and whether all nodes of the run can hear one another."""
    if seen.machine.ros:
        remedy = "install that middleware, or unset RMW_IMPLEMENTATION in this shell"
        yield Finding("ros.rmw", "error", seen.machine.ros, remedy, "environment variable RMW_IMPLEMENTATION")
        return
    yield from _other_domain(seen)
    here = [process for process in seen.processes if process.domain == seen.domain]
    for name, variable, told in (
        ("ros.rmw", "RMW_IMPLEMENTATION", {p.node: p.rmw for p in here}),
        ("ros.discovery", "ROS_AUTOMATIC_DISCOVERY_RANGE", {p.node: p.discovery for p in here}),
    ):
        if len(set(told.values())) > 1:
            listed = ", ".join(f"{node}: {value or 'default'}" for node, value in sorted(told.items()))
            found = f"the nodes of one graph differ in {variable} ({listed})"
            yield Finding(
                name, "error", found, "start all of them with the same value", f"environment variable {variable}"
            )


def _other_domain(seen: Snapshot) -> Iterator[Finding]:
    elsewhere = [process for process in seen.processes if process.domain != seen.domain]
    if not elsewhere:
        return
    domains = ", ".join(str(domain) for domain in sorted({process.domain for process in elsewhere}))
    names = ", ".join(sorted({process.node for process in elsewhere}))
    found = f"{names} of this run are in ROS domain {domains}, this shell is in {seen.domain}: neither hears the other"
    yield Finding("ros.domain", "error", found, f"export ROS_DOMAIN_ID={domains}", "environment variable ROS_DOMAIN_ID")


CHECKS = (check_config, check_disk, check_rendering, check_gpu, check_packages, check_files, check_weights, check_ros)
