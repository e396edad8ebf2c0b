import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from sparc_vlm.engine.run_files import read_any
from sparc_vlm.errors import UserError

WEIGHTS = {'a': torch.arange(3.0), 'b': torch.ones(2, 2)}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder on the web, its address, and what was asked of it."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    folder, asked = tmp_path / 'served', []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            asked.append(self.path)

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f'http://127.0.0.1:{server.server_port}', asked
    server.shutdown()
    server.server_close()


def test_weights_of_the_web_are_read_as_files_are(served):
    folder, address, asked = served
    torch.save(WEIGHTS, folder / 'bare.pth')
    torch.save({'state_dict': WEIGHTS, 'meta': {'iter': 3}}, folder / 'a.pth')
    save_file(WEIGHTS, folder / 'model.safetensors')
    names = 'bare.pth', 'a.pth', 'model.safetensors', 'bare.pth'
    for name in names:
        found = read_any(f'{address}/{name}', 'cpu', trust=False)
        assert found['state_dict'].keys() == WEIGHTS.keys()
        for key, value in found['state_dict'].items():
            assert torch.equal(value, WEIGHTS[key])
        assert found['meta'] == ({'iter': 3} if name == 'a.pth' else {})
    assert asked == [f'/{name}' for name in names[:3]]  # each once


class Trap:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize(
    ('said', 'name'),
    [
        ('--trust', '/evil.pth'),
        ('could not be downloaded.*404', '/none.pth'),
        ('download it and name the file', 'torchvision://resnet50'),
    ],
)
def test_nothing_of_the_web_is_run(tmp_path, served, said, name):
    folder, address, _ = served
    torch.save({'state_dict': Trap(tmp_path / 'trap')}, folder / 'evil.pth')
    name = f'{address}{name}' if name[0] == '/' else name
    with pytest.raises(UserError, match=said):
        read_any(name, 'cpu', trust=False)
    assert not (tmp_path / 'trap').exists()
