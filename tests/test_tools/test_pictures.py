"""What tools that look at pictures have in common."""

import pytest

from tools import caption, detect


@pytest.mark.parametrize('tool', [caption, detect])
def test_no_picture_is_said_before_the_model_is_loaded(tool, tmp_path, capfd):
    model = str(tmp_path / 'no')
    for given, said in (
        (tmp_path, f'{tmp_path} is a folder: name the pictures in it, such'),
        (tmp_path / '*.jpg', f'there is no picture {tmp_path}/*.jpg'),
    ):
        assert tool.main([model, str(given)]) == tool.USAGE
        printed = capfd.readouterr().err
        assert said in printed
        assert printed.count('\n') == 1
