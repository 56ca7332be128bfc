"""SiDA: SiD and an adversary without weights of its own, the encoder half of psi; SiD2A: SiDA from a SiD student.

Letters as in sid.py; l_real, l_fake [N,1,h,w] are the encoder's logits at real and generated images y with the same
sigma and noise n. BCE is one number: the mean over images and map of the (micro-)batch.

    (e)  L_D     = lsd lambda(sigma) (BCE(l_real, 1) + BCE(l_fake, 0)) / 2,       trained together with (a)
    (f)  L_gan   = lsg_gan C H W BCE(clamp(l_fake, -10, 10), 1) / w,              at the noise of (b), w of (c)
    (g)  L_theta = (b) / 2 + (f) / 2 after gan_after_kimg;  (b) up to it;  no update up to generator_after_kimg

(a) ... (d) are SiD's, Algorithm 1 of arXiv:2404.04057; the letters are ours. That BCE is one number is the paper's
"batch-normalized within each GPU" (its abstract).
Gradients of psi are clipped element-wise to [-1, 1]; EDM2: not clipped. `logvar`: as in sid.py. Of EDM2's networks
theta's weights are normalised in training and psi's are not: in the code psi is a copy whose hooks normalise nothing.
`shared_forward`, not published: (a) and (e) at the x, sigma, n and the pass of psi of (b); psi then keeps its dropout
in (b) and (f), and sees no images of its own.
Source: arXiv:2410.14919, in the form of its authors' code (github.com/mingyuanzhou/SiD, branch sida).
"""

from __future__ import annotations

from typing import ClassVar, cast

from torch import Tensor
from torch.nn.functional import softplus

from distillkit.api import (
    Denoise,
    EncoderDecoder,
    ForcedNormalization,
    State,
    Step,
    UsageError,
    hookimpl,
    record_logits,
)
from distillkit.noise import edm_weight
from distillkit_sid.config import SidaConfig
from distillkit_sid.rows import finite_rows
from distillkit_sid.sid import Sid, sid_loss, sid_weight
from distillkit_sid.turns import alternating, joint, more_than

FAKE_AND_ADVERSARY = (
    "Denoising error of the fake score and the discriminator's loss: as noisy as that is, without a trend. A rise "
    "for good says that the student moves faster than the fake score can follow."
)


class Sida(Sid):
    """Adversarial SiD: the fake score's own encoder is the discriminator (arXiv:2410.14919).

    Needs real images. SiD2A is the same loss with `[generator] from =` the recipe of a SiD run.
    """

    tiny = {**Sid.tiny, "generator_after_kimg": 0.0, "gan_after_kimg": 0.0}

    curves: ClassVar[dict[str, str]] = {
        **Sid.curves,
        "loss/generator": "The gap between teacher and fake score at generated images and, after gan_after_kimg, "
        "half of it and half of the adversarial loss. It comes towards 0 as the student settles (SiD2A on digits: "
        "from -113 to -6). Its level is no measure of quality.",
        "loss/critic": FAKE_AND_ADVERSARY,
        "loss/fake_score": FAKE_AND_ADVERSARY,
        "loss/discriminator": "Cross-entropy of the fake score's encoder as a discriminator, weighted by noise "
        "level: noise without a trend, since few images of low noise make most of it. Its accuracies say more.",
        "loss/adversarial": "Adversarial half of the generator's loss: a level from its first tick on (4 to 5 on "
        "digits). A rise for good says that the discriminator wins.",
    }

    Config = SidaConfig  # type: ignore[assignment] # in config.py
    config: SidaConfig

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        self.add_fake_score(state, clip_value=c.clip_value)
        if not isinstance(self.fake_score, EncoderDecoder):
            name = type(self.fake_score).__name__
            raise UsageError(f"SiDA's adversary is the encoder of a U-Net, and {name} has none: take `sid` or a U-Net")
        set_normalization(state.generator, "force_normalization", c.force_normalization, default=True)
        set_normalization(self.fake_score, "fake_force_normalization", c.fake_force_normalization, default=False)
        state.turns = (joint if self.joint else alternating)(more_than(c.generator_after_kimg))

    @property
    def joint(self) -> bool:
        return self.config.shared_forward

    @property
    def unet(self) -> EncoderDecoder:
        """The fake score, of which `setup` has asked that it has an encoder."""
        return cast(EncoderDecoder, self.fake_score)

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:  # type: ignore[override] # hooks take what they need
        """(a) + (e)."""
        c = self.config
        if self.joint and step.turn == "joint":
            self._shared = x, sigma, x_sigma, (D_fake, l_fake) = self.noisy_pass(step, self.unet.encoder_decoder)
            y, y_real, labels_real, n = x.detach(), step.real, None, (x_sigma - x).detach()
        else:
            sigma = step.lognormal_sigma(c.P_mean, c.P_std)
            y, labels_y = self.augmented(step.x, step)
            y_real, labels_real = self.augmented(step.real, step)
            n = sigma * step.randn_like(y)  # one noise for both
            D_fake, l_fake = self.unet.encoder_decoder(y + n, sigma, step.labels, labels_y)
        l_real = self.unet.encoder(y_real + n, sigma, step.labels, labels_real)
        outputs = D_fake, l_fake, l_real, self.expected_error(sigma)
        (y, D_fake, l_fake, l_real, u), keep = finite_rows(state, c.drops, y, *outputs)
        L_bce = (bce(step, l_real, 1, keep) + bce(step, l_fake, 0, keep)) / 2
        L_D = (edm_weight(sigma) / u.exp()).flatten() * keep * L_bce
        state.record("loss/discriminator", L_D.mean())
        record_logits(state, l_fake, l_real, step=step)
        return self.fake_score_loss(D_fake, y, sigma, u) + c.lsd * L_D

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(g)."""
        c = self.config
        shared, self._shared = self._shared, None
        x, sigma, x_sigma, (D_fake, l_fake) = shared or self.noisy_pass(step, self.unet.encoder_decoder)
        D_real = teacher_score(x_sigma, sigma, step.labels)
        u = self.expected_error(sigma).detach()
        (x, D_real, D_fake, l_fake, u), keep = finite_rows(state, c.drops, x, D_real, D_fake, l_fake, u)
        w = sid_weight(x, D_real, c.w_min) * u.exp()
        L_sid = c.lsg * sid_loss(x, D_real, D_fake, c.alpha, w).flatten(1).sum(1)
        if step.nimg <= c.gan_after_kimg * 1000:
            return L_sid
        L_gan = c.lsg_gan * x[0].numel() * bce(step, l_fake.clamp(-10, 10), 1, keep) * keep / w.flatten()
        state.record("loss/adversarial", L_gan.mean())
        return (L_sid + L_gan) / 2


def bce(step: Step, logits: Tensor, target: int, keep: Tensor) -> Tensor:
    """Binary cross-entropy [] of logits [N,1,h,w] with 0 or 1, over the map and the images in keep [N].

    Published runs take it over the batch of one GPU, which `run.micro_batch` names; else it is over the whole batch.
    """
    loss = softplus(-logits if target else logits).flatten(1).mean(1)
    return step.mean(loss, keep)


def set_normalization(network: object, key: str, on: bool, default: bool) -> None:
    """Raises UsageError for a network whose training does not normalise weights, and a key that was set."""
    if isinstance(network, ForcedNormalization):
        network.force_normalization(on)
    elif on != default:
        raise UsageError(f"generator_loss.{key} is for EDM2's networks, whose weights have a norm of 1")
