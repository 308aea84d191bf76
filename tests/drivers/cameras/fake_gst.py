"""A stand-in for `gst-launch-1.0`: raw frames into the pipe that its words name, through a queue of one buffer.

FAKE_GST is the socket of the test that plays the world before the camera. A byte "f" and a value there is a frame, "e"
is the end with an error; each is answered with a byte. Without that socket the pipeline fails as one without a device.
"""

import os
import re
import socket
import sys
import threading

words = " ".join(sys.argv)
fd = int(re.search(r"fdsink fd=(\d+)", words)[1])
width, height = map(int, re.search(r"format=RGB,width=(\d+),height=(\d+)", words).groups())
queue: list[int] = [0]  # the first frame, which starts the stream
news = threading.Condition()


def fail() -> None:
    sys.stderr.write(
        "ERROR: from element /GstPipeline:pipeline0/GstFakeSrc:fakesrc0: Cannot identify device.\n"
        "Additional debug info:\nfake.c(608): open (): /GstPipeline:pipeline0/GstFakeSrc:fakesrc0:\n"
        "system error: No such file or directory\nERROR: pipeline doesn't want to preroll.\n"
    )
    sys.stderr.flush()
    os._exit(1)


def listen() -> None:
    while told := world.recv(2):
        if told[:1] == b"e":
            fail()
        with news:
            queue[:] = [told[1]]
            news.notify()
        world.sendall(b".")
    fail()


world = socket.socket(socket.AF_UNIX)
try:
    world.connect(os.environ["FAKE_GST"])
except OSError:
    fail()
threading.Thread(target=listen, daemon=True).start()
while True:
    with news:
        while not queue:
            news.wait()
        value = queue.pop()
    data = memoryview(bytes([value]) * (width * height * 3))
    while data:
        data = data[os.write(fd, data) :]
