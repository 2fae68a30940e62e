"""What a whole process shows of the engine: imports, threads, memory."""

import sys
from pathlib import Path

import pytest
from fresh_python import run_python


def test_numba_is_imported_for_kernels_only_and_torch_never(tiny_model: Path) -> None:
    code = f"""
import sys
import lutkit_runtime
assert not [name for name in ("numba", "h5py", "cv2", "numpy") if name in sys.modules]
model = lutkit_runtime.load({str(tiny_model)!r})
import numpy
image = numpy.zeros((4, 4, 3), numpy.uint8)
model.apply(image, backend="numpy")
assert "numba" not in sys.modules
model.apply(image)
assert "numba" in sys.modules
print([name for name in ("torch", "PIL") if name in sys.modules])  # Numba imports SciPy where it is
"""
    assert run_python(code).strip() == "[]"


def test_several_python_threads_may_apply_at_once(tiny_model: Path) -> None:
    """Numba's workqueue layer ends the process when two threads enter parallel kernels at once."""
    code = f"""
import threading
import numpy as np
import lutkit_runtime
model = lutkit_runtime.load({str(tiny_model)!r})
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
expected = model.apply(image)
wrong = []
def work():
    for _ in range(30):
        if not np.array_equal(model.apply(image), expected):
            wrong.append(1)
workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
import numba
print(len(wrong), numba.threading_layer())
"""
    assert run_python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="4").split() == ["0", "workqueue"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory as Linux reports it")
def test_24_megapixels_need_little_memory_beyond_input_and_output() -> None:
    code = """
import numpy as np
from lutkit.benchmark import make_mulut
model = make_mulut()
model.apply(np.zeros((8, 8, 3), np.uint8))
image = np.full((4000, 6000, 3), 100, np.uint8)
result = model.apply(image)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss counts the parent
print(int(peak.split()[1]) * 1024 - image.nbytes - result.nbytes)
"""
    assert int(run_python(code)) < 300 * 2**20
