"""Small clips whose frames carry their number as a grey level, ways to damage them, and servers that misbehave."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from solutions.core.vision.video import FrameSource, ReconnectPolicy

STEP = 6  # luma levels between one frame and the next
HW = (96, 128)
AT_ONCE = ReconnectPolicy(first_delay_s=0.001, max_delay_s=0.01)
CONTAINERS = {
    "mp4": ("libx264", "mp4"),
    "ts": ("libx264", "mpegts"),
    "avi": ("mpeg4", "avi"),
    "mkv": ("libx264", "matroska"),
    "h264": ("libx264", "h264"),
    "mjpg": ("mjpeg", "mjpeg"),
}


def numbered(number: int, size_hw: tuple[int, int] = HW) -> av.VideoFrame:
    """A grey frame whose luma stands for `number`, below 35."""
    height, width = size_hw
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = 20 + number * STEP
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def number_of(pixels: np.ndarray) -> int:
    """The number that `numbered` put in, read from BGR pixels."""
    luma = 16 + float(pixels.mean()) * 219 / 255
    return round((luma - 20) / STEP)


def make_clip(
    path: Path,
    count: int = 30,
    *,
    codec: str = "libx264",
    container: str = "mp4",
    size_hw: tuple[int, int] = HW,
    fps: Fraction | int = 25,
    noise: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A clip of `count` frames, numbered or (with `noise`, for damage to have something to hit) textured and moving."""
    rng = np.random.default_rng(3)
    texture = rng.integers(0, 255, (size_hw[0] // 8, size_hw[1] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w", format=container, container_options=container_options) as output:
        stream = output.add_stream(codec, rate=fps)
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {"threads": "1", "b": "2000000"} | (options or {})
        for number in range(count):
            if noise:
                pixels = np.ascontiguousarray(np.roll(texture, number, axis=1))
                frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            else:
                frame = numbered(number, size_hw)
            frame.pts, frame.time_base = number, 1 / Fraction(fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def live_clip(folder: Path) -> bytes:
    """30 numbered frames as a camera would send them: MPEG-TS, no reordering, many keyframes."""
    options = {"bf": "0", "tune": "zerolatency", "g": "5"}
    return make_clip(folder / "c.ts", 30, container="mpegts", options=options).read_bytes()


def make_sound(path: Path) -> Path:
    """A file with a tone and no picture."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000)
        for part in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, part * 1024
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def scribble(data: bytes, *, hits: int, start: float = 0.3, end: float = 0.7, seed: int = 1) -> bytes:
    """`data` with `hits` random bytes between two fractions of its length overwritten."""
    damaged, rng = bytearray(data), random.Random(seed)
    for _ in range(hits):
        damaged[rng.randrange(int(len(data) * start), int(len(data) * end))] = rng.randrange(256)
    return bytes(damaged)


def balanced(source: FrameSource) -> bool:
    """Whether every captured frame of a closed source was handed out or dropped under a name."""
    return source.captured == source.yielded + sum(source.drops.values())


def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait for `condition`, set by another thread, and fail after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.002)


@contextlib.contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    """Fail if the body takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < limit_s


class Server:
    """A TCP server on loopback; connection n is handled by `scripts[n]`, the last one serving all that follow."""

    def __init__(self, *scripts: Callable[[socket.socket, threading.Event], None], scheme: str = "http") -> None:
        self.closing = threading.Event()
        self.connections = 0
        self._scripts = scripts
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}/camera"
        self._threads: list[threading.Thread] = []

    def listen(self) -> Server:
        """Accept from now on."""
        self._socket.listen(8)
        self._start(self._accept)
        return self

    def __enter__(self) -> Server:
        return self.listen()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up on everybody and end the threads."""
        self.closing.set()
        self.refuse()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def refuse(self) -> None:
        """Refuse whoever comes from now on."""
        with contextlib.suppress(OSError):  # it was not listening
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._start(self._serve, script, connection)

    def _serve(self, script: Callable[[socket.socket, threading.Event], None], connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client left
            script(connection, self.closing)


def answer(body: bytes, *, hold: bool, headers: str = "Content-Type: video/mp2t") -> Callable[..., None]:
    """A script that answers a request with `body`; then it keeps the connection open and silent, or closes it."""

    def script(connection: socket.socket, closing: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode() + body)
        if hold:
            closing.wait(30)

    return script


def silence(connection: socket.socket, closing: threading.Event) -> None:
    """A script that accepts and never says a word."""
    closing.wait(30)


def drip(connection: socket.socket, closing: threading.Event) -> None:
    """A script that sends one useless byte at a time."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
    while not closing.wait(0.03):
        connection.sendall(b"G")


def rtsp(transport_stream: bytes) -> Callable[..., None]:
    """A script for the smallest RTSP server: MPEG-TS in RTP, interleaved in the TCP connection; then it holds."""
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:t\r\n"
    )

    def script(connection: socket.socket, closing: threading.Event) -> None:
        pending = b""
        while True:
            while b"\r\n\r\n" not in pending:
                received = connection.recv(65536)
                if not received:
                    return
                pending += received
            request, pending = pending.split(b"\r\n\r\n", 1)
            method = request.split()[0].decode()
            sequence = next(line for line in request.decode().split("\r\n") if line.lower().startswith("cseq"))
            head = f"RTSP/1.0 200 OK\r\n{sequence}\r\nSession: 1\r\n"
            if method == "DESCRIBE":
                head += f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
            elif method == "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
            else:
                head += "\r\n"
            connection.sendall(head.encode())
            if method == "PLAY":
                break
        for number, at in enumerate(range(0, len(transport_stream), 188 * 7)):
            packet = struct.pack("!BBHII", 0x80, 33, number, number * 900, 1) + transport_stream[at : at + 188 * 7]
            connection.sendall(struct.pack("!cBH", b"$", 0, len(packet)) + packet)
        closing.wait(30)

    return script
