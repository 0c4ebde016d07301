"""Trained weights from torchvision's server: cached, checked, within a time limit, and one sentence when offline."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from solutions.core.errors import BackendUnavailable, ModelLoadError

_STALL_S = 20.0  # a download that delivers nothing for so long has failed


def weights_file(url: str) -> Path:
    """Where torch keeps the file behind `url`, whether or not it is there."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def fetch_weights(name: str, url: str, timeout_s: float) -> Path:
    """The file with the state dict behind `url`, from torch's cache or the network, read once to see that it is one.

    Args:
        name: the model, for the sentence that says what to do offline.
        url: torchvision's address.
        timeout_s: how long a first answer may take.

    Raises:
        ModelLoadError: the file or the download is damaged.
        BackendUnavailable: the file is not cached and cannot be downloaded.
    """
    import torch

    file = weights_file(url)
    if not file.exists():
        _download(name, url, file, timeout_s)
    try:
        torch.load(file, map_location="cpu", weights_only=True)  # torchvision's own loading trusts any pickle
    except Exception as error:  # torch.load raises whatever its pickle holds
        raise ModelLoadError(f"{file} is damaged. Delete it, and it will be downloaded again.") from error
    return file


def _download(name: str, url: str, file: Path, timeout_s: float) -> None:
    """Fetch `url` to `file`, checked against the hash in its name, whole or not at all."""
    try:
        response = _answer_within(url, timeout_s)
        file.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with response, tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.name, delete=False) as partial:
            try:
                while chunk := response.read(1 << 20):
                    digest.update(chunk)
                    partial.write(chunk)
            except BaseException:
                os.unlink(partial.name)
                raise
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise BackendUnavailable(
            f"the weights {file.name} are not cached and cannot be downloaded ({reason}). Go online once, copy the "
            f"file to {file.parent}, or, where only speed matters, take random weights: "
            f"`python -m solutions.core.zoo export {name} --out FILE --random`."
        ) from error
    expected = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if expected and not digest.hexdigest().startswith(expected.group(1)):
        os.unlink(partial.name)
        raise ModelLoadError(f"the download of {url} is damaged: its hash is wrong. Try again.")
    os.replace(partial.name, file)


def _answer_within(url: str, timeout_s: float) -> Any:
    """The open response, or TimeoutError: in a thread, because a name lookup ignores every socket timeout."""
    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=_STALL_S))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, name="weights-download", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
