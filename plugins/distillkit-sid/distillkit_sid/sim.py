"""SIM, score implicit matching: SiD's two updates for other distances d of the two scores.

Letters as in sid.py. u = D_real - D_fake is sigma^2 times the difference of the teacher's and the fake score, and d' is
the derivative of d, a constant in the loss:

    (a)  L_theta = lsg sum d'(u) (D_fake - x) / w
    (b)  d'(u)   = u ("l2"),    u / sqrt(sum u^2 + c^2 C H W) ("huber", published)

(a) has the gradient of E d(u) for any d, Sec. 3.2; (b) are choices of its Sec. 3.3, and 1 / w is SiD's weight. The
letters are ours.
With "l2" it is SiD's loss with alpha = 1, in which u is no constant; its teacher needs no way back.
Source: arXiv:2410.16794, Sec. 3; its authors published no training code.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def of_sim(instance: Any, attribute: Any, value: str | None) -> None:
    if value and instance.alpha != 1:
        raise ValueError(f"'distance' is SIM's, which has no 'alpha': it must be 1, and is {instance.alpha:g}")


def sim_loss(x: Tensor, D_real: Tensor, D_fake: Tensor, c: float | None, w: Tensor) -> Tensor:
    """(a) per pixel, without lsg [N,C,H,W], of x, D_real, D_fake [N,C,H,W], w [N,1,1,1]; c of "huber", None: "l2"."""
    u = (D_real - D_fake).detach()
    d = u if c is None else u / (u.square().sum((1, 2, 3), keepdim=True) + c**2 * u[0].numel()).sqrt()
    return d * (D_fake - x) / w
