import pytest

from sparc_vlm.adapters import HuggingFaceClip, OpenClipModel
from sparc_vlm.detection import LoadedDetector
from sparc_vlm.errors import MissingFileError, UserError
from sparc_vlm.models import ImageTextPretrainer
from sparc_vlm.study import open_model
from sparc_vlm.study.models import check_model, identity, is_detector
from tests.test_adapters.tiny_clips import write_hf_clip, write_open_clip
from tests.test_detection.tiny_detectors import save as save_detector
from tests.test_study.made import save_model


def test_any_model_by_its_name(tmp_path):
    ours = save_model(tmp_path / 'ours')
    theirs = write_open_clip(tmp_path / 'theirs')
    face = write_hf_clip(tmp_path / 'face')
    names = {
        str(ours): ImageTextPretrainer,
        f'open_clip:local-dir:{theirs}': OpenClipModel,
        f'hf:{face}': HuggingFaceClip,
    }
    for name, kind in names.items():
        model = open_model(name)
        assert isinstance(model, kind)
        assert not model.training
        assert model.encode_text(['a red circle']).text.isfinite().all()
    told = [identity(name) for name in names]
    assert len(set(told)) == 3
    # The same weights by another name of the same folder are the same.
    assert (
        identity(str(ours)).split()[1]
        == (identity(str(tmp_path / 'ours')).split()[1])
    )
    (theirs / 'open_clip_model.safetensors').write_bytes(b'other')
    assert identity(list(names)[1]) != told[1]
    weights = ours / 'model.safetensors'
    assert str(weights.stat().st_size) in identity(str(weights))
    assert identity('open_clip:ViT-B-32:openai') == 'open_clip:ViT-B-32:openai'


def test_a_detector_is_told_from_a_pretrained_model(tmp_path):
    ours = save_model(tmp_path / 'ours')
    theirs = save_detector('retinanet', tmp_path / 'run' / 'model')
    for path in (theirs, theirs.parent):
        assert isinstance(open_model(str(path)), LoadedDetector)
        assert is_detector(str(path))
    assert not is_detector(str(ours))
    assert not is_detector('open_clip:ViT-B-32:openai')
    (theirs / 'config.json').write_text('{')
    assert not is_detector(str(theirs))


@pytest.mark.parametrize(
    'name', ['not/there', 'hf:not/there', 'open_clip:local-dir:not/there']
)
def test_what_is_not_there_is_said_before_it_is_opened(name):
    with pytest.raises(MissingFileError, match='no model at not/there: name'):
        check_model(name)
    check_model('open_clip:ViT-B-32:openai')


def test_an_architecture_that_nobody_knows():
    with pytest.raises(UserError, match='did you mean ViT-B-32'):
        open_model('open_clip:ViT-B-33:openai')
