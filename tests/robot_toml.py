"""A valid robot.toml for tests to load, spoil and mutate."""

JOINT = """
[[buses.joints]]
name = "{name}"
id = {id}
position = [-1.5, 1.5]
velocity = 2.0
acceleration = 10.0
jerk = 100.0
start = 0.1
park = 0.0
"""

HEAD = """\
name = "bench arm"

[policy]
bundle = "bundle"
instruction = "pick up the red cup"

[[cameras]]
name = "base"
kind = "sim"
device = "./camera-base.sock"

[[cameras]]
name = "wrist"
kind = "sim"
device = "./camera-wrist.sock"

[control]
rate_hz = 100

[deadlines]
frame_age_ms = 200.0

[episode]
timeout_s = 12.5

[[buses]]
name = "arm"
kind = "feetech"
port = "./arm"
"""

NAMES = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")

ROBOT = HEAD + "".join(JOINT.format(name=name, id=index + 1) for index, name in enumerate(NAMES))
