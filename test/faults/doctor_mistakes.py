"""Mistakes that a person can make with a graph, and the finding by which `meld doctor` names each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from std_srvs.srv import Trigger

from test.faults.doctor_bench import QUIET, Bench, camera
from test.faults.driver_bench import Faults
from test.ros.stand_ins import Listener


def unreadable_key(bench: Bench) -> dict[str, Any]:
    (bench.tmp / "mine.yaml").write_text("gate: {max_agee: 1.0}")
    said = bench.doctor("--robot", "ros2_control", "--config", "mine.yaml", run=False)
    assert "max_agee" in said["findings"][0]["found"]
    assert "max_age'" in said["findings"][0]["found"]
    return said


def no_disk_room(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco", "storage.min_free=1e12")
    return bench.doctor(patience=3.0)


def no_rendering(bench: Bench) -> dict[str, Any]:
    bench.patch.setenv("__EGL_VENDOR_LIBRARY_DIRS", "/nowhere")  # glvnd finds no driver
    bench.settle("mujoco", "sim.renderer=egl")
    return bench.doctor(patience=20.0)


def missing_package(bench: Bench) -> dict[str, Any]:
    bench.settle("widowx", QUIET, "driver.joint_states=driver/joint_states")
    bench.stand_in()
    return bench.doctor(patience=20.0)


def wrong_middleware(bench: Bench) -> dict[str, Any]:
    bench.patch.setenv("RMW_IMPLEMENTATION", "rmw_nonsense_cpp")
    bench.settle("mujoco")
    return bench.doctor()


def wrong_domain(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    command = [sys.executable, "-m", "meld_ros.cli", "launch", "robot", "config:=smoke", "run:=y"]
    env = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"} | {"PYTHONPATH": os.pathsep.join(sys.path)}
    graph = subprocess.Popen(command, cwd=bench.tmp, env=env, stderr=subprocess.PIPE, text=True)
    try:
        path = bench.tmp / "runs" / "y"
        bench.ros.until((path / "logs" / "reward.log").is_file, "the graph")
        return bench.doctor("--run", str(path), run=False, patience=3.0)
    finally:
        graph.send_signal(signal.SIGINT)
        graph.communicate()


def missing_weights(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    return bench.doctor("--mode", "eval", patience=3.0)


def missing_device(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco", "camera.device=/dev/video99")
    return bench.doctor(patience=3.0)


def missing_classifier(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco", "reward.kind=classifier", "reward.weights=nowhere.safetensors")
    return bench.doctor(patience=3.0)


def stopped_camera(bench: Bench) -> dict[str, Any]:
    camera(bench)
    bench.stand_in(image_every=1000000)
    driver = bench.camera("bench/image")
    bench.graph()
    driver.send_signal(signal.SIGSTOP)
    Listener(bench.ros).hears("camera: ", "no new picture")
    return bench.doctor()


def no_camera(bench: Bench) -> dict[str, Any]:
    bench.settle("ros2_control")
    bench.stand_in(image_every=1000000)
    bench.graph()
    return bench.doctor()


def frozen_camera(bench: Bench) -> dict[str, Any]:
    """Of a driver that publishes the policy's view itself."""
    bench.settle("ros2_control")
    bench.stand_in()
    bench.graph()
    return bench.doctor()


def frozen_device(bench: Bench) -> dict[str, Any]:
    """Behind camera_node."""
    camera(bench)
    bench.stand_in(image_every=1000000)
    bench.camera("bench/image")
    bench.graph()
    bench.tell_camera("freeze")
    Listener(bench.ros).hears("camera: ", "is frozen")
    return bench.doctor()


def swapped_cameras(bench: Bench) -> dict[str, Any]:
    import cv2

    from test.stand_ins.camera import scene_of

    for scene in (1, 2):
        cv2.imwrite(str(bench.tmp / f"{scene}.png"), scene_of(scene)[..., ::-1])
    wrist = ("wrist_camera.device=topic:bench/other", "wrist_camera.width=64", "wrist_camera.height=48")
    references = (f"camera.reference={bench.tmp}/1.png", f"wrist_camera.reference={bench.tmp}/2.png")
    camera(bench, *wrist, *references)
    bench.stand_in(image_every=1000000)
    bench.camera("bench/image", scene=2)
    bench.camera("bench/other", scene=1)
    bench.graph()
    Listener(bench.ros).hears("camera: ", "swapped")
    return bench.doctor()


def wrong_image_size(bench: Bench) -> dict[str, Any]:
    bench.settle("ros2_control", QUIET, "reward.region=[0, 0, 16, 16]")
    bench.stand_in(image_size=16)
    bench.graph()
    return bench.doctor()


def camera_clock_offset(bench: Bench) -> dict[str, Any]:
    camera(bench, "camera.stale_after=2.0")
    bench.stand_in(image_every=1000000)
    bench.camera("bench/image")
    bench.graph()
    bench.tell_camera("lag")
    Listener(bench.ros).hears("camera: ", "after its stamp")
    return bench.doctor()


