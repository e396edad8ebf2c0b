import pytest

from sparc_vlm.datasets import Flickr8kJudgements
from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.registry import DATASETS
from tests.test_datasets.entities import write_judgements


def test_experts(tmp_path):
    """A picture's own captions are left out, as the field does."""
    source = Flickr8kJudgements(write_judgements(tmp_path))
    assert [source.key(n) for n in range(len(source))] == ['a.jpg', 'b.jpg']
    assert source.captions(0) == [
        'A dog runs .',
        'The brown dog is running .',
    ]
    assert source.judgements(0) == [
        {
            'key': 'b.jpg#0',
            'caption': 'Two girls play .',
            'scores': [1, 1, 2],
        }
    ]
    assert [j['key'] for j in source.judgements(1)] == ['a.jpg#0']
    assert source.image(1).size == (24, 24)
    assert not any(source.reading.values())
    both = Flickr8kJudgements(tmp_path, own_captions=True)
    keys = [j['key'] for j in both.judgements(0)]
    assert keys == ['b.jpg#0', 'a.jpg#1']


def test_crowd(tmp_path):
    source = Flickr8kJudgements(write_judgements(tmp_path), 'crowdflower')
    scores = [j['scores'] for j in source.judgements(0)]
    assert scores == [[1], [pytest.approx(1 / 3)]]
    assert source.judgements(1)[0]['scores'] == [0]
    less = Flickr8kJudgements(tmp_path, 'crowdflower', own_captions=False)
    assert [j['key'] for j in less.judgements(0)] == ['b.jpg#1']


def test_damaged_judgements_are_counted(tmp_path):
    root = write_judgements(tmp_path)
    with (root / 'ExpertAnnotations.txt').open('a') as file:
        file.write('a.jpg\tb.jpg#1\t1\t5\t2\n')  # no such grade
        file.write('a.jpg\tb.jpg#1\t1\t2\n')
        file.write('a.jpg\tb.jpg#1\tone\t2\t3\n')
        file.write('a.jpg\tb.jpg#9\t1\t2\t3\n')  # no such caption
        file.write('a.jpg\n\n')
    with (root / 'CrowdFlowerAnnotations.txt').open('a') as file:
        file.write('a.jpg\tb.jpg#0\t0.9\t1\t2\n')  # not the share
        file.write('a.jpg\tb.jpg#0\t0\t0\t0\n')
        file.write('a.jpg\tb.jpg#0\t1\t3\n')
    with (root / 'Flickr8k.token.txt').open('a') as file:
        file.write('c.jpg no tab\n')
    experts = Flickr8kJudgements(root)
    assert experts.reading['skipped_rows'] == 6
    assert len(experts.judgements(0)) == 1
    crowd = Flickr8kJudgements(root, 'crowdflower')
    assert crowd.reading['skipped_rows'] == 4


def test_what_is_missing_is_said(tmp_path):
    root = write_judgements(tmp_path / 'text')
    with pytest.raises(ValueError, match="judges is 'expert' or 'crowd"):
        Flickr8kJudgements(root, 'public')
    (root / 'ExpertAnnotations.txt').write_text('')
    with pytest.raises(ValueError, match='has no judgement of any caption'):
        Flickr8kJudgements(root)
    (root / 'Flickr8k.token.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'has no Flickr8k\.token'):
        Flickr8kJudgements(root)
    with pytest.raises(FileNotFoundError, match='has no ExpertAnnotations'):
        Flickr8kJudgements(tmp_path)


def test_kinds_of_the_command_line(tmp_path):
    root = str(write_judgements(tmp_path))
    kinds = KINDS['human_judgement']
    expert = DATASETS.build(kinds['flickr8k-expert'](root, {}))
    assert expert.judgements(0)[0]['scores'] == [1, 1, 2]
    crowd = DATASETS.build(kinds['flickr8k-crowdflower'](root, {}))
    assert crowd.judgements(0)[0]['scores'] == [1]
