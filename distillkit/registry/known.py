"""Which first-party distribution offers what, for the hint `pip install ...` when it is not installed."""

from __future__ import annotations

_OFFERED = {
    "distillkit-edm": {
        "network": "edm-ddpmpp edm-ncsnpp edm-adm edm2",
        "teacher_score": "edm",
        "generator_loss": "edm edm2",
        "augment": "edm",
        "importer": "pkl bin pt pth safetensors",
        "evaluate": "power-ema",
    },
    "distillkit-sid": {"generator_loss": "sid sida sid2a"},
    "distillkit-dmd": {"generator_loss": "dmd dmd2", "auxiliary_loss": "regression adversarial"},
    "distillkit-di": {"generator_loss": "diff-instruct"},
    "distillkit-cm": {"generator_loss": "cd ct ect"},
    "distillkit-gdd": {
        "generator_loss": "gdd gdd-i",
        "auxiliary_loss": "consistency",
        "evaluate": "layer-activation",
        "backbone": "teacher-encoder random-pyramid squeezenet vgg16-bn efficientnet-lite0 deit",
        "embedding": "lpips-vgg16",
    },
    "distillkit-el": {"auxiliary_loss": "embedding"},
    "distillkit-embeddings": {"embedding": "convnet multiscale residual attention pixels"},
    "distillkit-kernels": {"kernel": "rbf laplace imq energy linear"},
    "distillkit-datasets": {"dataset": "digits image-zip image-folder npz cifar10 latents"},
    "distillkit-metrics": {
        "evaluate": "frechet fid kid inception-score precision-recall rel-fid",
        "auxiliary_loss": "frechet",
        "features": "digits-classifier inception torchscript",
        "embedding": "lpips-torchscript",
    },
}

# (kind, name) -> distribution
KNOWN: dict[tuple[str, str], str] = {
    (kind, name): dist for dist, kinds in _OFFERED.items() for kind, names in kinds.items() for name in names.split()
}
