"""The adapter is held against a small network with UNISAL's interface: the real one is the user's to bring."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[train])")

from model.shipping import unisal  # noqa: E402
from vsal.saliency import SaliencySession, load_model  # noqa: E402
from vsal.saliency.density import saliency_of  # noqa: E402
from vsal.saliency.foreign import Interface  # noqa: E402
from vsal.saliency.register import add_model  # noqa: E402

SIZE = (96, 64)
NETWORK = '''
import torch
from torch import nn
from torch.nn import functional as F
from .parts import Memory


def get_model():
    return Stand


class Norms(nn.Module):
    """One norm for each data set, chosen by name while the model runs."""

    def __init__(self, channels, sources):
        super().__init__()
        self.of = nn.ModuleDict({s: nn.BatchNorm2d(channels) for s in sources})
        self.this_source = None

    def forward(self, x):
        return self.of[self.this_source](x)


class Stand(nn.Module):
    def __init__(self, hidden, cnn_cfg, sources, verbose):
        super().__init__()
        assert cnn_cfg["pretrained"] is False, "looks for ImageNet weights that a checkout need not have"
        self.sources = sources
        self.stem = nn.Conv2d(3, hidden, 3, 4, 1)
        self.norms = Norms(hidden, sources)
        self.mix = nn.Conv2d(hidden + 2, hidden, 1)
        self.rnn = Memory(hidden)
        self.head = nn.Conv2d(hidden, 1, 1)
        self.smooth = nn.Conv2d(1, 1, 5, bias=False)

    def priors(self, x):
        rows, cols = (torch.linspace(0, 1, n) for n in x.shape[-2:])
        y, x_ = torch.meshgrid(rows, cols, indexing="ij")
        maps = torch.stack([torch.exp(-((y - 0.5) ** 2) * 4), torch.exp(-((x_ - 0.5) ** 2) * 4)])
        return maps[None].expand(x.shape[0], -1, -1, -1)

    def forward(self, x, target_size=None, h0=None, return_hidden=False, source="DHF1K", static=None):
        self.norms.this_source = source
        if static is None:
            static = x.shape[1] == 1
        if target_size is None:
            target_size = x.shape[-2:]
        outputs, hidden = [], h0
        for image in torch.unbind(x, 1):
            features = F.relu6(self.norms(self.stem(image)))[..., ::8, ::8]
            features = self.mix(torch.cat([features, self.priors(features)], 1))
            if not static:
                seen, hidden = self.rnn(features[:, None], hidden)
                features = features + seen[:, 0]
            y = F.interpolate(self.head(features), size=x.shape[-2:], mode="nearest")
            y = self.smooth(F.pad(y, [2] * 4, mode="replicate"))
            y = F.interpolate(y, size=target_size, mode="bilinear", align_corners=False)
            outputs.append(F.log_softmax(y.view(y.size(0), -1), 1).view(y.size()))
        return [torch.stack(outputs, 1), hidden] if return_hidden else torch.stack(outputs, 1)
'''
PARTS = """
import torch
from torch import nn
from torch.distributions.bernoulli import Bernoulli


