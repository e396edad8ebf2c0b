"""A captioner that says what it is told to, and pictures with boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image


@dataclass
class Photo:
    """One picture: what people wrote of it, and boxes of what is on it."""

    captions: list[str]
    boxes: dict[str, list[list[float]]] = field(default_factory=dict)
    broken: bool = False


class Photos:
    """A source of photos, each of a grey of its own, 40 by 20 pixels."""

    def __init__(self, photos, classes=()):
        self.photos = photos
        self.classes = list(classes)

    def __len__(self):
        return len(self.photos)

    def key(self, index):
        return f'photo-{index}'

    def captions(self, index):
        return self.photos[index].captions

    def boxes(self, index):
        own = self.photos[index].boxes
        return [
            {'name': name, 'box': box}
            for name, boxes in own.items()
            for box in boxes
        ]

    def image(self, index, at_least=None):
        if self.photos[index].broken:
            raise OSError('cut off')
        return Image.new('RGB', (40, 20), (index, index, index))


class Parrot:
    """Says of each picture what it was taught, by the picture's grey.

    Args:
        captions: Of each picture its captions, the likeliest first.
        answers: From (picture, question) to an answer.
        eyes: The pretrained model behind its eyes.
    """

    def __init__(self, captions=(), answers=None, eyes=None):
        self.captions = captions
        self.answers = answers
        self.eyes_model = eyes
        self.asked = []

    def caption(
        self,
        images,
        prompt=None,
        num_samples=1,
        temperature=0.0,
        max_new_tokens=40,
        seed=0,
        first=0,
    ):
        self.asked.append((prompt, num_samples, temperature, seed))
        own = [self.captions[image.getpixel((0, 0))[0]] for image in images]
        if not temperature:
            return [said[:1] for said in own]
        return [said[1 : 1 + num_samples] for said in own]

    def answer(self, images, questions, max_new_tokens=10):
        return [
            self.answers(image.getpixel((0, 0))[0], question)
            for image, question in zip(images, questions, strict=True)
        ]

    def likelihood(self, images, captions, prompt=None):
        """Longer ones are less likely."""
        return [-float(len(caption)) for caption in captions]
