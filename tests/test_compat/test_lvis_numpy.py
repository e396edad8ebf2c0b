"""lvis counts with a numpy that has its float; nobody else's gets one."""

from __future__ import annotations

import numpy as np
import pytest

from sparc_vlm.compat import lvis_numpy
from tests.test_compat.test_stand_ins import alone, run_python, write_package

USES_FLOAT = 'import numpy as np\ndef count(): return np.float(np.int64(3))'
lacks_float = pytest.mark.skipif(
    hasattr(np, 'float'), reason='this numpy has it'
)


@lacks_float
def test_lvis_gets_its_float_when_it_is_imported(tmp_path):
    write_package(tmp_path / 'lvis', eval=USES_FLOAT)
    code = (
        'assert "lvis" not in sys.modules\n'
        'import numpy, lvis.eval\n'
        'print(lvis.eval.count(), hasattr(numpy, "float"))\n'
        'print(lvis.eval.np.zeros(2).sum())'
    )
    assert run_python(alone(code), [tmp_path]) == '3.0 False\n0.0'


@lacks_float
def test_also_where_it_was_imported_before(tmp_path):
    write_package(tmp_path / 'lvis', eval=USES_FLOAT)
    code = 'import lvis.eval\n' + alone('print(lvis.eval.count())')
    assert run_python(code, [tmp_path]) == '3.0'


def test_a_numpy_that_has_it_is_left_alone(tmp_path):
    of_old = 'import types\nnp = types.SimpleNamespace(float="its own")'
    write_package(tmp_path / 'lvis', eval=of_old)
    code = 'import lvis.eval\nprint(lvis.eval.np.float)'
    assert run_python(alone(code), [tmp_path]) == 'its own'


@lacks_float
def test_the_real_one_says_what_it_is():
    assert lvis_numpy.status() == 'stand-in: float'
