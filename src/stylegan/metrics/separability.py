"""Linear separability (section 4.2): how well a hyperplane in latent space tells an image's attributes."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import InputError
from stylegan.extras import need_scikit_learn


@dataclass(frozen=True)
class Separability:
    """The score, and for each of the A attributes what it is made of. The tensors are float64, on the CPU."""

    score: float  # exp of the sum of the entropies; 1 is perfectly separable, 2^A is the worst
    entropies: Tensor  # [A] H(Y | X) in nats; Y: the attribute, X: the side of the hyperplane; 0 to ln 2
    accuracies: Tensor  # [A] share of the kept samples that lie on their attribute's side of the hyperplane
    normals: Tensor  # [A, D] unit normals of the hyperplanes, towards the positive class; 0 where all are of one class
    offsets: Tensor  # [A] normal . x + offset > 0 predicts positive


def conditional_entropy(x: Tensor, y: Tensor) -> float:
    """H(Y | X) in nats, from how often the four pairs occur: what is left to tell of y once x is known. Bools [N]."""
    joint = torch.bincount(2 * x.long() + y.long(), minlength=4).double().reshape(2, 2) / len(x)  # [x, y]
    # H(Y | X) = H(X, Y) - H(X), which rounding may take below 0
    return max(0.0, float(torch.special.entr(joint).sum() - torch.special.entr(joint.sum(dim=1)).sum()))


def _fit(latents: np.ndarray, logits: Tensor, kept: int, converged: bool) -> tuple[float, float, Tensor, float]:
    """Entropy, accuracy, normal [D] and offset of one attribute. latents: [N, D]; logits: [N]."""
    from sklearn.svm import LinearSVC

    # The order of -max(p, 1 - p), without the ties where p rounds to 0 or 1.
    order = logits.abs().argsort(descending=True, stable=True)[:kept]
    target = logits[order] > 0
    if target.all() or not target.any():
        return 0.0, 1.0, torch.zeros(latents.shape[1], dtype=torch.float64), 1.0 if target[0] else -1.0
    # The official code solves the dual, the default at its time. The primal has the same optimum and is 40 times
    # faster; the dual stops at max_iter short of it: on random data of the paper's size (100,000 x 512) it errs on
    # 13.0 % where the primal errs on 11.7 %, so that official scores are higher.
    svm = LinearSVC(C=1.0, loss="squared_hinge", dual=not converged, tol=1e-4, max_iter=1000, random_state=0)
    x = latents[order.numpy()]
    predicted = torch.from_numpy(svm.fit(x, target.numpy()).predict(x))
    normal, offset = torch.from_numpy(svm.coef_[0]).double(), float(svm.intercept_[0])
    length = float(normal.norm()) or 1.0
    accuracy = float((predicted == target).double().mean())
    return conditional_entropy(predicted, target), accuracy, normal / length, offset / length


def separability(
    latents: Tensor, logits: Tensor, *, keep: float = 0.5, converged: bool = True, workers: int = 1
) -> Separability:
    """The linear separability of the attributes in latent space: 1 where hyperplanes tell them all.

    latents: [N, D], the z or w of the images. logits: [N, A], the classifiers' outputs for the images; above 0 the
    image has the attribute. For each attribute only the `keep` share with the largest |logit| counts; of equals the
    first. A linear SVM is fitted to those, as they are, without scaling, and judged on them too. The paper has
    N = 200,000 and A = 40 (section 4.2). converged: take the optimum, or what the official code's 1,000 iterations
    of the dual problem come to. workers: threads, one attribute each; a converged result does not depend on them
    (the dual draws random numbers, from one generator for all threads: use 1). Each
    takes about 28 bytes per number it fits: 1.4 GB for the paper's 100,000 kept latents of 512.

    Raises InputError for shapes that do not match, numbers that are not finite, a keep outside (0, 1], and where
    scikit-learn is not installed.
    """
    if latents.ndim != 2 or logits.ndim != 2 or len(latents) != len(logits) or not latents.numel() * logits.numel():
        shapes = f"{list(latents.shape)} and {list(logits.shape)}"
        raise InputError(f"latents and logits of shapes {shapes} do not match; give [N, D] and [N, A]")
    if not 0 < keep <= 1:
        raise InputError(f"keep is a share of the samples, not {keep}; give a number above 0 and up to 1")
    for name, values in (("latents", latents), ("logits", logits)):
        if not values.isfinite().all():
            raise InputError(f"the {name} are not all finite; check the networks they come from")
    need_scikit_learn()
    from joblib import Parallel, delayed
    from sklearn.exceptions import ConvergenceWarning

    points, columns = latents.detach().float().cpu().numpy(), logits.detach().cpu().unbind(dim=1)
    kept = max(1, round(keep * len(latents)))
    with warnings.catch_warnings():  # here and not in the threads, which share the filters
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = Parallel(n_jobs=workers, backend="threading")(
            delayed(_fit)(points, column, kept, converged) for column in columns
        )
    entropies, accuracies, normals, offsets = zip(*fits, strict=True)
    return Separability(
        score=math.exp(sum(entropies)),
        entropies=torch.tensor(entropies, dtype=torch.float64),
        accuracies=torch.tensor(accuracies, dtype=torch.float64),
        normals=torch.stack(normals),
        offsets=torch.tensor(offsets, dtype=torch.float64),
    )
