"""The task that measures captions, against the parts it is made of."""

from __future__ import annotations

import pytest

from sparc_vlm.captioning import Attribution
from sparc_vlm.datasets import Scenes
from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation import POPE, Captioning
from sparc_vlm.evaluation.captions import score_captions
from sparc_vlm.evaluation.samples import paired, scores_of
from sparc_vlm.evaluation.statistics import bootstrap
from sparc_vlm.registry import TASKS
from tests.test_evaluation.caption_world import Parrot, Photo, Photos
from tests.test_evaluation.colour_world import ColourModel, some_boards

BOX = [[0, 0, 9, 9]]
PHOTOS = Photos(
    [
        Photo(['A dog on grass.', 'A brown dog'], {'dog': BOX}),
        Photo(['A man rides.'], {'person': BOX, 'horse': BOX}),
        Photo(['Two cats sleep', 'cats'], {'cat': BOX * 2}),
        Photo(['A bench'], {}),
    ],
    ['person', 'dog', 'cat', 'horse', 'bench'],
)
SAID = [
    ['A dog and a cat on grass'],
    ['a man on a horse'],
    ['grass'],
    ['a dog, a bench'],
]


@pytest.fixture(scope='module')
def result():
    return Captioning(PHOTOS, meteor=False).run(Parrot(SAID))


def test_scores_are_the_scorers(result):
    captions = [said[0] for said in SAID]
    references = [photo.captions for photo in PHOTOS.photos]
    expected = score_captions(captions, references, meteor=False)
    for key, value in expected.metrics.items():
        assert result.metrics[key] == value


def test_a_model_that_writes_nothing_is_told():
    for task in (
        Captioning(PHOTOS, meteor=False),
        POPE(PHOTOS),
        Attribution(PHOTOS),
    ):
        with pytest.raises(UsageError, match='ColourModel writes nothing'):
            task.run(ColourModel())


def test_the_same_captions_of_the_next_picture(result):
    captions = [said[0] for said in SAID]
    turned = PHOTOS.photos[1:] + PHOTOS.photos[:1]
    other = Captioning(Photos(turned, PHOTOS.classes), meteor=False).run(
        Parrot(SAID)
    )
    for key in ('cider', 'k_p', 'k_pna', 'chair_s'):
        assert result.metrics[f'{key}_elsewhere'] == pytest.approx(
            other.metrics[key]
        )
        assert [s[f'{key}_elsewhere'] for s in result.samples] == [
            s[key] for s in other.samples
        ]
    assert [s['caption'] for s in other.samples] == captions
    one = Captioning(PHOTOS, meteor=False, max_images=1).run(Parrot(SAID))
    assert not [key for key in one.metrics if 'elsewhere' in key]


def test_chair_over_all(result):
    """Six objects are named; the cat and the dog are not there."""
    assert result.metrics['chair_i'] == pytest.approx(100 * 2 / 6)
    assert result.metrics['chair_s'] == 50
    # Of dog, person, horse and cat, the cat is not named.
    assert result.metrics['object_recall'] == 75
    assert [s['invented'] for s in result.samples] == [
        ['cat'],
        [],
        [],
        ['dog'],
    ]


def test_words_and_precision(result):
    assert result.metrics['words'] == pytest.approx((7 + 5 + 1 + 4) / 4)
    # 'a' twice, dog, on, grass of 'a dog and a cat on grass': no second a.
    assert result.samples[0]['k_p'] == pytest.approx(100 * 4 / 7)
    assert result.samples[2]['k_p'] == 0
    assert result.samples[0]['key'] == 'photo-0'


def test_metrics_can_be_drawn_anew(result):
    table = result.to_json()
    for key, value in result.metrics.items():
        scores, _ = scores_of(key, [table])
        interval = bootstrap(scores, draws=50)
        assert interval.value == pytest.approx(value, rel=1e-4), key
        assert interval.low <= value <= interval.high or key == 'bleu_4'


def test_two_captioners_are_compared_on_one_bleu(result):
    better = Captioning(PHOTOS, meteor=False).run(
        Parrot([[photo.captions[0]] for photo in PHOTOS.photos])
    )
    both = paired('bleu_1', [better.to_json()], [result.to_json()])
    difference = bootstrap(*both, draws=50)
    assert difference.value == pytest.approx(
        better.metrics['bleu_1'] - result.metrics['bleu_1']
    )


def test_what_is_asked_for():
    parrot = Parrot(SAID)
    Captioning(PHOTOS, prompt='Say it', meteor=False).run(parrot)
    assert parrot.asked == [('Say it', 1, 0.0, 0)]


