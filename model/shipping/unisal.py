"""Export the UNISAL of a user's checkout (Droste, Jiao and Noble, ECCV 2020; github.com/rdroste/unisal) to ONNX.

    python -m model.unisal --checkout UNISAL --out unisal.onnx
    vsal models add unisal.onnx --kind recurrent --output log-density --licence SPDX

The graph takes one frame, normalised as ImageNet's, and the hidden state of the ConvGRU, and gives the log-density of
gaze and the next state: what `vsal models add` wraps and `SaliencySession.run_sequence` runs through a shot. Code and
weights stay the user's: this module runs the checkout's `unisal/model.py` as it is and copies nothing of it. UNISAL was
trained on every fifth frame of 30 a second, so it is at its best at `--sample-rate 6`.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

OPSET = 17
PARITY = 1e-3  # of the density as a share of its peak
SIZE = (384, 224)  # width and height that UNISAL was trained at on DHF1K
STRIDE = 32
TRAINED = "training_runs/pretrained_unisal"  # of the checkout: settings and weights
TRIED_FRAMES = 5


class Refused(SystemExit):
    """The checkout cannot be exported; the text says what was looked for and what would help."""


class OneFrame(nn.Module):
    """One frame through UNISAL's recurrence: float [1, 3, h, w] and the state -> log-density [1, 1, h, w], next state.

    Args:
        net: the checkout's model.
        source: the data set whose norms, priors and smoothing are used.
    """

    def __init__(self, net: nn.Module, source: str) -> None:
        super().__init__()
        self.net, self.source = net.eval(), source
        for module in net.modules():
            if hasattr(module, "set_drop_masks"):  # draws at random for dropout, which inference does not have
                module.set_drop_masks = lambda: None

    def forward(self, frame: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The graph that is exported; a state of None is that before the first frame."""
        # A clip of one frame counts as a picture, and pictures go past the recurrence, unless it is said otherwise.
        density, after = self.net(frame[:, None], h0=[state], return_hidden=True, source=self.source, static=False)
        return density[:, 0], after[0]


def load(checkout: Path, trained: str = TRAINED) -> nn.Module:
    """UNISAL with its weights, from a checkout; its code is run.

    Args:
        checkout: root of the repository.
        trained: folder below it that holds UNISAL.json and weights_best.pth.

    Raises:
        Refused: the checkout does not hold what it should.
    """
    code, settings, weights = (
        checkout / "unisal" / "model.py", checkout / trained / "UNISAL.json", checkout / trained / "weights_best.pth"
    )  # fmt: skip
    for file in (code, settings, weights):
        if not file.is_file():
            raise Refused(
                f"{file} is not there: give the root of a checkout of github.com/rdroste/unisal, weights and all"
            )
    # The package as a bare name: its own __init__ imports what only training needs (torchvision, tensorboardX, fire).
    package = types.ModuleType("unisal")
    package.__path__ = [str(code.parent)]
    for name in [n for n in sys.modules if n == "unisal" or n.startswith("unisal.")]:
        del sys.modules[name]
    sys.modules["unisal"] = package
    made: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
    made |= {"verbose": 0, "cnn_cfg": {**(made.get("cnn_cfg") or {}), "pretrained": False}}  # the weights hold it all
    net: nn.Module = importlib.import_module("unisal.model").get_model()(**made)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    try:
        net.load_state_dict(state.get("model_state_dict", state))
    except RuntimeError as error:
        raise Refused(f"{weights} is not of the network that {settings} describes: {error}") from error
    return net.eval()


def to_onnx(net: nn.Module, source: str, size: tuple[int, int] = SIZE) -> bytes:
    """The recurrent graph: `frame` [1, 3, h, w] and `state` in, `log_density` [1, 1, h, w] and `next_state` out.

    Args:
        net: of `load`.
        source: as in `OneFrame`.
        size: (width, height), multiples of 32.

    Raises:
        Refused: the size does not fit, or the network does not know the source.
    """
    width, height = size
    if width % STRIDE or height % STRIDE or min(size) < STRIDE:
        raise Refused(f"UNISAL takes sizes in multiples of {STRIDE}, not {width}x{height}: try {SIZE[0]}x{SIZE[1]}")
    known: list[str] = [name for name in getattr(net, "sources", [source]) if name != "SALICON"]
    if source not in known:
        raise Refused(
            f"UNISAL was trained on the videos of {', '.join(known)}, not {source!r}: choose one with --source"
        )
    one, frame = OneFrame(net, source), torch.zeros(1, 3, height, width)
    with torch.no_grad():
        state = torch.zeros_like(one(frame, None)[1])
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: sizes are fixed here, so what it takes for constant is
        torch.onnx.export(
            one, (frame, state), buffer, dynamo=False, opset_version=OPSET,
            input_names=["frame", "state"], output_names=["log_density", "next_state"],
        )  # fmt: skip
    return buffer.getvalue()


def parity(net: nn.Module, source: str, exported: bytes, size: tuple[int, int] = SIZE) -> float:
    """Largest difference of the graph from the network over a few frames in a row, as a share of the density's peak."""
    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])
    one, rng, worst = OneFrame(net, source), np.random.default_rng(0), 0.0
    theirs: Tensor | None = None
    ours = np.zeros([int(n) for n in session.get_inputs()[1].shape], np.float32)
    for _ in range(TRIED_FRAMES):
        coarse = rng.normal(0, 1, (1, 3, size[1] // STRIDE, size[0] // STRIDE)).astype(np.float32)
        frame = np.repeat(np.repeat(coarse, STRIDE, 2), STRIDE, 3)
        with torch.no_grad():
            wanted, theirs = one(torch.from_numpy(frame), theirs)
        got, ours = session.run(None, {"frame": frame, "state": ours})
        worst = max(worst, float(np.abs(_of_peak(got) - _of_peak(wanted.numpy())).max()))
    return worst


def _of_peak(log_density: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.exp(log_density - log_density.max()))


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", required=True, type=Path, help="root of the repository; its code is run")
    parser.add_argument("--trained", default=TRAINED, help="folder below it with UNISAL.json and weights_best.pth")
    parser.add_argument("--source", default="DHF1K", help="data set whose norms and priors are used")
    parser.add_argument("--size", default=f"{SIZE[0]}x{SIZE[1]}", help="WIDTHxHEIGHT, multiples of 32")
    parser.add_argument("--out", required=True, type=Path, help="ONNX file to write")
    args = parser.parse_args()
    width, x, height = args.size.partition("x")
    if not (x and width.isdigit() and height.isdigit()):
        raise Refused(f"--size is WIDTHxHEIGHT, such as {SIZE[0]}x{SIZE[1]}, not {args.size!r}")
    size = (int(width), int(height))
    net = load(args.checkout, args.trained)
    exported = to_onnx(net, args.source, size)
    difference = parity(net, args.source, exported, size)
    if difference > PARITY:
        raise Refused(
            f"ONNX Runtime differs from torch by {difference:.1e} of the peak, more than {PARITY:.0e}: not written"
        )
    args.out.write_bytes(exported)
    print(f"{args.out}: {len(exported) / 1e6:.1f} MB, differs from torch by at most {difference:.1e} of the peak")
    print(f"vsal models add {args.out} --kind recurrent --output log-density --licence SPDX")


if __name__ == "__main__":
    main()