def driver_clock_offset(bench: Bench) -> dict[str, Any]:
    return with_fault(bench, "late:30")


def with_fault(bench: Bench, fault: str) -> dict[str, Any]:
    """The arm's driver misbehaves before anybody connects."""
    bench.settle("ros2_control", QUIET)
    bench.stand_in()
    Faults(bench.ros, bench.ros.probe(), "trajectory_controller").inject(fault)
    return bench.doctor()


def stale_joints(bench: Bench) -> dict[str, Any]:
    return with_fault(bench, "frozen")


def silent_joints(bench: Bench) -> dict[str, Any]:
    return with_fault(bench, "silence")


def impossible_joints(bench: Bench) -> dict[str, Any]:
    return with_fault(bench, "jump:-3.0")


def wrong_joint_names(bench: Bench) -> dict[str, Any]:
    bench.settle("ros2_control", QUIET)
    bench.stand_in(names=["j1", "j2", "j3", "j4", "j5", "j6"])
    return bench.doctor()


def wrong_qos(bench: Bench) -> dict[str, Any]:
    """A driver that publishes the detector's view best effort, as sensor drivers do."""
    bench.settle("ros2_control", QUIET)
    bench.stand_in(best_effort=True)
    bench.graph()
    return bench.doctor()


def two_gates(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    bench.graph("robot")
    bench.graph("robot", "robot")
    node = bench.ros.probe()
    bench.ros.until(lambda: node.count_publishers("gate_state") == 2, "both gates")
    return bench.doctor(patience=20.0)


def stopped_gate(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    bench.graph("robot")
    node = bench.ros.probe()
    client = node.create_client(Trigger, "stop")
    bench.ros.until(client.service_is_ready, "stop")
    answer = client.call_async(Trigger.Request())
    bench.ros.until(answer.done, "its answer")
    return bench.doctor(patience=20.0)


def mismatched_sim_time(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    bench.graph("robot", reward={"use_sim_time": True})
    return bench.doctor(patience=20.0)


def different_parameters(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    bench.graph("robot", robot={"robot.step_size": 0.015})
    said = bench.doctor(patience=20.0)
    assert "robot.step_size = 0.015, the config says 0.02" in said["findings"][0]["found"]
    return said


def silent_reward_node(bench: Bench) -> dict[str, Any]:
    bench.settle("ros2_control", QUIET)
    bench.stand_in()
    bench.graph()
    bench.nodes["reward"].send_signal(signal.SIGSTOP)
    return bench.doctor("--mode", "robot")


def dead_trainer(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    bench.graph("train")
    bench.nodes["trainer"].kill()
    return bench.doctor("--mode", "train")


def no_commander(bench: Bench) -> dict[str, Any]:
    bench.settle("mujoco")
    bench.graph("train", "robot", "reward", "trainer")
    return bench.doctor("--mode", "train")


MISTAKES: dict[str, tuple[Callable[[Bench], dict[str, Any]], str]] = {
    "a key that no setting has": (unreadable_key, "config.unreadable"),
    "no room on the disk": (no_disk_room, "disk.room"),
    "no OpenGL": (no_rendering, "rendering.none"),
    "Interbotix's messages are missing": (missing_package, "package.missing"),
    "another middleware": (wrong_middleware, "ros.rmw"),
    "another domain": (wrong_domain, "ros.domain"),
    "no weights to evaluate": (missing_weights, "weights.missing"),
    "a device that is not there": (missing_device, "camera.device"),
    "a classifier that is not there": (missing_classifier, "reward.file"),
    "a stopped camera": (stopped_camera, "camera.silent"),
    "no camera at all": (no_camera, "camera.silent"),
    "a frozen camera": (frozen_camera, "camera.frozen"),
    "a frozen camera behind camera_node": (frozen_device, "camera.frozen"),
    "swapped cameras": (swapped_cameras, "camera.identity"),
    "pictures of another size": (wrong_image_size, "camera.size"),
    "a camera's clock 10 s behind": (camera_clock_offset, "clock.offset"),
    "a driver's clock 30 s behind": (driver_clock_offset, "clock.offset"),
    "joint states with an old stamp": (stale_joints, "joints.stale"),
    "no joint states": (silent_joints, "joints.silent"),
    "joints where they cannot be": (impossible_joints, "joints.implausible"),
    "other joint names": (wrong_joint_names, "joints.names"),
    "best effort to a reliable subscription": (wrong_qos, "qos.mismatch"),
    "two gates": (two_gates, "gate.two"),
    "a stopped arm": (stopped_gate, "gate.stopped"),
    "one node on simulated time": (mismatched_sim_time, "clock.sim_time"),
    "a node with other settings": (different_parameters, "parameters.differ"),
    "a reward node that hangs": (silent_reward_node, "reward.silent"),
    "a dead trainer": (dead_trainer, "trainer.silent"),
    "nobody commands": (no_commander, "policy.silent"),
}
