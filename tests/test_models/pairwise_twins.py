"""Slow twins of the losses over all pairs: loops in float64.

Every image meets every caption alone, with its real tokens only; nothing is
masked, padded or put into blocks.
"""

from __future__ import annotations

import torch

from sparc_vlm.models.objectives import FILIP, PACL, GLoRIA, SigLIP

BIAS = -3.0
OBJECTIVES = {
    'filip': lambda **options: FILIP(1.0, dropped=0.0, **options),
    'pacl': lambda **options: PACL(**options),
    'gloria': lambda **options: GLoRIA(global_weight=0.0, **options),
    'siglip': lambda **options: SigLIP(bias=BIAS, **options).double(),
}


def normalised(vector):
    return vector / vector.norm()


def filip(patches, tokens):
    """Scores of one image and one caption, both directions."""
    v = [normalised(patch) for patch in patches]
    t = [normalised(token) for token in tokens]
    to_text = sum(max(p @ w for w in t) for p in v) / len(v)
    to_image = sum(max(p @ w for p in v) for w in t) / len(t)
    return to_text, to_image


def pacl(patches, text):
    text = normalised(text)
    v = [normalised(patch) for patch in patches]
    powers = [(patch @ text).exp() for patch in v]
    pooled = sum(w / sum(powers) * p for w, p in zip(powers, v, strict=True))
    return pooled @ text


def gloria(patches, tokens, scale):
    total = 0
    for token in tokens:
        powers = [(token @ p / len(token) ** 0.5).exp() for p in patches]
        grouped = sum(
            w / sum(powers) * p for w, p in zip(powers, patches, strict=True)
        )
        cosine = normalised(grouped) @ normalised(token)
        total = total + (scale * cosine).exp()
    return total.log()


def matrices(name, pairs):
    """Scores of all pairs: (B, B) image to text, and text to image."""
    count = len(pairs.image)
    found = []
    for i in range(count):
        for j in range(count):
            tokens = pairs.tokens[j][pairs.token_mask[j]]
            scale = pairs.logit_scale
            if name == 'filip':
                scores = [scale * s for s in filip(pairs.patches[i], tokens)]
            elif name == 'pacl':
                scores = [scale * pacl(pairs.patches[i], pairs.text[j])] * 2
            elif name == 'gloria':
                scores = [gloria(pairs.patches[i], tokens, scale)] * 2
            else:
                cosine = normalised(pairs.image[i]) @ normalised(pairs.text[j])
                scores = [scale * cosine + BIAS] * 2
            found.append(torch.stack(scores))
    return torch.stack(found).view(count, count, 2).unbind(-1)


def loss(name, pairs):
    """The loss of `OBJECTIVES[name]`."""
    to_text, to_image = matrices(name, pairs)
    count = len(to_text)
    total = 0
    for i in range(count):
        if name == 'siglip':
            for j in range(count):
                sign = -1 if i == j else 1
                total = total + (1 + (sign * to_text[i, j]).exp()).log()
            continue
        row, column = to_text[i], to_image[:, i]
        total = total + (row.exp().sum().log() - row[i]) / 2
        total = total + (column.exp().sum().log() - column[i]) / 2
    return total / count
