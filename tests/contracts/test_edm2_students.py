"""A method and a network of two plugins that need each other: SiDA weighed by the error an EDM2 network expects."""

from __future__ import annotations

from distillkit.testing import CONTRACTS

EDM2 = {
    "use": "edm2", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "channels_per_head": 8,
}  # fmt: skip


class TestSidaOfEdm2(CONTRACTS["generator_loss"]):
    use = "sida"
    config = {"logvar": True, "lsd": 100.0}
    recipe = {"teacher_score": {"network": EDM2}}
    batch_level = "SiDA's adversarial loss is one number over the images of a micro-batch, as in the paper's code"