class Cell(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.gates = nn.Conv2d(2 * hidden, 2 * hidden, 3, 1, 1)
        self.register_buffer("drop_mask_1", torch.ones(hidden))

    def set_drop_masks(self):
        self.drop_mask_1 = Bernoulli(torch.full((self.drop_mask_1.numel(),), 0.8)).sample()

    def forward(self, x, h):
        if h is None:
            h = torch.zeros_like(x)
        z, new = self.gates(torch.cat([x, h], 1)).chunk(2, 1)
        z = torch.sigmoid(z)
        return (1 - z) * h + z * torch.tanh(new)


class Memory(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.cells = nn.ModuleList([Cell(hidden)])

    def forward(self, x, hidden=None):
        if not hidden:
            hidden = [None]
        outputs = []
        for t, features in enumerate(torch.unbind(x, 1)):
            if t == 0:
                self.cells[0].set_drop_masks()
            hidden[0] = self.cells[0](features, hidden[0])
            outputs.append(hidden[0].clone())
        return torch.stack(outputs, 1), hidden
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    code, trained = root / "unisal", root / unisal.TRAINED
    code.mkdir(parents=True)
    trained.mkdir(parents=True)
    (code / "__init__.py").write_text("raise ImportError('fire is not installed: it is for training only')\n")
    (code / "model.py").write_text(NETWORK)
    (code / "parts.py").write_text(PARTS)
    made = {"hidden": 12, "cnn_cfg": {"pretrained": True}, "sources": ["DHF1K", "SALICON"], "verbose": 1}
    (trained / "UNISAL.json").write_text(json.dumps(made))
    namespace: dict[str, object] = {"__name__": "parts"}
    exec(PARTS, namespace)
    net = dict(namespace)
    exec(NETWORK.replace("from .parts import Memory", ""), net)
    torch.manual_seed(1)
    stand = net["Stand"](**{**made, "cnn_cfg": {"pretrained": False}})  # type: ignore[operator]
    with torch.no_grad():
        for parameter in stand.parameters():
            parameter.mul_(2)  # away from a mask that is flat
    torch.save(stand.state_dict(), trained / "weights_best.pth")
    return root


def test_the_export_runs_in_vsal_as_the_network_does_over_a_clip(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = unisal.load(checkout)
    exported = unisal.to_onnx(net, "DHF1K", SIZE)
    assert unisal.parity(net, "DHF1K", exported, SIZE) <= unisal.PARITY
    file = tmp_path / "unisal.onnx"
    file.write_bytes(exported)
    monkeypatch.setenv("VSAL_MODELS", str(tmp_path / "models"))
    add_model(str(file), Interface("recurrent", output="log-density"), "Apache-2.0")
    session = SaliencySession(load_model("unisal").data)

    frames = np.random.default_rng(2).integers(0, 256, (6, SIZE[1], SIZE[0], 3), np.uint8)
    got = session.run_sequence(frames).saliency
    mean, std = (np.array(v, np.float32) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = torch.from_numpy(((frames / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)[None])
    with torch.no_grad():
        clip = net(x, source="DHF1K")[0, :, 0].exp()  # six frames at once: nothing static about them
        alone = net(x[:, 5:], source="DHF1K", static=False)[0, 0, 0].exp()
    wanted = saliency_of(clip.numpy())
    np.testing.assert_allclose(got, wanted, atol=unisal.PARITY)
    assert np.abs(saliency_of(alone.numpy()) - wanted[5]).max() > 2 * unisal.PARITY, (
        "the state changes nothing: a weak test"
    )


def test_parity_sees_other_weights(checkout: Path) -> None:
    net = unisal.load(checkout)
    exported = unisal.to_onnx(net, "DHF1K", SIZE)
    with torch.no_grad():
        next(net.parameters()).add_(0.05)
    assert unisal.parity(net, "DHF1K", exported, SIZE) > unisal.PARITY


def test_what_is_no_checkout_is_refused_with_what_was_looked_for(checkout: Path) -> None:
    with pytest.raises(unisal.Refused, match=r"model\.py is not there"):
        unisal.load(checkout / "unisal")
    (checkout / unisal.TRAINED / "weights_best.pth").unlink()
    with pytest.raises(unisal.Refused, match=r"weights_best\.pth is not there"):
        unisal.load(checkout)


def test_sizes_and_sources_that_do_not_fit_are_refused(checkout: Path) -> None:
    net = unisal.load(checkout)
    with pytest.raises(unisal.Refused, match="multiples of 32"):
        unisal.to_onnx(net, "DHF1K", (100, 64))
    with pytest.raises(unisal.Refused, match="videos of DHF1K, not 'SALICON'"):
        unisal.to_onnx(net, "SALICON", SIZE)


def test_the_command_writes_the_file_and_says_what_next(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made.onnx"
    command = ["unisal", "--checkout", str(checkout), "--out", str(out), "--size", "96x64"]
    monkeypatch.setattr(sys, "argv", command)
    unisal.main()
    assert out.stat().st_size > 1000
    assert f"vsal models add {out} --kind recurrent --output log-density" in capsys.readouterr().out
