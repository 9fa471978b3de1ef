"""Package metadata: here, not in pyproject.toml, because the setuptools of Ubuntu 22.04 (Humble) reads only this."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

NAME = "meld_ros"
NODES = ("camera_node", "policy_node", "reward_node", "robot_node", "teleop_node", "trainer_node", "view_node")


def share(folder: str) -> list[tuple[str, list[str]]]:
    """Every file under `folder`, to be installed below share/meld_ros in the same layout."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [(f"share/{NAME}/{path.parent.as_posix()}", [path.as_posix()]) for path in files]


setup(
    name=NAME,
    version="0.1.0",
    description="Meta-trains a robot arm from camera images and sparse rewards over ROS 2 (MELD).",
    license="Apache-2.0",
    maintainer="meld_ros maintainers",
    maintainer_email="meld_ros@users.noreply.github.com",
    python_requires=">=3.10",
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"meld_core": ["py.typed"], "meld_core.demo": ["*.json", "*.safetensors"], "meld_ros": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *share("launch"),
        *share("config"),
        *share("urdf"),
    ],
    install_requires=[
        "gymnasium>=1.0",
        "imageio>=2.30",
        "imageio-ffmpeg>=0.5",
        "matplotlib>=3.5",
        "mink>=1.0",
        "mujoco>=3.13",
        "mujoco-warp>=3.13; platform_machine != 'armv7l'",
        "numpy>=1.26",
        "opencv-python-headless>=4.5",
        "pyyaml>=5.4",
        "rich>=12.0",
        "safetensors>=0.4",
        "tensorboard>=2.14",
        "torch>=2.4",
        "tyro>=0.9",
    ],
    extras_require={
        "bags": ["rosbags>=0.10"],
        "baselines": ["sb3-contrib>=2.8"],
        "lerobot": ["pyarrow>=14.0"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
        "ros": ["ros-rclpy", "ros-rmw-fastrtps-cpp", "ros-common-interfaces"],
        "test": [
            "colcon-bash",
            "colcon-core",
            "colcon-ros",
            "colcon-test-result",
            "hypothesis>=6.0",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "pyarrow>=14.0",
            "pytest>=7.0",
            "pytest-timeout>=2.0",
            "rosbags>=0.10",
            "xacro",
        ],
        "dev": ["mypy", "ruff"],
    },
    entry_points={
        "console_scripts": ["meld = meld_ros.cli:main", *[f"{node} = meld_ros.{node}:main" for node in NODES]],
    },
    zip_safe=True,
)