def test_what_is_left_out_is_counted():
    photos = Photos(
        [*PHOTOS.photos, Photo(['a torn page'], broken=True), Photo([' .'])],
        PHOTOS.classes,
    )
    result = Captioning(photos, meteor=False, batch_size=2).run(
        Parrot([*SAID[:3], [], [], ['a page']])
    )
    assert len(result.samples) == 3
    assert result.skipped == {
        'broken pictures': 1,
        'pictures whose caption is withheld': 1,
        'pictures of which nobody wrote': 1,
    }
    with pytest.raises(ValueError, match='no picture has both'):
        Captioning(PHOTOS, meteor=False).run(Parrot([[]] * 4))


def test_eyes_judge_unless_another_does():
    boards = some_boards(4)
    first = [board.captions[0] for board in boards.boards]

    class Reader:
        eyes_model = ColourModel()

        def caption(self, images, **options):
            return [[first[boards.at(image)]] for image in images]

    pictures = {boards.image(i).tobytes(): i for i in range(4)}
    boards.at = lambda image: pictures[image.tobytes()]
    task = Captioning(boards, meteor=False, k_precision=False)
    result = task.run(Reader())
    assert result.metrics['clip_score'] > 200
    assert result.metrics['ref_clip_score'] > 100
    assert 'chair_i' not in result.metrics
    assert 'k_p' not in result.metrics
    blind = Captioning(
        boards, meteor=False, judge=ColourModel(dense_shift=1)
    ).run(Reader())
    assert blind.metrics['clip_score'] == result.metrics['clip_score']


def scene_task(**options):
    dataset = dict(type='Scenes', split='val', size=32, num_images=40)
    return TASKS.build(
        dict(type='Captioning', dataset=dataset, meteor=False, **options)
    )


class SceneReader:
    """Says of each scene what a function of its number makes."""

    def __init__(self, say):
        self.say = say
        source = Scenes('val', size=32, num_images=40)
        self.at = {source.image(i).tobytes(): i for i in range(40)}

    def caption(self, images, **options):
        return [[self.say(self.at[image.tobytes()])] for image in images]


def test_true_captions_of_scenes():
    source = Scenes('val', size=32, num_images=40)
    result = scene_task().run(SceneReader(lambda i: source.captions(i)[0]))
    for kind in ('objects', 'attributes', 'counts', 'relations', 'background'):
        assert result.metrics[f'false_{kind}'] == 0
    assert result.metrics['false_captions'] == 0
    assert result.metrics['silent_captions'] == 0
    assert result.metrics['unread_words'] == 0
    assert 0 < result.metrics['missed_objects'] < 100
    assert 1 < result.metrics['named_objects'] < 4
    assert result.metrics['k_p'] == 100


def test_silence_is_told_from_truth():
    source = Scenes('val', size=32, num_images=40)
    said = [
        'a beautiful beach',
        'nothing, really nothing at all',
        'a red ring, blue circle and a pink sky',
        'a shape',
    ]
    result = scene_task().run(SceneReader(lambda i: said[i % 4]))
    metrics = result.metrics
    assert metrics['silent_captions'] == 50
    false = [bool(source.faults(i, said[i % 4]).invented) for i in range(40)]
    assert metrics['false_captions'] == pytest.approx(100 * sum(false) / 20)
    # Of 3, 5, 9 and 2 words.
    assert metrics['unread_words'] == pytest.approx(100 * (3 + 5 + 3) / 19)
    named = sum(source.faults(i, said[i % 4]).named for i in range(40))
    assert named >= 10
    assert metrics['named_objects'] == named / 40
    shown = sum(len(source.scene(i).objects) for i in range(40))
    missed = 100 * (shown - named) / shown
    assert metrics['missed_objects'] == pytest.approx(missed)
    assert not {'words_read', 'objects_shown'} & set(metrics)
    for key, value in metrics.items():
        scores, _ = scores_of(key, [result.to_json()])
        assert bootstrap(scores, draws=20).value == pytest.approx(value)
    silent = scene_task().run(SceneReader(lambda i: 'a beach')).metrics
    assert silent['silent_captions'] == 100
    assert 'false_captions' not in silent


def test_inventions_of_scenes_are_found_and_drawn_anew():
    source = Scenes('val', size=32, num_images=40)

    def say(index):
        shape = source.scene(index).objects[0].shape
        return f'a pink {shape} and a green ring'

    result = scene_task().run(SceneReader(say))
    found = [source.faults(i, say(i)) for i in range(40)]
    false = sum(one.false['objects'] for one in found)
    assert result.metrics['false_objects'] == pytest.approx(100 * false / 80)
    wrong = sum(one.false['attributes'] for one in found)
    said = sum(one.said['attributes'] for one in found)
    assert result.metrics['false_attributes'] == 100 * wrong / said
    assert 'false_relations' not in result.metrics
    assert result.samples[0]['invented'] == found[0].invented
    for key, value in result.metrics.items():
        scores, _ = scores_of(key, [result.to_json()])
        assert bootstrap(scores, draws=20).value == pytest.approx(value)
